"""What the demo shows: one line per step, tables where numbers compare."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import anyio
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.demo.judge import Check

T = TypeVar("T")
_BAR = 24


class Screen:
    """A terminal, or a file when there is none."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self.checks: list[Check] = []

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        self._console.print()
        self._console.rule(f"[bold]{escape(title)}", align="left")

    def say(self, text: str) -> None:
        """One line; what devices or DPS wrote is escaped."""
        self._console.print(escape(text), soft_wrap=True)

    def document(self, title: str, value: object) -> None:
        """A JSON document."""
        self._console.print(f"[bold]{escape(title)}[/]")
        self._console.print(escape(json.dumps(value, indent=2)), soft_wrap=True)

    def check(self, *checks: Check) -> None:
        """Show and remember what was checked."""
        for check in checks:
            mark = "[green]✓[/]" if check.kept else "[bold red]✗[/]"
            self._console.print(
                f"  {mark} {escape(check.promise)}: [dim]{escape(check.seen)}[/]", soft_wrap=True
            )
            self.checks.append(check)

    def loads(self, loads: Mapping[str, int], weights: Mapping[str, float]) -> None:
        """How full each hub is."""
        table = Table("hub", "weight", "devices", "")
        most = max([1, *loads.values()])
        for hub, weight in weights.items():
            bar = "█" * round(loads.get(hub, 0) / most * _BAR)
            table.add_row(escape(hub), f"{weight:g}", str(loads.get(hub, 0)), f"[cyan]{bar}[/]")
        self._console.print(table)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Rows under their columns."""
        table = Table(*columns)
        for row in rows:
            table.add_row(*map(escape, row))
        self._console.print(table)

    async def all_of(self, title: str, works: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
        """Run all of these at once behind a progress bar; their results in order."""
        jobs = list(works)
        results: dict[int, T] = {}
        columns = (
            TextColumn("{task.description}"),
            BarColumn(_BAR),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(title, total=len(jobs))

            async def run(number: int) -> None:
                results[number] = await jobs[number]()
                progress.advance(task)

            async with anyio.create_task_group() as group:
                for number in range(len(jobs)):
                    group.start_soon(run, number)
        return [results[number] for number in range(len(jobs))]

    def verdict(self, seconds: float) -> bool:
        """The end: whether every check held."""
        broken = [check for check in self.checks if not check.kept]
        self._console.print()
        if broken or not self.checks:
            self._console.print(
                f"[bold red]{len(broken)} of {len(self.checks)} checks failed[/] in {seconds:.0f} s"
            )
        else:
            self._console.print(f"[bold green]all {len(self.checks)} checks hold[/] in {seconds:.0f} s")
        return bool(self.checks) and not broken


async def collect(items: AsyncIterator[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """All items of a listing."""
    return [item async for item in items]
