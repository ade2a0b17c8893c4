"""The whole stack under trouble, for minutes."""

import asyncio
import random

import pytest

from local.clients import Device, ServiceClient, connect
from local.demo import judge
from local.demo.judge import Survey
from local.demo.screen import collect
from local.dps.keys import derive_key
from local.dps.limits import UNTHROTTLED
from local.stack import Options, Stack, run_stack

DEVICES = 2_000
OUTAGES = 4


async def _break_the_webhook(stack: Stack, seed: int) -> None:
    """Kill the Functions host again and again, at odd moments, and bring it back."""
    chance = random.Random(seed)
    for _ in range(OUTAGES):
        await asyncio.sleep(chance.uniform(0.5, 4))
        await stack.functions.kill()
        await asyncio.sleep(chance.uniform(0, 3))
        await stack.functions.start()


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
async def test_two_thousand_devices_survive_a_webhook_that_keeps_dying(seed: int) -> None:
    async with (
        run_stack(Options(limits=UNTHROTTLED), lambda _: None) as stack,
        connect(stack.address.url, stack.trust) as http,
    ):
        operator = ServiceClient(http, stack.dps_connection_string)
        definition = {"webhookUrl": stack.allocate_url, "apiVersion": "2021-10-01"}
        await operator.put_group(
            {
                "enrollmentGroupId": "soak",
                "attestation": {"type": "symmetricKey"},
                "allocationPolicy": "custom",
                "customAllocationDefinition": definition,
            }
        )
        key = (await operator.keys("enrollmentGroups/soak"))["primaryKey"]
        names = [f"soak-{number:05}" for number in range(DEVICES)]
        devices = [Device(name, derive_key(key, name)) for name in names]
        limit = asyncio.Semaphore(200)

        async def register(device: Device) -> str:
            async with limit:
                return str((await device.register(http, stack.dps.id_scope))["status"])

        trouble = asyncio.create_task(_break_the_webhook(stack, seed))
        statuses = await asyncio.gather(*map(register, devices))
        await trouble
        survey = Survey.of(await collect(operator.registrations("soak")), stack.hubs)
    assert set(statuses) == {"assigned"}
    check = judge.placed_legally(survey, names, [hub.host_name for hub in stack.hubs])
    assert check.kept, check.seen
