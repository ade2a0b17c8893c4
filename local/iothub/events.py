"""What a hub tells the world of its devices, as plain data; delivering it is somebody else's work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from local.iothub import shapes
from local.iothub.device import Connection, HubDevice, Twin

DEVICE_CREATED = "Microsoft.Devices.DeviceCreated"
DEVICE_DELETED = "Microsoft.Devices.DeviceDeleted"


@dataclass(frozen=True, slots=True)
class HubEvent:
    """One event, in the words both Event Grid schemas share (documented)."""

    type: str
    host_name: str
    """Of the hub; whoever delivers makes the resource id from it."""
    subject: str
    """`devices/{deviceId}`."""
    time: datetime
    data: Mapping[str, Any]
    """`hubName` (the short name), `deviceId` and `twin`."""


Receiver = Callable[[HubEvent], None]


def created(host_name: str, device: HubDevice, now: datetime) -> HubEvent:
    """A device was made. The twin in it is a default one, not the device's (documented)."""
    default = replace(device, twin=Twin({}, {}, {}), connection=Connection())
    return _event(DEVICE_CREATED, host_name, default, now)


def deleted(host_name: str, device: HubDevice, now: datetime) -> HubEvent:
    """A device was deleted; its twin is as it was at last."""
    return _event(DEVICE_DELETED, host_name, device, now)


def _event(type_: str, host_name: str, device: HubDevice, now: datetime) -> HubEvent:
    device_id = device.identity.device_id
    twin = shapes.twin(device)
    for extra in ("tags", "capabilities", "modelId"):  # not among the documented members
        del twin[extra]
    data = {"hubName": host_name.partition(".")[0], "deviceId": device_id, "twin": twin}
    return HubEvent(type_, host_name, f"devices/{device_id}", now, data)
