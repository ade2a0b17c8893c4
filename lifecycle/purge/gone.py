"""A hub says that a device was deleted: its record is marked, unless it is no longer about that device there.

DPS deletes a device from its old hub when it moves it to another, and the hub may send the same event then
(inferred). Events come twice, late, out of order, and anybody with the endpoint's key can send one. So an
event is only a reason to look: the record must still name that hub, and the hub's registry must have no such
device. A mark is all that follows; what deletes is a later run, with all of its guards.
"""

from dataclasses import replace
from datetime import datetime
from typing import Literal, Protocol

from clients.errors import NotSendable
from lifecycle.events import DeviceDeleted
from lifecycle.purge.hubs import Hubs
from lifecycle.purge.marks import Mark, Marks
from lifecycle.purge.rules import Reason, Unasked
from provisioning.registrations import Registration

Noted = Literal["marked", "marked before", "no record", "points elsewhere", "device is there", "not known"]
"""What became of an event."""


class Records(Protocol):
    """What is asked of DPS."""

    async def get(self, registration_id: str) -> Registration | None:
        """The record of that id."""


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
        ServiceError: DPS did not answer; let the event come again.
        TableUnavailable: the same.
    """
    try:
        record = await records.get(event.device)
    except NotSendable:
        return "no record"
    if record is None:
        return "no record"
    hub = record.hub
    device = record.device_id or record.id
    if record.status != "assigned" or hub is None or not record.etag or device != event.device:
        return "points elsewhere"
    if hub.partition(".")[0] != event.hub:
        return "points elsewhere"
    answer = await hubs.direct(hub, device, tags=False)
    if isinstance(answer, Unasked):
        return "not known"
    if answer is not None:
        return "device is there"
    run = f"event:{event_id[:200]}"
    mark = Mark(record.id, device, "", Reason.DEVICE_GONE, record.etag, hub, now, run, seen="")
    if await marks.add(mark):
        return "marked"
    there = await marks.get(record.id)
    if there is not None and there.same(replace(mark, at=there.at)):
        return "marked before"
    await marks.put(mark)
    return "marked"
