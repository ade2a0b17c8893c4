"""A fleet registers at the DPS emulator while everything behind the webhook fails, slows down and returns."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import httpx
import pytest

from allocation import Budget, Freshness, Ledger, PolicyStore, cordon
from clients.clock import SystemClock
from clients.errors import TableUnavailable, Unavailable
from clients.ports import Table
from clients.tables import TableAccount, load
from lifecycle.statistics import count_devices
from local.dps.behaviour import Behaviour
from local.dps.limits import UNTHROTTLED
from local.faults import Faults, Rule, answered, dropped, slowed, stalled
from local.proxy import AzuriteProxy
from local.world import World
from provisioning.hubs import HubKey, hub_key
from tests.allocation.instance import Instance
from tests.clocks import HandClock
from tests.heard import Heard
from tests.local.dps.rig import HUBS, Rig, custom
from tests.patience import until

WORKERS = 8
AT_ONCE = 24
BUDGET = Budget()
CORDONED = HUBS[0]
TABLES = ("policies", "fleet", "ledger")
FAULTS = (answered(503), answered(429), dropped(), dropped(after=True), stalled(), slowed(0.5), slowed(2.0))

load()  # no device waits for imports


class Workers(Rig):
    """A DPS whose webhook is a handful of instances of the app."""

    def __init__(self, instances: list[Instance], dps: str) -> None:
        super().__init__(Behaviour(webhook_timeout=1e9), limits=UNTHROTTLED)
        self.instances, self.name = instances, dps
        self.placed: dict[str, str] = {}
        self.calls = 0
        self.answers: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.longest = 0.0
        self.lag = 0.0

    async def _reply(self, request: httpx.Request) -> httpx.Response:  # type: ignore[override]  # httpx awaits it
        instance = self.instances[self.calls % len(self.instances)]
        self.calls += 1
        device = json.loads(request.content)["deviceRuntimeContext"]["registrationId"]
        began = time.monotonic()
        answer = await instance.allocator.answer(request.content, self.name)
        self.longest = max(self.longest, time.monotonic() - began)
        self.answers[device] += 1
        self.statuses[answer.status] += 1
        return httpx.Response(answer.status, content=answer.body)

    async def lead(self, device: str) -> str:
        """Register and poll to the end; the hub."""
        started = await self.start(device)
        assert started.status_code == 202, started.text
        operation = started.json()["operationId"]
        polled = await self.poll(device, operation)
        while polled.status_code == 202:
            await asyncio.sleep(0.05)
            polled = await self.poll(device, operation)
        state = polled.json()["registrationState"]
        assert state["status"] == "assigned", state
        return str(state["assignedHub"])

    async def let_time_pass(self) -> None:
        """DPS's waits between its calls, fifty times as fast; and how late this very loop wakes up."""
        while True:
            await self.clock.advance(0.5)
            began = time.monotonic()
            await asyncio.sleep(0.01)
            self.lag = max(self.lag, time.monotonic() - began - 0.01)


class Statistics:
    """The hubs' own counts, which fail now and then."""

    def __init__(self, rig: Workers, draw: random.Random) -> None:
        self.rig, self.draw = rig, draw

    async def devices(self, hub: HubKey) -> int:
        if self.draw.random() < 0.3:
            raise Unavailable(f"hub {hub} cannot be reached", service="hub")
        await asyncio.sleep(0.3 * self.draw.random())
        return sum(hub_key(each) == hub for each in self.rig.placed.values())

    async def run(self, fleet: Table, dps: str) -> None:
        while True:
            with suppress(TableUnavailable):
                await count_devices(fleet, dps, map(hub_key, HUBS), self, SystemClock(), Heard())
            await asyncio.sleep(0.2)


async def trouble(faults: Faults, draw: random.Random) -> None:
    """One table after the other fails in one way or another, and returns; sometimes all of them at once."""
    while True:
        path = draw.choice([*(f"*{table}*" for table in TABLES), "*"])
        rule = Rule(draw.choice(FAULTS), path=path, count=None, probability=draw.choice([0.3, 1.0]))
        with faults.during(rule):
            await asyncio.sleep(0.2 + draw.random())
        await asyncio.sleep(0.3 * draw.random())


@asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def chaos(azurite: str, devices: int, seed: int) -> None:
    dps, draw = f"dps-{uuid4().hex}", random.Random(seed)
    faults = Faults(World(seed=seed))
    direct = TableAccount.from_connection_string(azurite)
    policies, fleet, ledger = (direct.table(name) for name in TABLES)
    store = PolicyStore(policies, dps, HandClock())
    document = {"hubs": [{"name": HUBS[1], "weight": 2, "capacity": 1_000_000}]}
    await store.activate(await store.put(json.dumps(document)), "kim")
    await cordon(fleet, dps, CORDONED, "kim", HandClock())
    async with AsyncExitStack() as parts:
        proxy = await parts.enter_async_context(AzuriteProxy(azurite, faults))
        accounts = [TableAccount.from_connection_string(proxy.connection_string) for _ in range(WORKERS)]
        for account in (*accounts, direct):
            parts.push_async_callback(account.close)
        freshness = Freshness(refresh=0.2, max_age=0.8)
        instances = [
            Instance(*map(account.table, TABLES), freshness=freshness, budget=BUDGET) for account in accounts
        ]
        rig = await parts.enter_async_context(Workers(instances, dps))
        await rig.put_group(**custom())
        gate = asyncio.Semaphore(AT_ONCE)

        async def lead(device: str) -> None:
            async with gate:
                rig.placed[device] = await rig.lead(device)

        through = accounts[0].table("fleet")
        async with running(
            rig.let_time_pass(), trouble(faults, draw), Statistics(rig, draw).run(through, dps)
        ):
            await asyncio.gather(*(lead(f"dev-{number}") for number in range(devices)))
            # Once more: each is somewhere by now, and stays there whatever is known.
            first = dict(rig.placed)
            await asyncio.gather(*(lead(f"dev-{number}") for number in range(0, devices, 3)))
        faults.clear()
        await until(lambda: not any(instance.allocator._late for instance in instances))

        assert rig.placed == first
        assert set(rig.placed.values()) <= set(HUBS) - {CORDONED}
        for hub in (rig.hub_a, rig.hub_b, rig.hub_c):
            on_it = {device for device, name in rig.placed.items() if hub_key(name) == hub_key(hub.host_name)}
            assert len(hub.devices) == len(on_it)
            assert all(hub.devices.get(device) is not None for device in on_it)
        assert set(rig.statuses) <= {200, 503}, rig.statuses
        assert not any(instance.heard.of("allocation_broken") for instance in instances)
        # The budget, and what a loop with that much to do may add between two of its looks at the clock.
        assert rig.longest <= BUDGET.request + 5 * rig.lag + 0.5, (rig.longest, rig.lag)
        await every_answer_is_a_row_or_a_counted_gap(Ledger(ledger, str), dps, rig)


async def every_answer_is_a_row_or_a_counted_gap(ledger: Ledger, dps: str, rig: Workers) -> None:
    rows = Counter([entry.registration_id async for entry in ledger.of_dps(dps)])
    gaps = Counter(gap["registration_id"] for each in rig.instances for gap in each.heard.of("ledger_gap"))
    assert gaps.total() == sum(each.heard.counted("ledger_gaps") for each in rig.instances)
    assert gaps.total() > 0
    assert rows.total() > 0
    for device, answers in rig.answers.items():
        assert rows[device] <= answers <= rows[device] + gaps[device], device


async def test_a_fleet_registers_while_its_state_comes_and_goes(azurite: str) -> None:
    await chaos(azurite, devices=150, seed=6)


@pytest.mark.soak
async def test_five_thousand_devices_register_while_their_state_comes_and_goes(azurite: str) -> None:
    await chaos(azurite, devices=5_000, seed=7)
