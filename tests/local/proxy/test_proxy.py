"""Faults in front of Azurite, on real sockets, met by the deployed app's own client of tables."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Self

import httpx
import pytest
import time_machine

from clients.ports import Row
from clients.tables import TableAccount
from local.azurite import Azurite
from local.faults import Fault, Faults, Rule, answered, dropped, halved, slowed, stalled, throttled
from local.proxy import AzuriteProxy, Proxy
from local.world import World


class Tables:
    def __init__(self, azurite: Azurite, proxy: AzuriteProxy, faults: Faults) -> None:
        self.direct = TableAccount.from_connection_string(azurite.connection_string)
        self.account = TableAccount.from_connection_string(proxy.connection_string)
        self.proxy = proxy
        self.faults = faults

    async def put(self, key: str) -> None:
        await self.account.table("things").put(Row("p", key))

    async def kept(self) -> list[str]:
        return [row.key async for row in self.direct.table("things").scan("p")]


@pytest.fixture
async def tables(tmp_path: Path) -> AsyncIterator[Tables]:
    faults = Faults(World(seed=1))
    async with (
        Azurite(log=tmp_path / "log") as azurite,
        AzuriteProxy(azurite.connection_string, faults) as proxy,
    ):
        made = Tables(azurite, proxy, faults)
        await made.put("first")
        yield made
        await made.account.close()
        await made.direct.close()


async def test_tables_work_through_the_proxy(tables: Tables) -> None:
    for key in ("b", "c"):
        await tables.put(key)
    assert await tables.kept() == ["b", "c", "first"]
    assert [row.key async for row in tables.account.table("things").scan("p")] == ["b", "c", "first"]
    assert await tables.account.table("things").get("p", "none") is None
    assert len(tables.faults.world.journal) == 0


@pytest.mark.parametrize(
    "fault",
    [
        dropped(),
        dropped(after=True),
        throttled(1),
        answered(500),
        answered(503, after=True),
    ],
    ids=str,
)
async def test_write_fails_and_was_carried_out_or_not(tables: Tables, fault: Fault) -> None:
    tables.faults.add(Rule(fault, service="azurite", method="P*", count=None))
    with pytest.raises(Exception):  # noqa: B017  the errors of the app's client are another's test
        async with asyncio.timeout(20):
            await tables.put("second")
    assert ("second" in await tables.kept()) is fault.late
    assert tables.faults.world.journal.of(Faults.SERVICE)


class Behind:
    """A plain HTTP service behind a proxy, that says what reached it."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789") -> None:
        self.answer = answer
        self.reached: list[bytes] = []
        self.faults = Faults(World(seed=1))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.proxy = await Proxy("127.0.0.1", port, self.faults, service="behind").__aenter__()
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.proxy.port}", timeout=5)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        await self.proxy.__aexit__()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = 5 if b"content-length: 5" in head.lower() else 0
                self.reached.append(await reader.readexactly(length))
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def test_connection_is_dropped_before_or_after_the_call_reached_the_service() -> None:
    for after in (False, True):
        async with Behind() as behind:
            behind.faults.add(Rule(dropped(after=after)))
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await behind.http.put("/x", content=b"12345")
            assert behind.reached == ([b"12345"] if after else [])
            assert (await behind.http.put("/x", content=b"12345")).status_code == 200


async def test_answer_ends_after_so_many_bytes() -> None:
    async with Behind() as behind:
        behind.faults.add(Rule(halved(3)))
        with pytest.raises(httpx.RemoteProtocolError, match="received 3 bytes, expected 10"):
            await behind.http.get("/x")
        behind.faults.add(Rule(halved()))
        with pytest.raises(httpx.RemoteProtocolError, match="received 5 bytes, expected 10"):
            await behind.http.get("/x")


@pytest.mark.parametrize("fault", [slowed(5, after=True), stalled(after=True), stalled(), slowed(5)], ids=str)
async def test_client_gives_up_on_a_slow_or_stalled_answer(fault: Fault) -> None:
    async with Behind() as behind:
        behind.faults.add(Rule(fault))
        with pytest.raises(httpx.ReadTimeout):
            await behind.http.get("/x", timeout=0.15)
        assert len(behind.reached) == fault.late


async def test_delayed_answer_comes() -> None:
    async with Behind() as behind:
        behind.faults.add(Rule(slowed(0.05)))
        assert (await behind.http.get("/x")).text == "0123456789"


async def test_error_in_place_of_the_answer_ends_the_connection() -> None:
    async with Behind() as behind:
        behind.faults.add(Rule(answered(503, retry_after=2), path="/x"))
        answer = await behind.http.get("/x?code=1")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.headers["connection"] == "close"
        assert behind.reached == []


async def test_connections_are_refused_until_they_are_accepted_again() -> None:
    async with Behind() as behind:
        await behind.http.get("/x")
        await behind.proxy.refuse()
        with pytest.raises((httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError)):
            await behind.http.get("/x")
        with pytest.raises(httpx.ConnectError):
            await behind.http.get("/x")
        await behind.proxy.accept()
        assert (await behind.http.get("/x")).status_code == 200


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5;x=y\r\n56789\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length:10\r\n\r\n0123456789",
    ],
)
async def test_answers_of_any_framing_pass_whole(answer: bytes) -> None:
    async with Behind(answer) as behind:
        for _ in range(2):
            assert (await behind.http.get("/x")).text == "0123456789"


async def test_answer_without_a_body_passes() -> None:
    async with Behind(b"HTTP/1.1 204 No Content\r\n\r\n") as behind:
        for _ in range(2):
            assert (await behind.http.put("/x", content=b"12345")).status_code == 204


async def test_what_is_no_http_ends_its_connection_only() -> None:
    async with Behind() as behind:
        reader, writer = await asyncio.open_connection("127.0.0.1", behind.proxy.port)
        writer.write(b"\x16\x03\x01\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert (await behind.http.get("/x")).status_code == 200


async def test_a_connection_that_the_service_ended_while_it_was_idle_is_made_anew() -> None:
    ended = asyncio.Event()

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Proxy("127.0.0.1", port, Faults(World(seed=1)), service="behind") as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        for _ in range(3):
            ended.clear()
            writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK")
            await ended.wait()
        writer.close()


@pytest.mark.parametrize("text", ["", "TableEndpoint=;", "AccountName=a;TableEndpoint=http://localhost/a"])
def test_connection_string_without_a_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="needs a TableEndpoint"):
        AzuriteProxy(text, Faults(World()))


async def test_azurite_serves_a_process_whose_date_was_moved(tables: Tables) -> None:
    with time_machine.travel(timedelta(days=30), tick=True):
        await tables.put("later")
    assert "later" in await tables.kept()
