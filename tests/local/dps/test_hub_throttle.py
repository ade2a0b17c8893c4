"""DPS's own work on a hub and the hub's other callers live on one budget."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from local.cloud import serve_cloud
from local.dps import sas
from local.dps.behaviour import Behaviour
from local.dps.errors import HUB_THROTTLED
from local.dps.limits import UNTHROTTLED, Limits
from local.faults import Faults
from local.hub import IotHub
from local.iothub.service import HubService
from local.switches import Switches
from local.tls import CertificateAuthority
from local.world import ManualClock, SkewableClock, World
from tests.local.dps.rig import HUBS, MIGRATE, NEVER, OTHER_KEY, RESET, Rig, choose, custom, symmetric

PER_MINUTE = 100
"""Identity operations of an S1 unit (documented)."""
UNLIMITED = 10**6


def linked(rig: Rig, hub: IotHub | None = None, **options: Any) -> HubService:
    """The hub, served with its throttles."""
    return HubService(hub or rig.hub_a, world=rig.world, **options)


def room(hub: IotHub) -> int:
    """Identity operations left of this minute; uses them up."""
    return next(count for count in range(UNLIMITED) if hub.registry_budget.take() > 0)


async def test_a_purge_that_eats_the_hubs_budget_delays_a_registration(rig: Rig) -> None:
    hub = linked(rig)
    await rig.put_group(allocationPolicy="static", iotHubs=[HUBS[0]])
    policy = hub.policies[0]
    token = sas.sign(HUBS[0], policy.primary_key, rig.clock.now().replace(year=2030), policy.name)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(hub.asgi), base_url="https://localhost"
    ) as purge:
        for number in range(PER_MINUTE):
            await purge.delete(
                f"/devices/gone-{number}?api-version=2021-04-12",
                headers={"authorization": token, "if-match": "*"},
            )
        operation = (await rig.start("dev-1")).json()["operationId"]
        await rig.clock.advance(59)
        polled = await rig.poll("dev-1", operation)
        assert (polled.status_code, polled.json()["status"]) == (202, "assigning")
        assert (await rig.call("GET", "/registrations/dev-1")).json()["status"] == "assigning"
        await rig.clock.advance(1)
        assert (await rig.poll("dev-1", operation)).json()["status"] == "assigned"
        assert "dev-1" in rig.hub_a.devices
        left = [
            (await purge.get("/devices/dev-1?api-version=2021-04-12", headers={"authorization": token}))
            for _ in range(PER_MINUTE)
        ]
    assert [each.status_code for each in left] == [200] * (PER_MINUTE - 1) + [429]


@pytest.mark.parametrize("policy", ["static", "custom"])
async def test_more_devices_than_a_hub_takes_in_a_minute_are_all_made_later(rig: Rig, policy: str) -> None:
    linked(rig)
    more = custom(iotHubs=[HUBS[0]]) if policy == "custom" else {"allocationPolicy": policy}
    await rig.put_group(**{"iotHubs": [HUBS[0]], **more})
    devices = [f"d{number}" for number in range(250)]
    operations = {device: (await rig.start(device)).json()["operationId"] for device in devices}
    made = []
    for _ in range(3):
        await rig.clock.advance(0)
        made.append(len(rig.hub_a.devices))
        await rig.clock.advance(60)
    assert made == [100, 200, 250]
    assert rig.dps.running == 0
    assert {(await rig.poll(*each)).json()["status"] for each in operations.items()} == {"assigned"}


async def test_a_device_that_waits_is_joined_by_its_second_registration(rig: Rig) -> None:
    linked(rig)
    await rig.put_group(allocationPolicy="static", iotHubs=[HUBS[0]])
    room(rig.hub_a)
    first, second = (await rig.start("dev-1"), await rig.start("dev-1"))
    assert first.json() == second.json()
    assert rig.dps.running == 1


async def test_closing_the_service_ends_those_that_wait(rig: Rig) -> None:
    linked(rig)
    await rig.put_group(allocationPolicy="static", iotHubs=[HUBS[0]])
    room(rig.hub_a)
    await rig.start("dev-1")
    await rig.dps.aclose()
    assert rig.dps.running == 0
    await rig.clock.advance(120)
    assert not rig.hub_a.devices


async def test_a_hub_without_throttles_keeps_nobody_waiting(rig: Rig) -> None:
    linked(rig, throttled=False)
    await rig.put_group(allocationPolicy="static", iotHubs=[HUBS[0]])
    for number in range(PER_MINUTE + 20):
        assert (await rig.state(f"d{number}"))["status"] == "assigned"


@pytest.mark.parametrize("limits", [Limits(), UNTHROTTLED])
async def test_a_clouds_hubs_throttle_dps_unless_the_cloud_is_unthrottled(
    tmp_path: Path, limits: Limits
) -> None:
    world = World(SkewableClock(ManualClock()))
    certificate = CertificateAuthority(tmp_path).issue()
    async with serve_cloud(
        {HUBS[0]: 1},
        certificate,
        world=world,
        name="dps-here",
        limits=limits,
        faults=Faults(world),
        switches=Switches(),
    ) as cloud:
        (hub,) = cloud.dps.hubs
        assert (hub.registry_budget.take(PER_MINUTE + 1) > 0) is (limits is not UNTHROTTLED)


async def test_more_units_take_more_devices(rig: Rig) -> None:
    hub = linked(rig)
    hub.throttles.scale(2)
    await rig.put_group(allocationPolicy="static", iotHubs=[HUBS[0]])
    for number in range(2 * PER_MINUTE):
        await rig.start(f"d{number}")
    assert len(rig.hub_a.devices) == 2 * PER_MINUTE
    assert room(rig.hub_a) == 0


COSTS: list[tuple[str, Any, bool, tuple[int, int]]] = [
    ("a first assignment makes the device", None, False, (1, 0)),
    ("coming back finds it", MIGRATE, False, (1, 0)),
    ("never reprovision finds it too", NEVER, False, (1, 0)),
    ("a migration reads, makes, and takes away", MIGRATE, True, (2, 1)),
    ("a reset takes away and makes", RESET, True, (1, 1)),
]


@pytest.mark.parametrize(
    ("policy", "moves", "costs"), [case[1:] for case in COSTS], ids=[c[0] for c in COSTS]
)
async def test_what_a_registration_costs_each_hub(
    rig: Rig, policy: Any, moves: bool, costs: tuple[int, int]
) -> None:
    linked(rig), linked(rig, rig.hub_b)
    await rig.put_group(**custom(reprovisionPolicy=policy))
    if policy is not None:
        await rig.register()
        await rig.clock.advance(60)
    rig.webhook = choose(HUBS[1] if moves else HUBS[0])
    assert (await rig.state())["status"] == "assigned"
    assert tuple(PER_MINUTE - room(hub) for hub in (rig.hub_a, rig.hub_b)) == costs


@pytest.mark.parametrize("policy", [MIGRATE, RESET])
async def test_replacing_a_device_on_the_target_costs_one_more(rig: Rig, policy: Any) -> None:
    linked(rig, rig.hub_b)
    await rig.put_group(**custom(reprovisionPolicy=policy))
    await rig.register()
    twin, now = rig.hub_a.devices["dev-1"].identity.entry, rig.clock.now()
    rig.hub_b.add(twin, now)
    rig.webhook = choose(HUBS[1])
    assert (await rig.state())["status"] == "assigned"
    assert PER_MINUTE - room(rig.hub_b) == 2


async def test_new_credentials_cost_one_more(rig: Rig) -> None:
    linked(rig)
    await rig.put_group(allocationPolicy="static", iotHubs=[HUBS[0]])
    await rig.register()
    await rig.call(
        "PUT",
        "/enrollmentGroups/g1",
        {"enrollmentGroupId": "g1", "attestation": symmetric(secondary=OTHER_KEY), "iotHubs": [HUBS[0]]},
        if_match="*",
    )
    await rig.clock.advance(60)
    await rig.register()
    assert PER_MINUTE - room(rig.hub_a) == 2


@pytest.mark.parametrize("policy", [MIGRATE, RESET])
@pytest.mark.parametrize("left", range(4))
async def test_a_move_that_waits_anywhere_ends_as_one_that_does_not(rig: Rig, policy: Any, left: int) -> None:
    linked(rig), linked(rig, rig.hub_b)
    await rig.put_group(**custom(reprovisionPolicy=policy))
    await rig.register()
    await rig.clock.advance(60)
    for hub in (rig.hub_a, rig.hub_b):
        room(hub)
    await rig.clock.advance(60)
    rig.hub_a.registry_budget.take(PER_MINUTE - left // 2)
    rig.hub_b.registry_budget.take(PER_MINUTE - left % 2)
    rig.webhook = choose(HUBS[1])
    operation = (await rig.start("dev-1")).json()["operationId"]
    seen = []
    for _ in range(40):
        seen.append("dev-1" in rig.hub_a.devices or "dev-1" in rig.hub_b.devices)
        await rig.clock.advance(10)
    assert (await rig.poll("dev-1", operation)).json()["status"] == "assigned"
    assert ("dev-1" in rig.hub_a.devices, "dev-1" in rig.hub_b.devices) == (False, True)
    assert all(seen) or policy is RESET, "a device that migrates is always on a hub"


@pytest.mark.parametrize("policy", ["static", "custom"])
async def test_dps_may_fail_the_registration_instead(policy: str) -> None:
    async with Rig(Behaviour(hub_throttle="fail")) as rig:
        linked(rig)
        more = custom(iotHubs=[HUBS[0]]) if policy == "custom" else {"allocationPolicy": policy}
        await rig.put_group(**{"iotHubs": [HUBS[0]], **more})
        room(rig.hub_a)
        state = await rig.state()
        assert (state["status"], state["errorCode"]) == ("failed", HUB_THROTTLED)
        assert HUBS[0] in state["errorMessage"]
        await rig.clock.advance(60)
        assert (await rig.state())["status"] == "assigned"
