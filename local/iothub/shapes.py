"""Identities and twins as the hub's service API shows them."""

from datetime import datetime
from typing import Any

from local.dps.wire import timestamp
from local.iothub.device import HubDevice, Properties

NEVER = "0001-01-01T00:00:00"
"""What a time is that never was (seen); identities have it so, twins with a Z (seen)."""


def identity(device: HubDevice) -> dict[str, Any]:
    """The body of `GET /devices/{id}`, keys included.

    Parents and scopes of IoT Edge devices are not emulated.
    """
    entry, connection = device.identity.entry, device.connection
    return {
        "deviceId": entry.device_id,
        "generationId": device.identity.generation_id,
        "etag": device.identity.etag,
        "connectionState": _connection_state(device),
        "status": entry.status,
        "statusReason": entry.status_reason,
        "connectionStateUpdatedTime": _time(connection.updated),
        "statusUpdatedTime": _time(device.identity.status_updated),
        "lastActivityTime": _time(connection.last_activity),
        "cloudToDeviceMessageCount": 0,
        "authentication": {
            "symmetricKey": {"primaryKey": entry.keys.primary, "secondaryKey": entry.keys.secondary},
            "x509Thumbprint": _thumbprints(device),
            "type": entry.authentication_type,
        },
        "capabilities": {"iotEdge": entry.iot_edge},
    }


def twin(device: HubDevice, *, capital_thumbprints: bool = False) -> dict[str, Any]:
    """The body of `GET /twins/{id}`, and a row of a query's result.

    In `$metadata` every member carries the time and version of its whole section: the hub keeps one for
    each member, the emulator does not.

    Args:
        device: whose.
        capital_thumbprints: whether the members of `x509Thumbprint` begin with a capital.
    """
    found, entry, made = device.twin, device.identity.entry, device.identity.created
    desired_at, reported_at = found.desired_updated or made, found.reported_updated or made
    shown: dict[str, Any] = {
        "deviceId": entry.device_id,
        "etag": found.etag,
        "deviceEtag": device.identity.etag,
        "status": entry.status,
        "statusUpdateTime": _time(device.identity.status_updated, "Z"),
        "connectionState": _connection_state(device),
        "lastActivityTime": _time(device.connection.last_activity, "Z"),
        "cloudToDeviceMessageCount": 0,
        "authenticationType": entry.authentication_type,
        "x509Thumbprint": _thumbprints(
            device, "P" if capital_thumbprints else "p", "S" if capital_thumbprints else "s"
        ),
        "modelId": "",
        "version": found.version,
        "tags": dict(found.tags),
        "properties": {
            "desired": _section(found.desired, desired_at, found.desired_version),
            "reported": _section(found.reported, reported_at, found.reported_version),
        },
        "capabilities": {"iotEdge": entry.iot_edge},
    }
    if entry.status_reason is not None:
        shown["statusReason"] = entry.status_reason
    return shown


def _section(values: Properties, updated: datetime, version: int) -> dict[str, Any]:
    stamp = {"$lastUpdated": timestamp(updated), "$lastUpdatedVersion": version}
    return {**values, "$metadata": _metadata(values, stamp), "$version": version}


def _metadata(values: Properties, stamp: dict[str, Any]) -> dict[str, Any]:
    inner = {
        name: _metadata(value, stamp) if isinstance(value, dict) else dict(stamp)
        for name, value in values.items()
    }
    return {**stamp, **inner}


def _connection_state(device: HubDevice) -> str:
    return "Connected" if device.connection.connected else "Disconnected"


def _thumbprints(device: HubDevice, first: str = "p", second: str = "s") -> dict[str, str | None]:
    held = device.identity.entry.thumbprints
    return {f"{first}rimaryThumbprint": held.primary, f"{second}econdaryThumbprint": held.secondary}


def _time(moment: datetime | None, zone: str = "") -> str:
    return f"{NEVER}{zone}" if moment is None else timestamp(moment)
