"""A JSON service over ASGI: whole requests in, whole answers out, and no input that ends a connection."""

import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote

from local.world import Excerpt

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_TYPE = "application/json; charset=utf-8"
_MOST_NESTING = 100
_UNREADABLE = "The body is not valid JSON in UTF-8."
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: decoded path segments without empty ones, lower-case header names.

    A `repr` has no headers, query or body: tokens and secrets travel in them.
    """

    method: str
    segments: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    certificates: tuple[str, ...] = field(default=(), repr=False)
    """The chain of its TLS client certificate as PEM texts, the client's own first; not verified yet."""

    @property
    def path(self) -> str:
        """The segments joined again, without a slash at the end."""
        return "/" + "/".join(self.segments)

    @property
    def bearer(self) -> str | None:
        """The token of an `Authorization: Bearer` header."""
        scheme, _, token = self.headers.get("authorization", "").strip().partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response; `value` is the JSON body (perhaps `Rendered`), None for no body."""

    status: int
    value: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


class Rendered(ABC):
    """A JSON list that is written and told of without being built."""

    @abstractmethod
    def render(self) -> bytes:
        """The JSON text, compact and in ASCII."""

    @abstractmethod
    def excerpt(self) -> Excerpt:
        """What a journal keeps of it."""


def text(value: Any) -> str:
    """Compact ASCII JSON; never NaN or Infinity."""
    return _ENCODER.encode(value)


def dump(value: Any) -> bytes:
    """Compact ASCII JSON as bytes; never NaN or Infinity."""
    return value.render() if isinstance(value, Rendered) else text(value).encode("ascii")


class NotJson(ValueError):
    """A body that cannot be read; the text says why and quotes nothing of it."""


class NotAnObject(NotJson):
    """A body that is no JSON object."""


def parse_value(body: bytes) -> Any:
    """The JSON value of a body.

    Raises:
        NotJson: not UTF-8, not JSON (NaN and numbers beyond a double included), or nested more than a
            hundred levels deep.
    """
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise NotJson(_UNREADABLE) from None
    if body.count(b"{") + body.count(b"[") > _MOST_NESTING and _nesting(value) > _MOST_NESTING:
        raise NotJson(f"The body is nested more than {_MOST_NESTING} levels deep.")
    return value


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        NotAnObject: what `parse_value` refuses, half a surrogate pair, or not an object.
    """
    try:
        value = parse_value(body)
        # What no UTF-8 text can hold would break whoever measures or stores it.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except NotJson as error:
        raise NotAnObject(str(error)) from None
    except UnicodeEncodeError:
        raise NotAnObject(_UNREADABLE) from None
    if not isinstance(value, dict):
        raise NotAnObject("The body must be a JSON object.")
    return value


class JsonService(ABC):
    """An ASGI application that answers whole requests with JSON; needs no lifespan events."""

    body_limit = 128 * 1024
    """Largest request body in bytes."""

    @abstractmethod
    def answer(self, request: Request) -> Response:
        """Answer one request; an exception is logged and becomes `failed(500, ...)`."""

    @abstractmethod
    def failed(self, status: int, message: str) -> Response:
        """The service's own shape of an error that this class finds: 413 or 500."""

    @abstractmethod
    def record(self, request: Request, response: Response) -> None:
        """Write one call into the journal; it is the place to leave out what is secret."""

    def handle(self, request: Request, *, keep: bool = True) -> Response:
        """Answer a request that came by another way than HTTP; `keep`: tell the journal of it."""
        response = self._safely(request, too_large=len(request.body) > self.body_limit)
        if keep:
            self.record(request, response)
        return response

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            body = await _read_body(receive, self.body_limit)
        except _GoneError:
            return
        request = _request(scope, body or b"")
        response = self._safely(request, too_large=body is None)
        self.record(request, response)
        content = b"" if response.value is None else dump(response.value)
        headers = [(b"content-length", b"%d" % len(content))] if response.status != 204 else []
        if content:
            headers.append((b"content-type", JSON_TYPE.encode()))
        headers += [
            (name.lower().encode(), value.encode("latin-1")) for name, value in response.headers.items()
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _safely(self, request: Request, *, too_large: bool) -> Response:
        if too_large:
            return self.failed(413, f"The body is larger than {self.body_limit} bytes.")
        try:
            return self.answer(request)
        except Exception:  # noqa: BLE001 - a mistake of the emulator must not drop the connection
            _log.exception("the emulator failed on %s %r", request.method, request.path)
            return self.failed(500, "The emulator failed; its log says why.")


class _GoneError(Exception):
    """The client left before it had sent its whole request."""


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """The whole body; None if it is over the limit (it is read on, so that the client gets its answer)."""
    parts, size = bytearray(), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts += part
        if not message.get("more_body", False):
            return bytes(parts) if size <= limit else None


def _request(scope: Message, body: bytes) -> Request:
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0]
    segments = tuple(unquote(part) for part in path.split("/") if part)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    certificates = tuple(scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", ()))
    query = _query(scope.get("query_string", b""))
    return Request(scope["method"], segments, query, headers, body, certificates)


@lru_cache(maxsize=64)  # of one client all are alike
def _query(raw: bytes) -> Mapping[str, str]:
    return MappingProxyType(dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)))


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("beyond a double")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


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
