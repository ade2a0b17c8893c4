"""A hub says that a device was deleted: its record is marked, unless it is no longer about that device there.

DPS deletes a device from its old hub when it moves it to another, and the hub may send the same event then
(inferred). Events come twice, late, out of order, and anybody with the endpoint's key can send one. So an
event is only a reason to look: the record must still name that hub, and the hub's registry must have no such
device. A mark is all that follows; what deletes is a later run, with all of its guards.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import Literal, Protocol

from clients.errors import NotSendable, UnexpectedReply
from lifecycle.events import DeviceDeleted
from lifecycle.jobs import Done, More, Progress, Slice, SliceResult
from lifecycle.purge.heard import HeardStore
from lifecycle.purge.hubs import Hubs
from lifecycle.purge.marks import Mark, Marks
from lifecycle.purge.rules import Reason, Unasked
from lifecycle.purge.work import SAVE_SECONDS, Ports, hub_under
from lifecycle.rates import Rate
from provisioning.registrations import Registration

Noted = Literal["marked", "marked before", "no record", "points elsewhere", "device is there", "not known"]
"""What became of an event."""

KEEP = timedelta(days=2)
"""So long it is tried to find out; the nightly run looks at every record anyway."""

AGAIN_SECONDS = 900.0
"""Before hubs that did not answer are asked again."""


class Records(Protocol):
    """What is asked of DPS."""

    async def get(self, registration_id: str) -> Registration | None:
        """The record of that id."""


async def look_at_heard(slice_: Slice, ports: Ports) -> SliceResult:
    """One slice of the job that looks at what hubs said, until nothing is left of it."""
    clock, heard, marks = ports.clock, HeardStore(ports.table, ports.name), Marks(ports.table, ports.name)
    records = ports.dps(slice_.share(Rate.DPS)).registrations
    hubs = Hubs(partial(hub_under, slice_, ports))
    saved = slice_.checkpoint if isinstance(slice_.checkpoint, dict) else {}
    after, done, left = str(saved.get("after", "")), int(saved.get("done", 0)), int(saved.get("left", 0))
    last = clock.monotonic()

    async def save() -> None:
        await slice_.save({"after": after, "done": done, "left": left}, Progress(done, None, "events"))

    while True:
        async for key, each in heard.all(after):
            if slice_.time_left() <= 0:
                await save()
                return More()
            noted = await note_deleted(each.said, each.event, records, hubs, marks, clock.now())
            after = key
            if noted == "not known" and clock.now() - each.at < KEEP:
                left += 1
            else:
                await heard.drop(each)
                done += 1
                ports.telemetry.event(
                    "device_deleted", hub=each.said.hub, device=each.said.device, noted=noted
                )
            if clock.monotonic() - last >= SAVE_SECONDS:
                await save()
                last = clock.monotonic()
        if left:
            after, left = "", 0
            await save()
            return More(AGAIN_SECONDS)
        if not after:
            return Done({"events": done}, Progress(done, done, "events"))
        after = ""  # until a look finds nothing: more may have come meanwhile


async def note_deleted(  # noqa: PLR0911 - one for each thing that may have become of it
    event: DeviceDeleted, event_id: str, records: Records, hubs: Hubs, marks: Marks, now: datetime
) -> Noted:
    """Mark the record of a device that its hub lost. The same event again changes nothing.

    Args:
        event: what the hub says.
        event_id: of the event, for the mark.
        records: of DPS.
        hubs: that can be asked.
        marks: of this DPS.
        now: the time of day.

    Raises:
        ServiceError: DPS did not answer; look again later.
        TableUnavailable: the same.
    """
    try:
        record = await records.get(event.device)
    except NotSendable:
        return "no record"
    except UnexpectedReply:
        return "not known"  # of this one: others need not wait for it
    if record is None:
        return "no record"
    hub = record.hub
    device = record.device_id or record.id
    if record.status != "assigned" or hub is None or not record.guardable or device != event.device:
        return "points elsewhere"
    if hub.partition(".")[0] != event.hub:
        return "points elsewhere"
    run = f"event:{event_id[:200]}"
    mark = Mark(record.id, device, "", Reason.DEVICE_GONE, record.etag, hub, now, run, seen="")
    there = await marks.get(record.id)
    if there is not None and there.same(mark):
        return "marked before"  # the next run asks the hub anyway
    answer = await hubs.direct(hub, device, tags=False)
    if isinstance(answer, Unasked):
        return "not known"
    if answer is not None:
        return "device is there"
    await marks.put(mark)
    return "marked"
