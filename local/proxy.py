"""A TCP proxy in front of an HTTP service that is a process of its own: Azurite.

It reads whole exchanges of HTTP/1.1 and lets the rules of `Faults` meet them, by the service's name, like
those of any emulator; besides, it can refuse connections altogether. Faults before the call leave the
service untouched; those after it have been carried out there.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

from local.faults import shapes

if TYPE_CHECKING:
    from local.faults import Fault, Faults
    from local.faults.shapes import Shape

_HEAD_LIMIT = 256 * 1024
_END = b"\r\n\r\n"


class Proxy:
    """Listens on a port of 127.0.0.1 and passes on to another, as an async context manager."""

    def __init__(
        self,
        host: str,
        port: int,
        faults: Faults,
        *,
        service: str = "azurite",
        shape: Shape = shapes.tables,
        listen: int = 0,
    ) -> None:
        """Make one.

        Args:
            host: of the service.
            port: of the service, which speaks plain HTTP there.
            faults: the rules.
            service: what rules and journal call it.
            shape: the bodies of errors made here.
            listen: the port to listen on; 0 takes any free one.
        """
        self._target = (host, port)
        self._faults = faults
        self._service = service
        self._shape = shape
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.port = listen
        """Where it listens."""

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    async def accept(self) -> None:
        """Listen; after `refuse` on the same port again.

        Raises:
            OSError: another process has taken the port meanwhile.
        """
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, "127.0.0.1", self.port, limit=_HEAD_LIMIT, reuse_address=True
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse connections, and drop those that are open, as when the service's machine is down."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            ended = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)
            with contextlib.suppress(*ended):  # gone, or no HTTP/1.1
                await self._serve(reader, writer)
        except (
            asyncio.CancelledError
        ):  # asyncio's server would log the end of a connection it did not ask for
            writer.transport.abort()
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target = await asyncio.open_connection(*self._target, limit=_HEAD_LIMIT)
        try:
            while True:
                head, body = await _message(reader)
                if target_reader.at_eof():  # Azurite ends a connection that was idle for five seconds
                    target.close()
                    target_reader, target = await asyncio.open_connection(*self._target, limit=_HEAD_LIMIT)
                if not await self._exchange(head, body, reader, writer, target_reader, target):
                    break
        finally:
            target.close()

    async def _exchange(
        self,
        head: bytes,
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        target_reader: asyncio.StreamReader,
        target: asyncio.StreamWriter,
    ) -> bool:
        """Pass on one call and its answer; whether the connection goes on."""
        method, path = _called(head)
        met = self._faults.meet(self._service, method, path, skews=False)
        await self._pause(met.slow(late=False))
        end = met.end(late=False)
        if end is not None:
            await self._end(end, reader, writer, b"", b"")
            return False
        target.write(head + body)
        answer_head, answer = await _message(target_reader, to=method)
        await self._pause(met.slow(late=True))
        end = met.end(late=True)
        if end is not None:
            await self._end(end, reader, writer, answer_head, answer)
            return False
        writer.write(answer_head + answer)
        await writer.drain()
        return _header(answer_head, b"connection") != b"close"

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await self._faults.world.clock.sleep(seconds)

    async def _end(
        self,
        fault: Fault,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        head: bytes,
        body: bytes,
    ) -> None:
        match fault.kind:
            case "status":
                writer.write(self._answer(fault))
                await writer.drain()
            case "stall":
                await reader.read()  # until the client goes
            case "half":
                writer.write(head + body[: len(body) // 2 if fault.octets is None else fault.octets])
                await writer.drain()
            case _:
                writer.transport.abort()

    def _answer(self, fault: Fault) -> bytes:
        answer = self._shape(fault.status, fault.retry_after, self._faults.world)
        headers = {**answer.headers, "Content-Length": str(len(answer.body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode("latin-1") + _END + answer.body


class AzuriteProxy(Proxy):
    """A proxy in front of Azurite's tables."""

    def __init__(
        self, connection_string: str, faults: Faults, *, service: str = "azurite", listen: int = 0
    ) -> None:
        """Make one.

        Args:
            connection_string: Azurite's own.
            faults: the rules.
            service: what rules and journal call it.
            listen: the port to listen on; 0 takes any free one.

        Raises:
            ValueError: the connection string names no table endpoint with a port.
        """
        endpoint = re.search(r"(?:^|;)TableEndpoint=([^;]+)", connection_string)
        parts = urlsplit(endpoint.group(1)) if endpoint else None
        if parts is None or parts.hostname is None or parts.port is None:
            raise ValueError("the connection string needs a TableEndpoint=http://HOST:PORT/ACCOUNT")
        super().__init__(parts.hostname, parts.port, faults, service=service, listen=listen)
        self._given = connection_string
        self._own = f"{parts.hostname}:{parts.port}/"

    @property
    def connection_string(self) -> str:
        """What Azure's SDKs connect with to go through the proxy. Holds the account's key."""
        return self._given.replace(self._own, f"127.0.0.1:{self.port}/")


async def _message(reader: asyncio.StreamReader, *, to: str | None = None) -> tuple[bytes, bytes]:
    """Head and body of one message, as they are on the wire.

    Args:
        reader: where it comes from.
        to: for an answer: the method it answers.

    Raises:
        asyncio.IncompleteReadError: the connection ended before, or within it.
        asyncio.LimitOverrunError: its head is too long.
    """
    head = await reader.readuntil(_END)
    if to is not None and (to == "HEAD" or head.split(b" ", 2)[1][:3] in (b"204", b"304")):
        return head, b""
    if b"chunked" in _header(head, b"transfer-encoding"):
        return head, await _chunks(reader)
    length = _header(head, b"content-length")
    if not length and to is not None:
        return head, await reader.read()
    return head, await reader.readexactly(int(length or b"0"))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        parts += line + await reader.readexactly(size + 2)
        if size == 0:
            return bytes(parts)


def _header(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"\r\n" + re.escape(name) + rb":[ \t]*([^\r\n]*)", head, re.IGNORECASE)
    return found.group(1).strip().lower() if found else b""


def _called(head: bytes) -> tuple[str, str]:
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    return method, unquote(target.partition("?")[0])
