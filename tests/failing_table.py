"""A table that fails and stalls on request, in front of another one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence

from clients.errors import TableUnavailable
from clients.ports import Change, Receipt, Row, Table


class FailingTable:
    """As the inner table, but for `down` (fails at once) and `stalled` (answers when it is released)."""

    def __init__(self, inner: Table) -> None:
        self.inner = inner
        self.down = False
        self.writes_vanish = False
        """A write is carried out and its answer lost."""
        self.calls = 0
        self._open = asyncio.Event()
        self._open.set()

    def stall(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def _pass(self) -> None:
        self.calls += 1
        await self._open.wait()
        if self.down:
            raise TableUnavailable("the table is down")

    async def _written(self, write: Awaitable[Receipt]) -> Receipt:
        try:
            await self._pass()
        except BaseException:
            getattr(write, "close", lambda: None)()
            raise
        receipt = await write
        if self.writes_vanish:
            raise TableUnavailable("the answer was lost")
        return receipt

    async def get(self, partition: str, key: str) -> Row | None:
        await self._pass()
        return await self.inner.get(partition, key)

    async def insert(self, row: Row) -> Receipt:
        return await self._written(self.inner.insert(row))

    async def replace(self, row: Row) -> Receipt:
        return await self._written(self.inner.replace(row))

    async def put(self, row: Row) -> Receipt:
        return await self._written(self.inner.put(row))

    async def delete(self, row: Row) -> Receipt:
        return await self._written(self.inner.delete(row))

    async def scan(self, partition: str, *, start: str = "", stop: str | None = None) -> AsyncIterator[Row]:
        await self._pass()
        async for row in self.inner.scan(partition, start=start, stop=stop):
            yield row

    async def write(self, changes: Sequence[Change]) -> Receipt:
        return await self._written(self.inner.write(changes))
