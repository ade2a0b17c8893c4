"""A client that costs little: pages of registration records over one blocking TLS connection.

An event loop with TLS would spend as long on a page as the server does, and hide half of what it measures.
"""

import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PAGE = 100
CONTINUATION = b"x-ms-continuation"
_BUFFER = 256 * 1024


@dataclass(frozen=True)
class Server:
    """Where pages are asked for, and with what."""

    name: str
    pid: int
    port: int
    ca: Path
    group: str
    authorization: str


@dataclass(frozen=True)
class Answer:
    """One page as it came."""

    seconds: float
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def records(self) -> int:
        return self.body.count(b'"registrationId"')


class Walker:
    """One keep-alive connection."""

    def __init__(self, server: Server) -> None:
        context = ssl.create_default_context(cafile=str(server.ca))
        plain = socket.create_connection(("127.0.0.1", server.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname="localhost")
        self._buffer = bytearray(_BUFFER)
        self._head = (
            f"POST /registrations/{server.group}/query?api-version=2021-10-01 HTTP/1.1\r\n"
            f"host: localhost:{server.port}\r\nauthorization: {server.authorization}\r\n"
            f"accept: application/json\r\ncontent-length: 0\r\nx-ms-max-item-count: {PAGE}\r\n"
        ).encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def page(self, token: bytes = b"") -> Answer:
        """The page behind a continuation token; without one, the first."""
        request = self._head + (CONTINUATION + b": " + token + b"\r\n" if token else b"") + b"\r\n"
        view = memoryview(self._buffer)
        started = time.perf_counter()
        self._socket.sendall(request)
        size, end, whole = 0, -1, _BUFFER
        headers: dict[bytes, bytes] = {}
        while size < whole:
            got = self._socket.recv_into(view[size:])
            if not got:
                raise ConnectionError("the server hung up")
            size += got
            if end < 0 and (end := self._buffer.find(b"\r\n\r\n", 0, size)) >= 0:
                headers = _headers(bytes(view[:end]))
                whole = end + 4 + int(headers[b"content-length"])
        seconds = time.perf_counter() - started
        return Answer(seconds, headers, bytes(view[end + 4 : whole]))


def _headers(head: bytes) -> dict[bytes, bytes]:
    status, *lines = head.split(b"\r\n")
    if not status.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(status.decode())
    named = (line.partition(b":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in named}
