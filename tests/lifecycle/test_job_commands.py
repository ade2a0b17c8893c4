"""Stop, resume, the kill switch, the overview and the history of jobs."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from clients.errors import TableUnavailable
from clients.ports import Row
from clients.telemetry import EVENTS
from lifecycle.errors import (
    NoSuchJob,
    NotPossible,
    StopAsked,
    SwitchUnseen,
)
from lifecycle.jobs import (
    Done,
    JobKind,
    JobRow,
    JobStore,
    More,
    Slice,
    SliceResult,
    State,
    history,
    overview,
    resume,
    stop,
    switch_off,
    switch_on,
    tick,
    trim,
)
from lifecycle.rates import Rate
from tests.lifecycle.lab import Lab, kind
from tests.lifecycle.toy import (
    TERMS,
    create,
    leftovers,
)


@pytest.fixture
def lab() -> Lab:
    return Lab()


# --- stop, resume, the kill switch


def counting(lab: Lab, *, at: int, act: Callable[[], Any]) -> tuple[JobKind, list[int]]:
    """A job of calls that do not end by themselves; `act` is done at one of them."""
    calls: list[int] = []

    async def run(slice_: Slice) -> SliceResult:
        share = slice_.share(Rate.DPS)
        while True:
            await share.call()
            calls.append(len(calls))
            lab.time.elapsed += 1
            if len(calls) == at:
                await act()

    return kind(run), calls


async def test_a_running_job_stops_between_two_calls_within_the_watch(lab: Lab) -> None:
    await create(lab.store, 1)
    run, calls = counting(lab, at=3, act=lambda: stop(lab.store, "toy-1", by="op"))
    assert await lab.tick(run) == {"toy-1": State.STOPPED}
    assert len(calls) <= 3 + TERMS.watch_seconds
    assert await lab.tick(run) == {}
    lab.time.elapsed += 1
    assert (await resume(lab.store, "toy-1", by="op")).state is State.WAITING
    lab.time.elapsed += 1
    assert await lab.tick(kind(Done())) == {"toy-1": State.DONE}
    assert [(entry.what, entry.by) for entry in await history(lab.store)] == [
        ("done", ""),
        ("resumed", "op"),
        ("stopped", "op"),
    ]


async def test_a_stop_is_seen_by_a_save_too_and_the_checkpoint_is_kept(lab: Lab) -> None:
    async def run(slice_: Slice) -> SliceResult:
        assert slice_.time_left() > 0
        await stop(lab.store, "toy-1", by="op")
        await slice_.save("kept")
        assert slice_.time_left() == 0
        with pytest.raises(StopAsked):
            await slice_.share(Rate.DPS).call()
        return More()

    await create(lab.store, 1)
    assert await lab.tick(kind(run)) == {"toy-1": State.STOPPED}
    await resume(lab.store, "toy-1", by="op")

    async def after(slice_: Slice) -> SliceResult:
        assert slice_.checkpoint == "kept"
        return Done()

    assert await lab.tick(kind(after)) == {"toy-1": State.DONE}


async def test_a_stop_survives_the_death_of_the_worker_and_of_the_one_that_finds_it(lab: Lab) -> None:
    async def dies(slice_: Slice) -> SliceResult:
        await stop(lab.store, "toy-1", by="op")
        raise asyncio.CancelledError

    await create(lab.store, 1)
    with pytest.raises(asyncio.CancelledError):
        await lab.tick(kind(dies))
    assert (await lab.job()).state is State.STOPPING
    assert await lab.tick(kind(Done())) == {}
    for _ in range(2):
        lab.time.elapsed += 37
        lab.table.calls.clear()
        lab.table.fate = lambda call: (
            "lost before" if call == "replace" and lab.table.calls[call] > 1 else "answers"
        )
        with pytest.raises(TableUnavailable):
            await lab.tick(kind(Done()))
        assert (await lab.job()).state is State.STOPPING
    lab.table.fate = lambda _: "answers"
    lab.time.elapsed += 37
    assert await lab.tick(kind(Done())) == {"toy-1": State.STOPPED}


async def test_a_stop_taken_back_before_the_worker_saw_it_changes_nothing(lab: Lab) -> None:
    async def run(slice_: Slice) -> SliceResult:
        await stop(lab.store, "toy-1", by="op")
        await resume(lab.store, "toy-1", by="op")
        lab.time.elapsed += TERMS.watch_seconds
        await slice_.share(Rate.DPS).call()
        return Done()

    await create(lab.store, 1)
    assert await lab.tick(kind(run)) == {"toy-1": State.DONE}


async def test_stop_and_resume_say_what_they_cannot(lab: Lab) -> None:
    for command in (stop, resume):
        with pytest.raises(NoSuchJob, match="'nobody'"):
            await command(lab.store, "nobody", by="op")
    await create(lab.store, 1)
    assert (await resume(lab.store, "toy-1", by="op")).state is State.WAITING
    assert (await stop(lab.store, "toy-1", by="op")).state is State.STOPPED
    assert (await stop(lab.store, "toy-1", by="op")).state is State.STOPPED
    await resume(lab.store, "toy-1", by="op")
    await lab.tick(kind(Done()))
    for command in (stop, resume):
        with pytest.raises(NotPossible, match="done"):
            await command(lab.store, "toy-1", by="op")


async def test_a_command_whose_answer_was_lost_is_done_once(lab: Lab) -> None:
    lost = iter(["lost after"])
    lab.table.fate = lambda call: next(lost, "answers") if call == "write" else "answers"
    await create(JobStore(lab.memory, "dps-1", lab.clock), 1)
    assert (await stop(lab.store, "toy-1", by="op")).state is State.STOPPED
    assert [entry.what for entry in await history(lab.store)] == ["stopped"]
    lost = iter(["lost after"])
    await switch_off(lab.store, by="op", why="test")
    assert [entry.what for entry in await history(lab.store)] == ["switched off", "stopped"]


@pytest.mark.parametrize("which", ["", "toy"])
async def test_the_kill_switch_stops_between_two_calls_and_nothing_is_leased_while_it_is_set(
    lab: Lab, which: str
) -> None:
    await create(lab.store, 1)
    run, calls = counting(lab, at=3, act=lambda: switch_off(lab.store, by="op", why="DPS is ill", kind=which))
    assert await lab.tick(run) == {"toy-1": State.WAITING}
    assert len(calls) <= 3 + TERMS.watch_seconds
    lab.table.calls.clear()
    assert await lab.tick(run) == {}
    assert lab.table.calls == {"scan": 1}
    assert lab.told.named("jobs_off")[-1] == {
        "dps": "dps-1",
        "kind": "toy",
        "by": "op",
        "why": "DPS is ill",
        "due": 1,
    }
    await switch_on(lab.store, by="op", kind=which)
    assert await lab.tick(kind(Done())) == {"toy-1": State.DONE}
    assert (await lab.job()).attempts <= 1


async def test_the_kill_switch_of_one_kind_leaves_the_others(lab: Lab) -> None:
    await create(lab.store, 1)
    await create(lab.store, 1, job="b", kind="other")
    await switch_off(lab.store, by="op", why="test", kind="other")
    assert await lab.tick(kind(Done()), kind(Done(), "other")) == {"toy-1": State.DONE}


async def test_a_switch_that_is_set_between_scan_and_lease_is_seen_before_the_first_call(lab: Lab) -> None:
    await create(lab.store, 1)
    asked = 0

    def fate(call: str) -> str:
        nonlocal asked
        asked += call == "scan"
        return "answers"

    lab.table.fate = fate
    store = JobStore(lab.memory, "dps-1", lab.clock)
    original = lab.store.replace

    class Switching(JobStore):
        async def replace(self, job: JobRow, entry: Any = None) -> Any:
            if job.state is State.RUNNING:
                await switch_off(store, by="op", why="test")
            return await original(job, entry)

    switching = Switching(lab.table, "dps-1", lab.clock)
    ran = await tick([kind(AssertionError("a slice ran"))], switching, lab.rates, lab.told, terms=TERMS)
    assert [each.state for each in ran] == [State.WAITING]
    assert (await lab.job()).problem == ""


async def test_without_sight_of_the_switch_calls_end_after_a_while(lab: Lab) -> None:
    calls = 0

    async def run(slice_: Slice) -> SliceResult:
        nonlocal calls
        share = slice_.share(Rate.DPS)
        lab.fates["get"] = "lost before"
        try:
            while True:
                await share.call()
                calls += 1
                lab.time.elapsed += 1
        except SwitchUnseen:
            lab.fates.clear()
            raise

    await create(lab.store, 1)
    assert await lab.tick(kind(run)) == {"toy-1": State.WAITING}
    assert TERMS.watch_seconds < calls <= TERMS.blind_seconds + TERMS.watch_seconds
    assert (await lab.job()).troubles == 1


# --- overview and history


async def test_the_overview_shows_what_has_not_ended_the_switch_and_what_happened_last(lab: Lab) -> None:
    for n in range(3):
        await create(lab.store, 1, job=f"job-{n}")
        lab.time.elapsed += 1
    await stop(lab.store, "job-2", by="op")
    await lab.tick(kind(Done()))
    lab.time.elapsed += 1
    await switch_off(lab.store, by="op", why="night", kind="other")
    seen = await overview(lab.store, history=2)
    assert [(job.id, job.state) for job in seen.current.jobs] == [("job-2", State.STOPPED)]
    assert seen.current.switch.kinds["other"].why == "night"
    assert [entry.what for entry in seen.history] == ["switched off", "done"]


async def test_history_is_read_page_by_page_newest_first(lab: Lab) -> None:
    for n in range(7):
        await create(lab.store, 1, job=f"job-{n}")
        await lab.tick(kind(Done()))
        lab.time.elapsed += 60
    pages, last = [], None
    while page := await history(lab.store, after=last, most=3):
        pages.append([entry.job for entry in page])
        last = page[-1]
    assert pages == [["job-6", "job-5", "job-4"], ["job-3", "job-2", "job-1"], ["job-0"]]


async def test_trimming_forgets_what_is_old_with_its_jobs_and_nothing_else(lab: Lab) -> None:
    for n in range(4):
        await create(lab.store, 1, job=f"job-{n}")
        await lab.tick(kind(Done()))
        lab.time.elapsed += 86_400
    await create(lab.store, 1, job="live")
    await stop(lab.store, "live", by="op")
    await resume(lab.store, "live", by="op")
    await lab.memory.put(Row("dps-1|jobs", "part|job-0|0000000001-000001|0001", {"c00": b"x"}))
    lab.time.elapsed += 86_400 * 10
    assert await trim(lab.store, lab.clock.now() - timedelta(days=13.5)) == 1
    assert await trim(lab.store, lab.clock.now() - timedelta(days=12.5), most=1) == 1
    assert {entry.job for entry in await history(lab.store)} == {"job-2", "job-3", "live"}
    with pytest.raises(NoSuchJob):
        await lab.job("job-0")
    assert (await lab.job("job-2")).state is State.DONE
    await trim(lab.store, lab.clock.now())
    assert await history(lab.store) == []
    assert (await lab.job("live")).state is State.WAITING
    assert not (await lab.store.create("live", "toy", by="op")).new
    assert (await lab.store.create("job-0", "toy", by="op")).new
    assert "part" not in await leftovers(lab.memory)


def test_each_event_of_the_loop_is_in_the_table_of_events() -> None:
    assert {"job_slice", "job_ended", "job_blocked", "jobs_off", "job_unreadable", "job_unswept"} <= set(
        EVENTS
    )
