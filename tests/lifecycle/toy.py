"""A toy service with ETags, a job that changes each of its items once, and time that tests move."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal, TypeVar

from clients.errors import OutcomeUnknown, TableUnavailable
from clients.ports import Change, Receipt, Row, Table
from lifecycle.jobs import Done, JobKind, JobRow, JobStore, More, Progress, Slice, SliceResult, Terms
from lifecycle.rates import Rate, Rates, Shares

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
SHARES: Shares = {"toy": {Rate.DPS: 0.9}, "other": {Rate.DPS: 0.01}}
TERMS = Terms(slice_seconds=10, lease_seconds=30, call_margin=5, skew=6, watch_seconds=3, blind_seconds=9)


@dataclass
class Time:
    """What the clocks of all workers are derived from."""

    elapsed: float = 0.0


class WorkerClock:
    """One worker's clock: `skew` seconds off; its monotonic seconds stop while it is suspended."""

    def __init__(self, time: Time, skew: float = 0.0) -> None:
        self.time = time
        self.skew = skew
        self.suspended = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.time.elapsed + self.skew)

    def monotonic(self) -> float:
        return self.time.elapsed - self.suspended

    async def sleep(self, seconds: float) -> None:
        self.time.elapsed += max(0.0, seconds)
        await asyncio.sleep(0)


class Told:
    """Telemetry that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []
        self.spans: list[tuple[str, float, dict[str, object]]] = []

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))

    def measure(self, name: str, value: float, **dimensions: str) -> None:
        raise AssertionError("the loop measures nothing")

    def span(self, name: str, seconds: float, **attributes: object) -> None:
        self.spans.append((name, seconds, attributes))

    def named(self, name: str) -> list[dict[str, object]]:
        return [fields for event, fields in self.events if event == name]


@dataclass
class Item:
    etag: int = 0
    changed: bool = False


@dataclass
class ToyService:
    """Items that are changed under If-Match, as DPS has it. A call takes `seconds`."""

    time: Time
    count: int = 4
    seconds: float = 3.0
    fate: Callable[[str], str] = lambda _: "answers"
    """Of a change: answers, lost before, lost after."""
    enter: Callable[[JobRow], None] = lambda _: None
    """Told of each change as it is sent."""
    items: list[Item] = field(default_factory=list)
    successes: Counter[tuple[int, int]] = field(default_factory=Counter)
    sent: int = 0

    def __post_init__(self) -> None:
        self.items = [Item() for _ in range(self.count)]

    async def read(self, number: int) -> tuple[int, bool]:
        item = self.items[number]
        return item.etag, item.changed

    async def change(self, job: JobRow, number: int, etag: int) -> Literal["written", "moved"]:
        self.enter(job)
        self.sent += 1
        fate = self.fate("service")
        if fate == "lost before":
            raise OutcomeUnknown("no answer", service="toy")
        outcome = self.apply(number, etag)
        if fate == "lost after":
            raise OutcomeUnknown("no answer", service="toy")
        return outcome

    def apply(self, number: int, etag: int) -> Literal["written", "moved"]:
        self.time.elapsed += self.seconds
        item = self.items[number]
        if item.etag != etag:
            return "moved"
        self.successes[number, etag] += 1
        item.etag += 1
        item.changed = True
        return "written"

    def check(self) -> None:
        """Every item was changed, and exactly once."""
        assert self.successes == Counter({(number, 0): 1 for number in range(self.count)})


def toy_kind(service: Any, *, save_every: int = 2, pad: bytes = b"", name: str = "toy") -> JobKind:
    """The job that changes each item once. A pad makes its checkpoint as large."""

    async def run(slice_: Slice) -> SliceResult:
        share = slice_.share(Rate.DPS)
        count = int(slice_.params["items"])
        saved = slice_.checkpoint
        at = int.from_bytes(saved[:4], "big") if isinstance(saved, bytes) else 0
        while at < count and slice_.time_left() > 0:
            await share.call()
            etag, changed = await service.read(at)
            if not changed:
                await share.call()
                try:
                    outcome = await service.change(slice_.job, at, etag)
                except OutcomeUnknown:
                    continue  # read again
                if outcome == "moved":
                    continue
            at += 1
            if at % save_every == 0:
                await slice_.save(at.to_bytes(4, "big") + pad, Progress(at, count, "items"))
        if at == count:
            return Done({"items": count}, Progress(at, count, "items"))
        await slice_.save(at.to_bytes(4, "big") + pad, Progress(at, count, "items"))
        return More()

    return JobKind(name, run)


def noise(size: int) -> bytes:
    """Bytes that do not compress."""
    return Random(1).randbytes(size)


@dataclass
class FaultyTable:
    """A table some of whose answers are lost."""

    inner: Table
    fate: Callable[[str], str]
    calls: Counter[str] = field(default_factory=Counter)

    async def get(self, partition: str, key: str) -> Row | None:
        return await self._call("get", lambda: self.inner.get(partition, key))

    async def insert(self, row: Row) -> Receipt:
        return await self._call("insert", lambda: self.inner.insert(row))

    async def replace(self, row: Row) -> Receipt:
        return await self._call("replace", lambda: self.inner.replace(row))

    async def put(self, row: Row) -> Receipt:
        return await self._call("put", lambda: self.inner.put(row))

    async def delete(self, row: Row) -> Receipt:
        return await self._call("delete", lambda: self.inner.delete(row))

    async def write(self, changes: Sequence[Change]) -> Receipt:
        return await self._call("write", lambda: self.inner.write(changes))

    async def scan(self, partition: str, *, start: str = "", stop: str | None = None) -> Any:
        async def rows() -> list[Row]:
            return [row async for row in self.inner.scan(partition, start=start, stop=stop)]

        for row in await self._call("scan", rows):
            yield row

    async def _call(self, name: str, go: Callable[[], Awaitable[T]]) -> T:
        self.calls[name] += 1
        fate = self.fate(name)
        if fate == "lost before":
            raise TableUnavailable("no answer")
        result = await go()
        if fate == "lost after":
            raise TableUnavailable("no answer")
        return result


def rates(clock: WorkerClock) -> Rates:
    return Rates(clock, SHARES)


async def leftovers(table: Table) -> list[str]:
    """The kinds of rows there are."""
    return sorted({row.key.split("|")[0] async for row in table.scan("dps-1|jobs")})


async def create(store: JobStore, items: int, job: str = "toy-1", kind: str = "toy") -> JobRow:
    return (await store.create(job, kind, by="test", params={"items": items})).job
