"""Which rotations wait for somebody, by the rotations' own rows: pure, and the port that reads them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from clients.wording import plain
from lifecycle.rotation.row import RotationRow, Stage
from lifecycle.rotation.store import RotationStore

STILL = timedelta(days=2)
"""A rotation under way is looked at each day: one whose row is older than two of them stands still."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the rows tell.

    Attributes:
        groups: group -> what its rotation waits for, in words.
        unread: why rows were left alone; empty where all were read.
    """

    groups: Mapping[str, str]
    unread: tuple[str, ...] = ()


Rotations = Callable[[datetime], Awaitable[Waiting]]
"""Reads them, given the time. Raises TableUnavailable."""


def waiting_rotations(store: RotationStore) -> Rotations:
    """The port over the rotations' table: one scan of at most a hundred rows."""

    async def read(now: datetime) -> Waiting:
        every = await store.all()
        return Waiting(waiting(every.rows, now), every.unreadable)

    return read


def waiting(rows: Iterable[RotationRow], now: datetime) -> dict[str, str]:
    """Group -> what its rotation waits for; those that go on by themselves are left out."""
    told = {row.group: _waits(row, now) for row in rows}
    return {group: reason for group, reason in told.items() if reason}


def _waits(row: RotationRow, now: datetime) -> str:
    problem = f": {plain(row.problem)}" if row.problem else ""
    match row.stage:
        case Stage.IDLE:
            return ""
        case Stage.BLOCKED:
            return f"{row.blocked or 'somebody'}{problem}"
        case Stage.FAILED:
            return f"a new start; it failed{problem}"
        case Stage.OVERLAP if row.until is not None and row.until > now:
            return ""
        case _:
            still = row.updated is not None and now - row.updated >= STILL
            return (
                f"nothing that is known: {row.stage} since {row.updated:%Y-%m-%d}{problem}" if still else ""
            )
