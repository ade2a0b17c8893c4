"""Faults in front of an ASGI application, over real sockets and in process alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from local.serve import CONNECTION
from local.world import skewing

if TYPE_CHECKING:
    from local.faults.register import Faults, Met
    from local.faults.rules import Fault
    from local.faults.shapes import Shape

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class App(Protocol):
    """An ASGI application."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one connection."""


class FaultyApp:
    """An ASGI application whose calls are met by rules; what is not HTTP passes.

    A connection is dropped for real under `local.serve`. In process (httpx.ASGITransport, `InProcess`) the
    client gets the exception that httpx raises for a dropped one. Under another server, which gives
    applications no hold on the connection, a drop becomes that server's answer to an exception.
    """

    def __init__(self, app: App, faults: Faults, service: str, shape: Shape) -> None:
        self._app = app
        self._faults = faults
        self._service = service
        self._shape = shape

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        met = self._faults.meet(self._service, scope["method"], scope["path"])
        # Also without a skew: this app may be called, in process, from within a call of a skewed one.
        with skewing(met.skew):
            if met.faults:
                await self._faulted(met, scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _faulted(self, met: Met, scope: Message, receive: Receive, send: Send) -> None:
        # Read before anything else, so that a call whose client has given up is still carried out.
        body = await _read(receive)
        if body is None:
            return
        connection = _Connection(scope, receive, send)
        await self._pause(met.slow(late=False))
        end = met.end(late=False)
        if end is not None:
            await self._end(end, connection, Held())
            return
        if not met.changes_answer:
            await self._app(scope, _again(body, receive), send)
            return
        held = Held()
        await self._app(scope, _again(body, receive), held.take)
        await self._pause(met.slow(late=True))
        end = met.end(late=True)
        if end is not None:
            await self._end(end, connection, held)
            return
        for message in held.messages:
            await send(message)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await self._faults.world.clock.sleep(seconds)

    async def _end(self, fault: Fault, connection: _Connection, held: Held) -> None:
        match fault.kind:
            case "status":
                answer = self._shape(fault.status, fault.retry_after, self._faults.world)
                await connection.answer(answer.status, answer.headers, answer.body)
            case "stall":
                await connection.gone()
            case "half":
                await connection.halve(held, fault.octets)
            case _:
                await connection.drop()


class Held:
    """An answer that the client has not got yet."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def take(self, message: Message) -> None:
        """Keep a message of the application."""
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        """All of its body."""
        return b"".join(message.get("body", b"") for message in self.messages[1:])


class _Connection:
    """The client's end of one call."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._socket = (scope.get("extensions") or {}).get(CONNECTION)
        self._receive = receive
        self._send = send

    async def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        raw.append((b"content-length", b"%d" % len(body)))
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        await self._send({"type": "http.response.body", "body": body})

    async def drop(self) -> None:
        if self._socket is None:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        self._socket.abort()
        await self.gone()

    async def halve(self, held: Held, octets: int | None) -> None:
        body = held.body
        part = body[: len(body) // 2 if octets is None else octets]
        await self._send(held.messages[0])
        await self._send({"type": "http.response.body", "body": part, "more_body": True})
        if self._socket is None:
            raise httpx.RemoteProtocolError(
                "peer closed connection without sending complete message body "
                f"(received {len(part)} bytes, expected {len(body)})"
            )
        self._socket.close()  # unlike abort, it sends what was written
        await self.gone()

    async def gone(self) -> None:
        """Wait until the client has left: a server must not find the call ended without an answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _read(receive: Receive) -> bytes | None:
    """The whole request body; None if the client left within it."""
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once more."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
