"""JSON, timestamps, etags, headers and errors as DPS has them on the wire."""

import base64
import random
from datetime import UTC, datetime
from typing import Any

from local import asgi
from local.asgi import Request, Response
from local.dps import errors


def timestamp(moment: datetime) -> str:
    """`2022-08-03T17:15:10.8464255Z`: seven fractional digits and Z, as seen in real bodies."""
    there = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return f"{there.isoformat(timespec='microseconds')[:26]}0Z"


def parse_json(body: bytes) -> Any:
    """The JSON value of a body.

    Raises:
        DpsError: 400: not UTF-8, not JSON (NaN and numbers beyond a double included), or nested too deeply.
    """
    try:
        return asgi.parse_value(body)
    except asgi.NotJson as error:
        raise DpsBodyError(str(error)) from None


def parse_object(body: bytes, *, empty_is_object: bool = False) -> dict[str, Any]:
    """The JSON object of a body; an empty or `null` body counts as `{}` if allowed.

    Raises:
        DpsError: 400: not a JSON object.
    """
    value = parse_json(body) if body.strip() else None
    if value is None and empty_is_object:
        return {}
    if not isinstance(value, dict):
        raise DpsBodyError("The body must be a JSON object.")
    return value


class DpsBodyError(errors.DpsError):
    """A body that cannot be read."""

    def __init__(self, message: str) -> None:
        super().__init__(errors.BAD_REQUEST, message)


def enrollment_etag(source: random.Random, now: datetime) -> str:
    """An etag with its own double quotes, in the shape seen in samples."""
    return f'"{_etag_text(source, now)}"'


def registration_etag(source: random.Random, now: datetime) -> str:
    """Base64 of a quoted text, in the shape seen in samples."""
    return base64.b64encode(enrollment_etag(source, now).encode()).decode()


def _etag_text(source: random.Random, now: datetime) -> str:
    first, second, third = source.getrandbits(32), source.getrandbits(16), source.getrandbits(8)
    return f"{first:08x}-{second:04x}-{third:02x}00-0000-{int(now.timestamp()) & 0xFFFFFFFF:08x}0000"


def etags_match(given: str, stored: str) -> bool:
    """Compare an `If-Match` with an etag: quotes do not count, `*` matches all."""
    bare = given.strip()
    return bare == "*" or bare.strip('"') == stored.strip('"')


def int_header(request: Request, name: str) -> int | None:
    """A header's whole number, None without the header.

    Raises:
        DpsError: 400: not a number.
    """
    text = request.headers.get(name)
    if text is None or not text.strip():
        return None
    try:
        return int(text[:20])
    except ValueError:
        raise errors.DpsError(errors.BAD_REQUEST, f"The header {name} must be a whole number.") from None


def error_response(error: errors.DpsError, source: random.Random, now: datetime) -> Response:
    """The error body of the published API description, with the `x-ms-error-code` header."""
    body: dict[str, Any] = {
        "errorCode": error.code,
        "trackingId": f"{source.getrandbits(128):032x}",
        "message": error.message,
    }
    if error.info:
        body["info"] = error.info
    body["timestampUtc"] = timestamp(now)
    return Response(error.status, body, {"x-ms-error-code": str(error.code), **error.headers})
