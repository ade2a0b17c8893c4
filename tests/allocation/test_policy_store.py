"""Policy versions: nothing that does not load goes live, and of two operators at once one is told."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from allocation.errors import NotStored, Overtaken, PolicyError
from allocation.policy.store import CHUNK, PolicyStore
from clients.errors import TableUnavailable
from clients.ports import Change, Receipt, Row, Table
from tests.allocation.making import hub
from tests.clocks import HandClock
from tests.failing_table import FailingTable
from tests.memory_table import MemoryTable


def policy(name: str = "a", rules: int = 0) -> str:
    return json.dumps(
        {
            "hubs": [{"name": hub(name)}],
            "rules": [
                {
                    "name": f"r{number}",
                    "when": {"registration_id": f"{number}-*"},
                    "reject": {"reason": "ä" * 500},
                }
                for number in range(rules)
            ],
        }
    )


def store(table: Table, dps: str = "") -> PolicyStore:
    return PolicyStore(table, dps, HandClock())


async def versions(at: PolicyStore) -> list[tuple[str, str, str]]:
    return [(each.version, each.by, each.how) async for each in at.history()]


async def test_a_stored_version_is_active_only_once_activated(table: Table) -> None:
    at = store(table)
    version = await at.put(policy())
    assert await at.active() is None
    await at.activate(version, "kim")
    active = await at.active()
    assert active is not None
    assert (active.version, active.by, active.how, active.number) == (version, "kim", "activate", 1)
    assert (await at.load(version)).version == version


async def test_the_same_policy_is_one_version_however_it_is_laid_out(table: Table) -> None:
    at = store(table)
    again = json.dumps(json.loads(policy()), indent=4)
    assert await at.put(policy()) == await at.put(again)
    assert await at.put(policy("b")) != await at.put(policy())


async def test_a_long_document_is_stored_in_parts_and_read_back_whole(table: Table) -> None:
    at = store(table)
    version = await at.put(policy(rules=100))
    text = await at.text(version)
    assert len(text) > 3 * CHUNK
    assert (await at.load(version)).version == version


@pytest.mark.parametrize("text", ["{", '{"rules": [{}]}', '{"hubs": 3}', ""])
async def test_a_bad_document_is_refused_and_leaves_no_trace(text: str) -> None:
    table = FailingTable(MemoryTable())
    with pytest.raises(PolicyError):
        await store(table).put(text)
    assert table.calls == 0


async def test_a_version_that_is_not_there_cannot_be_activated(table: Table) -> None:
    at = store(table)
    with pytest.raises(NotStored, match="'nope' is not stored"):
        await at.activate("nope", "kim")
    assert await at.active() is None


async def test_a_damaged_version_never_goes_live_and_can_be_put_again(table: Table) -> None:
    at = store(table)
    version = await at.put(policy(rules=100))
    for damage in (None, {"text": "{}"}, {"parts": 7}):
        row = await anext(table.scan(f"-|policy|{version}"))
        if damage is None:
            await table.delete(row)
        else:
            await table.put(Row(row.partition, row.key, {**row.values, **damage}))
        with pytest.raises(NotStored, match="damaged"):
            await at.activate(version, "kim")
        assert await at.active() is None
        await at.put(policy(rules=100))
        assert (await at.load(version)).version == version


async def test_rollbacks_go_back_step_by_step_to_the_packaged_policy(table: Table) -> None:
    at = store(table)
    one, two, three = [await at.put(policy(name)) for name in "abc"]
    for version in (one, two, three):
        await at.activate(version, "kim")
    for expected in (two, one, ""):
        assert (await at.rollback("lee")).version == expected
        active = await at.active()
        assert active is not None
        assert active.version == expected
    with pytest.raises(PolicyError, match="nothing to roll back to"):
        await at.rollback("lee")
    await at.activate(two, "kim")
    assert (await at.rollback("lee")).version == ""


async def test_a_rollback_after_a_rollback_and_an_activation_returns_to_before_that_activation(
    table: Table,
) -> None:
    at = store(table)
    one, two, three = [await at.put(policy(name)) for name in "abc"]
    await at.activate(one, "kim")
    await at.activate(two, "kim")
    await at.rollback("kim")
    await at.activate(three, "kim")
    assert (await at.rollback("kim")).version == one
    assert (await at.rollback("kim")).version == ""


async def test_the_history_tells_every_move_latest_first(table: Table) -> None:
    at = store(table)
    one, two = [await at.put(policy(name)) for name in "ab"]
    await at.activate(one, "kim")
    await at.activate(two, "lee")
    await at.rollback("ann")
    assert await versions(at) == [
        (one, "ann", "rollback"),
        (two, "lee", "activate"),
        (one, "kim", "activate"),
    ]


async def test_each_dps_has_versions_of_its_own(table: Table) -> None:
    version = await store(table, "one").put(policy())
    await store(table, "one").activate(version, "kim")
    assert await store(table, "two").active() is None
    with pytest.raises(NotStored):
        await store(table, "two").activate(version, "kim")


class Meeting:
    """A table at which two who want to move the pointer meet before either does."""

    def __init__(self, inner: Table) -> None:
        self.inner = inner
        self.barrier = asyncio.Barrier(2)

    async def write(self, changes: Sequence[Change]) -> Receipt:
        await self.barrier.wait()
        return await self.inner.write(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.parametrize("first", [True, False])
async def test_of_two_activations_at_once_one_wins_and_the_other_is_told(table: Table, first: bool) -> None:
    at = store(table)
    one, two, three = [await at.put(policy(name)) for name in "abc"]
    if not first:
        await at.activate(three, "early")
    meeting: Table = Meeting(table)
    outcomes = await asyncio.gather(
        store(meeting).activate(one, "kim"), store(meeting).activate(two, "lee"), return_exceptions=True
    )
    [told] = [outcome for outcome in outcomes if isinstance(outcome, Overtaken)]
    [won] = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert "somebody else activated" in str(told)
    assert await at.active() == won
    assert len(await versions(at)) == (1 if first else 2)


async def test_an_activation_whose_answer_is_lost_leaves_a_whole_state() -> None:
    table = FailingTable(MemoryTable())
    at = store(table)
    version = await at.put(policy())
    table.writes_vanish = True
    with pytest.raises(TableUnavailable):
        await at.activate(version, "kim")
    table.writes_vanish = False
    active = await at.active()
    assert active is not None
    assert active.version == version
    assert await versions(at) == [(version, "kim", "activate")]
