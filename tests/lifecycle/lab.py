"""One worker over a table in memory, and kinds of job made of a value or a function."""

from collections.abc import Callable
from typing import Any

from lifecycle.jobs import (
    JobKind,
    JobRow,
    JobStore,
    Slice,
    SliceResult,
    State,
    Terms,
    show,
    tick,
)
from tests.lifecycle.toy import (
    TERMS,
    FaultyTable,
    Time,
    Told,
    WorkerClock,
    rates,
)
from tests.memory_table import MemoryTable


class Lab:
    """One worker over a table in memory."""

    def __init__(self) -> None:
        self.time = Time()
        self.clock = WorkerClock(self.time)
        self.memory = MemoryTable()
        self.fates: dict[str, str] = {}
        self.table = FaultyTable(self.memory, lambda call: self.fates.get(call, "answers"))
        self.store = JobStore(self.table, "DPS-1", self.clock)
        self.told = Told()
        self.rates = rates(self.clock)

    async def tick(self, *kinds: JobKind, terms: Terms = TERMS) -> dict[str, State | None]:
        ran = await tick(kinds, self.store, self.rates, self.told, worker="w", terms=terms)
        return {each.job: each.state for each in ran}

    async def job(self, job: str = "toy-1") -> JobRow:
        return await show(self.store, job)

    async def end(self, kind: JobKind, job: str = "toy-1", *, ticks: int = 50) -> JobRow:
        for _ in range(ticks):
            await self.tick(kind)
            if (found := await self.job(job)).state in (State.DONE, State.FAILED):
                return found
            self.time.elapsed += 60
        raise AssertionError("the job does not end")


def kind(result: SliceResult | Exception | Callable[[Slice], Any], name: str = "toy") -> JobKind:
    async def run(slice_: Slice) -> SliceResult:
        if isinstance(result, Exception):
            raise result
        if callable(result):
            answer: SliceResult = await result(slice_)
            return answer
        return result

    return JobKind(name, run)
