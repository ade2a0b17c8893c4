"""Uses of the webhook's keys are counted beside the requests, by fingerprints that give nothing away."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from allocation import KeyUse, fingerprint, presented, read_uses, uses_of
from clients.errors import TableUnavailable
from clients.ports import Receipt, Row
from local.world import ManualClock
from tests.memory_table import MemoryTable

KEY, OTHER = "a-function-key-of-32-bytes-or-so", "another-function-key-of-the-app"


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))

    def measure(self, name: str, value: float, **dimensions: str) -> None:
        raise AssertionError("nothing is measured")

    def span(self, name: str, seconds: float, **attributes: object) -> None:
        raise AssertionError("nothing is traced")


class Down(MemoryTable):
    """A table that does not answer."""

    down = True

    async def insert(self, row: Row) -> Receipt:
        if self.down:
            raise TableUnavailable("no answer")
        return await super().insert(row)


def counting(table: Any) -> tuple[KeyUse, ManualClock, Told]:
    clock, told = ManualClock(), Told()
    return KeyUse(table, clock, told), clock, told


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_fingerprint_is_short_and_tells_keys_apart() -> None:
    assert len(fingerprint(KEY)) == 12
    assert fingerprint(KEY) != fingerprint(OTHER)
    assert fingerprint(KEY) == fingerprint(KEY)
    assert fingerprint("") == ""
    assert len(fingerprint("\udc80")) == 12


@pytest.mark.parametrize(
    ("header", "query", "params", "key"),
    [
        (None, "?code=a", {"code": "a"}, "a"),
        (None, "?CODE=a", {"CODE": "a"}, "a"),
        (None, "?Code=a&code=b", {"Code": "a,b"}, "a"),
        (None, "?x=1&code=a%2Fb%3D%3D", {}, "a/b=="),
        (None, "", {"cOdE": "a"}, "a"),
        (None, "?code=", {"code": "b"}, None),
        (None, "?codes=a", {}, None),
        (None, "", {}, None),
        ("a", "?code=b", {"code": "b"}, "a"),
        ("a,b", "?code=c", {"code": "c"}, "a"),
        ("", "?code=b", {"code": "b"}, None),
    ],
)
def test_the_key_that_counts_is_the_one_that_the_host_looked_at(
    header: str | None, query: str, params: dict[str, str], key: str | None
) -> None:
    assert presented(header, f"https://app.example/api/allocate{query}", params) == key


async def test_the_first_use_is_written_at_once_and_the_next_ones_a_minute_later() -> None:
    table = MemoryTable()
    use, clock, told = counting(table)
    use.count(KEY, "dps-1", 400)
    await settle()
    [seen] = await read_uses(table)
    assert (seen.calls, seen.placed, seen.last_placed) == (1, 0, None)
    use.count(KEY, "dps-1", 200)  # the first that placed a device is worth a write of its own
    await settle()
    [seen] = await read_uses(table)
    assert (seen.calls, seen.placed, seen.last_placed) == (2, 1, clock.now())
    for _ in range(500):
        use.count(KEY, "dps-1", 200)
    await settle()
    assert [seen.calls for seen in await read_uses(table)] == [2]
    await clock.advance(61)
    use.count(KEY, "dps-1", 200)
    await settle()
    [seen] = await read_uses(table)
    assert (seen.calls, seen.placed, seen.last) == (503, 502, clock.now())
    assert len(told.events) == 3


async def test_a_check_of_the_webhook_uses_the_key_and_is_no_device_placed_by_it() -> None:
    table = MemoryTable()
    use, clock, _ = counting(table)
    use.count(KEY, "dps-1", 200, check=True)
    await settle()
    [seen] = await read_uses(table)
    assert (seen.calls, seen.last, seen.placed, seen.last_placed) == (1, clock.now(), 0, None)


async def test_instances_add_up_and_keys_and_dps_stay_apart() -> None:
    table = MemoryTable()
    one, clock, _ = counting(table)
    other, _, _ = counting(table)
    one.count(KEY, "DPS-1", 200)
    other.count(KEY, "dps-1", 200)
    other.count(KEY, "", 200)
    other.count(OTHER, "no/name", 503)
    await asyncio.gather(one.flush(), other.flush())
    await settle()
    found = await read_uses(table)
    assert {(use.fingerprint, use.dps, use.calls) for use in found} == {
        (fingerprint(KEY), "dps-1", 2),
        (fingerprint(KEY), "", 1),
        (fingerprint(OTHER), "", 1),
    }
    total = uses_of(found, fingerprint(KEY))
    assert total is not None
    assert (total.calls, total.last - clock.now()) == (3, timedelta())
    assert uses_of(found, "000000000000") is None


async def test_a_table_that_is_down_costs_no_request_and_loses_no_count() -> None:
    table = Down()
    use, clock, told = counting(table)
    use.count(KEY, "dps-1", 200)
    await settle()
    use.count(KEY, "dps-1", 200)
    await settle()
    assert [name for name, _ in told.events] == ["webhook_key_uncounted"]
    table.down = False
    await clock.advance(61)
    use.count(KEY, "dps-1", 200)
    await settle()
    assert [seen.calls for seen in await read_uses(table)] == [3]


async def test_without_a_table_or_a_key_nothing_is_counted() -> None:
    use, _, _ = counting(None)
    use.count(KEY, "dps-1", 200)
    table = MemoryTable()
    use, _, _ = counting(table)
    use.count(None, "dps-1", 200)
    await settle()
    assert await read_uses(table) == ()


async def test_no_key_is_in_a_row_or_an_event() -> None:
    table = MemoryTable()
    use, _, told = counting(table)
    use.count(KEY, "dps-1", 200)
    await settle()
    for shown in (repr(table), repr(told.events), repr(await read_uses(table)), repr(vars(use))):
        assert KEY not in shown


async def test_forged_names_of_dps_do_not_fill_memory() -> None:
    table = MemoryTable()
    use, _, _ = counting(table)
    for number in range(1000):
        use.count(KEY, f"dps-{number}", 200)
    assert len(use._held) <= 64
    await settle()


async def test_names_made_up_in_the_route_make_few_rows_and_hide_no_use_of_a_key() -> None:
    table = MemoryTable()
    use, clock, _ = counting(table)
    use.count(KEY, "dps-1", 200)
    for number in range(500):
        use.count(OTHER, f"made-up-{number}", 503)
    for _ in range(3):
        for _ in range(10):
            await settle()
        await clock.advance(120)
        use.count(KEY, "dps-1", 200)
    for _ in range(10):
        await settle()
    await use.flush()
    seen = await read_uses(table)
    assert len(seen) <= 18
    for key, calls in ((KEY, 4), (OTHER, 500)):
        found = uses_of(seen, fingerprint(key))
        assert found is not None
        assert found.calls == calls
