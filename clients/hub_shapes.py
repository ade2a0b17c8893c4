"""What a hub's service API sends, as values. Device keys are never among them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from clients.reading import Members
from clients.service import Fault

DEVICE_NOT_FOUND = "DeviceNotFound"
"""The only code by which a hub says that it has no such device."""

Status = Literal["enabled", "disabled"]

_NUMBERS = {401002: "IotHubUnauthorizedAccess", 404001: DEVICE_NOT_FOUND, 412001: "PreconditionFailed"}
"""Codes that come as names in some years' bodies and as numbers in others' (both seen)."""
_NAMED = re.compile(r"ErrorCode:([A-Za-z0-9]{1,64})(?:;|$)")
_CODE = re.compile(r"[A-Za-z0-9]{1,64}", re.ASCII)
_TRACKING = "Tracking ID:"
_NEVER = "0001-01-01T00:00:00Z"
"""How hubs write the time of what never was."""
_NO_TAGS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """How many device identities a hub says it has; modules are not counted."""

    total: int
    enabled: int
    disabled: int


@dataclass(frozen=True, slots=True)
class HubDevice:
    """An entry of the identity registry.

    Attributes:
        device_id: case-sensitive, as it is on the hub.
        etag: of the identity; not the twin's.
        generation_id: tells a device from an earlier one of the same id.
        status: whether it may connect.
        status_reason: what somebody noted beside the status.
        connection_state: "Connected" or "Disconnected", as the hub last knew.
        last_activity: last time it connected, sent or received; None: never.
        authentication_type: "sas", "selfSigned", "certificateAuthority" or "none".
        edge: whether it is an IoT Edge device, or behind one (a child's scope names its parent).
    """

    device_id: str
    etag: str
    generation_id: str
    status: Status
    status_reason: str | None
    connection_state: str | None
    last_activity: datetime | None
    authentication_type: str | None
    edge: bool = False


class HubRow(NamedTuple):
    """A device as a query finds it, perhaps some time ago. `etag` is the twin's: no use to a delete.

    A tuple, for a million of them are made.
    """

    device_id: str
    status: Status
    connection_state: str | None
    last_activity: datetime | None
    status_reason: str | None
    etag: str | None
    tags: Mapping[str, Any]
    edge: bool = False

    def __repr__(self) -> str:
        """Without its tags."""
        return f"HubRow({self.device_id!a}, {self.status}, {self.connection_state!a})"


@dataclass(frozen=True, slots=True)
class HubTwin:
    """A device twin. Desired and reported properties hold the hub's own `$metadata` and `$version` too."""

    device_id: str
    etag: str | None
    status: Status
    connection_state: str | None
    last_activity: datetime | None
    version: int | None
    tags: Mapping[str, Any] = field(repr=False)
    desired: Mapping[str, Any] = field(repr=False)
    reported: Mapping[str, Any] = field(repr=False)


def read_statistics(body: Any) -> HubStatistics:
    """The body of GET /statistics/devices. Raises Misshapen."""
    members = Members(body, "the statistics")
    return HubStatistics(
        total=members.whole("totalDeviceCount"),
        enabled=members.whole("enabledDeviceCount"),
        disabled=members.whole("disabledDeviceCount"),
    )


def read_device(body: Any) -> HubDevice:
    """An identity, without its keys. Raises Misshapen."""
    members = Members(body, "the device")
    authentication = Members(members.object_or_empty("authentication"), "authentication")
    return HubDevice(
        device_id=members.text("deviceId"),
        etag=members.text("etag"),
        generation_id=members.text("generationId"),
        status=_status(members),
        status_reason=members.text_or_none("statusReason"),
        connection_state=members.text_or_none("connectionState"),
        last_activity=members.moment("lastActivityTime"),
        authentication_type=authentication.text_or_none("type"),
        edge=_edge(body),
    )


def read_row(body: Any) -> HubRow:
    """A row of a query for whole devices. Raises Misshapen."""
    members = Members(body, "a device")
    # Of each of a million devices: what is as hubs send it is seen to be so at one glance.
    get = body.get
    device_id, status, connection_state, seen = (
        get("deviceId"),
        get("status"),
        get("connectionState"),
        get("lastActivityTime"),
    )
    reason, etag, tags = get("statusReason"), get("etag"), get("tags")
    if (
        status in ("enabled", "disabled")
        and device_id
        and type(device_id) is str
        and type(connection_state) is str
        and (reason is None or type(reason) is str)
        and type(etag) is str
        and (tags is None or type(tags) is dict)
    ):
        at = None if seen == _NEVER else members.moment("lastActivityTime")
        return HubRow(
            device_id,
            status,
            connection_state,
            at,
            reason,
            etag,
            _NO_TAGS if tags is None else tags,
            _edge(body),
        )
    return HubRow(
        device_id=members.text("deviceId"),
        status=_status(members),
        connection_state=members.text_or_none("connectionState"),
        last_activity=members.moment("lastActivityTime"),
        status_reason=members.text_or_none("statusReason"),
        etag=members.text_or_none("etag"),
        tags=members.object_or_empty("tags"),
        edge=_edge(body),
    )


def read_twin(body: Any) -> HubTwin:
    """A twin. Raises Misshapen."""
    row, members = read_row(body), Members(body, "the twin")
    properties = members.object("properties")
    return HubTwin(
        device_id=row.device_id,
        etag=row.etag,
        status=row.status,
        connection_state=row.connection_state,
        last_activity=row.last_activity,
        version=members.whole_or_none("version"),
        tags=row.tags,
        desired=properties.object_or_empty("desired"),
        reported=properties.object_or_empty("reported"),
    )


def fault_of(body: Any) -> Fault:
    """What an error body says, in either of the shapes seen: names in `Message`, or numbers."""
    if not isinstance(body, dict):
        return Fault()
    number = body.get("errorCode")
    if isinstance(number, int) and not isinstance(number, bool):
        return Fault(_NUMBERS.get(number, str(number)), _text(body, "message"), _text(body, "trackingId"))
    if isinstance(number, str) and _CODE.fullmatch(number):
        return Fault(number, _text(body, "message"), _text(body, "trackingId"))
    message = _text(body, "Message")
    named = _NAMED.match(message)
    tracking = _text(body, "ExceptionMessage").removeprefix(_TRACKING)
    if named is None:
        return Fault("", message, tracking)
    return Fault(named[1], message[named.end() :], tracking)


def code_only(body: Any) -> Fault:
    """The same without the hub's words: of answers to a body that held keys."""
    found = fault_of(body)
    return Fault(found.code, "", found.tracking_id)


def _edge(body: Mapping[str, Any]) -> bool:
    able = body.get("capabilities")
    if isinstance(able, dict) and able.get("iotEdge"):
        return True
    return bool(body.get("deviceScope") or body.get("parentScopes"))


def _status(members: Members) -> Status:
    return "enabled" if members.one_of("status", "enabled", "disabled") == "enabled" else "disabled"


def _text(body: Mapping[str, Any], name: str) -> str:
    found = body.get(name)
    return found if isinstance(found, str) else ""
