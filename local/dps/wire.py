"""JSON, timestamps, etags, requests and responses as DPS has them on the wire."""

import base64
import json
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from local.dps import errors
from local.world import Excerpt

JSON_TYPE = "application/json; charset=utf-8"
_MOST_NESTING = 100


def timestamp(moment: datetime) -> str:
    """`2022-08-03T17:15:10.8464255Z`: seven fractional digits and Z, as seen in real bodies."""
    there = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return f"{there.isoformat(timespec='microseconds')[:26]}0Z"


class Rendered(ABC):
    """A JSON list that is written and told of without being built."""

    @abstractmethod
    def render(self) -> bytes:
        """The JSON text, compact and in ASCII."""

    @abstractmethod
    def excerpt(self) -> Excerpt:
        """What a journal keeps of it."""


_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def text(value: Any) -> str:
    """Compact ASCII JSON; never NaN or Infinity."""
    return _ENCODER.encode(value)


def dump(value: Any) -> bytes:
    """Compact ASCII JSON as bytes; never NaN or Infinity."""
    return value.render() if isinstance(value, Rendered) else text(value).encode("ascii")


def parse_json(body: bytes) -> Any:
    """The JSON value of a body.

    Raises:
        DpsError: 400: not UTF-8, not JSON (NaN and numbers beyond a double included), or nested too deeply.
    """
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise DpsBodyError("The body is not valid JSON in UTF-8.") from None
    if body.count(b"{") + body.count(b"[") > _MOST_NESTING and _nesting(value) > _MOST_NESTING:
        raise DpsBodyError(f"The body is nested more than {_MOST_NESTING} levels deep.")
    return value


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


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("beyond a double")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _nesting(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= _MOST_NESTING:
        depth += 1
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner.extend(each.values())
            elif isinstance(each, list):
                inner.extend(each)
        level = inner
    return depth


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


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: decoded path segments without empty ones, lower-case header names."""

    method: str
    segments: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    certificates: tuple[str, ...] = ()
    """The chain of its TLS client certificate as PEM texts, the client's own first; not verified yet."""

    def int_header(self, name: str) -> int | None:
        """A header's whole number, None without the header.

        Raises:
            DpsError: 400: not a number.
        """
        text = self.headers.get(name)
        if text is None or not text.strip():
            return None
        try:
            return int(text[:20])
        except ValueError:
            raise errors.DpsError(errors.BAD_REQUEST, f"The header {name} must be a whole number.") from None


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response; `value` is the JSON body (perhaps `Rendered`), None for no body."""

    status: int
    value: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


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
