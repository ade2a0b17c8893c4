"""The host's HTTP side, as a bare ASGI application.

[source: the host's request conversion] Header names are lower-cased and repeated values joined by a comma.
Query names differ without regard to case; empty values are dropped, repeated ones joined. A body counts only
with a Content-Length: one sent in chunks arrives empty. Bodies over the limit (100 MB documented) are 413.
Not run: WebSockets, and HEAD or OPTIONS on behalf of a function that does not declare them.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from local.host.invocation import RawRequest, RawResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from local.host.admin import AdminApi
    from local.host.eventgrid import EventGridWebhook
    from local.host.invocation import Invoker
    from local.host.keys import Lock
    from local.host.routes import RouteTable

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("host.http")
_WEBHOOKS = "/runtime/webhooks/"
_HOME = RawResponse(
    200,
    (("content-type", "text/html; charset=utf-8"),),
    b"<!DOCTYPE html><title>Functions</title><p>Your Functions app is up and running on this machine.\n",
)
_NO_PAIRS: list[tuple[str, str]] = []
_EMPTY: Mapping[str, str] = {}
_LONGEST_LENGTH = 19  # digits of the largest signed 64-bit number
_WITHOUT_BODY = frozenset({204, 205, 304})


class Endpoint(NamedTuple):
    """An HTTP function and what opens it; no lock is level ``anonymous``."""

    invoker: Invoker
    lock: Lock | None
    disabled: Lock | None = None
    """Of a disabled function: what opens it all the same."""

    def refusal(self, key: str | None) -> int | None:
        """The status for one who may not call it; None lets in.

        The key is looked at before all else [source: the host's invocation middleware].
        """
        if self.lock is not None and not self.lock.opens(key):
            return 401
        return 404 if self.disabled is not None and not self.disabled.opens(key) else None


class HttpHost:
    """Takes every request, finds what answers it, and writes the answer."""

    def __init__(
        self,
        *,
        routes: RouteTable[Endpoint],
        event_grid: EventGridWebhook,
        admin: AdminApi,
        body_limit: int,
    ) -> None:
        """Make it; ``body_limit`` is in bytes."""
        self._find = routes.find
        self._event_grid = event_grid
        self._admin = admin
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        raw_query = scope["query_string"]
        pairs = parse_qsl(raw_query.decode("latin-1"), keep_blank_values=True) if raw_query else _NO_PAIRS
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name = raw_name.decode("latin-1")
            value = raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > _LONGEST_LENGTH or int(length) > self._body_limit:
            response = RawResponse(413, (("connection", "close"),))
        else:
            body = await _read(receive, int(length)) if length != "0" else b""
            response = await self._respond(scope, headers, pairs, body)
        await _write(send, response)

    async def _respond(
        self, scope: Scope, headers: Mapping[str, str], pairs: list[tuple[str, str]], body: bytes
    ) -> RawResponse:
        method, path = scope["method"], _path(scope)
        lowered = path.lower()
        if lowered.startswith("/admin/") or lowered == "/admin":
            base_url = f"{scope['scheme']}://{_host(scope, headers)}"
            key = _presented_key(headers, pairs)
            return await self._admin.handle(method, path, key=key, base_url=base_url, body=body)
        if lowered.startswith(_WEBHOOKS):
            if method != "POST" or lowered.removeprefix(_WEBHOOKS).split("/")[0] != "eventgrid":
                return RawResponse(404)
            return await self._event_grid.handle(
                key=_presented_key(headers, pairs),
                query={name.lower(): value for name, value in reversed(pairs)},
                headers=headers,
                body=body,
            )
        found = self._find(method, path)
        if found is None:
            return _HOME if path == "/" and method in {"GET", "HEAD"} else RawResponse(404)
        endpoint, parameters = found
        if refused := endpoint.refusal(_presented_key(headers, pairs)):
            return RawResponse(refused)
        query = scope["query_string"].decode("latin-1")
        url = f"{scope['scheme']}://{_host(scope, headers)}{path}"
        return await endpoint.invoker.http(
            RawRequest(
                method=method,
                url=f"{url}?{query}" if query else url,
                headers=headers,
                query=_joined(pairs) if pairs else _EMPTY,
                params=parameters,
                body=body,
            )
        )


def _path(scope: Scope) -> str:
    """The path, percent-decoded except for slashes: an encoded one does not end a segment."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None or b"%" not in raw:
        return str(scope["path"])
    kept = re.sub("%2f", "%252F", raw.split(b"?", 1)[0].decode("latin-1"), flags=re.IGNORECASE)
    return unquote(kept)


def _host(scope: Scope, headers: Mapping[str, str]) -> str:
    if host := headers.get("host"):
        return host
    name, port = scope.get("server") or ("127.0.0.1", None)
    return f"{name}:{port}" if port else str(name)


def _presented_key(headers: Mapping[str, str], pairs: list[tuple[str, str]]) -> str | None:
    """The key of a request: the header when it is there, even if wrong; else the first ``code``."""
    if "x-functions-key" in headers:
        return headers["x-functions-key"]
    for name, value in pairs:
        if name.lower() == "code":
            return value
    return None


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Query values by name, in its first spelling: empty ones dropped, repeated ones joined."""
    spellings: dict[str, str] = {}
    joined: dict[str, str] = {}
    for name, value in pairs:
        if value:
            spelling = spellings.setdefault(name.lower(), name)
            joined[spelling] = f"{joined[spelling]},{value}" if spelling in joined else value
    return joined


async def _read(receive: Receive, length: int) -> bytes:
    """The whole body; cut short when the client goes away."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    chunks, size = [body], len(body)
    while message.get("more_body") and size <= length:
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
    return b"".join(chunks)


async def _write(send: Send, response: RawResponse) -> None:
    try:
        headers = _encoded(response)
    except UnicodeEncodeError:
        _log.exception("a response header cannot be sent: only Latin-1 text can")
        response = RawResponse(500)
        headers = _encoded(response)
    body = b"" if response.status in _WITHOUT_BODY else response.body
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _encoded(response: RawResponse) -> list[tuple[bytes, bytes]]:
    """The headers as bytes. The length is the body's own, whatever the function said of it."""
    headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers
        if name not in {"content-length", "transfer-encoding"}
    ]
    if response.status not in _WITHOUT_BODY:
        headers.append((b"content-length", b"%d" % len(response.body)))
    return headers
