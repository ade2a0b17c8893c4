"""Counting the devices of hubs: each by itself, with the age of the count, and since when it fails."""

import asyncio
from datetime import timedelta

import httpx
import pytest

from allocation import LoadRow, read_fleet
from clients.connections import Connections
from clients.errors import TableUnavailable, Unavailable
from clients.hubs import HubClient, HubShares
from clients.ports import Table
from lifecycle.rates import Rates
from lifecycle.statistics import AT_ONCE, AskedHubs, Counted, count_devices
from provisioning.hubs import HubKey
from tests.clocks import HandClock
from tests.failing_table import FailingTable
from tests.heard import Heard
from tests.memory_table import MemoryTable

A, B, C = (HubKey(f"{name}.azure-devices.net") for name in "abc")


class Hubs:
    """Hubs that say how many devices they have, or do not answer."""

    def __init__(self, **devices: int) -> None:
        self.devices_on = {HubKey(f"{name}.azure-devices.net"): count for name, count in devices.items()}
        self.down: set[HubKey] = set()
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0

    async def devices(self, hub: HubKey) -> int:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if hub in self.down:
            raise Unavailable(f"hub {hub} cannot be reached", service="hub")
        return self.devices_on[hub]


class Run:
    def __init__(self, table: Table, hubs: Hubs) -> None:
        self.table, self.hubs, self.clock, self.heard = table, hubs, HandClock(), Heard()

    async def __call__(self) -> Counted:
        return await count_devices(
            self.table, "factory", self.hubs.devices_on, self.hubs, self.clock, self.heard
        )

    async def loads(self) -> dict[HubKey, LoadRow]:
        return dict((await read_fleet(self.table, "factory")).loads)


async def test_each_hub_is_counted_with_the_moment_it_was_asked(table: Table) -> None:
    run = Run(table, Hubs(a=10, b=20))
    assert await run() == Counted((A, B), ())
    assert await run.loads() == {
        hub: LoadRow(hub, devices=devices, as_of=run.clock.now(), source="statistics")
        for hub, devices in ((A, 10), (B, 20))
    }


async def test_a_hub_that_fails_keeps_its_count_and_its_first_failure_until_it_answers_again(
    table: Table,
) -> None:
    run = Run(table, Hubs(a=10, b=20, c=30))
    await run()
    counted_at = run.clock.now()
    run.hubs.down = {B}
    run.clock.move(60)
    failed_at = run.clock.now()
    for _ in range(3):
        assert await run() == Counted((A, C), (B,))
        run.clock.move(60)
    load = (await run.loads())[B]
    assert (load.devices, load.as_of, load.failing_since) == (20, counted_at, failed_at)
    assert [event["hub"] for event in run.heard.of("hub_not_counted")] == [B] * 3
    run.hubs.down = set()
    await run()
    load = (await run.loads())[B]
    assert (load.as_of, load.failing_since, load.error) == (run.clock.now(), None, "")


async def test_a_hub_that_never_answered_has_no_count(table: Table) -> None:
    run = Run(table, Hubs(a=10))
    run.hubs.down = {A}
    await run()
    load = (await run.loads())[A]
    assert (load.devices, load.as_of, load.failing_since) == (None, None, run.clock.now())


async def test_fifty_hubs_are_asked_few_at_a_time() -> None:
    run = Run(MemoryTable(), Hubs(**{f"h{number}": number for number in range(50)}))
    await run()
    assert (run.hubs.asked, run.hubs.most_at_once) == (50, AT_ONCE)


async def test_while_the_table_is_down_no_hub_is_asked() -> None:
    table = FailingTable(MemoryTable())
    table.down = True
    run = Run(table, Hubs(a=1))
    with pytest.raises(TableUnavailable):
        await run()
    assert run.hubs.asked == 0


async def test_of_two_runs_at_once_the_count_of_one_is_kept(table: Table) -> None:
    run = Run(table, Hubs(a=10))
    await asyncio.gather(run(), run())
    assert (await run.loads())[A].devices == 10


class Token:
    async def header(self, *, fresh: bool = False) -> str:
        return "Bearer t"


async def test_hubs_are_asked_over_their_service_api_for_all_their_devices() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.host}{request.url.path}")
        return httpx.Response(
            200, json={"totalDeviceCount": 7, "enabledDeviceCount": 5, "disabledDeviceCount": 2}
        )

    connections = Connections(transport=httpx.MockTransport(answer))
    clock = HandClock()

    def client(hub: HubKey, shares: HubShares) -> HubClient:
        return HubClient(
            hub, auth=Token(), connections=connections, shares=shares, clock=clock, jitter=lambda: 0.5
        )

    hubs = AskedHubs(Rates(clock), client)
    assert [await hubs.devices(hub) for hub in (A, B, A)] == [7, 7, 7]
    assert asked == [f"GET {hub}/statistics/devices" for hub in (A, B, A)]
    await connections.close()


def test_a_count_is_dated_before_it_was_asked_for() -> None:
    class Slow(Hubs):
        async def devices(self, hub: HubKey) -> int:
            run.clock.move(15)
            return 1

    run = Run(MemoryTable(), Slow(a=1))
    before = run.clock.now()
    asyncio.run(run())
    assert asyncio.run(run.loads())[A].as_of == before
    assert run.clock.now() - before == timedelta(seconds=15)
