"""The errors of a hub's service API: names, numbers and both shapes of the body.

The names are those of the published service description; the numbers begin with the HTTP status.
"""

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from local.asgi import Response
from local.dps.wire import timestamp


class Code(NamedTuple):
    """A kind of error."""

    name: str
    """In the `iothub-errorcode` header."""
    number: int

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.number // 1000


INVALID_PROTOCOL_VERSION = Code("InvalidProtocolVersion", 400001)
"""Documented: no, or an unsupported, `api-version`."""
ARGUMENT_INVALID = Code("ArgumentInvalid", 400004)
"""Documented: a body or an argument that cannot be read. Seen for queries that cannot."""
BULK_FAILURE = Code("BulkRegistryOperationFailure", 400013)
DEFINED_MULTIPLE_TIMES = Code("DeviceDefinedMultipleTimes", 400011)
UNAUTHORIZED = Code("IotHubUnauthorizedAccess", 401002)
"""Seen: no usable token, and also a policy without the permission."""
NOT_ASSIGNED = Code("IotHubUnauthorized", 401003)
"""Seen, but for the number: a principal whose roles do not allow the call."""
NOT_FOUND = Code("GenericNotFound", 404000)
"""A path that is not emulated."""
DEVICE_NOT_FOUND = Code("DeviceNotFound", 404001)
METHOD_NOT_ALLOWED = Code("GenericMethodNotAllowed", 405000)
DEVICE_ALREADY_EXISTS = Code("DeviceAlreadyExists", 409001)
PRECONDITION_FAILED = Code("PreconditionFailed", 412001)
TOO_LARGE = Code("GenericRequestEntityTooLarge", 413000)
THROTTLED = Code("ThrottlingBacklogTimeout", 429003)
"""Seen on registry operations. `ThrottlingException` (429001) is documented too."""
SERVER_ERROR = Code("GenericServerError", 500000)
"""A mistake of the emulator itself."""


class HubError(Exception):
    """An error a caller of the hub gets to see.

    Args:
        code: its kind.
        message: what is wrong; holds no keys.
        headers: more response headers.
    """

    def __init__(self, code: Code, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = dict(headers) if headers else {}


def device_not_found(device_id: str) -> HubError:
    """There is no such device; the message is its id (seen)."""
    return HubError(DEVICE_NOT_FOUND, device_id)


def response(error: HubError, source: random.Random, now: datetime, *, numbered: bool) -> Response:
    """The error body, with the `iothub-errorcode` header.

    Args:
        error: what happened.
        source: for the tracking id.
        now: when.
        numbered: False: `Message` and `ExceptionMessage`; True: `errorCode`, `message` and more (both
            seen, for the same calls in other years).
    """
    there = now.astimezone(UTC)
    tracking = f"{source.getrandbits(128):032X}-G:0-TimeStamp:{there:%m/%d/%Y %H:%M:%S}"
    body: dict[str, Any] = {
        "Message": f"ErrorCode:{error.code.name};{error.message}",
        "ExceptionMessage": f"Tracking ID:{tracking}",
    }
    if numbered:
        body = {
            "errorCode": error.code.number,
            "message": error.message,
            "trackingId": tracking,
            "timestampUtc": timestamp(now),
            "info": None,
        }
    return Response(error.code.status, body, {"iothub-errorcode": error.code.name, **error.headers})
