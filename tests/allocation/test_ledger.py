"""The ledger: what is written is found again, by device and by enrollment, without a scan of the table."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation.errors import Overtaken
from allocation.ledger import LIST_AGAIN, MOST_LISTED, Entry, Ledger, partition_of, written_at
from allocation.row_keys import newest_first
from clients.ports import Change, Receipt, Row, Scalar, Table
from tests.allocation.making import key
from tests.memory_table import MemoryTable

if TYPE_CHECKING:
    from allocation.facts import EnrollmentKind

T = datetime(2026, 11, 22, 6, 0, 0, 123_456, tzinfo=UTC)
numbers = itertools.count()


def ledger(table: Table) -> Ledger:
    return Ledger(table, lambda: f"{next(numbers):08x}")


def entry(device: str = "dev-1", group: str = "g1", minute: float = 0, **more: Any) -> Entry:
    base = Entry(
        dps="factory",
        registration_id=device,
        enrollment_kind="group",
        enrollment_id=group,
        at=T + timedelta(minutes=minute),
        status=200,
        outcome="placed",
        hub=key("a"),
        why="ranked",
        rule="default",
        policy="v1",
        trail=("match: rule 'default'", "ranked: a ranks first"),
        facts={"id": device, "current": None, "read": {"payload.model": [1, 2.5, None, "ä"]}},
    )
    return replace(base, **more)


async def read(entries: AsyncIterator[Entry]) -> list[Entry]:
    return [each async for each in entries]


async def test_an_entry_is_read_back_whole(table: Table) -> None:
    told = entry(degraded="policy or hub states were last read 70 s ago")
    await ledger(table).write(told)
    assert await read(ledger(table).history("factory", "DEV-1")) == [told]
    assert await read(ledger(table).of_enrollment("factory", "group", "G1")) == [told]


async def test_a_rejected_device_and_one_told_to_wait_are_read_back_too(table: Table) -> None:
    rejected = entry(status=403, outcome="rejected", hub=None, why="stolen")
    wait = entry(minute=1, status=503, outcome="wait", hub=None, why="full", rule="", policy="", trail=())
    for told in (rejected, wait):
        await ledger(table).write(told)
    assert await read(ledger(table).history("factory", "dev-1")) == [wait, rejected]


async def test_a_devices_history_is_latest_first_over_all_its_enrollments(table: Table) -> None:
    kinds: list[tuple[EnrollmentKind, str]] = [
        ("group", "g1"),
        ("group", "g2"),
        ("individual", "dev-1"),
        ("unknown", ""),
    ]
    told = [
        entry(enrollment_kind=kind, enrollment_id=name, minute=minute)
        for minute, (kind, name) in enumerate(kinds * 5)
    ]
    writer = ledger(table)
    for each in told:
        await writer.write(each)
    await writer.write(entry("dev-10"))
    await writer.write(entry("dev-1", dps="other"))
    found = [each async for each in ledger(table).history("factory", "dev-1")]
    assert found == list(reversed(told))


async def test_an_enrollments_devices_come_by_device_and_at_wish_only_their_latest(table: Table) -> None:
    writer = ledger(table)
    for minute in range(3):
        for device in ("b", "a"):
            await writer.write(entry(device, minute=minute))
    await writer.write(entry("c", "g2"))
    whole = await read(ledger(table).of_enrollment("factory", "group", "g1"))
    assert [(each.registration_id, each.at) for each in whole] == [
        (device, T + timedelta(minutes=minute)) for device in ("a", "b") for minute in (2, 1, 0)
    ]
    latest = await read(ledger(table).of_enrollment("factory", "group", "g1", latest=True))
    assert [(each.registration_id, each.at) for each in latest] == [
        (device, T + timedelta(minutes=2)) for device in ("a", "b")
    ]


async def test_an_individual_enrollment_has_its_one_device_only(table: Table) -> None:
    writer = ledger(table)
    for device in ("one", "two"):
        await writer.write(entry(device, enrollment_kind="individual", enrollment_id=device))
    [found] = await read(ledger(table).of_enrollment("factory", "individual", "One"))
    assert found.registration_id == "one"


async def test_a_whole_dps_is_read_enrollment_by_enrollment(table: Table) -> None:
    writer = ledger(table)
    for group in ("g1", "g2"):
        await writer.write(entry(group=group))
    await writer.write(entry("solo", enrollment_kind="individual", enrollment_id="solo"))
    await writer.write(entry(dps="other"))
    found = await read(ledger(table).of_dps("factory"))
    assert [each.registration_id for each in found] == ["solo", "dev-1", "dev-1"]
    assert [each async for each in ledger(table).groups("factory")] == ["g1", "g2"]


async def test_two_answers_of_one_moment_are_two_rows(table: Table) -> None:
    writer = ledger(table)
    await asyncio.gather(*(writer.write(entry()) for _ in range(5)))
    assert len(await read(ledger(table).history("factory", "dev-1"))) == 5


async def test_what_the_audit_confirms_is_noted_on_the_row_it_read(table: Table) -> None:
    await ledger(table).write(entry())
    [found] = await read(ledger(table).history("factory", "dev-1"))
    assert (found.confirmed_at, found.confirmed_hub) == (None, None)
    later = T + timedelta(days=1)
    await ledger(table).confirm(found, key("b"), later)
    [confirmed] = await read(ledger(table).history("factory", "dev-1"))
    assert confirmed == replace(found, confirmed_at=later, confirmed_hub=key("b"))
    with pytest.raises(Overtaken):
        await ledger(table).confirm(found, key("c"), later)


async def test_an_assignment_that_the_audit_adds_says_so(table: Table) -> None:
    added = entry(source="audit", confirmed_at=T, confirmed_hub=key("a"), trail=(), facts=None)
    await ledger(table).write(added)
    assert await read(ledger(table).history("factory", "dev-1")) == [added]


class Counting:
    """Counts calls, and rows handed out."""

    def __init__(self, inner: Table) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self.rows = 0

    async def put(self, row: Row) -> Receipt:
        self.calls.append("put")
        return await self.inner.put(row)

    async def scan(self, partition: str, *, start: str = "", stop: str | None = None) -> AsyncIterator[Row]:
        self.calls.append("scan")
        async for row in self.inner.scan(partition, start=start, stop=stop):
            self.rows += 1
            yield row

    async def write(self, changes: Sequence[Change]) -> Receipt:
        return await self.inner.write(changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_an_answer_is_one_upsert_once_its_group_is_known() -> None:
    counting = Counting(MemoryTable())
    writer = ledger(counting)
    await writer.write(entry())
    assert counting.calls == ["put", "put"]
    counting.calls.clear()
    for number in range(10):
        await writer.write(entry(f"d{number}"))
        await writer.write(entry(f"d{number}", enrollment_kind="individual", enrollment_id=f"d{number}"))
    assert counting.calls == ["put"] * 20


async def test_a_group_is_listed_again_in_time_and_made_up_groups_take_no_memory() -> None:
    counting = Counting(MemoryTable())
    writer = ledger(counting)
    await writer.write(entry())
    await writer.write(entry(minute=LIST_AGAIN / timedelta(minutes=1)))
    assert len(counting.calls) == 4
    for number in range(2 * MOST_LISTED):
        await writer.write(entry(group=f"made-up-{number}"))
    assert len(writer._listed) <= MOST_LISTED


async def test_a_device_among_many_is_found_by_reading_its_own_rows_only() -> None:
    table = MemoryTable()
    writer = ledger(table)
    for device in range(300):
        for group in range(3):
            await writer.write(entry(f"dev-{device}", f"g{group}", minute=group))
    counting = Counting(table)
    found = await read(ledger(counting).history("factory", "dev-7"))
    assert len(found) == 3
    assert counting.rows == 3 + 3  # its rows, and the list of groups
    assert counting.calls.count("scan") == 1 + 2 + 3  # the list, individual, unknown, three groups


hostile = st.text(max_size=1_100) | st.text(alphabet="\ud800\udfff\x00|}=/é𝄞\n", max_size=300)


@settings(max_examples=60, deadline=None)
@given(
    hostile, hostile, hostile, st.lists(hostile, max_size=4), st.dictionaries(hostile, hostile, max_size=3)
)
async def test_hostile_texts_are_recorded_and_found(
    dps: str, device: str, group: str, trail: list[str], facts: dict[str, str]
) -> None:
    table = MemoryTable()
    told = entry(device or "d", group, dps=dps, trail=tuple(trail), facts=facts, why=group, degraded=device)
    await ledger(table).write(told)
    [found] = await read(ledger(table).history(dps, device or "d"))
    assert (found.at, found.hub) == (told.at, told.hub)
    as_json = json.loads(json.dumps([trail, facts]))  # which takes a surrogate's two halves for one character
    assert [list(found.trail), found.facts] == as_json


async def test_facts_too_long_to_be_kept_are_left_out_whole(table: Table) -> None:
    await ledger(table).write(entry(facts={"payload": "x" * 40_000}, trail=("y" * 40_000,)))
    [found] = await read(ledger(table).history("factory", "dev-1"))
    assert (found.facts, found.trail) == (None, ())


async def test_a_row_of_any_shape_is_read_as_far_as_it_makes_sense() -> None:
    table = MemoryTable()
    await ledger(table).write(entry())
    [found] = await read(ledger(table).history("factory", "dev-1"))
    assert found.row is not None
    garbage: dict[str, Scalar] = {
        "status": "x",
        "outcome": 7,
        "facts": "[",
        "trail": '{"a":1}',
        "source": 1,
        "confirmed_at": "?",
    }
    await table.put(Row(found.row.partition, found.row.key, garbage))
    [odd] = await read(ledger(table).history("factory", "dev-1"))
    assert (odd.at, odd.status, odd.outcome, odd.facts, odd.trail) == (T, 0, "wait", None, ())


def test_a_rows_key_tells_when_it_was_answered() -> None:
    assert written_at(f"dev-1|{newest_first(T)}|00") == T
    with pytest.raises(ValueError, match="no key"):
        written_at("checkpoint")


def test_partitions_begin_with_the_dps() -> None:
    assert partition_of("Factory", "group", "Line A") == "factory|group|line=20a"
    assert partition_of("", "individual", "x") == "-|individual"
