"""What the job loop makes of slices that fail, die, hang or meet trouble."""

import asyncio

import pytest

from clients.errors import Forbidden, OutcomeUnknown, TableUnavailable, Throttled, Unavailable
from lifecycle.errors import (
    SwitchedOff,
)
from lifecycle.jobs import (
    Blocked,
    Done,
    Failed,
    Slice,
    SliceResult,
    State,
    Terms,
    history,
    resume,
    switch_off,
)
from lifecycle.rates import Rate
from tests.lifecycle.lab import Lab, kind
from tests.lifecycle.toy import (
    TERMS,
    create,
)

SECRET = "c2VjcmV0LW9mLXRoZS1ncm91cA=="


@pytest.fixture
def lab() -> Lab:
    return Lab()


# --- faults, attempts, blocked


async def test_a_fault_is_counted_and_paused_for_and_too_many_block_visibly_until_resume(lab: Lab) -> None:
    await create(lab.store, 1)
    states, pauses = [], []
    for _ in range(TERMS.most_attempts):
        states.append((await lab.tick(kind(KeyError("a"))))["toy-1"])
        pauses.append((await lab.job()).not_before - lab.clock.now())
        lab.time.elapsed += 1000
    assert states == [State.WAITING] * 4 + [State.BLOCKED]
    assert [pause.total_seconds() for pause in pauses[:4]] == [15, 30, 60, 120]
    assert await lab.tick(kind(Done())) == {}
    [told] = lab.told.named("job_blocked")
    assert "KeyError" in str(told["problem"])
    assert [entry.what for entry in await history(lab.store)] == ["blocked"]
    assert (await resume(lab.store, "toy-1", by="op")).attempts == 0
    assert await lab.tick(kind(Done())) == {"toy-1": State.DONE}


async def test_slices_that_die_with_their_worker_are_counted_too(lab: Lab) -> None:
    async def dies(slice_: Slice) -> SliceResult:
        raise asyncio.CancelledError  # as from a host that shuts down: nothing of ours runs any more

    await create(lab.store, 1)
    for _ in range(TERMS.most_attempts):
        with pytest.raises(asyncio.CancelledError):
            await lab.tick(kind(dies))
        assert (await lab.job()).state is State.RUNNING
        lab.time.elapsed += 37
    assert await lab.tick(kind(dies)) == {"toy-1": State.BLOCKED}
    assert "5 slices" in (await lab.job()).problem


async def test_slices_that_get_on_before_they_die_never_block(lab: Lab) -> None:
    async def dies_later(slice_: Slice) -> SliceResult:
        at = slice_.checkpoint if isinstance(slice_.checkpoint, int) else 0
        if at == 12:
            return Done()
        await slice_.save(at + 1)
        raise KeyError

    await create(lab.store, 1)
    assert (await lab.end(kind(dies_later))).state is State.DONE


async def test_saving_the_same_again_is_no_progress(lab: Lab) -> None:
    async def stuck(slice_: Slice) -> SliceResult:
        await slice_.save("here")
        raise KeyError

    await create(lab.store, 1)
    for _ in range(TERMS.most_attempts + 1):
        await lab.tick(kind(stuck))
        lab.time.elapsed += 1000
    assert (await lab.job()).state is State.BLOCKED


@pytest.mark.parametrize(
    "error",
    [
        Throttled("busy", service="DPS"),
        Unavailable("down", service="DPS"),
        OutcomeUnknown("lost", service="DPS"),
        TableUnavailable("down"),
    ],
)
async def test_a_services_trouble_is_waited_out_for_a_day_before_it_blocks(
    lab: Lab, error: Exception
) -> None:
    await create(lab.store, 1)
    began, job = lab.time.elapsed, await lab.job()
    for _ in range(1000):
        await lab.tick(kind(error))
        job = await lab.job()
        if job.state is State.BLOCKED:
            break
        assert job.problem == str(error)
        lab.time.elapsed = max(
            lab.time.elapsed, (job.not_before - lab.clock.now()).total_seconds() + lab.time.elapsed
        )
    assert job.state is State.BLOCKED
    assert 0.9 * 86_400 < lab.time.elapsed - began < 1.2 * 86_400


async def test_a_refusal_is_no_trouble_that_passes(lab: Lab) -> None:
    await create(lab.store, 1)
    for _ in range(TERMS.most_attempts):
        await lab.tick(kind(Forbidden("no right", service="DPS")))
        lab.time.elapsed += 1000
    assert (await lab.job()).state is State.BLOCKED


async def test_blocked_and_failed_say_why(lab: Lab) -> None:
    await create(lab.store, 1, job="a")
    await lab.tick(kind(Blocked("retire consent needed")))
    assert ((await lab.job("a")).state, (await lab.job("a")).problem) == (
        State.BLOCKED,
        "retire consent needed",
    )
    lab.time.elapsed += 1
    await create(lab.store, 1, job="b")
    await lab.tick(kind(Failed("no such group", {"seen": 3})))
    failed = await lab.job("b")
    assert (failed.state, failed.problem, failed.result) == (State.FAILED, "no such group", {"seen": 3})
    assert [(entry.job, entry.what, entry.detail) for entry in await history(lab.store)] == [
        ("b", "failed", "no such group"),
        ("a", "blocked", "retire consent needed"),
    ]


async def test_the_text_of_a_foreign_exception_is_stored_nowhere(lab: Lab) -> None:
    await create(lab.store, 1)
    for _ in range(TERMS.most_attempts):
        await lab.tick(kind(RuntimeError(f"cannot use {SECRET}")))
        lab.time.elapsed += 1000
    rows = [dict(row.values) async for row in lab.memory.scan("dps-1|jobs")]
    assert SECRET not in repr((rows, lab.told.events, await history(lab.store)))
    assert "RuntimeError at tests.lifecycle.lab" in (await lab.job()).problem


async def test_a_slice_that_hangs_is_ended_and_counted(lab: Lab) -> None:
    async def hangs(slice_: Slice) -> SliceResult:
        await asyncio.Event().wait()
        raise AssertionError

    await create(lab.store, 1)
    short = Terms(slice_seconds=0.01, lease_seconds=0.03, call_margin=0.01)
    assert await lab.tick(kind(hangs), terms=short) == {"toy-1": State.WAITING}
    assert (await lab.job()).attempts == 1
    assert "TimeoutError" in (await lab.job()).problem


async def test_a_slice_that_catches_halted_has_not_ended_by_itself(lab: Lab) -> None:
    async def deaf(slice_: Slice) -> SliceResult:
        await switch_off(lab.store, by="op", why="test")
        lab.time.elapsed += TERMS.watch_seconds
        with pytest.raises(SwitchedOff):
            await slice_.share(Rate.DPS).call()
        return Done()

    await create(lab.store, 1)
    assert await lab.tick(kind(deaf)) == {"toy-1": State.WAITING}


def test_terms_that_leave_a_slice_no_last_call_are_refused() -> None:
    with pytest.raises(ValueError, match="lease_seconds is 60"):
        Terms(slice_seconds=45, lease_seconds=60)
