"""The toy job under every crash, and under every lost answer, of any call it makes."""

from itertools import count

import pytest

from clients.errors import TableUnavailable
from lifecycle.jobs import JobStore, State, history, tick
from local.explore import Life, Run, Scenario, explore
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

FATES = ("answers", "lost before", "lost after")


def scenario(*, items: int = 4, faults: int = 0, pad: bytes = b"", save_every: int = 2) -> Scenario:
    async def run(run: Run) -> None:
        time, left = Time(), faults
        clock = WorkerClock(time)

        def fate(call: str) -> str:
            nonlocal left
            if not left:
                return "answers"
            chosen: str = run.choose(call, FATES)
            left -= chosen != "answers"
            return chosen

        table, service, unique = MemoryTable(), ToyService(time, items, fate=fate), count(1)

        async def process(life: Life) -> None:
            port = life.port(FaultyTable(table, fate), "table")
            store = JobStore(port, "dps-1", clock, unique=lambda: f"{next(unique):032x}")
            kinds = [toy_kind(life.port(service, "service"), pad=pad, save_every=save_every)]
            paced, told = rates(clock), Told()
            for _ in range(60):
                try:
                    await create(store, items)
                    await tick(kinds, store, paced, told, terms=TERMS)
                    if (job := await store.find("toy-1")) and job.state is State.DONE:
                        return
                except TableUnavailable:
                    assert faults
                time.elapsed += 20
            raise AssertionError("the job does not end")

        await run.live(process)
        service.check()
        store = JobStore(table, "dps-1", clock)
        job = await store.find("toy-1")
        assert job
        assert job.state is State.DONE
        assert job.result == {"items": items}
        assert [entry.what for entry in await history(store)] == ["done"]
        assert (await store.current()).jobs == ()
        assert set(await leftovers(table)) <= {"known", "past", "part"}

    return run


async def test_no_single_crash_loses_a_step_or_repeats_one() -> None:
    report = await explore(scenario(items=5))
    report.check()
    assert report.runs > 60


async def test_no_single_crash_hurts_a_checkpoint_in_parts() -> None:
    (await explore(scenario(items=4, pad=noise(40_000), save_every=1))).check()


async def test_no_single_lost_answer_loses_a_step_or_repeats_one() -> None:
    (await explore(scenario(items=4, faults=1), crashes=0)).check()


async def test_no_single_lost_answer_hurts_a_checkpoint_in_parts() -> None:
    (await explore(scenario(items=3, faults=1, pad=noise(40_000)), crashes=0)).check()


@pytest.mark.soak
async def test_no_single_crash_hurts_a_checkpoint_of_several_parts() -> None:
    (await explore(scenario(items=3, pad=noise(1_900_000), save_every=1))).check()


@pytest.mark.soak
async def test_no_pair_of_crashes_loses_a_step_or_repeats_one() -> None:
    (await explore(scenario(items=3), crashes=2, most_runs=100_000)).check()


@pytest.mark.soak
async def test_no_pair_of_lost_answers_loses_a_step_or_repeats_one() -> None:
    (await explore(scenario(items=3, faults=2), crashes=0, most_runs=100_000)).check()


@pytest.mark.soak
async def test_no_crash_with_a_lost_answer_loses_a_step_or_repeats_one() -> None:
    (await explore(scenario(items=3, faults=1), crashes=1, most_runs=100_000)).check()


async def test_exploration_finds_a_job_that_saves_before_it_knows() -> None:
    """The check has teeth: a slice that saves a step before its call loses it in a crash between."""

    async def run(run: Run) -> None:
        from lifecycle.jobs import Done, JobKind, Slice, SliceResult

        time = Time()
        clock, table, service = WorkerClock(time), MemoryTable(), ToyService(time, 2)

        async def process(life: Life) -> None:
            port = life.port(service, "service")

            async def hasty(slice_: Slice) -> SliceResult:
                saved = slice_.checkpoint
                for at in range(saved if isinstance(saved, int) else 0, 2):
                    await slice_.save(at + 1)
                    await port.change(slice_.job, at, 0)
                return Done()

            store = JobStore(life.port(table, "table"), "dps-1", clock)
            for _ in range(10):
                await create(store, 2)
                await tick([JobKind("toy", hasty)], store, rates(clock), Told(), terms=TERMS)
                if (job := await store.find("toy-1")) and job.state is State.DONE:
                    return
                time.elapsed += 20

        await run.live(process)
        service.check()

    report = await explore(run)
    assert report.failures
