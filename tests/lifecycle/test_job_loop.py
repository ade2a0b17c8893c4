"""Creating jobs, ticks, slices and checkpoints of the job loop, claim by claim."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest

from clients.errors import TableUnavailable, Throttled
from clients.ports import Row, SlowingShare
from lifecycle.errors import (
    Halted,
    LeaseLost,
    NotAJob,
    Overran,
)
from lifecycle.jobs import (
    Current,
    Done,
    Entry,
    Failed,
    JobStore,
    More,
    Progress,
    Slice,
    SliceResult,
    State,
    history,
    show,
    stop,
    switch_off,
    tick,
)
from lifecycle.jobs.lease import take
from lifecycle.rates import Rate
from tests.lifecycle.lab import Lab, kind
from tests.lifecycle.toy import (
    TERMS,
    Told,
    ToyService,
    WorkerClock,
    create,
    leftovers,
    noise,
    toy_kind,
)


@pytest.fixture
def lab() -> Lab:
    return Lab()


# --- creating


async def test_a_job_created_twice_is_one_job_also_after_its_end(lab: Lab) -> None:
    first = await lab.store.create("a", "toy", by="op", params={"n": 1})
    second = await lab.store.create("a", "toy", by="event", params={"n": 2})
    assert (first.new, second.new) == (True, False)
    assert second.job.params == {"n": 1}
    await lab.tick(kind(Done()))
    third = await lab.store.create("a", "toy", by="event")
    assert (third.new, third.job.state) == (False, State.DONE)
    assert await lab.tick(kind(Done())) == {}


async def test_twenty_creators_at_once_make_one_job(lab: Lab) -> None:
    made = await asyncio.gather(*(lab.store.create("a", "toy", by=str(n)) for n in range(20)))
    assert [each.new for each in made].count(True) == 1
    assert len({each.job.by for each in made}) == 1


async def test_a_creation_whose_answer_was_lost_is_found_again_as_its_own(lab: Lab) -> None:
    calls = 0

    def fate(call: str) -> str:
        nonlocal calls
        calls += call == "write"
        return "lost after" if call == "write" and calls == 1 else "answers"

    lab.table.fate = fate
    made = await lab.store.create("a", "toy", by="op")
    assert made.new
    assert len((await lab.store.current()).jobs) == 1


async def test_a_creation_without_any_answer_says_so(lab: Lab) -> None:
    lab.fates["write"] = "lost before"
    with pytest.raises(TableUnavailable, match="create it again"):
        await lab.store.create("a", "toy", by="op")


async def test_an_id_or_params_that_cannot_be_stored_are_refused_before_a_call(lab: Lab) -> None:
    for id_, params in (("a/b", {}), ("a", {"big": "x" * 40_000})):
        with pytest.raises(NotAJob):
            await lab.store.create(id_, "toy", by="op", params=params)
    with pytest.raises(NotAJob):
        await lab.store.create("a", "No Kind", by="op")
    assert lab.table.calls == {}


# --- what a tick does


async def test_an_idle_tick_is_one_scan_and_no_write(lab: Lab) -> None:
    for n in range(5):
        await create(lab.store, 1, job=f"old-{n}")
    while (await lab.store.current()).jobs:
        await lab.tick(kind(Done()))
    await lab.store.create("later", "toy", by="op", not_before=lab.clock.now() + timedelta(hours=1))
    lab.table.calls.clear()
    assert await lab.tick(kind(Done()), kind(Done(), "other")) == {}
    assert lab.table.calls == {"scan": 1}


async def test_a_small_slice_costs_its_lease_a_second_look_and_its_end(lab: Lab) -> None:
    await create(lab.store, 1)
    lab.table.calls.clear()
    await lab.tick(kind(More()))
    assert lab.table.calls == {"scan": 2, "replace": 2}


async def test_jobs_of_other_kinds_and_of_later_are_left_alone(lab: Lab) -> None:
    await create(lab.store, 1, kind="other")
    await lab.store.create("later", "toy", by="op", not_before=lab.clock.now() + timedelta(minutes=5))
    assert await lab.tick(kind(Done())) == {}
    lab.time.elapsed += 301
    assert await lab.tick(kind(Done())) == {"later": State.DONE}


async def test_a_tick_works_through_short_jobs_of_a_kind_oldest_first(lab: Lab) -> None:
    for n in (2, 0, 1):
        await create(lab.store, 1, job=f"job-{n}")
        lab.time.elapsed += 1
    assert list(await lab.tick(kind(Done()))) == ["job-2", "job-0", "job-1"]


async def test_a_long_job_does_not_starve_the_others_of_its_kind(lab: Lab) -> None:
    async def long(slice_: Slice) -> SliceResult:
        lab.time.elapsed += slice_.time_left()
        return More()

    await create(lab.store, 1, job="a")
    await create(lab.store, 1, job="b")
    turns = [list(await lab.tick(kind(long))) for _ in range(4)]
    assert turns == [["a"], ["b"], ["a"], ["b"]]


async def test_kinds_run_side_by_side_and_one_failing_does_not_cancel_another(lab: Lab) -> None:
    met = asyncio.Barrier(2)

    async def broken(slice_: Slice) -> SliceResult:
        await met.wait()
        lab.fates["replace"] = "lost before"  # so that its end cannot be written
        return More()

    async def working(slice_: Slice) -> SliceResult:
        await met.wait()
        await asyncio.sleep(0.01)
        lab.fates.clear()
        return Done()

    await create(lab.store, 1, job="a")
    await create(lab.store, 1, job="b", kind="other")
    with contextlib.suppress(TableUnavailable):
        await lab.tick(kind(broken), kind(working, "other"))
    assert (await lab.job("b")).state is State.DONE


async def test_a_row_of_another_version_is_told_of_and_left_alone(lab: Lab) -> None:
    await lab.memory.put(Row("dps-1|jobs", "current|job|new", {"form": 9}))
    await create(lab.store, 1)
    assert await lab.tick(kind(Done())) == {"toy-1": State.DONE}
    [told] = lab.told.named("job_unreadable")
    assert "form 9" in str(told["problem"])
    assert await lab.memory.get("dps-1|jobs", "current|job|new")


@pytest.mark.parametrize("spoilt", [{"params": 7}, {"not_before": "2026-01-01"}, {"attempts": "five"}])
async def test_a_row_that_somebody_mended_wrongly_stops_no_other_job(
    lab: Lab, spoilt: dict[str, str | int]
) -> None:
    for job in ("bad", "good"):
        await create(lab.store, 1, job=job)
    row = await lab.memory.get("dps-1|jobs", "current|job|bad")
    assert row is not None
    await lab.memory.put(Row(row.partition, row.key, {**row.values, **spoilt}))
    assert await lab.tick(kind(Done())) == {"good": State.DONE}
    assert len(lab.told.named("job_unreadable")) == 1


async def test_jobs_of_two_dps_do_not_meet(lab: Lab) -> None:
    other = JobStore(lab.table, "dps-2", lab.clock)
    await create(other, 1)
    await switch_off(other, by="op", why="test")
    await create(lab.store, 1)
    assert await lab.tick(kind(Done())) == {"toy-1": State.DONE}
    assert (await show(other, "toy-1")).state is State.WAITING


# --- slices and checkpoints


async def test_a_job_goes_on_from_its_checkpoint_until_it_is_done(lab: Lab) -> None:
    service = ToyService(lab.time, 20)
    await create(lab.store, 20)
    job = await lab.end(toy_kind(service))
    service.check()
    assert job.result == {"items": 20}
    assert job.progress == Progress(20, 20, "items")
    assert job.epoch > 4
    assert service.sent == 20
    assert len(lab.told.named("job_ended")) == 1


@pytest.mark.parametrize("size", [32_000, 33_000, 2_000_000])
async def test_a_checkpoint_of_any_size_is_there_in_the_next_slice(lab: Lab, size: int) -> None:
    data, seen = noise(size), []

    async def run(slice_: Slice) -> SliceResult:
        seen.append(slice_.checkpoint)
        await slice_.save(data)
        return More() if len(seen) == 1 else Done()

    await create(lab.store, 1)
    await lab.tick(kind(run))
    await lab.tick(kind(run))
    assert seen == [None, data]
    assert await leftovers(lab.memory) == ["known", "past"]


async def test_only_the_last_generation_of_parts_is_kept(lab: Lab) -> None:
    async def run(slice_: Slice) -> SliceResult:
        for n in range(5):
            await slice_.save(noise(40_000 + n))
        return More()

    await create(lab.store, 1)
    await lab.tick(kind(run))
    keys = [row.key async for row in lab.memory.scan("dps-1|jobs", start="part|", stop="part}")]
    assert keys == ["part|toy-1|0000000001-000005|0001"]


async def test_a_checkpoint_whose_parts_are_gone_blocks_the_job_and_runs_nothing(lab: Lab) -> None:
    async def run(slice_: Slice) -> SliceResult:
        assert slice_.checkpoint is None
        await slice_.save(noise(40_000))
        return More()

    await create(lab.store, 1)
    await lab.tick(kind(run))
    async for row in lab.memory.scan("dps-1|jobs", start="part|", stop="part}"):
        await lab.memory.delete(row)
    assert await lab.tick(kind(run)) == {"toy-1": State.BLOCKED}
    assert "not those that were saved" in (await lab.job()).problem


async def test_progress_pace_and_remaining_time_are_on_the_row(lab: Lab) -> None:
    async def run(slice_: Slice) -> SliceResult:
        for done in (10, 20, 30):
            lab.time.elapsed += 2
            await slice_.save(done, Progress(done, 100, "items"))
        return More()

    await create(lab.store, 1)
    await lab.tick(kind(run))
    job = await lab.job()
    assert job.progress == Progress(30, 100, "items")
    assert job.pace.per_second == pytest.approx(5)
    assert job.remaining == timedelta(seconds=14)


async def test_a_job_that_waits_for_a_date_is_not_run_before(lab: Lab) -> None:
    await create(lab.store, 1)
    await lab.tick(kind(More(after=3600)))
    lab.time.elapsed += 3599
    assert await lab.tick(kind(Done())) == {}
    lab.time.elapsed += 1
    assert await lab.tick(kind(Done())) == {"toy-1": State.DONE}


async def test_a_slice_is_told_when_to_end_and_cannot_call_beyond_its_lease(lab: Lab) -> None:
    left: list[float] = []

    async def run(slice_: Slice) -> SliceResult:
        share = slice_.share(Rate.DPS)
        for _ in range(9):
            left.append(slice_.time_left())
            await share.call()
            lab.time.elapsed += 6
        raise AssertionError("a call was allowed beyond the lease")

    await create(lab.store, 1)
    assert await lab.tick(kind(run)) == {"toy-1": State.WAITING}
    assert left == [10, 4, 0, 0, 0, 0]
    assert lab.time.elapsed == 30
    job = await lab.job()
    assert (job.attempts, job.troubles) == (0, 1)
    assert "outlasted" in job.problem


async def test_each_slice_tells_in_an_event_and_a_span_what_it_called_and_how_often_it_was_throttled(
    lab: Lab,
) -> None:
    async def run(slice_: Slice) -> SliceResult:
        share = slice_.share(Rate.DPS)
        await share.call()
        await slice_.share(Rate.DPS).call()
        assert isinstance(share, SlowingShare)
        share.slow(None)
        return Done()

    await create(lab.store, 1)
    await lab.tick(kind(run))
    [event] = lab.told.named("job_slice")
    [(name, seconds, span)] = lab.told.spans
    assert (name, round(seconds, 3)) == ("job_slice", event["seconds"])
    assert (event["calls"], event["throttled"]) == (2, 1)
    assert span == {name: event[name] for name in span}
    assert {"kind", "job", "epoch", "state", "problem"} <= set(span)


async def test_a_worker_that_slept_past_its_lease_makes_no_call_whichever_clock_noticed(lab: Lab) -> None:
    for suspended in (0, 100):
        calls: list[str] = []

        async def run(slice_: Slice, calls: list[str] = calls, suspended: float = suspended) -> SliceResult:
            share = slice_.share(Rate.DPS)
            await share.call()
            calls.append("called")
            lab.time.elapsed += 100
            lab.clock.suspended += suspended  # the monotonic clock stood still meanwhile
            await share.call()
            calls.append("called")
            return Done()

        await create(lab.store, 1, job=f"job-{suspended}")
        assert await lab.tick(kind(run)) == {f"job-{suspended}": State.WAITING}
        assert calls == ["called"]
        await stop(lab.store, f"job-{suspended}", by="test")


async def test_a_worker_whose_clock_is_set_back_does_not_outlast_its_lease(lab: Lab) -> None:
    async def run(slice_: Slice) -> SliceResult:
        lab.time.elapsed += 26
        lab.clock.skew -= 1000
        with pytest.raises(Halted):
            await slice_.share(Rate.DPS).call()
        return More()

    await create(lab.store, 1)
    await lab.tick(kind(run))
    assert (await lab.job()).troubles == 1


async def test_a_worker_that_lost_the_job_writes_nothing_and_says_so(lab: Lab) -> None:
    other = JobStore(lab.memory, "dps-1", WorkerClock(lab.time))

    async def run(slice_: Slice) -> SliceResult:
        lab.time.elapsed += 40
        await tick([kind(Done({"by": "other"}))], other, lab.rates, Told(), terms=TERMS)
        return Done({"by": "late"})

    await create(lab.store, 1)
    assert await lab.tick(kind(run)) == {"toy-1": None}
    assert (await lab.job()).result == {"by": "other"}
    assert [entry.what for entry in await history(lab.store)] == ["done"]
    assert lab.told.named("job_slice")[0]["state"] == "lost"
    assert lab.told.named("job_ended") == []


async def test_a_worker_that_outlasted_its_lease_and_lost_the_job_says_so_too(lab: Lab) -> None:
    other = JobStore(lab.memory, "dps-1", WorkerClock(lab.time))

    async def run(slice_: Slice) -> SliceResult:
        lab.time.elapsed += 40
        await tick([kind(Done({"by": "other"}))], other, lab.rates, Told(), terms=TERMS)
        await slice_.share(Rate.DPS).call()
        raise AssertionError("a call was allowed beyond the lease")

    await create(lab.store, 1)
    assert await lab.tick(kind(run)) == {"toy-1": None}
    assert lab.told.named("job_slice")[0]["state"] == "lost"


async def test_a_worker_that_woke_up_late_cannot_save_over_what_another_runs(lab: Lab) -> None:
    other = JobStore(lab.memory, "dps-1", WorkerClock(lab.time))
    saved = asyncio.Event()

    async def running(slice_: Slice) -> SliceResult:
        await slice_.save("newer", Progress(5))
        saved.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def late(slice_: Slice) -> SliceResult:
        lab.time.elapsed += 40
        ticking = asyncio.ensure_future(tick([kind(running)], other, lab.rates, Told(), terms=TERMS))
        await saved.wait()
        with pytest.raises(LeaseLost):
            await slice_.save("older", Progress(1))
        ticking.cancel()
        return Done()

    await create(lab.store, 1)
    assert await lab.tick(kind(late)) == {"toy-1": None}
    job = await lab.job()
    assert (job.state, job.epoch, job.progress.done) == (State.RUNNING, 2, 5)


async def test_a_worker_whose_end_comes_late_does_not_end_what_another_runs(lab: Lab) -> None:
    other = JobStore(lab.memory, "dps-1", WorkerClock(lab.time))
    await create(lab.store, 1)
    [row] = (await lab.store.current()).jobs
    held = await take(lab.store, row, TERMS, owner="late", ends=10.0)
    assert held
    lab.time.elapsed += 40
    [row] = (await other.current()).jobs
    newer = await take(other, row, TERMS, owner="newer", ends=100.0)
    assert newer
    with pytest.raises(LeaseLost):
        await held.end(lambda row: replace(row, state=State.DONE), Entry(lab.clock.now(), "done", row.id))
    with pytest.raises(LeaseLost):
        await held.write(lambda row: replace(row, state=State.WAITING))
    assert (await lab.job()) == newer.row


async def test_a_lease_whose_answer_was_lost_is_held_only_if_the_row_says_so(lab: Lab) -> None:
    await create(lab.store, 1)
    for lost, held in (("lost before", False), ("lost after", True)):
        [row] = (await lab.store.current()).jobs
        lab.fates["replace"] = lost
        assert (await take(lab.store, row, TERMS, owner="w", ends=10.0) is not None) is held


async def test_a_tick_that_finds_its_kind_held_by_another_worker_writes_nothing(lab: Lab) -> None:
    await create(lab.store, 1, job="a")
    await create(lab.store, 1, job="b")
    [first, _] = (await lab.store.current()).jobs
    await take(lab.store, first, TERMS, owner="other", ends=10.0)
    lab.table.calls.clear()
    assert await lab.tick(kind(AssertionError("a slice ran"))) == {}
    assert lab.table.calls == {"scan": 1}


async def test_a_tick_that_took_a_job_gives_way_to_one_that_took_another_of_its_kind(lab: Lab) -> None:
    await create(lab.store, 1, job="a")
    other = JobStore(lab.memory, "dps-1", lab.clock)

    class Straddling(JobStore):
        """Between its scan and its lease another job falls due, and another worker takes that."""

        async def current(self) -> Current:
            seen = await super().current()
            if len(seen.jobs) == 1:
                await take(other, await create(other, 1, job="b"), TERMS, owner="other", ends=10.0)
            return seen

    store = Straddling(lab.table, "dps-1", lab.clock)
    assert await tick([kind(AssertionError("a slice ran"))], store, lab.rates, lab.told, terms=TERMS) == ()
    assert ((await lab.job("b")).state, (await lab.job("b")).owner) == (State.RUNNING, "other")
    given = await lab.job("a")
    assert (given.state, given.attempts, given.epoch) == (State.WAITING, 0, 1)


@pytest.mark.parametrize("lost", ["lost before", "lost after"])
@pytest.mark.parametrize("call", ["replace", "write"])
async def test_a_write_whose_answer_was_lost_is_recognised_and_not_repeated(
    lab: Lab, call: str, lost: str
) -> None:
    async def run(slice_: Slice) -> SliceResult:
        lab.table.calls.clear()
        lab.table.fate = lambda each: lost if each == call and lab.table.calls[each] == 1 else "answers"
        await slice_.save("here")
        return Done()

    await create(lab.store, 1)
    assert await lab.tick(kind(run)) == {"toy-1": State.DONE}
    assert lab.table.calls[call] == (2 if lost == "lost before" else 1)
    assert len(lab.told.named("job_ended")) == 1
    assert [entry.what for entry in await history(lab.store)] == ["done"]


@pytest.mark.parametrize("result", [{"long": "x" * 40_000}, {"no": float("nan")}])
@pytest.mark.parametrize("end", [Done, Failed])
async def test_an_end_that_cannot_be_written_blocks_the_job_and_says_why(
    lab: Lab, end: type[Done | Failed], result: dict[str, object]
) -> None:
    await create(lab.store, 1)
    ended = Done(result) if end is Done else Failed("no", result)
    assert await lab.tick(kind(ended)) == {"toy-1": State.BLOCKED}
    assert "result: " in (await lab.job()).problem
    [told] = lab.told.named("job_blocked")
    assert "result: " in str(told["problem"])


async def test_a_slice_that_waited_for_its_rate_beyond_its_lease_makes_no_call(lab: Lab) -> None:
    ends: list[object] = []

    async def run(slice_: Slice) -> SliceResult:
        paced = lab.rates.share("toy", Rate.DPS)

        async def told_again() -> None:
            paced.slow(60)

        paced.slow(20)
        ends.extend(await asyncio.gather(slice_.share(Rate.DPS).call(), told_again(), return_exceptions=True))
        return More()

    await create(lab.store, 1)
    assert await lab.tick(kind(run)) == {"toy-1": State.WAITING}
    assert isinstance(ends[0], Overran)


async def test_a_service_that_wants_no_call_for_long_is_trouble_and_no_fault_of_the_job(lab: Lab) -> None:
    async def run(slice_: Slice) -> SliceResult:
        began = lab.time.elapsed
        try:
            await slice_.share(Rate.DPS).call()
        except Throttled:
            assert lab.time.elapsed == began, "it waited under a lease that ends before it may call"
            raise
        return Done()

    await create(lab.store, 1)
    lab.rates.share("toy", Rate.DPS).slow(3600)
    for _ in range(TERMS.most_attempts + 1):
        assert await lab.tick(kind(run)) == {"toy-1": State.WAITING}
        lab.time.elapsed += 300
    job = await lab.job()
    assert (job.attempts, job.troubles) == (0, TERMS.most_attempts + 1)
    assert "dps wants no call for another" in job.problem
    lab.time.elapsed += 3600
    assert await lab.tick(kind(run)) == {"toy-1": State.DONE}


async def test_calls_of_the_slices_clients_can_slow_its_share(lab: Lab) -> None:
    async def run(slice_: Slice) -> SliceResult:
        share = slice_.share(Rate.DPS)
        share.slow(7.0)  # type: ignore[attr-defined]  # as clients.service does, once it sees that it can
        before = lab.time.elapsed
        await share.call()
        assert lab.time.elapsed - before >= 7
        return Done()

    await create(lab.store, 1)
    assert await lab.tick(kind(run)) == {"toy-1": State.DONE}
    assert lab.rates.share("toy", Rate.DPS).rate < 900
