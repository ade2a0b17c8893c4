"""TLS that asks for the client's certificate: what the application is told, and what no client can break."""

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from local import tls_peer
from local.serve import Address, serve
from local.tls import CertificateAuthority, ServerCertificate
from local.tls_peer import PeerTls
from tests.local.dps import pki

ROOT = pki.root()
DEVICE = ROOT.issue("Factory", ca=True).issue("dev-1")
VERSIONS = {ssl.TLSVersion.TLSv1_2: 0x0303, ssl.TLSVersion.TLSv1_3: 0x0304}


async def told(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the `tls` extension, or with the body it was sent."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if not body:
        body = json.dumps([scope["scheme"], scope["extensions"].get("tls")]).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return CertificateAuthority(tmp_path_factory.mktemp("tls")).issue()


@pytest_asyncio.fixture
async def address(certificate: ServerCertificate, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Address]:
    async with serve(told, certificate, ask_for_certificate=True) as bound:
        yield bound
        async with httpx.AsyncClient(verify=certificate.client_context(), trust_env=False) as client:
            assert (await client.get(bound.url)).status_code == 200, "the server did not survive"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("above", [None, 0, 1, 2])
async def test_application_sees_the_chain_that_was_sent(
    certificate: ServerCertificate,
    address: Address,
    tmp_path: Path,
    version: ssl.TLSVersion,
    above: int | None,
) -> None:
    context = certificate.client_context()
    context.minimum_version = context.maximum_version = version
    if above is not None:
        DEVICE.shown_by(context, tmp_path, above)
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        for _ in range(2):
            scheme, extension = (await client.get(address.url)).json()
            sent = "" if above is None else DEVICE.chain_pem(above)
            assert "".join(extension["client_cert_chain"]) == sent
            assert (scheme, extension["tls_version"]) == ("https", VERSIONS[version])


async def test_a_server_that_does_not_ask_is_told_nothing(
    certificate: ServerCertificate, tmp_path: Path
) -> None:
    context = DEVICE.shown_by(certificate.client_context(), tmp_path)
    async with (
        serve(told, certificate) as bound,
        httpx.AsyncClient(verify=context, trust_env=False) as client,
    ):
        assert (await client.get(bound.url)).json() == ["https", None]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_new_connection_brings_its_chain_although_its_client_would_resume(
    certificate: ServerCertificate, address: Address, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    context = DEVICE.shown_by(certificate.client_context(), tmp_path)
    context.maximum_version = version

    def ask(session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession | None]:
        with (
            socket.create_connection(("localhost", address.port)) as tcp,
            context.wrap_socket(tcp, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: tls.recv(65536), b""))
            return answer, tls.session

    first, session = await asyncio.to_thread(ask, None)
    second, _ = await asyncio.to_thread(ask, session)
    assert first.count(b"BEGIN CERTIFICATE") == second.count(b"BEGIN CERTIFICATE") == 2


async def test_bodies_of_megabytes_pass_both_ways(certificate: ServerCertificate, address: Address) -> None:
    body = bytes(range(256)) * 20_000
    async with httpx.AsyncClient(verify=certificate.client_context(), trust_env=False) as client:
        answers = await asyncio.gather(*(client.post(address.url, content=body) for _ in range(4)))
    assert all(answer.content == body for answer in answers)


GARBAGE = [
    b"",
    b"\0",
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"\x16\x03\x01\x00\x05hello",
    b"\x16\x03\x01\xff\xff" + b"\xff" * 70_000,
    b"\x80" * 300,
]


@pytest.mark.parametrize("sent", GARBAGE, ids=range(len(GARBAGE)))
async def test_what_is_no_handshake_ends_its_connection_only(address: Address, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
    writer.write(sent)
    if len(sent) < 2:
        writer.close()
    await asyncio.wait_for(_to_the_end(reader), 5)
    writer.close()


async def test_garbage_after_the_handshake_ends_its_connection_only(
    certificate: ServerCertificate, address: Address
) -> None:
    context, incoming, outgoing = certificate.client_context(), ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
    writer.write(outgoing.read() + b"\x17\x03\x03\x00\x20" + b"\0" * 32)
    await asyncio.wait_for(_to_the_end(reader), 5)
    writer.close()


async def test_an_old_protocol_is_refused(certificate: ServerCertificate, address: Address) -> None:
    context = certificate.client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(address.url)


async def test_a_handshake_that_never_ends_is_given_up(certificate: ServerCertificate) -> None:
    peers = PeerTls(certificate, patience=0.05)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: peers.around(asyncio.Protocol), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await asyncio.wait_for(_to_the_end(reader), 5) == b""
        assert not peers.shaking
        writer.close()


async def test_an_unfinished_handshake_does_not_hold_up_the_end(certificate: ServerCertificate) -> None:
    loop = asyncio.get_running_loop()
    async with serve(told, certificate, ask_for_certificate=True) as bound:
        reader, writer = await asyncio.open_connection("127.0.0.1", bound.port)
        writer.write(b"\x16")
        await asyncio.sleep(0.05)
        started = loop.time()
    assert loop.time() - started < 1
    assert await asyncio.wait_for(_to_the_end(reader), 5) == b""
    writer.close()


async def test_streams_work_behind_it_too(certificate: ServerCertificate, tmp_path: Path) -> None:
    """As a protocol other than HTTP uses it."""
    seen: list[Any] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info(tls_peer.PEER_CHAIN))
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    peers = PeerTls(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: peers.around(lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), echo)),
        "127.0.0.1",
        0,
    )
    async with server:
        context = DEVICE.shown_by(certificate.client_context(), tmp_path)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.read(), 5) == b"hello"
        writer.close()
    assert "".join(*seen) == DEVICE.chain_pem()


async def _to_the_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
