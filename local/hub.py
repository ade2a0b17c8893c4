"""An IoT hub as DPS uses it: its identity registry and its device twins, as plain records."""

import base64
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from local.iothub import events
from local.iothub.device import (
    ENABLED,
    SAS,
    SELF_SIGNED,
    Connection,
    DeviceKeys,
    Entry,
    HubDevice,
    Identity,
    InitialTwin,
    Properties,
    Thumbprints,
    Twin,
)
from local.iothub.events import HubEvent
from local.iothub.table import DeviceTable
from local.iothub.throttles import Budget, Unlimited
from local.world import Clock, SystemClock

__all__ = [
    "Connection",
    "DeviceKeys",
    "Entry",
    "HubDevice",
    "HubEvent",
    "Identity",
    "InitialTwin",
    "IotHub",
    "Properties",
    "Thumbprints",
    "Twin",
    "migrate",
]

Watcher = Callable[[str, bytes | None, bytes | None], None]
"""Told of a device id and its packed record before and after a change; None: there is no such device."""


class IotHub:
    """One hub: what DPS was told when it was linked, and its devices by their case-sensitive ids."""

    def __init__(
        self,
        host_name: str,
        *,
        allocation_weight: int = 1,
        apply_allocation_policy: bool = True,
        seed: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make a hub without devices.

        Args:
            host_name: `name.azure-devices.net`.
            allocation_weight: 1 to 1000, its share under the hashed policy.
            apply_allocation_policy: False: DPS's own policies assign no devices to it.
            seed: makes generation ids, etags and keys repeatable.
            clock: dates changes of which the caller does not say when they happen; None: the machine's.

        Raises:
            ValueError: the weight is out of range.
        """
        if not 1 <= allocation_weight <= 1000:
            raise ValueError(f"allocation_weight is {allocation_weight}; DPS allows 1 to 1000")
        self.host_name = host_name
        self.allocation_weight = allocation_weight
        self.apply_allocation_policy = apply_allocation_policy
        self.devices = DeviceTable()
        self.clock: Clock = clock or SystemClock()
        self.registry_budget: Budget = Unlimited()
        """Of identity operations; whatever makes, changes or deletes devices takes from it first."""
        self.move_sends_deleted: Callable[[], bool] = lambda: True
        """Asked when a device moves away: whether that is told of as DeviceDeleted."""
        self._receivers: list[events.Receiver] = []
        self._watchers: list[Watcher] = []
        self._random = random.Random(f"{seed}/{host_name}") if seed is not None else random.Random()

    def __repr__(self) -> str:
        return f"IotHub({self.host_name!r}, {len(self.devices)} devices)"

    def subscribe(self, receive: events.Receiver) -> None:
        """Call `receive` with every event from now on, after the change and before it is answered."""
        self._receivers.append(receive)

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` with every change of a device from now on."""
        self._watchers.append(watcher)

    def create_or_get(
        self,
        device_id: str,
        *,
        keys: DeviceKeys,
        iot_edge: bool,
        twin: InitialTwin,
        now: datetime,
        authentication_type: str | None = None,
        thumbprints: Thumbprints | None = None,
    ) -> tuple[HubDevice, bool]:
        """The device of that id, and whether it was made just now.

        Args:
            device_id: case-sensitive.
            keys: a new device's.
            iot_edge: of a new device.
            twin: a new device's.
            now: when it is made.
            authentication_type: a new device's; None: `sas` if it has keys, else `selfSigned`.
            thumbprints: a new device's.
        """
        found = self.devices.get(device_id)
        if found is not None:
            return found, False
        has_keys = keys.primary is not None or keys.secondary is not None
        entry = Entry(
            device_id=device_id,
            keys=keys,
            authentication_type=authentication_type or (SAS if has_keys else SELF_SIGNED),
            thumbprints=thumbprints or Thumbprints(),
            iot_edge=iot_edge,
        )
        return self.add(entry, now, _fresh(twin)), True

    def add(self, entry: Entry, now: datetime, twin: Twin | None = None) -> HubDevice:
        """Make a device that is not there yet, with a fresh twin unless one is given."""
        identity = Identity(
            entry=entry,
            generation_id=str(self._random.randrange(10**17, 10**18)),
            version=self._random.randrange(10**8, 10**9),
            created=now,
        )
        device = HubDevice(identity, twin or Twin({}, {}, {}))
        self._store(device)
        if self._receivers:
            self._tell(events.created(self.host_name, device, now))
        return device

    def rewrite(self, entry: Entry, now: datetime) -> HubDevice:
        """Replace what its owner writes of an existing device; its twin and generation stay.

        Raises:
            KeyError: there is no such device.
        """
        device = self.devices[entry.device_id]
        before = device.identity
        changed = None if before.status == entry.status else now
        identity = replace(
            before,
            entry=entry,
            version=before.version + 1,
            status_updated=changed or before.status_updated,
        )
        return self._store(replace(device, identity=identity))

    def remove(self, device_id: str, now: datetime | None = None, *, moved: bool = False) -> bool:
        """Delete a device with its twin; False if there was none.

        Args:
            device_id: case-sensitive.
            now: when; None: by the hub's clock.
            moved: it goes to another hub, so whether this one sends DeviceDeleted depends.
        """
        packed = self.devices.packed(device_id)
        if packed is None:
            return False
        device = self.devices[device_id]
        self.devices.discard(device_id)
        for watcher in self._watchers:
            watcher(device_id, packed, None)
        if self._receivers and (not moved or self.move_sends_deleted()):
            self._tell(events.deleted(self.host_name, device, now or self.clock.now()))
        return True

    def set_keys(self, device_id: str, keys: DeviceKeys, now: datetime) -> None:
        """Give an existing device other keys; nothing happens if it has these already or is not there."""
        device = self.devices.get(device_id)
        if device is not None and device.identity.keys != keys:
            self.rewrite(replace(device.identity.entry, keys=keys), now)

    def reset(self, device_id: str, twin: InitialTwin) -> None:
        """Put an existing device's twin back to `twin`: nothing reported, versions from 1."""
        self.set_twin(device_id, replace(_fresh(twin), desired_updated=self.clock.now()))

    def report(self, device_id: str, reported: Properties) -> None:
        """What the device itself would do: replace its reported properties."""
        twin = self.devices[device_id].twin
        version, now = twin.reported_version + 1, self.clock.now()
        self.set_twin(
            device_id, replace(twin, reported=reported, reported_version=version, reported_updated=now)
        )

    def set_twin(self, device_id: str, twin: Twin) -> HubDevice:
        """Give an existing device another twin.

        Raises:
            KeyError: there is no such device.
        """
        return self._store(replace(self.devices[device_id], twin=twin))

    def connect(self, device_id: str, now: datetime | None = None) -> None:
        """What the device itself would do; it counts as activity. No etag moves (seen)."""
        self._set_connection(device_id, now, connected=True)

    def disconnect(self, device_id: str, now: datetime | None = None) -> None:
        """What the device itself would do."""
        self._set_connection(device_id, now, connected=False)

    def touch(self, device_id: str, when: datetime) -> None:
        """Say when the device was last active.

        Raises:
            KeyError: there is no such device.
        """
        device = self.devices[device_id]
        self._store(replace(device, connection=replace(device.connection, last_activity=when)))

    def new_keys(self) -> DeviceKeys:
        """A pair as the hub makes them for a device that brings none."""
        primary, secondary = (base64.b64encode(self._random.randbytes(32)).decode() for _ in range(2))
        return DeviceKeys(primary, secondary)

    def _set_connection(self, device_id: str, now: datetime | None, *, connected: bool) -> None:
        device, when = self.devices[device_id], now or self.clock.now()
        last = when if connected else device.connection.last_activity
        self._store(replace(device, connection=Connection(connected, when, last)))

    def _store(self, device: HubDevice) -> HubDevice:
        device_id = device.identity.device_id
        before = self.devices.packed(device_id) if self._watchers else None
        after = self.devices.put(device)
        for watcher in self._watchers:
            watcher(device_id, before, after)
        return device

    def _tell(self, event: HubEvent) -> None:
        for receive in self._receivers:
            receive(event)


def migrate(
    device_id: str,
    source: IotHub,
    target: IotHub,
    *,
    keys: DeviceKeys,
    now: datetime,
    thumbprints: Thumbprints | None = None,
    authentication_type: str | None = None,
) -> bool:
    """Move a device with tags, desired and reported properties and capabilities; its old identity goes.

    A device of that id already on the target is replaced. Returns False, and does nothing, when the
    source has no such device.

    Args:
        device_id: case-sensitive.
        source: the hub it leaves.
        target: the hub it goes to.
        keys: what it has from now on.
        now: when.
        thumbprints: what it has from now on; None: those it had.
        authentication_type: the same.
    """
    device = source.devices.get(device_id)
    if device is None:
        return False
    source.remove(device_id, now, moved=True)
    target.remove(device_id, now)
    former = device.identity.entry
    entry = replace(
        former,
        keys=keys,
        thumbprints=thumbprints or former.thumbprints,
        authentication_type=authentication_type or former.authentication_type,
        status=ENABLED,
        status_reason=None,
    )
    target.add(entry, now, device.twin)
    return True


def _fresh(twin: InitialTwin) -> Twin:
    return Twin(tags=twin.tags, desired=twin.desired, reported={})
