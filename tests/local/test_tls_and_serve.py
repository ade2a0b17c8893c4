"""Certificates that clients accept, and a server that comes and goes inside a running loop."""

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography import x509
from uvicorn.server import ServerState

from local.serve import _HttpProtocol, serve
from local.tls import CertificateAuthority, ServerCertificate


async def hello(scope: Any, _receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    directory = tmp_path_factory.mktemp("tls")
    return CertificateAuthority(directory / "ca").issue(names=["dps.test", "10.1.2.3"])


def test_private_keys_are_their_owners_only(tmp_path: Path) -> None:
    directory = tmp_path / "wide"
    directory.mkdir(mode=0o755)
    authority = CertificateAuthority(directory)
    issued = authority.issue("server")
    assert directory.stat().st_mode & 0o777 == 0o700
    for path in (issued.key, directory / "ca.key"):
        assert path.stat().st_mode & 0o777 == 0o600
    issued.key.chmod(0o644)
    assert authority.issue("server").key.stat().st_mode & 0o777 == 0o600


def test_certificate_names_loopback_and_more(certificate: ServerCertificate) -> None:
    loaded = x509.load_pem_x509_certificate(certificate.certificate.read_bytes())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "dps.test"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
    ]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_client_that_trusts_the_authority_gets_in(certificate: ServerCertificate, host: str) -> None:
    async with (
        serve(hello, certificate) as address,
        httpx.AsyncClient(verify=certificate.client_context(), trust_env=False) as client,
    ):
        assert (await client.get(f"https://{host}:{address.port}/")).text == "hello"
    assert address.url == f"https://localhost:{address.port}"


async def test_a_client_that_does_not_is_kept_out(certificate: ServerCertificate) -> None:
    stranger = httpx.AsyncClient(trust_env=False, verify=ssl.create_default_context())
    async with serve(hello, certificate) as address, stranger as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(address.url)


class Transport:
    """Remembers what reaches the wire, write by write."""

    def __init__(self) -> None:
        self.events: list[bytes | None] = []

    def write(self, data: bytes) -> None:
        self.events.append(data)

    def close(self) -> None:
        self.events.append(None)

    def is_closing(self) -> bool:
        return None in self.events

    def get_extra_info(self, name: str) -> Any:
        return None

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@pytest.mark.parametrize(("connection", "ends"), [(b"keep-alive", []), (b"close", [None])])
async def test_headers_and_body_leave_in_one_write(connection: bytes, ends: list[None]) -> None:
    config = uvicorn.Config(hello, http=_HttpProtocol, lifespan="off", log_config=None, log_level="error")
    config.load()
    protocol = _HttpProtocol(config, ServerState(), {})
    transport = Transport()
    protocol.connection_made(transport)  # type: ignore[arg-type]  # a stand-in
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: " + connection + b"\r\n\r\n")
    for _ in range(5):
        await asyncio.sleep(0)
    first, *rest = transport.events
    assert first is not None
    assert first.startswith(b"HTTP/1.1 200")
    assert first.endswith(b"\r\n\r\nhello")
    assert rest == ends
    protocol.connection_lost(None)


async def test_ending_is_quick_frees_the_port_and_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    loop = asyncio.get_running_loop()
    async with serve(hello, None) as address:
        assert signal.getsignal(signal.SIGTERM) is before
        _, idle = await asyncio.open_connection("127.0.0.1", address.port)
        started = loop.time()
    assert loop.time() - started < 1
    idle.close()
    async with serve(hello, None, port=address.port) as again:
        assert again.port == address.port


async def test_a_request_that_never_ends_is_cut_off_at_the_end() -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(_scope: Any, _receive: Any, _send: Any) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serve(hang, None) as address:
        _, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await entered.wait()
    assert cancelled.is_set()
    writer.close()


async def test_a_client_that_never_says_goodbye_keeps_no_socket_of_an_ended_server(
    certificate: ServerCertificate,
) -> None:
    """It answers no close of TLS, as one that reads no more; asyncio would wait for it for half a minute."""
    async with serve(hello, certificate) as address:
        client = socket.create_connection(("127.0.0.1", address.port))
        client.setblocking(False)
        trust, loop = certificate.client_context(), asyncio.get_running_loop()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        spoken = trust.wrap_bio(incoming, outgoing, server_hostname="localhost")

        async def until(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    found = step()
                except ssl.SSLWantReadError:
                    await loop.sock_sendall(client, outgoing.read())
                    incoming.write(await loop.sock_recv(client, 65_536))
                else:
                    await loop.sock_sendall(client, outgoing.read())
                    return found

        await until(spoken.do_handshake)
        await until(lambda: spoken.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"))
        assert b"hello" in await until(lambda: spoken.read(65_536))
    try:
        async with asyncio.timeout(5):
            while await loop.sock_recv(client, 65_536):  # TLS's goodbye, then the end
                pass
    except ConnectionResetError:
        pass
    finally:
        client.close()


async def test_a_taken_port_is_an_error() -> None:
    async with serve(hello, None) as address:
        with pytest.raises(OSError, match="in use"):
            async with serve(hello, None, port=address.port):
                pass
