"""A worker that is frozen for longer than its lease and wakes up when another has the job, or has done it.

What it does then, the write that it was in the middle of first of all, changes nothing of what the run comes
to. The other one is given smaller pages: so what it writes is cut otherwise, and says the same.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from copy import deepcopy
from dataclasses import replace

import httpx
import pytest

from clients.ports import Change, Receipt, Row, Table
from lifecycle.audit.job import KIND, Audit
from lifecycle.audit.ports import Audited
from lifecycle.jobs import State, tick
from lifecycle.rates import Rates
from tests.lifecycle.audit.engine_rig import JOB, QUICK, TERMS, AuditRig, Tables
from tests.lifecycle.audit.test_engine_crashes import Outcome, outcome, planted

PAGE = 2
NEXT_DAY = -1
AFTER = "audit:after"

Before = Callable[[bool], Awaitable[None]]
"""Is awaited before each call, and told whether it is a write to a table."""


class Freezer:
    """Holds the first worker right before one of its calls, and lets it go at one of the second's writes.

    Or when the second has done the work (0), or the next day's too (NEXT_DAY).
    """

    def __init__(self, at: int, until: int, *, reads: bool) -> None:
        self.calls = self.others = 0
        self.until = until
        self._at = at
        self._reads = reads
        self.frozen, self.thawed = asyncio.Event(), asyncio.Event()

    async def first(self, write: bool) -> None:
        if write or self._reads:
            self.calls += 1
            if self.calls == self._at:
                self.frozen.set()
                await self.thawed.wait()

    async def second(self, write: bool) -> None:
        self.others += write
        if write and self.others == self.until:
            self.thawed.set()
            for _ in range(5):  # so that the write of the first is there before this one
                await asyncio.sleep(0)


class Watched:
    """A table whose caller may be held."""

    def __init__(self, inner: Table, before: Before) -> None:
        self._inner = inner
        self._before = before

    async def get(self, partition: str, key: str) -> Row | None:
        await self._before(False)
        return await self._inner.get(partition, key)

    async def scan(self, partition: str, *, start: str = "", stop: str | None = None) -> AsyncIterator[Row]:
        await self._before(False)
        async for row in self._inner.scan(partition, start=start, stop=stop):
            yield row

    async def insert(self, row: Row) -> Receipt:
        await self._before(True)
        return await self._inner.insert(row)

    async def replace(self, row: Row) -> Receipt:
        await self._before(True)
        return await self._inner.replace(row)

    async def put(self, row: Row) -> Receipt:
        await self._before(True)
        return await self._inner.put(row)

    async def delete(self, row: Row) -> Receipt:
        await self._before(True)
        return await self._inner.delete(row)

    async def write(self, changes: Sequence[Change]) -> Receipt:
        await self._before(True)
        return await self._inner.write(changes)


class Network(httpx.AsyncBaseTransport):
    """The same of calls to services; pages have so many items at most."""

    def __init__(self, inner: httpx.AsyncBaseTransport, before: Before, page: int) -> None:
        self._inner = inner
        self._before = before
        self._page = page

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._before(False)
        if "x-ms-max-item-count" in request.headers:
            request.headers["x-ms-max-item-count"] = str(self._page)
        return await self._inner.handle_async_request(request)


async def works(
    rig: AuditRig, audited: Audited, before: Before, page: int, over: Callable[[], bool] = lambda: False
) -> None:
    """A worker, until the audit is done by whomsoever, or a tick of its own was its last."""
    tables = Tables(
        *(Watched(each, before) for each in (rig.tables.audit, rig.tables.jobs, rig.tables.ledger))
    )
    ports = rig.ports(Network(rig.transport(), before, page), tables)
    jobs = ports.jobs
    assert jobs is not None
    audit, rates = Audit(ports, audited), Rates(ports.clock)
    found = await jobs.find(JOB)
    await jobs.create(JOB, KIND, by="test")
    for _ in range(100):
        await tick([audit.kind], jobs, rates, rig.heard, terms=TERMS)
        found = await jobs.find(JOB)
        assert found is not None
        if found.state is State.DONE or over():
            return
        await rig.clock.advance(60)
    raise AssertionError(f"the audit does not end: {found}")


async def came_to(rig: AuditRig, freezer: Freezer) -> list[Outcome]:
    """What a run comes to whose first worker is frozen; and the next one, where that is until then."""
    audited = replace(rig.audited, limits=QUICK)
    first = asyncio.ensure_future(works(rig, audited, freezer.first, 1_000, freezer.frozen.is_set))
    frozen = asyncio.ensure_future(freezer.frozen.wait())
    await asyncio.wait((first, frozen), return_when=asyncio.FIRST_COMPLETED)
    if not first.done():
        await rig.clock.advance(TERMS.lease_seconds + TERMS.skew + 1)
        await works(rig, audited, freezer.second, PAGE)
    runs = [JOB]
    if freezer.until == NEXT_DAY:
        runs = [AFTER]  # what the first one was made of is gone
        await rig.clock.advance(86400)
        assert (await rig.audit(AFTER)).state is State.DONE
    freezer.thawed.set()
    frozen.cancel()
    await first
    return [await outcome(rig, each) for each in runs]


async def check(template: AuditRig, whole: list[Outcome], at: int, until: int, *, reads: bool = False) -> int:
    """Compare one run; how many writes the second worker made."""
    rig, freezer = deepcopy(template), Freezer(at, until, reads=reads)
    assert await came_to(rig, freezer) == whole, f"frozen at call {at}, until write {until} of the other"
    assert freezer.frozen.is_set(), "each run begins with the same world"
    return freezer.others


async def calm(template: AuditRig, until: int = 0, *, reads: bool = False) -> tuple[list[Outcome], int]:
    """What a run comes to that nobody disturbs, and how many calls its worker makes."""
    freezer = Freezer(0, until, reads=reads)
    return await came_to(deepcopy(template), freezer), freezer.calls


@pytest.mark.parametrize("until", [0, NEXT_DAY])
@pytest.mark.parametrize("reads", [False, pytest.param(True, marks=pytest.mark.soak)])
async def test_what_a_frozen_worker_does_when_it_wakes_up_changes_nothing(until: int, reads: bool) -> None:
    template = await planted(9)
    whole, calls = await calm(template, until, reads=reads)
    assert calls > 50
    for at in range(1, calls + 1):
        await check(template, whole, at, until, reads=reads)


@pytest.mark.soak
@pytest.mark.parametrize(("reads", "every"), [(False, 5), (True, 25)])
async def test_whenever_a_frozen_worker_wakes_up_it_changes_nothing(reads: bool, every: int) -> None:
    template = await planted(9)
    whole, calls = await calm(template, reads=reads)
    for at in range(1, calls + 1):
        others = await check(template, whole, at, until=0, reads=reads)
        for until in range(1, others + 1, every):
            await check(template, whole, at, until, reads=reads)
