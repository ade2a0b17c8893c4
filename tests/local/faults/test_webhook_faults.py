"""Faults in front of the calls that leave an emulator: the webhook's."""

import asyncio
from typing import Any, Self

import httpx
import pytest

from local.faults import Fault, Faults, Rule, answered, dropped, halved, slowed, stalled, throttled
from tests.local.dps.rig import HUBS, Rig, choose, custom


class FaultyRig(Rig):
    """The rig whose webhook calls are met by rules."""

    async def __aenter__(self) -> Self:
        self.faults = Faults(self.world)
        self._webhook_client._transport = self.faults.transport(httpx.MockTransport(self._reply))
        return self


async def registered(
    fault: Fault, *, count: int | None = 1, seconds: float = 500
) -> tuple[dict[str, Any], FaultyRig]:
    async with FaultyRig() as rig:
        await rig.put_group(**custom())
        rig.faults.add(Rule(fault, service="webhook", count=count))
        started = await rig.start("dev-1")
        await rig.clock.advance(seconds)
        polled = await rig.poll("dev-1", started.json()["operationId"])
        return polled.json(), rig


@pytest.mark.parametrize(
    "fault",
    [
        throttled(),
        answered(500),
        answered(503, after=True),
        dropped(),
        dropped(after=True),
        halved(),
        slowed(31),
        slowed(31, after=True),
        stalled(),
    ],
    ids=str,
)
async def test_dps_asks_again_after_a_webhook_call_that_went_wrong(fault: Fault) -> None:
    answer, rig = await registered(fault)
    assert answer["status"] == "assigned"
    assert answer["registrationState"]["assignedHub"] == HUBS[0]
    calls = rig.world.journal.of("webhook")
    expected = fault.status if fault.kind == "status" else None
    assert [call.status for call in calls] == [expected, 200]
    carried_out = 2 if fault.late else 1
    assert len(rig.asked) == carried_out
    assert [told.response for told in rig.world.journal.of(Faults.SERVICE)] == [fault.told()]


async def test_outage_of_the_webhook_ends_as_a_failed_registration() -> None:
    answer, rig = await registered(dropped(), count=None)
    assert answer["status"] == "failed"
    assert answer["registrationState"]["errorCode"] == 400207
    assert len(rig.world.journal.of("webhook")) == 11
    assert rig.asked == []


async def test_delay_within_a_clients_patience_is_waited_for() -> None:
    async with FaultyRig() as rig:
        rig.faults.add(Rule(slowed(5), path="/slow", count=None))
        client = httpx.AsyncClient(transport=rig._webhook_client._transport)
        rig.webhook = choose(None)
        patient = asyncio.ensure_future(client.post("https://app.example/slow", json={}, timeout=6))
        hasty = asyncio.ensure_future(client.post("https://app.example/slow", json={}, timeout=4))
        await rig.clock.advance(4.5)
        assert isinstance(hasty.exception(), httpx.ReadTimeout)
        assert not patient.done()
        await rig.clock.advance(1)
        assert patient.result().status_code == 200
