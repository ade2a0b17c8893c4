"""Prunes our own tables by age: ledger rows, lists of groups that have none left, counts of hubs long gone.

A run is one slice of bounded time. It goes through a DPS's ledger partition by partition and notes in the
ledger table how far it came; the next one goes on from there, and after
the last partition begins anew. Every step can be done twice, so a run may die anywhere.

What operators said of hubs is kept, and so are policy versions and their history: they are few.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from allocation import UNLIST_AFTER, Ledger, checkpoint_of, forget_load, listing_of, read_fleet, written_at
from clients.ports import Change, Clock, Row, Table, Telemetry

BATCH = 100
"""Rows deleted by one call, at most."""

LOOK_EVERY = 100
"""Rows read between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one slice did.

    Attributes:
        read: rows looked at.
        deleted: rows that went.
        whole: whether it came through to the end.
    """

    read: int
    deleted: int
    whole: bool


async def prune(
    ledger_table: Table,
    fleet_table: Table,
    dps: str,
    *,
    keep: timedelta,
    clock: Clock,
    telemetry: Telemetry,
    seconds: float = 60.0,
) -> Pruned:
    """Delete what is older than `keep`, for at most about `seconds`.

    Raises:
        TableUnavailable: no usable answer; the next run goes on.
    """
    slice_ = _Slice(ledger_table, dps, clock.now() - keep, clock, clock.monotonic() + seconds)
    whole = await slice_.run()
    if whole:
        fleet = await read_fleet(fleet_table, dps)
        for load in fleet.loads.values():
            last = max(filter(None, (load.as_of, load.failing_since)), default=None)
            if last is not None and last < slice_.before:
                await forget_load(fleet_table, dps, load)
    pruned = Pruned(slice_.read, slice_.deleted, whole)
    telemetry.event("pruned", dps=dps, read=pruned.read, deleted=pruned.deleted, whole=whole)
    return pruned


class _Slice:
    def __init__(self, table: Table, dps: str, before: datetime, clock: Clock, until: float) -> None:
        self._table = table
        self._dps = dps
        self.before = before
        self._clock = clock
        self._until = until
        self.read = 0
        self.deleted = 0

    async def run(self) -> bool:
        """Whether it came through to the end."""
        place = checkpoint_of(self._dps)
        noted = await self._table.get(*place)
        at_partition = str(noted.values.get("partition", "")) if noted else ""
        at_key = str(noted.values.get("key", "")) if noted else ""
        # In key order, so that "those before the checkpoint are done" holds when groups come and go.
        partitions = sorted([each async for each in Ledger(self._table, str).partitions(self._dps)])
        for partition in partitions:
            if partition < at_partition:
                continue
            start = at_key if partition == at_partition else ""
            reached = await self._partition(partition, start)
            if reached is not None:
                await self._table.put(Row(*place, {"partition": partition, "key": reached}))
                return False
        await self._table.delete(Row(*place))
        return True

    async def _partition(self, partition: str, start: str) -> str | None:
        """The key that the next slice goes on from; None at the end."""
        old: list[Row] = []
        kept = bool(start)  # what lies before the checkpoint was not looked at now
        async for row in self._table.scan(partition, start=start):
            self.read += 1
            if _written_at(row) < self.before:
                old.append(row)
                if len(old) == BATCH:
                    await self._delete(old)
                    old = []
            else:
                kept = True
            if self.read % LOOK_EVERY == 0 and self._clock.monotonic() >= self._until:
                await self._delete(old)
                return row.key
        await self._delete(old)
        if not kept:
            await self._unlist(partition)
        return None

    async def _delete(self, rows: list[Row]) -> None:
        if not rows:
            return
        receipt = await self._table.write([Change("delete", row) for row in rows])
        if receipt.outcome == "written":
            self.deleted += len(rows)
            return
        # One of them has gone or changed, so none was deleted: each by itself.
        for row in rows:
            if (await self._table.delete(row)).outcome == "written":
                self.deleted += 1

    async def _unlist(self, partition: str) -> None:
        """Take a group without rows off the list, so that made-up groups do not stay for ever."""
        place = listing_of(partition)
        listing = await self._table.get(*place) if place else None
        if listing is None:
            return
        listed_at = listing.values.get("listed_at")
        if isinstance(listed_at, datetime) and self._clock.now() - listed_at < UNLIST_AFTER:
            return
        await self._table.delete(listing)  # under its ETag: an instance may list it again right now


def _written_at(row: Row) -> datetime:
    at = row.values.get("at")
    return at if isinstance(at, datetime) else written_at(row.key)
