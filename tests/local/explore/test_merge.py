"""Walks that follow each state once see what full walks see; parts of a walk are the whole of it."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import httpx
import pytest

from local.explore import Life, NotRepeatable, Opaque, Run, Scenario, View, explore
from local.explore.state import told
from tests.lifecycle import test_job_exploration as jobs
from tests.local.explore.toy import Bug, Rotation, Store, World, scenario_with


class Notes(set[Any]):
    """What a test writes down of the runs; no run reads it."""


UNREAD: Mapping[type, View] = {Notes: lambda _: None}


def noted(scenario: Scenario, notes: Notes, *, paths: bool = False) -> Scenario:
    """The scenario, with how each run ended."""

    async def run(run: Run) -> None:
        try:
            await scenario(run)
        except AssertionError as error:
            notes.add(str(error))
            raise
        notes.add(tuple(map(str, run.taken)) if paths else "passed")

    return run


def ended(bug: Bug, ends: Notes) -> Scenario:
    """The toy, with the world that each run left."""

    async def run(run: Run) -> None:
        world = World(run)
        await run.live(lambda life: Rotation(life, world, bug).run())
        ends.add(
            (
                tuple(world.store.rows.items()),
                tuple(world.keys.items()),
                tuple(world.versions),
                world.pending,
                tuple(world.wrongs),
            )
        )
        world.check()

    return run


# What a merged walk finds.


@pytest.mark.parametrize(
    ("bug", "crashes"), [("none", 2), ("put without keys", 1), ("no write-ahead", 1), ("tires", 2)]
)
async def test_merged_walk_comes_to_every_end_that_the_full_walk_comes_to(bug: Bug, crashes: int) -> None:
    full, merged = Notes(), Notes()
    of_all = await explore(ended(bug, full), crashes=crashes, most_failures=9999)
    of_merged = await explore(ended(bug, merged), crashes=crashes, most_failures=9999, merge=UNREAD)
    assert of_all.complete
    assert of_merged.complete
    assert merged == full
    assert bool(of_merged.failures) is bool(of_all.failures)
    assert of_merged.runs < of_all.runs * 0.7


async def test_what_only_a_pair_of_crashes_finds_is_found_in_a_merged_walk() -> None:
    (await explore(scenario_with("tires"))).check()
    (failure,) = (await explore(scenario_with("tires"), crashes=2, merge={})).failures
    assert str(failure.path).count("crash@") == 2


async def test_merged_walk_of_a_real_job_agrees_with_the_full_one() -> None:
    """Every pair of crashes of a job of one item."""
    full, merged = Notes(), Notes()
    of_all = await explore(noted(jobs.scenario(items=1), full), crashes=2)
    of_merged = await explore(noted(jobs.scenario(items=1), merged), crashes=2, merge=UNREAD)
    of_all.check()
    of_merged.check()
    assert merged == full == {"passed"}
    assert of_merged.runs < of_all.runs / 4, (of_merged.runs, of_all.runs)
    assert of_merged.merged > of_merged.runs


class Service:
    """A value that is read and written, by requests."""

    def __init__(self) -> None:
        self.value = 0

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            self.value += 1
        return httpx.Response(200, text=str(self.value))


def calling(methods: str, *, history: Callable[[], list[str]] | None = None) -> Scenario:
    """Calls by their first letters; a history is kept where the scenario can see it."""

    async def run(run: Run) -> None:
        service = Service()
        seen = history() if history else None

        async def work(life: Life) -> None:
            async with httpx.AsyncClient(transport=life.transport(service.transport())) as http:
                for each in methods:
                    await http.request({"G": "GET", "P": "PUT"}[each], "http://service")
                    if seen is not None:
                        seen.append(each)

        await run.live(work)

    return run


async def test_deaths_around_reads_and_before_a_write_are_one_with_the_death_after_the_write_before() -> None:
    report = await explore(calling("GGGPGG"), merge={})
    report.check()
    assert report.runs == 1 + 2  # before the write, and after it
    assert report.merged == 2 * 6 - 2


async def test_what_a_scenario_remembers_keeps_states_apart() -> None:
    """Nothing that a check may look at is left out, so nothing that it would find is."""
    report = await explore(calling("GGG", history=list), merge={})
    assert report.runs == 1 + 3  # with nothing, one or two of them in the history

    async def run(run: Run) -> None:
        log: list[str] = []
        service = Service()

        async def work(life: Life) -> None:
            async with httpx.AsyncClient(transport=life.transport(service.transport())) as http:
                for each in "abc":
                    await http.get("http://service")
                    log.append(each)

        await run.live(work)
        assert log != ["a", "b", "a", "b", "c"]

    (failure,) = (await explore(run, merge={})).failures
    assert str(failure.path) in ("crash@3=before", "crash@2=after")


async def test_position_of_a_switch_that_the_world_holds_keeps_states_apart() -> None:
    async def run(run: Run) -> None:
        held: list[str] = []

        async def work(life: Life) -> None:
            async def ask() -> None:
                held[:] = [run.choose("first", "ab")]

            await life.call("ask", ask)
            await life.call("look", lambda: asyncio.sleep(0))

        await run.live(work)
        assert held != ["b"]

    report = await explore(run, merge={}, most_failures=99)
    assert [str(each.path) for each in report.failures if "crash" not in str(each.path)] == ["first=b"]
    assert report.complete


# What cannot be told is refused.


async def test_world_that_draws_what_no_seed_sets_is_refused() -> None:
    numbers = count()

    async def run(run: Run) -> None:
        store = Store()

        async def work(life: Life) -> None:
            await life.port(store, "store").put("drawn", str(next(numbers)))

        await run.live(work)

    with pytest.raises((NotRepeatable, Opaque)):
        await explore(_hiding(run), merge={})


def _hiding(scenario: Scenario) -> Scenario:
    """So that the counter of the test itself is out of the scenario's sight."""

    async def run(run: Run) -> None:
        await scenario(run)

    return run


async def test_content_that_cannot_be_told_is_refused_and_a_view_mends_it() -> None:
    class Guard:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    async def run(run: Run) -> None:
        guard = Guard()
        await run.live(lambda life: life.call(type(guard).__name__, lambda: asyncio.sleep(0)))

    with pytest.raises(Opaque, match="lock holds cannot be told: give it a view"):
        await explore(run, merge={})
    (await explore(run, merge={Guard: lambda _: None})).check()


async def test_scenario_that_looks_at_its_path_is_refused() -> None:
    async def run(run: Run) -> None:
        assert str(run.path)

    with pytest.raises(Opaque, match="must not look at its path"):
        await explore(run, merge={})


async def test_process_that_lives_beside_the_scenario_is_refused() -> None:
    async def run(run: Run) -> None:
        await asyncio.ensure_future(run.live(lambda life: life.call("a", lambda: asyncio.sleep(0))))

    with pytest.raises(Opaque, match="lives in a task of its own"):
        await explore(run, merge={})


async def test_task_that_the_state_does_not_hold_is_refused() -> None:
    kept = Notes()

    async def run(run: Run) -> None:
        async def call() -> None:
            kept.add(asyncio.ensure_future(asyncio.Event().wait()))

        await run.live(lambda life: life.call("a", call))

    with pytest.raises(Opaque, match="runs on, and the state does not have it"):
        await explore(run, merge=UNREAD)
    for each in kept:
        each.cancel()


# What makes a state.


def state(*roots: Any) -> bytes:
    return told(roots, {})[0]


class Slotted:
    __slots__ = ("__hidden", "shown")

    def __init__(self, shown: int, hidden: int) -> None:
        self.shown, self.__hidden = shown, hidden


def closing_over(value: Any) -> Callable[[], Any]:
    return lambda: value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (1, True),
        ("1", 1),
        (Slotted(1, 2), Slotted(1, 3)),
        (Slotted(1, 2), Slotted(0, 2)),
        (closing_over([1]), closing_over([2])),
        (ValueError("a"), ValueError("b")),
        ({frozenset({1})}, {frozenset({2})}),
    ],
)
def test_states_that_differ_anywhere_have_other_digests(one: Any, other: Any) -> None:
    assert state(one) == state(one)
    assert state(one) != state(other)


def test_order_of_a_set_is_no_part_of_a_state_and_who_shares_a_list_is() -> None:
    assert state({"a", "b", "c"}) == state({"c", "b", "a"})
    shared: list[int] = []
    assert state([shared, shared]) != state([[], []])
    loop: list[Any] = []
    loop.append(loop)
    assert state(loop) == state(loop)


async def test_task_counts_by_where_it_stands_and_by_its_variables() -> None:
    async def walk(steps: int, other: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        await asyncio.Event().wait()
        del other

    async def at(steps: int, other: int) -> bytes:
        task = asyncio.ensure_future(walk(steps, other))
        await asyncio.sleep(0)
        try:
            return state(task)
        finally:
            task.cancel()

    assert await at(0, 1) == await at(0, 1)
    assert await at(0, 1) != await at(0, 2)
    assert await at(0, 1) != await at(1, 1)


# Parts of a walk.


@pytest.mark.parametrize(("bug", "crashes", "shards"), [("put without keys", 1, 3), ("tires", 2, 2)])
async def test_shards_have_no_path_in_common_and_are_the_whole_walk(
    bug: Bug, crashes: int, shards: int
) -> None:
    def paths() -> tuple[Scenario, list[str]]:
        walked: list[str] = []

        async def run(run: Run) -> None:
            try:
                await scenario_with(bug)(run)
            finally:
                walked.append("; ".join(map(str, run.taken)))

        return run, walked

    whole, expected = paths()
    full = await explore(whole, crashes=crashes, most_failures=9999)
    parts, runs, failures = [], 0, 0
    for which in range(1, shards + 1):
        part, walked = paths()
        report = await explore(part, crashes=crashes, most_failures=9999, shard=(which, shards))
        assert report.complete
        parts.append([path for path in walked if which == 1 or "before" in path or "after" in path])
        runs, failures = runs + report.runs, failures + len(report.failures)
        assert report.runs == len(parts[-1])
    assert sorted(path for part in parts for path in part) == sorted(expected)
    assert (runs, failures) == (full.runs, len(full.failures))
    assert all(parts)


async def test_merged_shards_come_to_every_end_of_the_walk() -> None:
    whole, parts = Notes(), Notes()
    await explore(ended("no write-ahead", whole), crashes=2, most_failures=9999)
    for which in (1, 2):
        report = await explore(
            ended("no write-ahead", parts), crashes=2, most_failures=9999, merge=UNREAD, shard=(which, 2)
        )
        assert report.complete
    assert parts == whole


@pytest.mark.parametrize(("crashes", "shard"), [(1, (0, 2)), (1, (3, 2)), (0, (1, 2))])
async def test_shard_that_is_none_is_refused(crashes: int, shard: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="shard"):
        await explore(scenario_with("none"), crashes=crashes, shard=shard)


async def test_process_may_die_after_a_call_that_fails() -> None:
    lives: list[str] = []

    async def run(run: Run) -> None:
        lives.clear()

        async def fails() -> None:
            raise httpx.ReadTimeout("no answer")

        async def work(life: Life) -> None:
            lives.append("begun")
            try:
                await life.call("a", fails)
            except httpx.ReadTimeout:
                lives.append("told")

        await run.live(work)
        assert lives != ["begun", "begun", "told"]

    (failure,) = (await explore(run, deaths=["after"])).failures
    assert str(failure.path) == "crash@1=after"
