"""Throttles by class, by the world's clock, shared with a DPS that makes devices on the same hub."""

import pytest

from local.dps.service import ProvisioningService
from local.hub import IotHub
from local.iothub.throttles import RateBudget, Throttles, Tier
from local.world import ManualClock
from tests.local.iothub.rig import HOST, Rig, code

ALL = "SELECT * FROM devices"


async def test_identity_operations_stop_at_a_hundred_a_minute_and_unit() -> None:
    async with Rig(throttled=True, units=2) as rig:
        rig.make("d")
        for number in range(200):
            path = ("/devices/d", "/devices", "/statistics/devices", "/devices/nobody")[number % 4]
            assert (await rig.call("GET", path)).status_code in (200, 404)
        refused = await rig.call("GET", "/devices/d")
        assert code(refused) == (429, "ThrottlingBacklogTimeout")
        assert "Operation type: CRUD" in refused.json()["Message"]
        assert "retry-after" not in refused.headers
        assert (await rig.call("GET", "/twins/d")).status_code == 200
        assert (await rig.query(ALL)).status_code == 200
        await rig.clock.advance(59)
        assert (await rig.call("GET", "/devices/d")).status_code == 429
        await rig.clock.advance(1)
        assert (await rig.call("GET", "/devices/d")).status_code == 200


async def test_queries_stop_at_twenty_a_minute() -> None:
    async with Rig(throttled=True) as rig:
        statuses = [(await rig.query(ALL)).status_code for _ in range(21)]
        assert statuses == [200] * 20 + [429]


async def test_twin_reads_and_updates_have_their_own_limits_a_second() -> None:
    async with Rig(throttled=True) as rig:
        rig.make("d")
        reads = [(await rig.call("GET", "/twins/d")).status_code for _ in range(101)]
        assert reads == [200] * 100 + [429]
        updates = [(await rig.call("PATCH", "/twins/d", {})).status_code for _ in range(51)]
        assert updates == [200] * 50 + [429]
        await rig.clock.advance(1)
        assert (await rig.call("GET", "/twins/d")).status_code == 200


async def test_a_throttled_write_changes_nothing() -> None:
    async with Rig(throttled=True) as rig:
        rig.hub.registry_budget.take(100)
        assert (await rig.put()).status_code == 429
        assert not rig.hub.devices


async def test_calls_that_are_not_let_in_cost_nothing() -> None:
    async with Rig(throttled=True) as rig:
        rig.make("d")
        for _ in range(150):
            assert (await rig.call("GET", "/devices/d", authorization="x")).status_code == 401
        assert (await rig.call("GET", "/devices/d")).status_code == 200


async def test_devices_that_dps_makes_count_on_the_same_hub() -> None:
    async with Rig(throttled=True) as rig:
        dps = ProvisioningService(hubs=[rig.hub], world=rig.world)
        linked = dps.hub(HOST)
        assert linked is not None
        waits = [linked.registry_budget.take() for _ in range(100)]
        assert waits == [0.0] * 100
        assert (await rig.call("GET", "/devices/d")).status_code == 429
        await rig.clock.advance(45)
        assert linked.registry_budget.take() == 15.0
        await dps.aclose()


def test_a_hub_that_nobody_serves_has_no_limit() -> None:
    assert IotHub("h").registry_budget.take(10**9) == 0.0


@pytest.mark.parametrize(
    ("tier", "units", "limits"),
    [
        ("F1", 1, (100, 20, 100, 50)),
        ("S1", 3, (300, 60, 100, 50)),
        ("S2", 3, (300, 60, 100, 50)),
        ("S2", 20, (2000, 400, 200, 100)),
        ("S3", 2, (10000, 2000, 1000, 500)),
    ],
)
def test_limits_grow_with_tier_and_units(tier: Tier, units: int, limits: tuple[int, ...]) -> None:
    made = Throttles(ManualClock(), tier, units)
    budgets = (made.identity, made.queries, made.twin_reads, made.twin_updates)
    assert tuple(budget.limit for budget in budgets if isinstance(budget, RateBudget)) == limits


def test_a_hub_has_units() -> None:
    with pytest.raises(ValueError, match="at least one unit"):
        Throttles(ManualClock(), units=0)


async def test_a_budget_says_when_there_is_room_for_so_many() -> None:
    clock = ManualClock()
    budget = RateBudget(10, 60, clock)
    for _ in range(5):
        assert budget.take(2) == 0.0
        await clock.advance(10)
    assert budget.take(2) == 10.0
    assert budget.take(3) == 20.0
    assert budget.take(10) == 50.0
    assert budget.take(11) == 60.0
    await clock.advance(10)
    assert budget.take(2) == 0.0
