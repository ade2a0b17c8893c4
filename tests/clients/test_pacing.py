"""Shares of a rate: never over it, nearly all of it, less after a 429."""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.pacing import (
    LEAST,
    LONGEST_STILL,
    RECOVERY_SECONDS,
    WINDOW_SECONDS,
    PacedShare,
    UnpacedShare,
)
from clients.ports import RateShare, SlowingShare
from local.world import ManualClock


class SteppingClock(ManualClock):
    """A sleep moves it on."""

    async def sleep(self, seconds: float) -> None:
        self._elapsed += seconds


async def spend(share: RateShare, clock: ManualClock, calls: int) -> list[float]:
    """The times at which one caller, always waiting, was let through."""
    times: list[float] = []
    for _ in range(calls):
        await share.call()
        times.append(clock.monotonic())
    return times


def most_in_a_window(times: list[float]) -> int:
    """Calls in the fullest window of 60 seconds, its end not included."""
    most = start = 0
    for end, time in enumerate(times):
        while times[start] <= time - WINDOW_SECONDS + 1e-6:
            start += 1
        most = max(most, end - start + 1)
    return most


@given(st.integers(1, 2000))
@settings(deadline=None)
async def test_a_saturated_share_uses_nearly_all_of_its_rate_and_never_more(per_minute: int) -> None:
    clock = SteppingClock()
    calls = min(3 * per_minute, 400) + 2
    times = await spend(PacedShare(per_minute, clock), clock, calls)
    assert most_in_a_window(times) <= per_minute
    steady = times[-1] - times[len(times) // 2]
    rate = (len(times) - 1 - len(times) // 2) / steady * WINDOW_SECONDS
    assert rate >= 0.95 * per_minute - 1e-6


@given(
    st.integers(1, 300),
    st.lists(st.tuples(st.floats(0, 90), st.integers(1, 20)), min_size=1, max_size=6),
)
@settings(deadline=None, max_examples=40)
async def test_no_window_holds_more_than_the_rate_however_calls_come(
    per_minute: int, bursts: list[tuple[float, int]]
) -> None:
    clock = ManualClock()
    share = PacedShare(per_minute, clock)
    times: list[float] = []

    async def one() -> None:
        await share.call()
        times.append(clock.monotonic())

    tasks = []
    for pause, calls in bursts:
        await clock.advance(pause)
        tasks += [asyncio.create_task(one()) for _ in range(calls)]
    while not all(task.done() for task in tasks):
        await clock.advance(30)
    assert len(times) == sum(calls for _, calls in bursts)
    assert most_in_a_window(times) <= per_minute


async def test_first_come_is_first_served_and_who_gives_up_costs_nothing() -> None:
    clock = ManualClock()
    share = PacedShare(10, clock)
    let_through: list[int] = []

    async def one(number: int) -> None:
        await share.call()
        let_through.append(number)

    tasks = [asyncio.create_task(one(number)) for number in range(6)]
    await clock.advance(0)
    tasks[1].cancel()
    tasks[3].cancel()
    await clock.advance(18)
    assert let_through == [0, 2, 4, 5]
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_429_is_waited_out_and_halves_the_rate() -> None:
    clock = SteppingClock()
    share = PacedShare(60, clock)
    await share.call()
    share.slow(20)
    assert share.rate == 30
    share.slow(None)  # of a call that was under way at the same time
    assert share.rate == 30
    [first, second] = await spend(share, clock, 2)
    assert first >= 20
    assert second - first > 1.5


@pytest.mark.parametrize("told", [99_999_999.0, float("inf")])
async def test_no_answer_holds_a_share_for_longer_than_an_hour(told: float) -> None:
    clock = SteppingClock()
    share = PacedShare(60, clock)
    share.slow(told)
    [made] = await spend(share, clock, 1)
    assert made == pytest.approx(LONGEST_STILL, abs=60)


async def test_a_share_keeps_a_part_of_its_rate_and_gets_it_all_back() -> None:
    clock = SteppingClock()
    share = PacedShare(60, clock)
    for _ in range(10):
        await clock.sleep(2)
        share.slow(None)
    assert 60 * LEAST <= share.rate < 60 * LEAST * 1.1
    rates = []
    for _ in range(10):
        rates.append(share.rate)
        await clock.sleep(RECOVERY_SECONDS / 9)
    assert all(later >= earlier for earlier, later in itertools.pairwise(rates))
    assert share.rate == 60


@given(st.lists(st.tuples(st.floats(0, 30), st.none() | st.floats(0, 30)), max_size=6), st.integers(1, 200))
@settings(deadline=None)
async def test_being_told_to_slow_down_never_lets_more_through(
    told: list[tuple[float, float | None]], per_minute: int
) -> None:
    clock = SteppingClock()
    share = PacedShare(per_minute, clock)
    times: list[float] = []
    for pause, retry_after in told:
        await clock.sleep(pause)
        share.slow(retry_after)
        called = clock.monotonic()
        times += await spend(share, clock, 3)
        assert times[-3] >= called + (retry_after or 0) - 1e-6
    assert most_in_a_window(times) <= per_minute


@pytest.mark.parametrize("per_minute", [0, -1])
def test_a_share_of_nothing_is_refused(per_minute: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PacedShare(per_minute, ManualClock())


async def test_a_command_waits_for_no_share() -> None:
    await UnpacedShare().call()
    assert not isinstance(UnpacedShare(), SlowingShare)
    assert isinstance(PacedShare(1, ManualClock()), SlowingShare)
