"""An IoT hub as DPS uses it: its identity registry and its device twins, as plain records."""

import copy
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

Properties = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """Base64 keys of a device; never part of a `repr`."""

    primary: str | None = field(default=None, repr=False)
    secondary: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class InitialTwin:
    """Tags and desired properties a device starts with."""

    tags: Properties = field(default_factory=dict)
    desired: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Identity:
    """An entry of the hub's identity registry."""

    device_id: str
    """Case-sensitive."""
    generation_id: str
    """Tells a device from an earlier one of the same id."""
    etag: str
    keys: DeviceKeys
    iot_edge: bool
    status: str
    created: datetime
    updated: datetime


@dataclass(frozen=True, slots=True)
class Twin:
    """A device twin; each version counts the writes of its part since the device was made."""

    tags: Properties
    desired: Properties
    reported: Properties
    desired_version: int = 1
    reported_version: int = 1


@dataclass(frozen=True, slots=True)
class HubDevice:
    """What the hub holds of one device."""

    identity: Identity
    twin: Twin


class IotHub:
    """One hub: what DPS was told when it was linked, and its devices by their case-sensitive ids."""

    def __init__(
        self,
        host_name: str,
        *,
        allocation_weight: int = 1,
        apply_allocation_policy: bool = True,
        seed: int | None = None,
    ) -> None:
        """Make a hub without devices.

        Args:
            host_name: `name.azure-devices.net`.
            allocation_weight: 1 to 1000, its share under the hashed policy.
            apply_allocation_policy: False: DPS's own policies assign no devices to it.
            seed: makes generation ids and etags repeatable.

        Raises:
            ValueError: the weight is out of range.
        """
        if not 1 <= allocation_weight <= 1000:
            raise ValueError(f"allocation_weight is {allocation_weight}; DPS allows 1 to 1000")
        self.host_name = host_name
        self.allocation_weight = allocation_weight
        self.apply_allocation_policy = apply_allocation_policy
        self.devices: dict[str, HubDevice] = {}
        self._random = random.Random(f"{seed}/{host_name}") if seed is not None else random.Random()

    def __repr__(self) -> str:
        return f"IotHub({self.host_name!r}, {len(self.devices)} devices)"

    def create_or_get(
        self, device_id: str, *, keys: DeviceKeys, iot_edge: bool, twin: InitialTwin, now: datetime
    ) -> tuple[HubDevice, bool]:
        """The device of that id, and whether it was made just now (from `keys`, `iot_edge` and `twin`)."""
        found = self.devices.get(device_id)
        if found is not None:
            return found, False
        return self._add(device_id, keys, iot_edge, _fresh(twin), now), True

    def remove(self, device_id: str) -> bool:
        """Delete a device with its twin; False if there was none."""
        return self.devices.pop(device_id, None) is not None

    def set_keys(self, device_id: str, keys: DeviceKeys, now: datetime) -> None:
        """Give an existing device other keys; nothing happens if it has these already or is not there."""
        device = self.devices.get(device_id)
        if device is not None and device.identity.keys != keys:
            identity = replace(device.identity, keys=keys, etag=self._etag(), updated=now)
            self.devices[device_id] = replace(device, identity=identity)

    def reset(self, device_id: str, twin: InitialTwin) -> None:
        """Put an existing device's twin back to `twin`: nothing reported, versions from 1."""
        device = self.devices[device_id]
        self.devices[device_id] = replace(device, twin=_fresh(twin))

    def report(self, device_id: str, reported: Properties) -> None:
        """What the device itself would do: replace its reported properties."""
        device = self.devices[device_id]
        twin = replace(device.twin, reported=reported, reported_version=device.twin.reported_version + 1)
        self.devices[device_id] = replace(device, twin=twin)

    def _add(self, device_id: str, keys: DeviceKeys, iot_edge: bool, twin: Twin, now: datetime) -> HubDevice:  # noqa: FBT001 - private
        identity = Identity(
            device_id=device_id,
            generation_id=str(self._random.randrange(10**17, 10**18)),
            etag=self._etag(),
            keys=keys,
            iot_edge=iot_edge,
            status="enabled",
            created=now,
            updated=now,
        )
        device = self.devices[device_id] = HubDevice(identity, twin)
        return device

    def _etag(self) -> str:
        return f"{self._random.getrandbits(64):016x}"


def migrate(device_id: str, source: IotHub, target: IotHub, *, keys: DeviceKeys, now: datetime) -> bool:
    """Move a device with tags, desired and reported properties and capabilities; its old identity goes.

    A device of that id already on the target is replaced. Returns False, and does nothing, when the
    source has no such device.
    """
    device = source.devices.pop(device_id, None)
    if device is None:
        return False
    target._add(device_id, keys, device.identity.iot_edge, device.twin, now)  # noqa: SLF001 - the same room
    return True


def _fresh(twin: InitialTwin) -> Twin:
    return Twin(tags=copy.deepcopy(dict(twin.tags)), desired=copy.deepcopy(dict(twin.desired)), reported={})
