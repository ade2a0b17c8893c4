"""The names DPS accepts for registrations, groups and hub devices."""

import re
from typing import Any

from local.dps.errors import BAD_REQUEST, DpsError

_REGISTRATION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-._:]{0,126}[A-Za-z0-9\-])?")
_DEVICE = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")


def registration_id(text: Any, member: str = "registrationId") -> str:
    """Check a registration or enrollment group id.

    Up to 128 alphanumerics and `-` `.` `_` `:`, no special character at the start, alphanumeric or `-`
    at the end (documented; the service API's text forbids `-` at the end too, the looser rule is used).
    Ids are compared without case: see `key`.

    Raises:
        DpsError: 400.
    """
    if isinstance(text, str) and _REGISTRATION.fullmatch(text):
        return text
    raise DpsError(
        BAD_REQUEST, f"{member} must be up to 128 letters, digits and -._: that start and end with one."
    )


def device_id(text: Any) -> str:
    """Check a hub device id: 1 to 128 ASCII characters of IoT Hub's set; its case counts.

    Raises:
        DpsError: 400.
    """
    if isinstance(text, str) and _DEVICE.fullmatch(text):
        return text
    raise DpsError(BAD_REQUEST, "deviceId must be up to 128 ASCII letters, digits and -:.+%_#*?!(),=@;$'.")


def key(name: str) -> str:
    """What an id or a host name is stored and compared under."""
    return name.lower()
