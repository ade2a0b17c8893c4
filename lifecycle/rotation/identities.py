"""The hub identities of a group's devices after a breach: listed, and disabled as a job.

A new group key keeps no connected device out: at its hub a device enters with the key that it got when it was
last registered (seen: the hub identity's key equals the derived one). So each identity that was made before
the breach is to be renewed: by registering again with a key from the new root, or disabled until then.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from clients.dps_paging import Page
from clients.errors import ContinuationExpired, OutcomeUnknown
from clients.hub_shapes import HubDevice, Status
from clients.outcomes import Gone, Moved
from lifecycle.enrollments.revocation import status_reason
from lifecycle.jobs import Done, More, Progress, Slice, SliceResult
from provisioning.documents import MalformedDocument
from provisioning.hubs import HubKey
from provisioning.registrations import Registration

PAGE = 20
TRIES = 4


class Records(Protocol):
    """Registration records: see clients.dps."""

    def pages(
        self, group_id: str, *, start: str | None = None, size: int | None = None
    ) -> AsyncIterator[Page[Registration]]:
        """The records of a group's devices, page by page."""


class Hub(Protocol):
    """One hub's identities: see clients.hubs."""

    async def device(self, device_id: str) -> HubDevice | None:
        """The registry's entry, or None."""

    async def set_status(
        self, device_id: str, status: Status, etag: str, reason: str | None = None
    ) -> HubDevice | Gone | Moved:
        """Enable or disable it."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A group's devices.

    Attributes:
        records: of the DPS.
        hub: a hub by its name.
    """

    records: Records
    hub: Callable[[HubKey], Hub]


@dataclass(frozen=True, slots=True)
class ToRenew:
    """A hub identity whose key is of the old root."""

    registration_id: str
    hub: HubKey
    device_id: str
    registered: datetime | None


def to_renew(record: Registration, since: datetime) -> ToRenew | None:
    """The identity of a device that has not registered since a moment; None: it has, or has none.

    Since then the group takes keys of the new root alone. A time that cannot be read counts as before.
    """
    if record.hub is None:
        return None
    try:
        registered = record.updated
    except MalformedDocument:
        registered = None
    if registered is not None and registered > since and record.status == "assigned":
        return None
    return ToRenew(record.id, record.hub, record.device_id or record.id, registered)


async def disable(slice_: Slice, fleet: Fleet, group: str) -> SliceResult:
    """Disable the identities of a group's devices that are to be renewed.

    Saved is the continuation of each page that is through; what is disabled already is found so.

    Raises:
        ClientError: what a call may raise; the next slice goes on.
    """
    since = datetime.fromisoformat(slice_.params["since"])
    why = str(slice_.params.get("why") or "the group's keys were breached")
    saved = slice_.checkpoint if isinstance(slice_.checkpoint, dict) else {}
    done, disabled = int(saved.get("done", 0)), int(saved.get("disabled", 0))
    start = saved.get("start")
    try:
        async for page in fleet.records.pages(group, start=start, size=PAGE):
            for record in page.items:
                wanted = to_renew(record, since)
                if wanted is not None and await _disabled(fleet.hub(wanted.hub), wanted, status_reason(why)):
                    disabled += 1
            done += len(page.items)
            state = {"start": page.continuation, "done": done, "disabled": disabled}
            if page.continuation is None:
                return Done({"devices": done, "disabled": disabled}, Progress(done, done, "devices"))
            await slice_.save(state, Progress(done, None, "devices"))
            if slice_.time_left() <= 0:
                return More()
    except ContinuationExpired:
        # From the beginning: those that are disabled cost one read each.
        await slice_.save({"start": None, "done": 0, "disabled": disabled})
        return More(1.0)
    return Done({"devices": done, "disabled": disabled}, Progress(done, done, "devices"))


async def _disabled(hub: Hub, wanted: ToRenew, reason: str) -> bool:
    """Bring one identity to rest; False: it was, or it is not there."""
    for _ in range(TRIES):
        device = await hub.device(wanted.device_id)
        if device is None or device.status == "disabled":
            return False
        outcome = await hub.set_status(wanted.device_id, "disabled", device.etag, reason)
        if isinstance(outcome, HubDevice):
            return True
    raise OutcomeUnknown(f"{wanted.hub}: an identity kept changing", service=wanted.hub)
