"""The JSON types of what a client may write, as the published description (2021-10-01) has them.

Each check returns a value as it is kept. A null member counts as absent (clients send them), members that
the description does not know are kept as they are, and published defaults are filled in.
"""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from local.dps.errors import BAD_REQUEST, DpsError

Check = Callable[[Any, str], Any]
"""From a value and its name to the value as it is kept; raises `DpsError` 400."""

_INT32 = range(-(2**31), 2**31)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


def text(value: Any, name: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise DpsError(BAD_REQUEST, f"{name} must be a text.")
    return value


def flag(value: Any, name: str) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise DpsError(BAD_REQUEST, f"{name} must be true or false.")
    return value


def whole(value: Any, name: str) -> int:
    """A whole number of 32 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or value not in _INT32:
        raise DpsError(BAD_REQUEST, f"{name} must be a whole number of 32 bits.")
    return value


def moment(value: Any, name: str) -> str:
    """A date and time with its zone."""
    try:
        if isinstance(value, str) and value.isascii() and _MOMENT.fullmatch(value):
            datetime.fromisoformat(value)
            return value
    except ValueError:
        pass
    raise DpsError(BAD_REQUEST, f"{name} must be a date and time with a zone.")


def one_of(*choices: str) -> Check:
    """One of these texts."""

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise DpsError(BAD_REQUEST, f"{name} must be one of {', '.join(choices)}.")
        return value

    return check


def list_of(item: Check) -> Check:
    """A list of such values."""

    def check(value: Any, name: str) -> list[Any]:
        if not isinstance(value, list):
            raise DpsError(BAD_REQUEST, f"{name} must be a list.")
        return [item(each, f"{name}[{index}]") for index, each in enumerate(value)]

    return check


def members(
    known: Mapping[str, Check],
    *,
    required: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Check:
    """An object with these members."""

    def check(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise DpsError(BAD_REQUEST, f"{name} must be an object.")
        kept = dict(defaults or {})
        for member, inner in value.items():
            if member not in known:
                kept[member] = inner
            elif inner is not None:
                kept[member] = known[member](inner, f"{name}.{member}")
        missing = [member for member in required if member not in kept]
        if missing:
            raise DpsError(BAD_REQUEST, f"{name} lacks {', '.join(missing)}.")
        return kept

    return check


TWIN_COLLECTION = members(
    {
        "version": whole,
        "count": whole,
        "metadata": members({"lastUpdated": moment, "lastUpdatedVersion": whole}),
    }
)
INITIAL_TWIN = members({"tags": TWIN_COLLECTION, "properties": members({"desired": TWIN_COLLECTION})})
CAPABILITIES = members({"iotEdge": flag}, defaults={"iotEdge": False})
REPROVISION_POLICY = members(
    {"updateHubAssignment": flag, "migrateDeviceData": flag},
    defaults={"updateHubAssignment": True, "migrateDeviceData": True},
)
CUSTOM_ALLOCATION = members({"webhookUrl": text, "apiVersion": text})
TPM = members({"endorsementKey": text, "storageRootKey": text}, required=("endorsementKey",))
CA_REFERENCES = members({"primary": text, "secondary": text})
_INFO = {
    "subjectName": text,
    "sha1Thumbprint": text,
    "sha256Thumbprint": text,
    "issuerName": text,
    "notBeforeUtc": moment,
    "notAfterUtc": moment,
    "serialNumber": text,
    "version": whole,
}
CERTIFICATE = members({"certificate": text, "info": members(_INFO, required=tuple(_INFO))})
