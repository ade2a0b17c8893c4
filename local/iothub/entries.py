"""What clients write of identities, read and checked."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from local.dps import shapes
from local.iothub import errors
from local.iothub.device import (
    CERTIFICATE_AUTHORITY,
    DISABLED,
    ENABLED,
    SAS,
    SELF_SIGNED,
    DeviceKeys,
    Entry,
    Thumbprints,
)
from local.iothub.errors import HubError

_DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
_THUMBPRINT = re.compile(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}")
_KEY_BYTES = range(16, 65)
_MOST_REASON = 128

_AUTHENTICATION = shapes.members(
    {
        "type": shapes.one_of(SAS, SELF_SIGNED, CERTIFICATE_AUTHORITY),
        "symmetricKey": shapes.members({"primaryKey": shapes.text, "secondaryKey": shapes.text}),
        "x509Thumbprint": shapes.members(
            {"primaryThumbprint": shapes.text, "secondaryThumbprint": shapes.text}
        ),
    }
)
IDENTITY = {
    "status": shapes.one_of(ENABLED, DISABLED),
    "statusReason": shapes.text,
    "authentication": _AUTHENTICATION,
    "capabilities": shapes.CAPABILITIES,
}
"""The members of an identity that may be written, with their checks; others are passed over."""
_BODY = shapes.members({"deviceId": shapes.text, **IDENTITY})


def check_device_id(device_id: str) -> str:
    """The id, if it is one: 1 to 128 characters of those the hub allows (documented).

    Raises:
        HubError: 400.
    """
    if not _DEVICE_ID.fullmatch(device_id):
        raise HubError(
            errors.ARGUMENT_INVALID, "The device id has a character or a length that is not allowed."
        )
    return device_id


def read(device_id: str, body: Any, new_keys: Callable[[], DeviceKeys]) -> Entry:
    """The entry that a PUT of an identity asks for. It replaces the whole entry (seen).

    Args:
        device_id: of the path.
        body: the JSON value.
        new_keys: makes keys for a device with `sas` that brings none (seen: an update makes new ones too).

    Raises:
        HubError: 400, also for a `deviceId` that is not the path's.
        DpsError: 400: a member of another type.
    """
    members = _BODY(body, "The body")
    if members.get("deviceId", device_id) != device_id:
        raise HubError(errors.ARGUMENT_INVALID, "The deviceId of the body is not that of the path.")
    return entry(device_id, members, new_keys)


def entry(device_id: str, members: Mapping[str, Any], new_keys: Callable[[], DeviceKeys]) -> Entry:
    """The entry of members that passed their checks.

    Raises:
        HubError: 400: keys, thumbprints or a reason that are not allowed.
    """
    authentication = members.get("authentication", {})
    found = authentication.get("x509Thumbprint", {})
    thumbprints = Thumbprints(found.get("primaryThumbprint"), found.get("secondaryThumbprint"))
    kind = authentication.get("type") or (SELF_SIGNED if thumbprints != Thumbprints() else SAS)
    for each in (thumbprints.primary, thumbprints.secondary):
        if each and not _THUMBPRINT.fullmatch(each):
            raise HubError(errors.ARGUMENT_INVALID, "A thumbprint is 40 or 64 hexadecimal digits.")
    reason = members.get("statusReason")
    if reason is not None and len(reason) > _MOST_REASON:
        raise HubError(errors.ARGUMENT_INVALID, f"A statusReason has at most {_MOST_REASON} characters.")
    return Entry(
        device_id=check_device_id(device_id),
        keys=_keys(authentication.get("symmetricKey", {}), new_keys) if kind == SAS else DeviceKeys(),
        authentication_type=kind,
        thumbprints=thumbprints if kind == SELF_SIGNED else Thumbprints(),
        iot_edge=members.get("capabilities", {}).get("iotEdge", False),
        status=members.get("status", ENABLED),
        status_reason=reason,
    )


def _keys(given: Mapping[str, str], new_keys: Callable[[], DeviceKeys]) -> DeviceKeys:
    """Both or neither, Base64 of 16 to 64 bytes (seen)."""
    primary, secondary = given.get("primaryKey"), given.get("secondaryKey")
    if not primary and not secondary:
        return new_keys()
    if not primary or not secondary:
        raise HubError(errors.ARGUMENT_INVALID, "A device has both symmetric keys or none.")
    for key in (primary, secondary):
        try:
            size = len(base64.b64decode(key.encode("ascii"), validate=True))
        except (UnicodeEncodeError, binascii.Error):
            size = 0
        if size not in _KEY_BYTES:
            raise HubError(errors.ARGUMENT_INVALID, "A symmetric key is Base64 of 16 to 64 bytes.")
    return DeviceKeys(primary, secondary)
