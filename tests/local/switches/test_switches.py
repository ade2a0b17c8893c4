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
from local.mqtt.behaviour import MqttBehaviour
from local.sites import SiteBehaviour
from local.switches import SWITCHES, AlreadyConsulted, Switches, UnknownSwitch
from local.world import ManualClock, World
from tests.local.dps.rig import Rig, group, symmetric

KINDS: dict[str, type[Any]] = {
    "dps": Behaviour,
    "hub": HubBehaviour,
    "mqtt": MqttBehaviour,
    "site": SiteBehaviour,
}
LIMITS = {
    "dps.message_limit",
    "hub.message_limit",
    "hub.query_limit",
    "mqtt.connect_patience",
    "mqtt.packet_limit",
    "mqtt.connect_limit",
    "mqtt.topic_limit",
    "mqtt.unacknowledged_limit",
    "mqtt.connection_limit",
}
"""Fields that are no unknown behaviour: sizes and numbers that keep the emulator itself from harm."""


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
    assert getattr(KINDS[service](), field) == switch.options[0]
    assert len(switch.options) > 1


def test_every_choice_of_every_behaviour_is_a_switch_or_a_limit() -> None:
    fields = {f"{service}.{field}" for service, kind in KINDS.items() for field in kind.__dataclass_fields__}
    assert fields == {switch.name for switch in SWITCHES} | LIMITS


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
    assert one.message_limit == 96 * 1024
    assert chosen.asked == ["dps.put_without_keys"]


def test_services_have_switches_of_their_own() -> None:
    switches = Switches()
    switches.set("dps.default_page_size", 10)
    assert switches.behaviour(HubBehaviour(), "hub").default_page_size == 100
    assert switches.behaviour(Behaviour(), "dps").default_page_size == 10


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


# Each switch of a hub reaches the emulator (tests/local/iothub/test_unknowns.py shows each position).


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
