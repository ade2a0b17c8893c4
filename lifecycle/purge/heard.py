"""What hubs said of deleted devices, written down until the job looks at it.

A hub that loses a hundred thousand devices at once sends as many events, and each look costs a call of DPS
and one of the hub. So an event is only written down, one row, and a job of the kind `purge` looks at what is
there, under the share of the rates that purges have and beside no other run of them (lifecycle.jobs).

Rows of DPS|purge|heard, one for a device at a hub, however often it is told of. A row that is written again
while it is looked at has another ETag, and is looked at again.
"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from clients.ports import Row, Table
from lifecycle.audit import places
from lifecycle.events import DeviceDeleted
from lifecycle.jobs import Created, JobStore
from lifecycle.purge.calls import KIND

HEARD = "heard"
"""What `do` is among the parameters of a job that looks at what was heard."""

SLOT_MINUTES = 10
"""At most one such job begins in so many minutes, unless one is under way for longer."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One device that a hub said was deleted.

    Attributes:
        said: what the hub said.
        event: id of the last event; hostile text.
        at: when it came.
        etag: of the row.
    """

    said: DeviceDeleted
    event: str
    at: datetime
    etag: str | None = None


class HeardStore:
    """What the hubs of one DPS said."""

    def __init__(self, table: Table, dps: str) -> None:
        self._table = table
        self._partition = f"{dps.lower()}|purge|heard"

    async def put(self, heard: Heard) -> None:
        """Write it down; the same again is the same row.

        Raises:
            TableUnavailable: it may be written; let the event come again.
        """
        await self._table.put(
            Row(
                self._partition,
                _key(heard.said),
                {
                    "hub": heard.said.hub,
                    "device": heard.said.device,
                    "event": places.storable(heard.event, 200),
                    "at": heard.at,
                },
            )
        )

    async def any(self) -> bool:
        """Whether something is there."""
        async for _ in self._table.scan(self._partition):
            return True
        return False

    async def all(self, after: str = "") -> AsyncIterator[tuple[str, Heard]]:
        """Each behind a key, with its key, in no order of time."""
        async for row in self._table.scan(self._partition, start=after):
            if row.key > after:
                at = places.moment(row, "at")
                assert at is not None, "each has its time"
                said = DeviceDeleted(str(row.values["hub"]), str(row.values["device"]))
                yield row.key, Heard(said, str(row.values["event"]), at, row.etag)

    async def drop(self, heard: Heard) -> None:
        """Forget it, unless it was said again since it was read."""
        await self._table.delete(Row(self._partition, _key(heard.said), {}, heard.etag))


def is_run(params: object) -> bool:
    """Whether a job of the kind `purge` with these parameters is a run over the records."""
    return not isinstance(params, dict) or params.get("do") != HEARD


async def ask(store: JobStore, heard: HeardStore) -> Created | None:
    """Ask for a job that looks, where there is something to look at.

    Asked each minute, so that nothing waits for the next event.

    Returns:
        The job of these minutes; None: there is nothing to look at, or one is under way.

    Raises:
        TableUnavailable: asking again is safe.
    """
    if not await heard.any():
        return None
    jobs = (await store.current()).jobs
    if any(job.kind == KIND and not is_run(job.params) for job in jobs):
        return None
    now = store.clock.now()
    slot = now.replace(minute=now.minute - now.minute % SLOT_MINUTES)
    return await store.create(f"{KIND}-{HEARD}:{slot:%Y-%m-%dT%H.%M}", KIND, by="event", params={"do": HEARD})


def _key(said: DeviceDeleted) -> str:
    """Ids of devices are case-sensitive at a hub, and may have what no key can hold."""
    return hashlib.sha256(f"{said.hub}|{said.device}".encode()).hexdigest()
