"""The walk finds what is planted, repeats what it found, and says when it did not see everything."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import httpx
import pytest

from local.explore import (
    Hung,
    Life,
    NotRepeatable,
    NotThisPath,
    Path,
    Run,
    TooLong,
    explore,
    replay,
)
from tests.local.explore.toy import scenario_with

CALLS = 10
"""Of the right rotation without a crash."""


async def test_right_rotation_passes_every_crash() -> None:
    report = await explore(scenario_with("none"))
    report.check()
    assert report.runs == 2 * CALLS + 1
    assert report.consulted == {}, "a PUT with both keys never asks what one without them does"


async def test_publishing_before_placing_is_found_without_a_crash() -> None:
    report = await explore(scenario_with("publish before place"))
    (failure,) = report.failures
    assert "opens nothing" in str(failure.error)
    assert failure.path == Path()


async def test_put_without_keys_is_found_under_the_switch_that_makes_it_a_bug() -> None:
    report = await explore(scenario_with("put without keys"), crashes=0, most_failures=9)
    assert report.runs == 3
    assert report.consulted == {"dps.put_without_keys": ("keep", "regenerate", "refuse")}
    assert [str(failure.path) for failure in report.failures] == [
        "dps.put_without_keys=regenerate",
        "dps.put_without_keys=refuse",
    ]
    assert "locked out" in str(report.failures[0])


async def test_rotation_without_a_write_ahead_is_found_by_a_crash_only() -> None:
    scenario = scenario_with("no write-ahead")
    (await explore(scenario, crashes=0)).check()
    (failure,) = (await explore(scenario)).failures
    assert "crash@" in str(failure.path)
    assert "opens nothing" in str(failure.error)


async def test_deaths_after_calls_alone_find_it_in_half_as_many_runs() -> None:
    report = await explore(scenario_with("none"), deaths=["after"])
    report.check()
    assert report.runs == CALLS + 1
    (failure,) = (await explore(scenario_with("no write-ahead"), deaths=["after"])).failures
    assert "=after" in str(failure.path)
    assert "opens nothing" in str(failure.error)


async def test_failing_run_is_repeated_by_its_path_alone() -> None:
    scenario = scenario_with("put without keys")
    report = await explore(scenario, crashes=1, most_failures=99)
    crashed = [failure for failure in report.failures if len(failure.path.choices) == 2]
    assert crashed
    for failure in crashed:
        with pytest.raises(type(failure.error)) as again:
            await replay(scenario, str(failure.path))
        assert str(again.value) == str(failure.error)
    assert "crash@" in str(crashed[0].path)
    assert "(PUT dps/group)" in "".join(failure.path.told() for failure in crashed)


async def test_two_walks_of_one_scenario_are_the_same() -> None:
    first, second = [await explore(scenario_with("put without keys"), most_failures=99) for _ in range(2)]
    assert first.runs == second.runs
    assert [str(each) for each in first.failures] == [str(each) for each in second.failures]


async def test_every_combination_that_is_reached_is_walked_once() -> None:
    seen = []

    async def scenario(run: Run) -> None:
        first = run.choose("a", (1, 2))
        seen.append((first, run.choose("b", "xyz") if first == 2 else None, run.choose("c", (True, False))))

    (await explore(scenario)).check()
    assert seen == [
        *itertools.product((1,), (None,), (True, False)),
        *itertools.product((2,), "xyz", (True, False)),
    ]


async def test_name_that_is_asked_for_twice_is_two_choices() -> None:
    async def scenario(run: Run) -> None:
        assert (run.choose("a", (1, 2)), run.choose("a", (1, 2))) != (1, 2)

    report = await explore(scenario)
    assert str(report.failures[0].path) == "a#2=2"


async def calls(run: Run, number: int, log: list[str]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        log.append(request.url.path)
        return httpx.Response(200)

    async def work(life: Life) -> None:
        log.append("start")
        async with httpx.AsyncClient(transport=life.transport(httpx.MockTransport(answer))) as http:
            try:
                for each in range(number):
                    await http.get(f"http://service/{each}")
            finally:
                log.append("tidy")
                await http.get("http://service/tidy")

    await run.live(work)


async def test_crash_before_a_call_means_it_was_not_made_and_after_that_it_was() -> None:
    logs: dict[str, list[str]] = {}

    async def scenario(run: Run) -> None:
        log: list[str] = []
        await calls(run, 1, log)
        logs[str(run.path)] = log

    (await explore(scenario)).check()
    again = ["start", "/0", "tidy", "/tidy"]
    assert logs["crash@1=before"] == ["start", "tidy", *again]
    assert logs["crash@1=after"] == ["start", "/0", "tidy", *again]


async def test_dead_process_cannot_tidy_up() -> None:
    log: list[str] = []
    with pytest.raises(AssertionError, match="seen"):
        await replay(lambda run: _tidied(run, log), "crash@1=after")
    assert log == ["start", "/0", "tidy", "start", "/0", "tidy", "/tidy"]


async def _tidied(run: Run, log: list[str]) -> None:
    await calls(run, 1, log)
    raise AssertionError("seen")


@pytest.mark.parametrize(("crashes", "runs"), [(0, 1), (1, 7), (2, 1 + 6 + 6 * 6)])
async def test_crashes_of_those_that_recover_are_walked_up_to_the_number(crashes: int, runs: int) -> None:
    """Three calls; each crash is followed by a process of three calls."""
    starts = []

    async def scenario(run: Run) -> None:
        log: list[str] = []
        await calls(run, 2, log)
        starts.append(log.count("start"))

    report = await explore(scenario, crashes=crashes)
    report.check()
    assert report.runs == runs
    assert max(starts) == crashes + 1


async def test_other_calls_of_a_dying_process_are_carried_out_and_never_heard_of() -> None:
    done: list[str] = []
    heard: list[str] = []

    async def slow(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done.append(request.url.path)
        return httpx.Response(200)

    async def work(life: Life) -> None:
        http = httpx.AsyncClient(transport=life.transport(httpx.MockTransport(slow)))

        async def one(path: str) -> None:
            await http.get(f"http://service/{path}")
            heard.append(path)

        await asyncio.gather(one("a"), one("b"))

    await replay(lambda run: run.live(work), "crash@2=before")
    assert done[0] == "/a" or done == ["/a", "/b"]
    assert sorted(heard) == ["a", "b"], "only the second process heard"


class Port:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.name = "plain attributes pass"

    async def write(self, text: str) -> int:
        self.calls.append(text)
        return len(text)

    async def items(self) -> AsyncIterator[int]:
        for each in (1, 2):
            yield each
        self.calls.append("read")


async def test_calls_of_a_port_are_crash_points_like_any_other() -> None:
    told: dict[str, list[str]] = {}

    async def scenario(run: Run) -> None:
        port = Port()

        async def work(life: Life) -> None:
            mortal = life.port(port, "port")
            assert mortal.name == port.name
            assert [each async for each in mortal.items()] == [1, 2]
            assert await mortal.write("abc") == 3

        await run.live(work)
        told[run.path.told()] = port.calls

    (await explore(scenario)).check()
    assert told == {
        "": ["read", "abc"],
        "crash@1=before (port.items)": ["read", "abc"],
        "crash@1=after (port.items)": ["read", "read", "abc"],
        "crash@2=before (port.write)": ["read", "read", "abc"],
        "crash@2=after (port.write)": ["read", "abc", "read", "abc"],
    }


async def test_what_a_living_process_raises_fails_the_run() -> None:
    async def work(_: Life) -> None:
        raise ValueError("wrong")

    report = await explore(lambda run: run.live(work))
    assert str(report.failures[0]).startswith("ValueError: wrong\n  path: (no choice but the first)")


# Budgets and mistakes.


async def test_walk_that_a_budget_ends_does_not_pass_for_whole() -> None:
    report = await explore(scenario_with("none"), most_runs=5)
    assert (report.runs, report.complete) == (5, False)
    with pytest.raises(AssertionError, match="not every path was walked in 5 runs"):
        report.check()


async def test_failed_check_has_the_paths() -> None:
    report = await explore(scenario_with("put without keys"), crashes=0)
    with pytest.raises(AssertionError, match=r"dps\.put_without_keys=regenerate"):
        report.check()


async def test_scenario_that_asks_other_questions_each_time_is_refused() -> None:
    numbers = itertools.count()

    async def scenario(run: Run) -> None:
        run.choose("same", (1, 2))
        with contextlib.suppress(NotRepeatable):  # as an app might that catches everything
            run.choose(f"other-{next(numbers)}", (1, 2))

    with pytest.raises(NotRepeatable, match="choice 2 was other-0"):
        await explore(scenario)


async def test_scenario_that_stops_asking_is_refused() -> None:
    numbers = itertools.count()

    async def scenario(run: Run) -> None:
        if next(numbers) == 0:
            run.choose("once", (1, 2))

    with pytest.raises(NotRepeatable, match="once=2 was asked for before"):
        await explore(scenario)


async def test_run_without_an_end_is_a_failure() -> None:
    async def asks(run: Run) -> None:
        while True:
            run.choose("again", (1, 2))

    report = await explore(asks, most_choices=50)
    assert isinstance(report.failures[0].error, TooLong)

    async def waits(run: Run) -> None:
        await asyncio.Event().wait()

    report = await explore(waits, run_seconds=0.05)
    assert isinstance(report.failures[0].error, Hung)


@pytest.mark.parametrize("path", ["crash@99=before", "dps.odd=1", "crash@1=sideways"])
async def test_path_of_another_scenario_is_refused(path: str) -> None:
    with pytest.raises(NotThisPath):
        await replay(scenario_with("none"), path)
