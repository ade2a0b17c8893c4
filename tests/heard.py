"""Telemetry that remembers."""

from typing import Any


class Heard:
    """`events`: (name, fields); `measures`: (name, value, dimensions); `spans`: (name, seconds, fields)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.measures: list[tuple[str, float, dict[str, str]]] = []
        self.spans: list[tuple[str, float, dict[str, Any]]] = []

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))

    def measure(self, name: str, value: float, **dimensions: str) -> None:
        self.measures.append((name, value, dimensions))

    def span(self, name: str, seconds: float, **attributes: object) -> None:
        self.spans.append((name, seconds, attributes))

    def of(self, name: str) -> list[dict[str, Any]]:
        """The fields of every event of that name."""
        return [fields for event, fields in self.events if event == name]

    def counted(self, name: str) -> float:
        """The sum of a metric."""
        return sum(value for metric, value, _ in self.measures if metric == name)
