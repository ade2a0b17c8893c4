"""Hours of throttled work run in seconds, and say the same under each clock."""

import asyncio
import json
from datetime import datetime, timedelta

import httpx

from local.dps import sas
from local.dps.limits import Limits
from local.dps.policies import OWNER, AccessPolicy
from local.dps.service import ProvisioningService
from local.world import Clock, ManualClock, ShiftedClock, World
from tests.local.dps.rig import POLICY_KEY, SECONDARY, VERSION, individual

A_MINUTE = 10
CALLS = 1_500
"""At ten a minute: two and a half hours."""


async def work(dps: ProvisioningService, clock: Clock) -> float:
    """Make enrollments as fast as the service allows; the minutes it took."""
    transport = httpx.ASGITransport(dps.asgi)
    started = clock.monotonic()
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as http:
        for number in range(CALLS):
            while (await put(http, clock.now(), f"dev-{number}")) == 429:
                await clock.sleep(30)
    return (clock.monotonic() - started) / 60


async def put(http: httpx.AsyncClient, now: datetime, name: str) -> int:
    token = sas.sign("localhost", POLICY_KEY, now + timedelta(hours=1), OWNER)
    path = f"/enrollments/{name}?api-version={VERSION}"
    body = json.dumps(individual(name))
    return (await http.put(path, content=body, headers={"authorization": token})).status_code


async def told_by(clock: ManualClock | ShiftedClock) -> tuple[list[int | None], int]:
    world = World(clock, seed=3)
    dps = ProvisioningService(
        world=world,
        policies=[AccessPolicy(OWNER, POLICY_KEY, SECONDARY)],
        limits=Limits(operations_per_minute=A_MINUTE),
    )
    running = asyncio.create_task(work(dps, clock))
    while not running.done():
        await clock.advance(600)
    await dps.aclose()
    return [call.status for call in world.journal.of(dps.name)], round(running.result())


async def test_throttled_work_says_the_same_under_a_manual_and_a_shifted_clock() -> None:
    statuses, minutes = await told_by(ManualClock())
    assert statuses.count(200) == CALLS
    assert minutes == CALLS / A_MINUTE - 1
    assert await told_by(ShiftedClock()) == (statuses, minutes)
