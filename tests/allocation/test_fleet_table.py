"""The fleet table: commands change a hub's state, counts change its load, and neither touches the other."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from allocation.errors import Overtaken
from allocation.fleet import HubState
from allocation.fleet_table import (
    LoadRow,
    cordon,
    disable,
    drain,
    forget_load,
    read_fleet,
    uncordon,
    write_load,
)
from clients.ports import Row, Table
from tests.allocation.making import hub, key
from tests.clocks import HandClock

T = datetime(2026, 11, 22, tzinfo=UTC)
A, B = key("a"), key("b")


async def test_each_command_says_what_who_when_and_why(table: Table) -> None:
    clock = HandClock()
    for command, state in (
        (cordon, HubState.CORDONED),
        (drain, HubState.DRAINING),
        (disable, HubState.DISABLED),
        (uncordon, HubState.OPEN),
    ):
        clock.move(1)
        said = await command(table, "Factory", hub("A").upper(), "kim", clock, "disk swap")
        [row] = (await read_fleet(table, "factory")).states.values()
        assert row == said
        assert (row.hub, row.state, row.by, row.at, row.note) == (A, state, "kim", clock.now(), "disk swap")


async def test_each_dps_has_hub_states_of_its_own(table: Table) -> None:
    await cordon(table, "one", hub("a"), "kim", HandClock())
    assert (await read_fleet(table, "two")).states == {}
    assert (await read_fleet(table, "")).states == {}


class Meeting:
    """A table at which everybody who read waits until all have read."""

    def __init__(self, inner: Table, people: int) -> None:
        self.inner = inner
        self.barrier = asyncio.Barrier(people)

    async def get(self, partition: str, row_key: str) -> Row | None:
        row = await self.inner.get(partition, row_key)
        await self.barrier.wait()
        return row

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


@pytest.mark.parametrize("first", [True, False])
async def test_of_two_operators_in_the_same_moment_one_wins_and_the_other_is_told(
    table: Table, first: bool
) -> None:
    if not first:
        await uncordon(table, "", hub("a"), "early", HandClock())
    meeting: Table = Meeting(table, 2)  # type: ignore[assignment]  # the rest is handed on
    outcomes = await asyncio.gather(
        drain(meeting, "", hub("a"), "kim", HandClock()),
        cordon(meeting, "", hub("a"), "lee", HandClock()),
        return_exceptions=True,
    )
    [told] = [outcome for outcome in outcomes if isinstance(outcome, Overtaken)]
    [won] = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert "somebody else changed its state" in str(told)
    assert (await read_fleet(table, "")).states[A] == won


async def test_a_state_that_this_version_does_not_know_counts_as_cordoned(table: Table) -> None:
    await table.put(Row("-", f"state|{A}", {"hub": A, "state": "hibernating"}))
    [row] = (await read_fleet(table, "")).states.values()
    assert (row.state, row.readable) == (HubState.CORDONED, False)


async def test_a_count_is_read_back_with_its_age_and_leaves_states_alone(table: Table) -> None:
    await drain(table, "", hub("a"), "kim", HandClock())
    load = LoadRow(A, devices=7, as_of=T, source="statistics")
    assert await write_load(table, "", load)
    fleet = await read_fleet(table, "")
    assert fleet.loads == {A: load}
    assert fleet.states[A].state is HubState.DRAINING


async def test_of_two_counts_in_the_same_moment_one_is_kept(table: Table) -> None:
    assert await write_load(table, "", LoadRow(A, devices=1, as_of=T))
    [read] = (await read_fleet(table, "")).loads.values()
    newer = LoadRow(A, devices=2, as_of=T + timedelta(minutes=1), etag=read.etag)
    assert await write_load(table, "", newer)
    assert not await write_load(table, "", LoadRow(A, devices=3, as_of=T, etag=read.etag))
    assert not await write_load(table, "", LoadRow(A, devices=3, as_of=T))
    assert (await read_fleet(table, "")).loads[A].devices == 2


async def test_a_failing_hub_keeps_its_last_count_and_says_since_when(table: Table) -> None:
    load = LoadRow(A, devices=7, as_of=T, source="statistics", failing_since=T, error="no answer")
    await write_load(table, "", load)
    assert (await read_fleet(table, "")).loads == {A: load}


@pytest.mark.parametrize(
    "values", [{"devices": "many"}, {"devices": -1, "as_of": T}, {"devices": 3}, {"as_of": T}, {}]
)
async def test_a_count_that_makes_no_sense_is_no_count(table: Table, values: dict[str, str | int]) -> None:
    await table.put(Row("-", f"load|{A}", values))
    [load] = (await read_fleet(table, "")).loads.values()
    assert (load.hub, load.devices, load.as_of) == (A, None, None)


async def test_a_count_is_forgotten_only_as_it_was_read(table: Table) -> None:
    await write_load(table, "", LoadRow(A, devices=1, as_of=T))
    [old] = (await read_fleet(table, "")).loads.values()
    await write_load(table, "", LoadRow(A, devices=2, as_of=T, etag=old.etag))
    assert not await forget_load(table, "", old)
    [new] = (await read_fleet(table, "")).loads.values()
    assert await forget_load(table, "", new)
    assert (await read_fleet(table, "")).loads == {}
