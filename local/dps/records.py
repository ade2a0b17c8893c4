"""Registration records: what one says, and a compact form in which a million fit in memory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local.asgi import Rendered, dump
from local.dps import ids
from local.dps.wire import timestamp
from local.world import EXCERPT_ITEMS, Excerpt


@dataclass(frozen=True, slots=True)
class Registration:
    """A registration record, as one registration left it."""

    registration_id: str
    group: str | None
    """The id of the group the device came through; None: an individual enrollment."""
    created: datetime
    updated: datetime
    etag: str
    status: str
    substatus: str | None = None
    assigned_hub: str | None = None
    device_id: str | None = None
    error_code: int | None = None
    error_message: str | None = None
    payload: Any = None

    @property
    def group_key(self) -> str | None:
        """What that group is stored under."""
        return None if self.group is None else ids.key(self.group)

    def wire(self) -> dict[str, Any]:
        """The service API's shape; members without a value are left out."""
        every = {
            "registrationId": self.registration_id,
            "createdDateTimeUtc": timestamp(self.created),
            "assignedHub": self.assigned_hub,
            "deviceId": self.device_id,
            "status": self.status,
            "substatus": self.substatus,
            "errorCode": self.error_code,
            "errorMessage": self.error_message,
            "lastUpdatedDateTimeUtc": timestamp(self.updated),
            "etag": self.etag,
            "payload": self.payload,
        }
        return {name: value for name, value in every.items() if value is not None}


_OPEN, _CLOSE = b'{"registrationId":', b"}"
_BETWEEN = _CLOSE + b"," + _OPEN


def pack(record: Registration) -> bytes:
    """The compact form: the JSON text of `wire` without what opens and closes every one.

    Bytes take half the memory of the record and its parts, are nothing for the garbage collector to walk
    through, and join to a page as they are. The group is not in them.
    """
    return dump(record.wire())[len(_OPEN) : -len(_CLOSE)]


def unpack(packed: bytes, group: str | None) -> Registration:
    """The record that `pack` was given."""
    read = json.loads(_OPEN + packed + _CLOSE)
    return Registration(
        registration_id=read["registrationId"],
        group=group,
        created=datetime.fromisoformat(read["createdDateTimeUtc"]),
        updated=datetime.fromisoformat(read["lastUpdatedDateTimeUtc"]),
        etag=read["etag"],
        status=read["status"],
        substatus=read.get("substatus"),
        assigned_hub=read.get("assignedHub"),
        device_id=read.get("deviceId"),
        error_code=read.get("errorCode"),
        error_message=read.get("errorMessage"),
        payload=read.get("payload"),
    )


class RecordList(Rendered):
    """Packed records as one JSON list."""

    def __init__(self, packed: Sequence[bytes]) -> None:
        self._packed = packed

    def render(self) -> bytes:
        """The JSON text."""
        if not self._packed:
            return b"[]"
        parts = list(self._packed)
        parts[0] = b"[" + _OPEN + parts[0]
        parts[-1] += _CLOSE + b"]"
        return _BETWEEN.join(parts)

    def excerpt(self) -> Excerpt:
        """Its first records. The rest is not held on to: they may be deleted long before the journal ends."""
        first = RecordList(self._packed[:EXCERPT_ITEMS])
        return Excerpt(len(self._packed), lambda: json.loads(first.render()))
