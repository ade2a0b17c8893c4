"""AzureTable over connections that the service has dropped while they were idle: reads are sent again."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from clients.errors import TableUnavailable
from clients.ports import Table
from tests.clients.test_table_faults import CALLS, Server, table_at

READS = tuple(name for name in CALLS if name.startswith(("get", "scan")))
EACH_READ = pytest.mark.parametrize("call", [CALLS[name] for name in READS], ids=READS)
WRITES = tuple(name for name in CALLS if name not in READS)
ENTITY = {
    "odata.metadata": "x",
    "odata.etag": 'W/"1"',
    "PartitionKey": "p",
    "RowKey": "k",
    "n": 1,
    "value": [{"odata.etag": 'W/"1"', "PartitionKey": "p", "RowKey": "k"}],
}


class Dropping:
    """Answers the first so many requests of each connection; drops it at the next, as one that was idle."""

    def __init__(self, answered: int = 1) -> None:
        self._answered = answered
        self._requests: dict[asyncio.StreamWriter, int] = {}

    @property
    def connections(self) -> int:
        """How many there were."""
        return len(self._requests)

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        number = self._requests[writer] = self._requests.get(writer, 0) + 1
        if number > self._answered:
            writer.close()
            return
        body = json.dumps(ENTITY).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)


@EACH_READ
async def test_a_read_that_meets_a_dropped_connection_is_sent_once_more(
    call: Callable[[Table], Awaitable[Any]],
) -> None:
    dropping = Dropping()
    async with Server(dropping) as server, table_at(server.port) as table:
        for _ in range(3):
            assert await call(table) is not None
    assert (server.requests, dropping.connections) == (5, 3)


@pytest.mark.parametrize("call", [CALLS[name] for name in WRITES], ids=WRITES)
async def test_a_write_that_meets_a_dropped_connection_is_never_sent_again(
    call: Callable[[Table], Awaitable[Any]],
) -> None:
    dropping = Dropping()
    async with Server(dropping) as server, table_at(server.port) as table:
        await table.get("p", "k")
        with pytest.raises(TableUnavailable, match="it may have happened"):
            await call(table)
    assert (server.requests, dropping.connections) == (2, 1)


@EACH_READ
async def test_a_read_over_a_new_connection_that_breaks_is_not_sent_again(
    call: Callable[[Table], Awaitable[Any]],
) -> None:
    async with Server(Dropping(answered=0)) as server, table_at(server.port) as table:
        with pytest.raises(TableUnavailable):
            await call(table)
    assert server.requests == 1


async def test_a_read_is_sent_once_more_and_no_oftener() -> None:
    dropping = Dropping()
    async with Server(dropping) as server, table_at(server.port) as table:
        await table.get("p", "k")
        server.act = Dropping(answered=0)
        with pytest.raises(TableUnavailable):
            await table.get("p", "k")
    assert server.requests == 3


async def test_a_read_whose_answer_began_is_not_sent_again() -> None:
    async with Server(Dropping(answered=2)) as server, table_at(server.port) as table:
        await table.get("p", "k")

        async def half(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
            await writer.drain()
            writer.close()

        server.act = half
        with pytest.raises(TableUnavailable):
            await table.get("p", "k")
    assert server.requests == 2
