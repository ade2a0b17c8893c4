"""The canary of a slot: a registration of its own, made with the new key before anybody else gets it.

It allocates as any device's does: DPS asks the webhook, makes a device on a hub and keeps a record, and all
that is taken away again. Each slot has an id of its own, since DPS may refuse a registration's other keys for
some 30 minutes (seen in 2020); the row remembers when each was last used. An id that anybody else uses is
never registered.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from clients.device import Assigned, Assigning, Disabled, Failed
from clients.errors import OutcomeUnknown, Unauthenticated
from clients.hub_shapes import HubDevice
from clients.outcomes import Deletion, Moved
from lifecycle.rotation.row import SLOTS, SlotName
from provisioning.enrollments import IndividualEnrollment
from provisioning.hubs import HubKey
from provisioning.keys import SymmetricKey
from provisioning.registrations import Registration

PREFIX = "rotation-canary"

SERVICE = "DPS"


class Devices(Protocol):
    """The device API: see clients.device."""

    async def register(self, registration_id: str, key: SymmetricKey) -> Assigned | Failed | Disabled:
        """Register and wait for the outcome."""

    async def look_up(
        self, registration_id: str, key: SymmetricKey
    ) -> Assigned | Failed | Disabled | Assigning | None:
        """The record of the last registration."""


class Records(Protocol):
    """Registration records: see clients.dps."""

    async def get(self, registration_id: str) -> Registration | None:
        """A device's record, or None."""

    async def delete(self, registration_id: str, etag: str) -> Deletion:
        """Delete the record that was read."""


class Individuals(Protocol):
    """Individual enrollments: see clients.dps."""

    async def get(self, enrollment_id: str) -> IndividualEnrollment | None:
        """An enrollment, or None."""


class HubDevices(Protocol):
    """One hub's identities: see clients.hubs."""

    async def device(self, device_id: str) -> HubDevice | None:
        """The registry's entry, or None."""

    async def delete(self, device_id: str, etag: str) -> Deletion:
        """Delete the entry that was read."""


@dataclass(frozen=True, slots=True)
class Tried:
    """How a try ended: let in, to be tried again, or refused for good; and why."""

    outcome: Literal["passed", "again", "refused"]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CanaryPlaces:
    """Where canaries live.

    Attributes:
        devices: the device API.
        records: of the DPS.
        individuals: of the DPS.
        hub: a hub by its name.
        prefix: what canaries' ids begin with.
    """

    devices: Devices
    records: Records
    individuals: Individuals
    hub: Callable[[HubKey], HubDevices]
    prefix: str = PREFIX

    def id(self, group: str, slot: SlotName) -> str:
        """The registration id of a slot's canary; in lower case, for the key is derived from it."""
        digest = hashlib.sha256(group.lower().encode()).hexdigest()[:12]
        return f"{self.prefix}-{digest}-{slot}".lower()

    async def unused(self, group: str, slot: SlotName) -> bool:
        """Whether nobody has the canary's id: no record, no individual enrollment."""
        name = self.id(group, slot)
        return await self.records.get(name) is None and await self.individuals.get(name) is None

    async def attempt(self, group: str, slot: SlotName, key: SymmetricKey) -> Tried:
        """Register with a key derived from the group's new one.

        Raises:
            ServiceError: DPS gave no usable answer before it began; nothing was registered.
        """
        name = self.id(group, slot)
        own = key.derive(name)
        try:
            found = await self.devices.register(name, own)
        except Unauthenticated:
            # A changed key may not count everywhere yet: refused today is no verdict on it.
            return Tried("again", "DPS did not take the key")
        except OutcomeUnknown as error:
            passed = isinstance(await self.devices.look_up(name, own), Assigned)
            return Tried("passed") if passed else Tried("again", str(error))
        match found:
            case Assigned():
                return Tried("passed")
            case Disabled():
                return Tried("refused", "the group or the canary's enrollment is disabled")
            case Failed(code, message):
                return Tried("again", f"its registration failed with {code}: {message}")

    async def clean(self, group: str) -> None:
        """Delete the canaries' devices and records; of one that is not there, nothing.

        Raises:
            OutcomeUnknown: one is under way or changed meanwhile: clean again later.
            ClientError: what a call may raise; clean again.
        """
        for slot in SLOTS:
            name = self.id(group, slot)
            record = await self.records.get(name)
            if record is None:
                continue
            if record.status == "assigning":
                raise OutcomeUnknown(f"{SERVICE}: the canary's registration is under way", service=SERVICE)
            # The device first: the record is what says where it is.
            if record.hub is not None:
                hub, device = self.hub(record.hub), record.device_id or record.id
                found = await hub.device(device)
                if found is not None and isinstance(await hub.delete(device, found.etag), Moved):
                    raise OutcomeUnknown(f"{record.hub}: the canary's device was changed", service=record.hub)
            if isinstance(await self.records.delete(name, record.etag), Moved):
                raise OutcomeUnknown(f"{SERVICE}: the canary's record was changed", service=SERVICE)
