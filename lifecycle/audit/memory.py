"""What a worker keeps of a run in memory, beside its checkpoint and its rows; and its calls, counted."""

from dataclasses import dataclass, field
from typing import Any

from clients.ports import RateShare, SlowingShare
from lifecycle.audit.join import Index
from provisioning.enrollments import EnrollmentGroup


@dataclass(slots=True)
class Memory:
    """What one worker keeps between two slices of a run, so as not to read it again; lost with the worker.

    Attributes:
        saved: the checkpoint that it belongs to.
        index: DPS's ids by registration id.
        aliases: those whose device has another id at its hub, by that.
        groups: as listed, by key: with webhook URLs, so never in a row.
        digests: of the groups' keys: which slots have each.
        at: groups whose keys are read.
        others: device id -> numbers of hubs that have it beside its own.
        called: webhook URLs that were called, with their keys: see lifecycle.audit.webhook_asking.
    """

    saved: dict[str, Any] | None = None
    index: Index | None = None
    aliases: Index | None = None
    groups: list[EnrollmentGroup] | None = None
    digests: dict[str, list[str]] = field(default_factory=dict)
    at: int = 0
    others: dict[str, list[int]] | None = None
    called: dict[str, int] = field(default_factory=dict, repr=False)


class CountedShare:
    """A share whose calls are counted."""

    def __init__(self, share: RateShare, calls: dict[str, int], name: str) -> None:
        self._share = share
        self._calls = calls
        self._name = name

    async def call(self) -> None:
        """Wait for the share."""
        await self._share.call()
        self._calls[self._name] = self._calls.get(self._name, 0) + 1

    def slow(self, retry_after: float | None) -> None:
        """An attempt was answered 429."""
        if isinstance(self._share, SlowingShare):
            self._share.slow(retry_after)
