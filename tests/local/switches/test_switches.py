"""Every unknown behaviour is a switch that counts from its first consultation on."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from local.dps import sas
from local.dps.behaviour import Behaviour
from local.dps.limits import Limits
from local.explore import Run, explore
from local.hub import DeviceKeys, HubEvent, InitialTwin, IotHub
from local.iothub.behaviour import HubBehaviour
from local.iothub.service import HubService
from local.switches import SWITCHES, AlreadyConsulted, Switches, UnknownSwitch
from local.world import ManualClock, World
from tests.local.dps.rig import WEBHOOK, Rig, choose, custom, group, symmetric

KINDS: dict[str, type[Any]] = {"dps": Behaviour, "hub": HubBehaviour}
DECLARED = {"dps.other_key_refused_seconds"}
"""Switches whose field is still to come."""


class Chosen:
    """Choices that are told in advance, and remember what they were asked."""

    def __init__(self, **positions: Any) -> None:
        self.positions = positions
        self.asked: list[str] = []

    def choose(self, name: str, options: Sequence[Any]) -> Any:
        self.asked.append(name)
        return self.positions.get(name.partition(".")[2], options[0])


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_switch_is_a_field_of_a_behaviour_whose_default_is_its_plain_reading(switch: Any) -> None:
    service, field = switch.name.split(".")
    if switch.name in DECLARED:
        assert field not in KINDS[service].__dataclass_fields__, "it has come: take it off the list"
    else:
        assert getattr(KINDS[service](), field) == switch.options[0]
    assert len(switch.options) > 1


def test_default_choices_give_what_the_behaviour_says() -> None:
    base = Behaviour(default_page_size=50)
    read = Switches().behaviour(base, "dps")
    for field in Behaviour.__dataclass_fields__:
        assert getattr(read, field) == getattr(base, field)


def test_switch_is_asked_for_once_and_only_when_it_is_read() -> None:
    chosen = Chosen(put_without_keys="refuse")
    switches = Switches(chosen)
    one, other = (switches.behaviour(Behaviour(), "dps") for _ in range(2))
    assert chosen.asked == []
    assert {one.put_without_keys, one.put_without_keys, other.put_without_keys} == {"refuse"}
    assert one.webhook_timeout == 30
    assert chosen.asked == ["dps.put_without_keys"]


def test_services_have_switches_of_their_own() -> None:
    chosen = Chosen()
    switches = Switches(chosen)
    assert switches.behaviour(HubBehaviour(), "hub").default_page_size == 100
    assert chosen.asked == [], "dps.default_page_size is another"


def test_switch_is_set_before_it_is_consulted_and_not_after() -> None:
    switches = Switches()
    read = switches.behaviour(Behaviour(), "dps")
    switches.set("dps.put_without_keys", "regenerate")
    switches.set("dps.put_without_keys", "refuse")
    assert read.put_without_keys == "refuse"
    with pytest.raises(AlreadyConsulted, match="is 'refuse'; set it before"):
        switches.set("dps.put_without_keys", "keep")


@pytest.mark.parametrize(
    ("name", "position", "told"),
    [
        ("dps.odd", 1, "there is no switch 'dps.odd'; there are dps"),
        ("dps.put_without_keys", "drop", "it has 'keep', 'regenerate', 'refuse'"),
        ("dps.orphans_queryable", 0, "no position 0; it has True, False"),
    ],
)
def test_position_that_does_not_exist_is_refused_with_those_that_do(
    name: str, position: Any, told: str
) -> None:
    with pytest.raises(UnknownSwitch, match=told):
        Switches().set(name, position)


def test_people_are_told_where_each_switch_stands() -> None:
    switches = Switches()
    switches.set("dps.max_page_size", 7)
    read = switches.behaviour(Behaviour(), "dps")
    assert read.orphans_queryable
    told = {each["name"]: each for each in switches.told()}
    assert told.keys() == {switch.name for switch in SWITCHES}
    assert (told["dps.max_page_size"]["position"], told["dps.max_page_size"]["consulted"]) == (7, False)
    assert (told["dps.orphans_queryable"]["set"], told["dps.orphans_queryable"]["consulted"]) == (False, True)


# Each switch of the provisioning service, seen on the wire in every position.


def rig(**positions: Any) -> Rig:
    switches = Switches(Chosen(**positions))
    return Rig(switches.behaviour(Behaviour(), "dps"), limits=Limits(operations_per_minute=20))


@pytest.mark.parametrize(
    ("masked", "shown"), [(False, WEBHOOK), (True, "https://app.example/api/allocate?****")]
)
async def test_get_masks_the_webhooks_query_or_not(masked: bool, shown: str) -> None:
    async with rig(mask_webhook_url_on_get=masked) as here:
        await here.put_group(**custom())
        found = await here.call("GET", "/enrollmentGroups/g1")
        assert found.json()["customAllocationDefinition"]["webhookUrl"] == shown


@pytest.mark.parametrize(
    ("position", "status", "kept"), [("keep", 200, True), ("regenerate", 200, False), ("refuse", 400, True)]
)
async def test_put_without_keys_keeps_them_or_makes_new_ones_or_is_refused(
    position: str, status: int, kept: bool
) -> None:
    async with rig(put_without_keys=position) as here:
        await here.put_group()
        before = here.dps.group("g1")
        answer = await here.put_group(attestation=symmetric(None, None), etag=None)
        if answer.status_code == 409:
            answer = await here.call(
                "PUT", "/enrollmentGroups/g1", group(attestation=symmetric(None, None)), If_Match="*"
            )
        assert answer.status_code == status
        after = here.dps.group("g1")
        assert before is not None
        assert after is not None
        assert (before.keys == after.keys) is kept


@pytest.mark.parametrize("queryable", [True, False])
async def test_registrations_of_a_deleted_group_can_be_queried_or_not(queryable: bool) -> None:
    async with rig(orphans_queryable=queryable) as here:
        here.webhook = choose("hub-a.azure-devices.net")
        await here.put_group()
        await here.register()
        await here.call("DELETE", "/enrollmentGroups/g1", If_Match="*")
        found = await here.call("POST", "/registrations/g1/query", {"query": "*"})
        assert found.status_code == 200 if queryable else found.status_code == 404 or found.json() == []


@pytest.mark.parametrize(
    ("positions", "asked", "size"),
    [
        ({}, None, 12),
        ({"default_page_size": 10}, None, 10),
        ({}, "9", 9),
        ({"max_page_size": 7}, "9", 7),
    ],
)
async def test_page_has_as_many_items_as_the_service_likes(
    positions: dict[str, Any], asked: str | None, size: int
) -> None:
    async with rig(**positions) as here:
        for number in range(12):
            await here.put_enrollment(f"dev-{number}")
        headers = {"x_ms_max_item_count": asked} if asked else {}
        page = await here.call(
            "POST", "/enrollments/query", {"query": "SELECT * FROM enrollments"}, **headers
        )
        assert len(page.json()) == size


@pytest.mark.parametrize(("lifetime", "status"), [(None, 200), (60.0, 400)])
async def test_continuation_expires_while_paging_or_not(lifetime: float | None, status: int) -> None:
    async with rig(continuation_lifetime=lifetime) as here:
        for number in range(3):
            await here.put_enrollment(f"dev-{number}")
        query = {"query": "SELECT * FROM enrollments"}
        page = await here.call("POST", "/enrollments/query", query, x_ms_max_item_count="2")
        await here.clock.advance(120)
        token = page.headers["x-ms-continuation"]
        again = await here.call("POST", "/enrollments/query", query, x_ms_continuation=token)
        assert again.status_code == status


@pytest.mark.parametrize("seconds", [None, 5])
async def test_throttled_call_says_when_to_come_back_or_not(seconds: int | None) -> None:
    async with rig(retry_after_on_429=seconds) as here:
        answers = [await here.call("GET", "/enrollments/none") for _ in range(21)]
        assert answers[-1].status_code == 429
        assert answers[-1].headers.get("retry-after") == (str(seconds) if seconds else None)


async def test_service_that_is_only_built_consults_no_switch() -> None:
    chosen = Chosen()
    async with Rig(Switches(chosen).behaviour(Behaviour(), "dps"), limits=Limits()):
        assert chosen.asked == []


async def test_exploration_walks_the_switches_a_scenario_consults_and_no_other() -> None:
    statuses = []

    async def scenario(run: Run) -> None:
        async with Rig(Switches(run).behaviour(Behaviour(), "dps")) as here:
            await here.put_group()
            bare = group(attestation=symmetric(None, None))
            answer = await here.call("PUT", "/enrollmentGroups/g1", bare, If_Match="*")
            statuses.append(answer.status_code)

    report = await explore(scenario)
    report.check()
    assert "dps.put_without_keys" in report.consulted
    assert "dps.orphans_queryable" not in report.consulted
    assert set(statuses) == {200, 400}


# Each switch of a hub reaches the emulator (tests/local/iothub shows what each position does).


async def test_hub_reads_its_behaviour_through_the_switches() -> None:
    chosen = Chosen(move_sends_deleted=False, statistics_never_fall=True)
    world = World(ManualClock(), seed=1)
    hub = IotHub("hub-a.azure-devices.net", seed=1)
    service = HubService(hub, world=world, behaviour=Switches(chosen).behaviour(HubBehaviour(), "hub"))
    events: list[HubEvent] = []
    hub.subscribe(events.append)
    twin, now = InitialTwin({}, {}), world.clock.now()
    for name in ("a", "b"):
        hub.create_or_get(name, keys=DeviceKeys(None, None), iot_edge=False, twin=twin, now=now)
    events.clear()
    hub.remove("a", now, moved=True)
    assert events == []
    token = sas.sign(
        "hub-a.azure-devices.net",
        service.policies[0].primary_key,
        now + timedelta(hours=1),
        service.policies[0].name,
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(service.asgi), base_url="https://localhost"
    ) as http:
        answer = await http.get(
            "/statistics/devices?api-version=2021-04-12", headers={"authorization": token}
        )
    assert answer.json()["totalDeviceCount"] == 2, "deleted devices stay counted"
