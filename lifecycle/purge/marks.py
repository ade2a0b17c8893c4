"""Records that a run found stale, as rows, until a later run deletes them or they heal.

Rows of DPS|purge|marks, by registration. A mark holds for one version of one record at one hub and for one
reason: where any of them is another now, marking begins anew.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from clients.ports import Change, Row, Table
from lifecycle.audit import places
from lifecycle.purge.rules import Reason
from provisioning.hubs import HubKey
from provisioning.registrations import registration_key, same_version

BATCH = 100


@dataclass(frozen=True, slots=True)
class Mark:
    """One record that is to go.

    Attributes:
        id: of the registration, as DPS spells it.
        device: its id at the hub.
        group: through which it was listed.
        reason: why.
        etag: of the record when it was marked.
        hub: that the record named; None: none.
        at: when it was first marked.
        run: which run marked it.
        seen: which run's which pass last found it so.
    """

    id: str
    device: str
    group: str
    reason: Reason
    etag: str
    hub: HubKey | None
    at: datetime
    run: str
    seen: str

    def same(self, other: "Mark") -> bool:
        """Whether the other says the same of the same version."""
        alike = (self.id.lower(), self.reason, self.hub) == (other.id.lower(), other.reason, other.hub)
        return alike and same_version(self.etag, other.etag)

    def due(self, run: str, days: int, now: datetime) -> bool:
        """Whether a run may delete the record: another one marked it, long enough ago."""
        return self.run != run and self.at + timedelta(days=days) <= now


class Marks:
    """The marks of one DPS."""

    def __init__(self, table: Table, dps: str) -> None:
        self._table = table
        self._partition = f"{dps.lower()}|purge|marks"

    async def get(self, registration: str) -> Mark | None:
        """The mark of a registration."""
        row = await self._table.get(self._partition, _key(registration))
        return None if row is None else _mark(row)

    async def put(self, mark: Mark) -> None:
        """Write a mark, whatever is there."""
        await self._table.put(self._row(mark))

    async def add(self, mark: Mark) -> bool:
        """Write a mark where there is none; False: there is one."""
        return (await self._table.insert(self._row(mark))).outcome == "written"

    async def all(self, after: str = "") -> AsyncIterator[tuple[str, Mark]]:
        """Each mark behind a key, with its key, in their order."""
        async for row in self._table.scan(self._partition, start=after):
            if row.key > after:
                yield row.key, _mark(row)

    async def clear(self, registration: str) -> None:
        """Take a mark off."""
        await self._table.delete(Row(self._partition, _key(registration)))

    def _row(self, mark: Mark) -> Row:
        return Row(
            self._partition,
            _key(mark.id),
            {
                "registration": places.storable(mark.id, 500),
                "device": places.storable(mark.device, 500),
                "group": places.storable(mark.group, 500),
                "reason": str(mark.reason),
                "etag": places.storable(mark.etag, 1_000),
                "at": mark.at,
                "run": mark.run,
                "seen": mark.seen,
                **({"hub": mark.hub} if mark.hub else {}),
            },
        )


async def drop(table: Table, partition: str) -> None:
    """Delete all rows of a partition.

    Raises:
        TableUnavailable: some are left; the same again goes on.
    """
    rows = [row async for row in table.scan(partition)]
    for start in range(0, len(rows), BATCH):
        part = [Change("delete", Row(partition, row.key)) for row in rows[start : start + BATCH]]
        if (await table.write(part)).outcome != "written":
            for each in part:  # one was gone already, so none went
                await table.delete(each.row)


def _key(registration: str) -> str:
    return places.field(registration_key(registration))


def _mark(row: Row) -> Mark:
    at = places.moment(row, "at")
    assert at is not None, "every mark has a time"
    hub = row.values.get("hub")
    return Mark(
        id=str(row.values["registration"]),
        device=str(row.values["device"]),
        group=str(row.values["group"]),
        reason=Reason(str(row.values["reason"])),
        etag=str(row.values["etag"]),
        hub=HubKey(str(hub)) if hub else None,
        at=at,
        run=str(row.values["run"]),
        seen=str(row.values["seen"]),
    )
