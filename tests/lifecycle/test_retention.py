"""Pruning: what is old goes, what is not stays, and a slice that dies loses nothing."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from allocation import Entry, Ledger, LoadRow, cordon, read_fleet, write_load
from clients.errors import TableUnavailable
from clients.ports import Change, Receipt, Row, Table
from lifecycle.retention import Pruned, prune
from provisioning.hubs import HubKey
from tests.clocks import HandClock
from tests.heard import Heard
from tests.memory_table import MemoryTable

KEEP = timedelta(days=30)
numbers = itertools.count()


def ledger(table: Table) -> Ledger:
    return Ledger(table, lambda: f"{next(numbers):08x}")


class Place:
    def __init__(self, table: Table, fleet: Table | None = None) -> None:
        self.table, self.fleet = table, fleet or MemoryTable()
        self.clock = HandClock()
        self.heard = Heard()
        self.writer = ledger(table)

    async def fill(self, device: str, days_ago: float, group: str = "g1", **more: Any) -> None:
        at = self.clock.now() - timedelta(days=days_ago)
        entry = Entry(
            dps="factory",
            registration_id=device,
            enrollment_kind="group",
            enrollment_id=group,
            at=at,
            status=200,
            outcome="placed",
        )
        await self.writer.write(replace(entry, **more))

    async def prune(self, seconds: float = 60, table: Table | None = None) -> Pruned:
        return await prune(
            table or self.table,
            self.fleet,
            "factory",
            keep=KEEP,
            clock=self.clock,
            telemetry=self.heard,
            seconds=seconds,
        )

    async def left(self) -> list[tuple[str, int]]:
        now = self.clock.now()
        return [
            (entry.registration_id, (now - entry.at).days)
            async for entry in ledger(self.table).of_dps("factory")
        ]


async def test_old_rows_go_and_others_stay_in_every_enrollment(table: Table) -> None:
    place = Place(table)
    for days in (0, 29, 31, 400):
        await place.fill("dev", days)
        await place.fill("dev", days, "g2")
        await place.fill("solo", days, enrollment_kind="individual", enrollment_id="solo")
        await place.fill("other", days, dps="other")
    assert await place.prune() == Pruned(read=12, deleted=6, whole=True)
    assert await place.left() == [("solo", 0), ("solo", 29), ("dev", 0), ("dev", 29), ("dev", 0), ("dev", 29)]
    others = [entry async for entry in ledger(table).of_dps("other")]
    assert len(others) == 4
    [told] = place.heard.of("pruned")
    assert (told["deleted"], told["whole"]) == (6, True)


class Ticking(MemoryTable):
    """Each row read takes a second."""

    clock: HandClock

    async def scan(self, partition: str, *, start: str = "", stop: str | None = None) -> Any:
        async for row in super().scan(partition, start=start, stop=stop):
            self.clock.move(1)
            yield row


async def test_slices_go_on_where_the_last_one_stopped_and_come_to_an_end() -> None:
    table = Ticking(page=50)
    place = Place(table)
    table.clock = place.clock
    for number in range(450):
        await place.fill(f"dev-{number:03d}", 31 if number % 3 else 0, f"g{number % 2}")
    slices: list[Pruned] = []
    while not slices or not slices[-1].whole:
        slices.append(await place.prune(seconds=100))
        assert len(slices) < 20
    assert len(slices) > 3
    assert sum(each.deleted for each in slices) == 300
    assert len(await place.left()) == 150
    assert sum(each.read for each in slices) <= 450 + len(slices)
    assert (await place.prune(seconds=1e9)).whole


class Dying:
    """Dies at the nth write or deletion and stays dead."""

    def __init__(self, inner: Table, survives: int) -> None:
        self.inner, self.survives = inner, survives

    def _live(self) -> None:
        self.survives -= 1
        if self.survives < 0:
            raise TableUnavailable("dead")

    async def write(self, changes: Sequence[Change]) -> Receipt:
        self._live()
        return await self.inner.write(changes)

    async def put(self, row: Row) -> Receipt:
        self._live()
        return await self.inner.put(row)

    async def delete(self, row: Row) -> Receipt:
        self._live()
        return await self.inner.delete(row)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.parametrize("survives", range(6))
async def test_a_slice_that_dies_anywhere_is_made_good_by_the_next(survives: int) -> None:
    place = Place(MemoryTable())
    for number in range(150):
        await place.fill(f"d{number}", 31)
        await place.fill(f"d{number}", 1, "g2")
    dying: Table = Dying(place.table, survives)
    if survives < 4:
        with pytest.raises(TableUnavailable):
            await place.prune(table=dying)
    else:
        await place.prune(table=dying)
    assert (await place.prune()).whole
    assert sorted(await place.left()) == sorted((f"d{number}", 1) for number in range(150))


async def test_rows_that_vanish_meanwhile_do_not_keep_the_others() -> None:
    class Racing(MemoryTable):
        async def write(self, changes: Sequence[Change]) -> Receipt:
            await super().delete(changes[0].row)
            return await super().write(changes)

    place = Place(Racing())
    for number in range(5):
        await place.fill(f"d{number}", 31)
    assert (await place.prune()).deleted == 4
    assert await place.left() == []


async def test_a_group_without_rows_leaves_the_list_once_no_instance_relies_on_it() -> None:
    place = Place(MemoryTable())
    await place.fill("dev", 31, "gone")
    await place.fill("dev", 1, "alive")
    await place.prune()
    assert [group async for group in ledger(place.table).groups("factory")] == ["alive"]
    # Listed an hour ago by an instance that takes it for granted, and all its rows old (a late write).
    await place.fill("late", 1 / 24, "late")
    await place.table.delete(await anext(place.table.scan("factory|group|late")))
    await place.prune()
    assert [group async for group in ledger(place.table).groups("factory")] == ["alive", "late"]


async def test_counts_of_hubs_long_gone_are_forgotten_and_what_operators_said_is_not(table: Table) -> None:
    place = Place(MemoryTable(), table)
    gone, here, failing = (HubKey(f"{name}.azure-devices.net") for name in ("gone", "here", "failing"))
    now, old = place.clock.now(), place.clock.now() - timedelta(days=31)
    await write_load(table, "factory", LoadRow(gone, devices=1, as_of=old))
    await write_load(table, "factory", LoadRow(here, devices=1, as_of=now))
    await write_load(table, "factory", LoadRow(failing, devices=1, as_of=old, failing_since=now, error="no"))
    await cordon(table, "factory", gone, "kim", place.clock)
    await place.prune()
    fleet = await read_fleet(table, "factory")
    assert (set(fleet.loads), set(fleet.states)) == ({here, failing}, {gone})
