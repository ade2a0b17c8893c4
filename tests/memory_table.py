"""The Table port in memory, held to the same contract suite as Azure Table storage (tests/clients)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from clients.ports import Change, Receipt, Row, Written
from clients.table_rules import check_bound, check_changes, check_key, storable

PAGE = 1000
"""Rows of one page of a scan, as Table storage has it."""


@dataclass
class MemoryTable:
    """Rows in a dict. Each call lets other tasks run once before it acts, as a call over a network does."""

    page: int = PAGE
    _partitions: dict[str, dict[str, Row]] = field(default_factory=dict)
    _versions: "count[int]" = field(default_factory=lambda: count(1))

    async def get(self, partition: str, key: str) -> Row | None:
        check_key("partition key", partition)
        check_key("row key", key)
        await asyncio.sleep(0)
        row = self._partitions.get(partition, {}).get(key)
        return row and _copy(row)

    async def insert(self, row: Row) -> Receipt:
        return await self._write_one(Change("insert", row))

    async def replace(self, row: Row) -> Receipt:
        return await self._write_one(Change("replace", row))

    async def put(self, row: Row) -> Receipt:
        return await self._write_one(Change("put", row))

    async def delete(self, row: Row) -> Receipt:
        return await self._write_one(Change("delete", row))

    async def scan(self, partition: str, *, start: str = "", stop: str | None = None) -> AsyncIterator[Row]:
        check_key("partition key", partition)
        check_bound("start", start)
        if stop is not None:
            check_bound("stop", stop)
        last: str | None = None
        while True:
            await asyncio.sleep(0)
            rows = self._partitions.get(partition, {})
            keys = [
                key
                for key in sorted(rows, key=_order)
                if _order(key) >= _order(start)
                and (stop is None or _order(key) < _order(stop))
                and (last is None or _order(key) > _order(last))
            ]
            page = [_copy(rows[key]) for key in keys[: self.page]]
            for row in page:
                yield row
            if len(keys) <= self.page:
                return
            last = page[-1].key

    async def write(self, changes: Sequence[Change]) -> Receipt:
        check_changes(changes)
        await asyncio.sleep(0)
        for change in changes:
            outcome = self._check(change)
            if outcome != "written":
                return Receipt(outcome)
        for change in changes:
            self._apply(change)
        return Receipt("written")

    async def _write_one(self, change: Change) -> Receipt:
        if change.kind == "delete":
            check_key("partition key", change.row.partition)
            check_key("row key", change.row.key)
        else:
            storable(change.row)
        await asyncio.sleep(0)
        outcome = self._check(change)
        return Receipt(outcome, self._apply(change) if outcome == "written" else None)

    def _check(self, change: Change) -> Written:
        row = change.row
        there = self._partitions.get(row.partition, {}).get(row.key)
        match change.kind:
            case "insert":
                return "exists" if there else "written"
            case "put":
                return "written"
            case "replace" | "delete":
                if there is None:
                    return "gone"
                return "written" if row.etag in (None, there.etag) else "moved"

    def _apply(self, change: Change) -> str | None:
        row = change.row
        rows = self._partitions.setdefault(row.partition, {})
        if change.kind == "delete":
            del rows[row.key]
            return None
        etag = f'W/"{next(self._versions)}"'
        rows[row.key] = Row(row.partition, row.key, storable(row), etag)
        return etag


def _copy(row: Row) -> Row:
    return Row(row.partition, row.key, dict(row.values), row.etag)


def _order(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")
