"""Real time that can be moved on: for emulators on real sockets."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from local.world import ManualClock, ShiftedClock, SkewableClock, SystemClock, skewing

NEAR = timedelta(seconds=2)


async def test_clock_that_was_not_moved_has_the_machines_time() -> None:
    clock = ShiftedClock()
    assert abs(clock.now() - datetime.now(UTC)) < NEAR
    assert clock.ahead == 0


async def test_sleepers_wake_when_the_clock_is_moved_each_at_its_time_in_order() -> None:
    clock = ShiftedClock()
    start, woken = clock.monotonic(), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic() - start))
        await clock.sleep(seconds)
        woken.append((seconds * 2, clock.monotonic() - start))

    tasks = [asyncio.create_task(sleeper(hours * 3600)) for hours in (3, 1)]
    await clock.advance(4 * 3600)
    assert [due for due, _ in woken] == [3600, 7200, 10800]
    assert all(due <= at < due + 2 for due, at in woken)
    assert clock.sleeping == 1
    assert abs(clock.now() - datetime.now(UTC) - timedelta(hours=4)) < NEAR
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert clock.sleeping == 0


async def test_sleepers_wake_by_themselves_too() -> None:
    clock = ShiftedClock()
    started = clock.monotonic()
    await clock.sleep(0.02)
    assert clock.monotonic() - started >= 0.02


async def test_fast_clock_makes_an_hour_pass_in_a_moment() -> None:
    clock = ShiftedClock(rate=360_000)
    start = clock.now()
    await clock.sleep(3600)
    assert clock.now() - start >= timedelta(hours=1)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_clock_runs_forward(rate: float) -> None:
    with pytest.raises(ValueError, match="use a number over 0"):
        ShiftedClock(rate=rate)


async def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="use at least 0"):
        await ShiftedClock().advance(-1)


async def test_skew_moves_the_date_within_a_call_and_in_what_it_starts_only() -> None:
    clock = SkewableClock(ManualClock())
    right = clock.now()

    async def dated() -> datetime:
        await clock.sleep(0)
        return clock.now()

    with skewing(90):
        assert clock.now() - right == timedelta(seconds=90)
        started = asyncio.create_task(dated())
        with skewing(0):
            assert clock.now() == right
    assert clock.now() == right
    assert await started - right == timedelta(seconds=90)
    assert clock.monotonic() == 0


async def test_skewed_clock_sleeps_as_long_as_any() -> None:
    clock = SkewableClock(SystemClock())
    with skewing(3600):
        started = clock.monotonic()
        await clock.sleep(0.01)
        assert 0.01 <= clock.monotonic() - started < 3600
