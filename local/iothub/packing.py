"""A compact form of a device, in which a million fit in memory."""

import json
from datetime import UTC, datetime, timedelta

from local.asgi import text
from local.iothub.device import (
    DISABLED,
    ENABLED,
    Connection,
    DeviceKeys,
    Entry,
    HubDevice,
    Identity,
    Thumbprints,
    Twin,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_YES, _NO = b"1", b"0"


def pack(device: HubDevice) -> bytes:
    """The compact form: two flags, so that filters need not read on, and a JSON list.

    Bytes take a third of the memory of the objects, and the garbage collector has nothing to walk through.
    """
    identity, twin, connection = device.identity, device.twin, device.connection
    entry = identity.entry
    values = [
        entry.device_id,
        entry.keys.primary,
        entry.keys.secondary,
        entry.authentication_type,
        entry.thumbprints.primary,
        entry.thumbprints.secondary,
        entry.iot_edge,
        entry.status_reason,
        identity.generation_id,
        identity.version,
        _ticks(identity.created),
        _ticks(identity.status_updated),
        dict(twin.tags),
        dict(twin.desired),
        dict(twin.reported),
        twin.desired_version,
        twin.reported_version,
        twin.writes,
        _ticks(twin.desired_updated),
        _ticks(twin.reported_updated),
        _ticks(connection.updated),
        _ticks(connection.last_activity),
    ]
    flags = (_YES if entry.status == ENABLED else _NO) + (_YES if connection.connected else _NO)
    return flags + text(values).encode("ascii")


def unpack(packed: bytes) -> HubDevice:
    """The device that `pack` was given."""
    (
        device_id,
        primary,
        secondary,
        authentication_type,
        primary_thumbprint,
        secondary_thumbprint,
        iot_edge,
        status_reason,
        generation_id,
        version,
        created,
        status_updated,
        tags,
        desired,
        reported,
        desired_version,
        reported_version,
        writes,
        desired_updated,
        reported_updated,
        connection_updated,
        last_activity,
    ) = json.loads(packed[2:])
    entry = Entry(
        device_id=device_id,
        keys=DeviceKeys(primary, secondary),
        authentication_type=authentication_type,
        thumbprints=Thumbprints(primary_thumbprint, secondary_thumbprint),
        iot_edge=iot_edge,
        status=ENABLED if is_enabled(packed) else DISABLED,
        status_reason=status_reason,
    )
    identity = Identity(
        entry, generation_id, version, _EPOCH + created * _MICROSECOND, _moment(status_updated)
    )
    twin = Twin(
        tags=tags,
        desired=desired,
        reported=reported,
        desired_version=desired_version,
        reported_version=reported_version,
        writes=writes,
        desired_updated=_moment(desired_updated),
        reported_updated=_moment(reported_updated),
    )
    connection = Connection(is_connected(packed), _moment(connection_updated), _moment(last_activity))
    return HubDevice(identity, twin, connection)


def is_enabled(packed: bytes) -> bool:
    """Whether the device's status is `enabled`."""
    return packed[:1] == _YES


def is_connected(packed: bytes) -> bool:
    """Whether the device is connected."""
    return packed[1:2] == _YES


def _ticks(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def _moment(ticks: int | None) -> datetime | None:
    return None if ticks is None else _EPOCH + ticks * _MICROSECOND
