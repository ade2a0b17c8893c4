"""Serve an ASGI application over TLS on loopback, beside whatever else the event loop runs."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from local.tls import ServerCertificate
from local.tls_peer import PEER_CHAIN, TLS_VERSION, PeerTls

_GRACEFUL_SECONDS = 2
CONNECTION = "local.connection"
"""The ASGI extension in which an application finds the connection of its call, an asyncio.Transport; a
service that drops connections on request needs it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    port: int
    scheme: str = "https"

    @property
    def host(self) -> str:
        """Host and port as a URL or a connection string has them."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"{self.scheme}://{self.host}"


@contextlib.asynccontextmanager
async def serve(
    app: Any, certificate: ServerCertificate | None, *, port: int = 0, ask_for_certificate: bool = False
) -> AsyncIterator[Address]:
    """Serve `app` on 127.0.0.1 until the block ends.

    The end lets running requests finish for two seconds, then cancels them and drops connections. No signal
    handlers are installed, no access log is written and the application gets no lifespan events.

    Args:
        app: an ASGI application.
        certificate: what to show; None serves plain HTTP.
        port: 0 takes any free one.
        ask_for_certificate: ask clients for a certificate and accept any, or none. The application finds it
            in the ASGI extension `tls` as `client_cert_chain`: PEM texts, the client's own first. Nothing
            is verified but that the client holds the first one's key. Needs a `certificate`.

    Raises:
        OSError: the port is taken or not allowed.
    """
    peers = PeerTls(certificate) if certificate is not None and ask_for_certificate else None
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    except OSError as error:
        raise OSError(error.errno, f"port {port} of 127.0.0.1: {error.strerror}") from error
    config = uvicorn.Config(
        app,
        http=_HttpProtocol if peers is None else _behind(peers),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=_GRACEFUL_SECONDS,
        ssl_context_factory=None
        if certificate is None or peers is not None
        else lambda _config, _default: _context(certificate),
    )
    server = _Server(config)
    bound = Address(listener.getsockname()[1], "http" if certificate is None else "https")
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started and not running.done():  # uvicorn offers nothing to wait for
            await asyncio.sleep(0.001)
        if running.done():
            running.result()
        yield bound
    finally:
        server.should_exit = True
        if peers is not None:
            peers.close()
        await running
        await _drop(server)
        listener.close()


async def _drop(server: uvicorn.Server) -> None:
    """End connections whose client did not answer TLS's goodbye, for which asyncio waits half a minute."""
    left = [each.transport for each in server.server_state.connections]
    for transport in left:
        transport.abort()
    if left:
        await asyncio.sleep(0.01)  # the sockets are closed in the loop's next turns


def _context(certificate: ServerCertificate) -> ssl.SSLContext:
    return certificate.server_context()


def _behind(peers: PeerTls) -> Any:
    """What uvicorn makes a protocol of each connection with."""
    return lambda **given: peers.around(lambda: _HttpProtocol(**given))


class _Server(uvicorn.Server):
    """Leaves the process's signals to its owner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Corked:
    """A transport that sends all that is written in one turn of the event loop at once.

    uvicorn writes headers and body separately. A client that holds back its acknowledgement of the
    first part would delay the second by about 40 ms.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            if not self._transport.is_closing():
                self._transport.write(data)


class _HttpProtocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base does
        super().connection_made(_Corked(transport))  # type: ignore[arg-type]  # a stand-in, not a subclass

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {CONNECTION: self.transport}
        chain = self.transport.get_extra_info(PEER_CHAIN)
        if chain is not None:
            extensions["tls"] = {
                "server_cert": None,
                "client_cert_chain": chain,
                "client_cert_name": None,
                "client_cert_error": None,
                "tls_version": self.transport.get_extra_info(TLS_VERSION),
                "cipher_suite": None,
            }
        self.scope["extensions"] = extensions
