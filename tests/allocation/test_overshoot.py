"""Promise (e), with real worker processes: a hub's capacity is exceeded by no more than was not yet known."""

import asyncio
import json
import os
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

from allocation import PolicyStore
from clients.clock import SystemClock
from clients.tables import TableAccount
from lifecycle.statistics import count_devices
from provisioning.hubs import HubKey
from tests.allocation.making import body, hub, key
from tests.heard import Heard

ROOT = Path(__file__).parents[2]
WORKERS, DEVICES, PER_SECOND = 3, 450, 150
CAPACITY = 40
REFRESH, MAX_AGE, COUNT_EVERY = 0.1, 0.3, 0.2


class Hubs:
    """The hubs' own registries."""

    def __init__(self) -> None:
        self.count: Counter[HubKey] = Counter()

    async def devices(self, asked: HubKey) -> int:
        return self.count[asked]


@asynccontextmanager
async def worker(dps: str, connection: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.allocation.worker", dps, str(REFRESH), str(MAX_AGE)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "STATE_TABLES": connection},
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def ask(process: asyncio.subprocess.Process, device: str) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(body(device)).encode() + b"\n")
    told: dict[str, Any] = json.loads(await process.stdout.readline())
    return told


async def test_several_workers_exceed_a_capacity_by_no_more_than_was_placed_unseen(azurite: str) -> None:
    dps = f"dps-{uuid4().hex}"
    clock, hubs, account = SystemClock(), Hubs(), TableAccount.from_connection_string(azurite)
    store = PolicyStore(account.table("policies"), dps, clock)
    small = [{"name": hub(name), "capacity": CAPACITY, "headroom": 0} for name in ("a", "b")]
    await store.activate(await store.put(json.dumps({"hubs": [*small, {"name": hub("c")}]})), "kim")
    loop = asyncio.get_running_loop()
    placed_at: list[float] = []
    counted_at: list[float] = []
    over: Counter[HubKey] = Counter()

    async def count() -> None:
        counted_at.append(loop.time())
        fleet = account.table("fleet")
        await count_devices(fleet, dps, [key(name) for name in "abc"], hubs, clock, Heard())

    async def keep_counting() -> None:
        while True:
            await count()
            await asyncio.sleep(COUNT_EVERY)

    async def register(process: asyncio.subprocess.Process, number: int) -> None:
        for device in range(number, DEVICES, WORKERS):
            told = await ask(process, f"dev-{device}")
            while told["status"] == 503:  # a cold worker that has not read the state yet; DPS comes again
                await asyncio.sleep(0.1)
                told = await ask(process, f"dev-{device}")
            chosen = HubKey(told["iotHubHostName"])
            hubs.count[chosen] += 1
            placed_at.append(loop.time())
            over[chosen] = max(over[chosen], hubs.count[chosen] - CAPACITY)
            await asyncio.sleep(max(0.0, began + device / PER_SECOND - loop.time()))

    await count()
    async with AsyncExitStack() as workers:
        processes = [await workers.enter_async_context(worker(dps, azurite)) for _ in range(WORKERS)]
        counting = asyncio.create_task(keep_counting())
        began = loop.time()
        await asyncio.gather(*(register(process, number) for number, process in enumerate(processes)))
        counting.cancel()
    # How old a worker's loads can have been: the longest time between two counts, and what a view may age.
    age = max(later - earlier for earlier, later in pairwise(counted_at))
    age += MAX_AGE + COUNT_EVERY
    unseen = max(number - bisect_left(placed_at, at - age) for number, at in enumerate(placed_at))
    assert sum(hubs.count.values()) == DEVICES
    for name in "ab":
        assert hubs.count[key(name)] >= CAPACITY
        assert over[key(name)] <= unseen, (over, unseen, age)
    # Without what the workers know of each other's devices, a third of all would have come to each.
    assert hubs.count[key("c")] > DEVICES / 2
    await account.close()
