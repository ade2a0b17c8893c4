"""The shared clock, journal and randomness."""

import asyncio
from datetime import UTC, timedelta
from typing import Any

import pytest

from local.world import Journal, ManualClock, SystemClock, World, redact, within


async def test_sleepers_wake_in_order_at_their_own_time() -> None:
    clock, woken = ManualClock(), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (5, 1, 3, 9)]
    await clock.advance(5)
    assert woken == [(1, 1), (3, 3), (5, 5)]
    assert (clock.monotonic(), clock.sleeping) == (5, 1)
    await clock.advance(4)
    await asyncio.gather(*tasks)


async def test_a_woken_sleeper_may_sleep_again_within_one_advance() -> None:
    clock, ticks = ManualClock(), []

    async def tick() -> None:
        for _ in range(4):
            await clock.sleep(2)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(tick())
    await clock.advance(7)
    assert ticks == [2, 4, 6]
    await clock.advance(1)
    await task


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(3))
    await clock.advance(0)
    assert clock.sleeping == 1
    task.cancel()
    await clock.advance(5)
    assert clock.sleeping == 0


async def test_manual_time_moves_only_when_told() -> None:
    clock = ManualClock()
    start = clock.now()
    await clock.sleep(0)
    assert clock.now() == start
    await clock.advance(1.5)
    assert clock.now() - start == timedelta(seconds=1.5)


async def test_system_time_is_aware_and_in_utc() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()
    await clock.sleep(0)


async def test_within_gives_results_errors_and_timeouts() -> None:
    clock = ManualClock()

    async def late() -> int:
        await clock.sleep(10)
        return 1

    async def broken() -> int:
        raise KeyError

    task = asyncio.create_task(within(clock, 11, late()))
    await clock.advance(10)
    assert await task == 1
    with pytest.raises(KeyError):
        await within(clock, 1, broken())
    task = asyncio.create_task(within(clock, 9, late()))
    await clock.advance(9)
    with pytest.raises(TimeoutError):
        await task
    assert clock.sleeping == 0


async def test_cancelling_within_cancels_its_work() -> None:
    clock = ManualClock()
    task = asyncio.create_task(within(clock, 9, clock.sleep(5)))
    await clock.advance(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.sleeping == 0


HIDDEN = "aGlkZGVu"


@pytest.mark.parametrize(
    "value",
    [
        {"primaryKey": HIDDEN},
        {"symmetricKey": {"primaryKey": HIDDEN, "secondaryKey": HIDDEN}},
        {"primaryKey": {"deep": [HIDDEN]}},
        {"keys": [HIDDEN]},
        {"symmetricKey": HIDDEN},
        {"symmetricKey": [HIDDEN]},
        {"Authorization": HIDDEN, "password": HIDDEN, "clientSecret": HIDDEN, "accessToken": HIDDEN},
        {"a": [{"b": f"https://app/api?x=1&code={HIDDEN}"}]},
        {"a": f"https://app/api?code={HIDDEN}&x=1"},
        {"a": f"https://user:{HIDDEN}@app/api"},
        {"a": f"HostName=h;SharedAccessKeyName=n;SharedAccessKey={HIDDEN}"},
        {"a": f"SharedAccessSignature sr=h&sig={HIDDEN}&se=1"},
        {"a": f"Bearer {HIDDEN}"},
        {"a": [[[[[[[[[[[[[[HIDDEN]]]]]]]]]]]]]]},
    ],
)
def test_nothing_secret_is_kept(value: Any) -> None:
    assert HIDDEN not in repr(redact(value))


def test_what_is_not_secret_stays() -> None:
    value = {
        "errorCode": 400207,
        "monkey": None,
        "isKey": True,
        "list": [1, "two", 3.0],
        "url": "https://app/api?x=1",
    }
    assert redact(value) == value


def test_long_parts_are_cut() -> None:
    assert redact([{"n": number} for number in range(100)])[4:] == [{"n": 4}, "… 95 more"]
    assert redact(list(range(100)))[49:] == [49, "… 50 more"]
    assert len(redact("x" * 10_000)) == 4097


def test_journal_keeps_the_latest_calls() -> None:
    journal, now = Journal(limit=3), ManualClock().now()
    for number in range(5):
        journal.record(now, f"s{number % 2}", "GET", f"/{number}?code={HIDDEN}", 200)
    assert [call.path for call in journal] == [f"/{number}?code=****" for number in (2, 3, 4)]
    assert (len(journal), len(journal.of("s0"))) == (3, 2)


def test_a_seed_makes_randomness_repeatable() -> None:
    assert World(seed=1).random.random() == World(seed=1).random.random()
    assert World().random.random() != World().random.random()
