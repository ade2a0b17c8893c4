"""Workers that overlap, sleep past their leases, die, and disagree about the time: one model."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from clients.errors import TableUnavailable
from clients.ports import Table
from lifecycle.jobs import JobRow, JobStore, State, Terms, history, resume, stop, switch_off, switch_on, tick
from tests.lifecycle.toy import (
    TERMS,
    FaultyTable,
    Time,
    Told,
    ToyService,
    WorkerClock,
    create,
    leftovers,
    noise,
    rates,
    toy_kind,
)
from tests.memory_table import MemoryTable

T = TypeVar("T")
ITEMS = 6
TURNS = 60


class Worker:
    """A process whose every call waits, before and after, until the test lets it go on."""

    def __init__(
        self, table: Table, service: ToyService, clock: WorkerClock, pad: bytes, terms: Terms
    ) -> None:
        self.clock = clock
        self._terms = terms
        self.fates: list[str] = []
        self.failed_ticks = 0
        self._waiting: asyncio.Future[None] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._service = service
        self._store = JobStore(self._gated(FaultyTable(table, self._fate)), "dps-1", clock)
        self._rates = rates(clock)
        self._kinds = [toy_kind(self._gated(service, sends="change"), pad=pad)]

    def _fate(self, _: str) -> str:
        return self.fates.pop() if self.fates else "answers"

    def _gated(self, inner: Any, sends: str = "") -> Any:
        worker = self

        class Gate:
            def __getattr__(self, member: str) -> Any:
                method = getattr(inner, member)
                if member == "scan":

                    async def scan(*args: Any, **kwargs: Any) -> Any:
                        await worker._pass()
                        rows = [row async for row in method(*args, **kwargs)]
                        await worker._pass()
                        for row in rows:
                            yield row

                    return scan

                async def call(*args: Any) -> Any:
                    if member == sends:
                        inner.enter(args[0])  # it is sent now, and arrives when the gate opens
                    await worker._pass()
                    result = await method(*args)
                    await worker._pass()
                    return result

                return call

        return Gate()

    async def _pass(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._tick())

    async def _tick(self) -> None:
        try:
            await tick(self._kinds, self._store, self._rates, Told(), terms=self._terms)
        except TableUnavailable:
            self.failed_ticks += 1  # the host logs it; the next begins anew

    def step(self) -> bool:
        if self._waiting is None or self._waiting.done():
            return False
        self._waiting.set_result(None)
        return True

    async def die(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._task = self._waiting = None


class Workers(RuleBasedStateMachine):
    """Three workers and one operator on one job."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.time = Time()
        self.table = MemoryTable()
        self.service = ToyService(self.time, ITEMS, seconds=1.0)
        self.operator = JobStore(self.table, "dps-1", WorkerClock(self.time))
        self.workers: list[Worker] = []
        self.wrongs: list[str] = []
        self.progress = 0

    def run(self, work: Awaitable[T]) -> T:
        async def it() -> T:
            return await work

        return self.loop.run_until_complete(it())

    async def settle(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def sent(self, job: JobRow) -> None:
        """A change goes out: no other worker may have taken the job over."""
        row = self.table._partitions["dps-1|jobs"].get("current|job|toy-1")
        # Noted, not raised: the loop would take it for a fault of the slice.
        if row is None:
            self.wrongs.append("a change is sent for a job that has ended")
        elif row.values["epoch"] != job.epoch:
            self.wrongs.append("a change is sent by a worker that lost the job")

    @initialize(
        skews=st.lists(st.floats(-3, 3), min_size=3, max_size=3),
        large=st.booleans(),
        watched=st.booleans(),
    )  # 6 s apart, as TERMS.skew has it
    def create(self, skews: list[float], large: bool, watched: bool) -> None:
        pad = noise(40_000) if large else b""
        # Without looks at the row, the lease's times alone must keep workers apart.
        terms = TERMS if watched else replace(TERMS, watch_seconds=1e9, blind_seconds=1e9)
        enter = self.sent
        # The gate in the worker says when a change is sent; the service itself, when it arrives.
        sending = ToyService(self.time, ITEMS, seconds=1.0)
        sending.items, sending.successes = self.service.items, self.service.successes

        class Service:
            read = sending.read
            change = sending.change

            @staticmethod
            def enter(job: JobRow) -> None:
                enter(job)

        self.workers = [
            Worker(self.table, Service(), WorkerClock(self.time, skew), pad, terms)  # type: ignore[arg-type]  # as much of it as the job calls
            for skew in skews
        ]
        self.run(create(self.operator, ITEMS))

    @rule(worker=st.integers(0, 2))
    def a_tick_begins(self, worker: int) -> None:
        async def go() -> None:
            self.workers[worker].begin()
            await self.settle()

        self.run(go())

    @rule(worker=st.integers(0, 2), calls=st.integers(1, 60))
    def a_worker_goes_on(self, worker: int, calls: int) -> None:
        async def go() -> None:
            for _ in range(calls):
                if not self.workers[worker].step():
                    break
                await self.settle()

        self.run(go())

    @rule(worker=st.integers(0, 2))
    def a_worker_dies(self, worker: int) -> None:
        self.run(self.workers[worker].die())

    @rule(seconds=st.integers(1, 12) | st.integers(1, 120))
    def time_passes(self, seconds: int) -> None:
        self.time.elapsed += seconds

    @rule(worker=st.integers(0, 2), seconds=st.integers(1, 120))
    def a_machine_is_suspended(self, worker: int, seconds: int) -> None:
        self.time.elapsed += seconds
        self.workers[worker].clock.suspended += seconds

    @rule(worker=st.integers(0, 2), fate=st.sampled_from(["lost before", "lost after"]))
    def the_next_answer_is_lost(self, worker: int, fate: str) -> None:
        self.workers[worker].fates = [fate]

    @rule()
    def the_operator_stops_it(self) -> None:
        if self.unfinished():
            self.run(stop(self.operator, "toy-1", by="op"))

    @rule()
    def the_operator_resumes_it(self) -> None:
        if self.unfinished():
            self.run(resume(self.operator, "toy-1", by="op"))

    @rule(kind=st.sampled_from(["", "toy"]))
    def the_operator_switches_off(self, kind: str) -> None:
        self.run(switch_off(self.operator, by="op", why="a test", kind=kind))

    @rule(kind=st.sampled_from(["", "toy"]))
    def the_operator_switches_on(self, kind: str) -> None:
        self.run(switch_on(self.operator, by="op", kind=kind))

    def unfinished(self) -> bool:
        return self.run(self.operator.get("toy-1")) is not None

    @invariant()
    def nobody_calls_who_lost_the_job(self) -> None:
        assert self.wrongs == []

    @invariant()
    def nothing_is_done_twice(self) -> None:
        assert all(count == 1 for count in self.service.successes.values())

    @invariant()
    def nothing_is_remembered_that_was_not_done(self) -> None:
        job = self.run(self.operator.find("toy-1"))
        if job:
            done = [item.changed for item in self.service.items]
            assert all(done[: job.progress.done])
            assert job.progress.done >= self.progress, "a late worker wrote over a newer checkpoint"
            self.progress = job.progress.done

    def teardown(self) -> None:
        """Whatever happened: let go on, the job ends right."""
        if self.workers:
            self.run(self.end())
        self.loop.close()

    async def end(self) -> None:
        await switch_on(self.operator, by="op")
        await switch_on(self.operator, by="op", kind="toy")
        for _ in range(200):
            job = await self.operator.find("toy-1")
            assert job
            if job.state is State.DONE:
                break
            if job.state in (State.STOPPED, State.BLOCKED):
                await resume(self.operator, "toy-1", by="op")
            for worker in self.workers:
                worker.begin()
                await self.settle()
                while worker.step():
                    await self.settle()
            self.time.elapsed += 15
        else:
            raise AssertionError("the job does not end")
        for worker in self.workers:
            await worker.die()
        assert self.wrongs == []
        self.service.check()
        assert [entry.what for entry in await history(self.operator)].count("done") == 1
        assert (await self.operator.current()).jobs == ()


Workers.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWorkers = Workers.TestCase


@pytest.mark.soak
def test_workers_over_many_more_histories() -> None:
    run_state_machine_as_test(
        Workers, settings=settings(max_examples=3000, stateful_step_count=60, deadline=None)
    )


@pytest.mark.parametrize("workers", [2, 5, 8])
async def test_workers_side_by_side_on_one_job_do_each_step_once(workers: int) -> None:
    time, table, random = Time(), MemoryTable(), Random(workers)
    service = ToyService(time, 60, seconds=0.5)
    epochs: list[int] = []
    service.enter = lambda job: epochs.append(job.epoch)
    clocks = [WorkerClock(time, random.uniform(-3, 3)) for _ in range(workers)]
    await create(JobStore(table, "dps-1", clocks[0]), 60)

    async def work(clock: WorkerClock) -> None:
        store, kind, paced = JobStore(table, "dps-1", clock), toy_kind(service), rates(clock)
        while await store.get("toy-1"):
            ticking = asyncio.ensure_future(tick([kind], store, paced, Told(), terms=TERMS))
            if random.random() < 0.3:  # this one dies on the way
                for _ in range(random.randrange(200)):
                    await asyncio.sleep(0)
                ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            await clock.sleep(random.uniform(0, 3))

    async with asyncio.timeout(60):
        await asyncio.gather(*map(work, clocks))
    service.check()
    assert epochs == sorted(epochs), "a worker called after another had taken the job"
    assert len(set(epochs)) > 3


async def test_two_jobs_of_one_kind_never_run_at_once() -> None:
    time, table = Time(), MemoryTable()
    running: set[str] = set()
    together = 0

    class Service:
        async def read(self, number: int) -> tuple[int, bool]:
            return 0, False

        async def change(self, job: JobRow, number: int, etag: int) -> str:
            nonlocal together
            running.add(job.id)
            together = max(together, len(running))
            await asyncio.sleep(0)
            time.elapsed += 0.5
            running.discard(job.id)
            return "written"

    async def work(clock: WorkerClock, seed: int) -> None:
        store, paced, random = JobStore(table, "dps-1", clock), rates(clock), Random(seed)
        while (await store.current()).jobs:
            await tick([toy_kind(Service())], store, paced, Told(), terms=TERMS)
            await clock.sleep(random.uniform(0, 2))

    clocks = [WorkerClock(time, skew) for skew in (-3, 0, 3)]
    store = JobStore(table, "dps-1", clocks[0])
    for number in range(6):
        await create(store, 8, job=f"job-{number}")
    async with asyncio.timeout(60):
        await asyncio.gather(*(work(clock, seed) for seed, clock in enumerate(clocks)))
    assert together == 1
    assert await leftovers(table) == ["known", "past"]
