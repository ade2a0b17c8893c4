"""The errors of both DPS APIs.

The number is the HTTP status times 1000 plus a sub-code. A number that ends in 000 stands for "no
source shows which sub-code": only the status is known or inferred.
"""

from collections.abc import Mapping

BAD_REQUEST = 400000
CUSTOM_DEFINITION_MISSING = 400004
"""Seen: allocation policy `custom` without a whole custom allocation definition."""
CUSTOM_ALLOCATION_FAILED = 400207
"""Documented: the webhook could not be used."""
CUSTOM_ALLOCATION_NO_HUB = 400208
"""Documented: the webhook answered 200 without a host name."""
CUSTOM_ALLOCATION_UNAUTHORIZED = 400209
"""Documented: the webhook answered 401."""
NO_LINKED_HUB = 400000
"""Registration failure when no linked hub may be chosen. The code is unknown."""
UNAUTHORIZED = 401000
"""Seen on the device side; inferred for the service API: no credentials, or none that can be used."""
WRONG_KEY = 401002
"""Seen on the device side: the key is not (or no longer) the device's, or the token has expired."""
FORBIDDEN = 403000
"""Inferred: the policy lacks a permission."""
QUOTA_EXCEEDED = 403000
"""Inferred: one enrollment, group or registration record too many."""
NOT_FOUND = 404000
REGISTRATION_NOT_FOUND = 404000
"""The sub-code for a registration record is unknown."""
ENROLLMENT_NOT_FOUND = 404201
"""Seen: no such individual enrollment."""
GROUP_NOT_FOUND = 404204
"""Seen: no such enrollment group."""
METHOD_NOT_ALLOWED = 405000
CONFLICT = 409000
PRECONDITION_FAILED = 412000
TOO_LARGE = 413000
THROTTLED = 429001
"""Seen, with its message, in a device SDK's test; used for every rate."""
HUB_THROTTLED = 429000
"""Registration failure when a hub throttles DPS and DPS does not wait. Whether there is one is unknown."""
INTERNAL = 500000
"""A mistake of the emulator itself; DPS is not known to answer so."""


class DpsError(Exception):
    """An error a caller of DPS gets to see.

    Args:
        code: the error number; its thousands are the HTTP status.
        message: what is wrong; holds no keys.
        info: more, as names and texts.
        headers: more response headers.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        info: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.info = dict(info) if info else None
        self.headers = dict(headers) if headers else {}

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.code // 1000
