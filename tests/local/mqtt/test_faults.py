"""The faults of a run meet devices over MQTT as they do over HTTPS."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from local.cloud import serve_cloud
from local.dps import sas
from local.dps.limits import Limits
from local.dps.seed import seed
from local.faults import (
    Fault,
    Faults,
    Rule,
    answered,
    dropped,
    halved,
    skewed,
    slowed,
    stalled,
    throttled,
)
from local.mqtt import MqttBehaviour, device_api, met_by
from local.mqtt.packets import Connack, ConnackCode, Connect, Pingreq, Pingresp, Publish, Subscribe
from local.mqtt.session import ANSWERS
from local.switches import Switches
from local.tls import CertificateAuthority
from local.world import World
from tests.local.dps.rig import HUBS, OTHER_KEY, SCOPE, Rig
from tests.local.mqtt.wire import POLL, REGISTER, Device, Endpoint, endpoint, until


class Place:
    """An endpoint with faults in front of it."""

    def __init__(self, mqtt: Endpoint, faults: Faults) -> None:
        self.mqtt = mqtt
        self.rig = mqtt.rig
        self.faults = faults

    def add(self, fault: Fault, method: str = "PUT", path: str = "*/register", **more: Any) -> None:
        self.faults.add(Rule(fault, service="dps", method=method, path=path, **more))

    async def register(self, device: Device, rid: str = "1") -> Publish | None:
        """The answer; None: the connection has ended."""
        answer = await device.ask(Publish(REGISTER.format(rid), b"{}"))
        assert answer is None or isinstance(answer, Publish)
        return answer

    @property
    def carried_out(self) -> bool:
        return any(call.path.endswith("/register") for call in self.rig.world.journal.of(self.rig.dps.name))

    def told(self) -> list[tuple[str, Any]]:
        return [(call.path, call.response) for call in self.rig.world.journal.of(Faults.SERVICE)]


@pytest_asyncio.fixture
async def place(rig: Rig) -> AsyncIterator[Place]:
    await rig.put_group()
    faults = Faults(rig.world)
    async with endpoint(rig, answer=met_by(faults, "dps", device_api(rig.dps))) as mqtt:
        yield Place(mqtt, faults)


def topic(status: int, rid: str = "1", *, retry_after: int | None = None) -> str:
    after = "" if retry_after is None else f"&retry-after={retry_after}"
    return f"$dps/registrations/res/{status}/?$rid={rid}{after}"


async def test_without_a_rule_nothing_is_faulted(place: Place) -> None:
    answer = await place.register(await place.mqtt.subscribed())
    assert answer is not None
    assert answer.topic == topic(202, retry_after=3)
    assert place.told() == []


@pytest.mark.parametrize("retry_after", [None, 7])
async def test_throttled_registration_is_refused_in_the_topic_and_not_carried_out(
    place: Place, retry_after: int | None
) -> None:
    place.add(throttled(retry_after))
    device = await place.mqtt.subscribed()
    answer = await place.register(device)
    assert answer is not None
    assert answer.topic == topic(429, retry_after=retry_after)
    assert json.loads(answer.payload)["errorCode"] == 429001
    assert not place.carried_out
    again = await place.register(device, "2")
    assert again is not None
    assert again.topic == topic(202, "2", retry_after=3)


@pytest.mark.parametrize("after", [False, True])
async def test_error_comes_before_or_after_the_registration_was_carried_out(
    place: Place, after: bool
) -> None:
    place.add(answered(503, after=after))
    answer = await place.register(await place.mqtt.subscribed())
    assert answer is not None
    assert answer.topic == topic(503)
    assert place.carried_out is after


@pytest.mark.parametrize(
    ("fault", "carried_out"), [(dropped(), False), (dropped(after=True), True), (halved(), True)]
)
async def test_connection_ends_before_or_after_the_registration_was_carried_out(
    place: Place, fault: Fault, carried_out: bool
) -> None:
    place.add(fault)
    assert await place.register(await place.mqtt.subscribed()) is None
    assert place.carried_out is carried_out
    assert await place.register(await place.mqtt.subscribed()) is not None


@pytest.mark.parametrize("after", [False, True])
async def test_stalled_message_is_never_answered_and_the_connection_lives(place: Place, after: bool) -> None:
    place.add(stalled(after=after))
    device = await place.mqtt.subscribed()
    await device.send(Publish(REGISTER.format("1"), b"{}"))
    assert await device.ask(Pingreq()) == Pingresp()
    assert place.carried_out is after
    answer = await place.register(device, "2")
    assert answer is not None
    assert "$rid=2" in answer.topic


@pytest.mark.parametrize("after", [False, True])
async def test_slow_registration_is_answered_when_its_time_has_come(place: Place, after: bool) -> None:
    place.add(slowed(30, after=after))
    device = await place.mqtt.subscribed()
    await device.send(Publish(REGISTER.format("1"), b"{}"))
    await until(lambda: place.rig.clock.sleeping)
    assert place.carried_out is after
    await place.rig.clock.advance(30)
    assert (await device.message()).topic == topic(202, retry_after=3)


async def test_skewed_service_finds_a_good_token_expired(place: Place) -> None:
    place.add(skewed(2 * 3600))
    device = await place.mqtt.subscribed()
    answers = [await place.register(device, rid) for rid in ("1", "2")]
    assert [each.topic.split("/")[3] for each in answers if each] == ["401", "202"]


async def test_polls_are_met_by_rules_of_their_own(place: Place) -> None:
    place.add(answered(500), method="GET", path="*/operations/*")
    device = await place.mqtt.subscribed()
    started = await place.register(device)
    assert started is not None
    poll = Publish(POLL.format("2", json.loads(started.payload)["operationId"]))
    answers = [await device.ask(poll), await device.ask(poll)]
    assert [each.topic for each in answers if isinstance(each, Publish)] == [topic(500, "2"), topic(200, "2")]
    ((path, _),) = place.told()
    assert "/operations/" in path


async def test_rule_counts_calls_over_https_and_mqtt_together(place: Place) -> None:
    faulty = place.faults.around("dps", place.rig.dps.asgi, lambda *_: pytest.fail("met over HTTPS"))
    place.add(answered(503), nth=2)
    headers = {"authorization": place.rig.token("dev-1")}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(faulty), base_url="https://localhost"
    ) as https:
        path = f"/{SCOPE}/registrations/dev-1/register?api-version=2021-10-01"
        assert (await https.put(path, json={}, headers=headers)).status_code == 202
    answer = await place.register(await place.mqtt.subscribed())
    assert answer is not None
    assert answer.topic == topic(503)


async def test_the_servers_own_look_at_the_credentials_is_met_by_no_rule(rig: Rig) -> None:
    await rig.put_group()
    faults = Faults(rig.world)
    faults.add(Rule(answered(500), service="dps", count=None))
    answer = met_by(faults, "dps", device_api(rig.dps))
    async with endpoint(rig, MqttBehaviour(credentials_checked="connect"), answer) as mqtt:
        await mqtt.connected()
    assert rig.world.journal.of(Faults.SERVICE) == ()


async def test_the_devices_of_a_cloud_meet_its_faults_and_switches_over_mqtt(tmp_path: Path) -> None:
    world, switches = World(), Switches()
    faults = Faults(world)
    certificate = CertificateAuthority(tmp_path).issue()
    switches.set("mqtt.credentials_checked", "connect")
    async with serve_cloud(
        {HUBS[0]: 1},
        certificate,
        world=world,
        name="dps-here",
        limits=Limits(),
        faults=faults,
        switches=switches,
    ) as cloud:
        seed(cloud.dps, registrations=0, enrollments=1)
        enrollment = next(iter(cloud.dps.store.individuals))
        assert enrollment.keys is not None
        path = f"{cloud.dps.id_scope}/registrations/{enrollment.id}"
        faults.add(Rule(throttled(1), service="dps", method="PUT", path=f"/{path}/register"))
        for key, code in (
            (OTHER_KEY, ConnackCode.NOT_AUTHORIZED),
            (enrollment.keys.primary, ConnackCode.ACCEPTED),
        ):
            assert key is not None
            token = sas.sign(path, key, world.clock.now() + timedelta(hours=1), "registration")
            streams = await asyncio.open_connection(
                "localhost", cloud.mqtt.port, ssl=certificate.client_context()
            )
            device = Device(*streams)
            connect = Connect(enrollment.id, f"{path}/api-version=2019-03-31", token.encode())
            assert await device.ask(connect) == Connack(code)
            if code is ConnackCode.ACCEPTED:
                await device.ask(Subscribe(1, ((ANSWERS, 1),)))
                await device.send(Publish(REGISTER.format("1"), b"{}"))
                assert (await device.message()).topic == topic(429, retry_after=1)
            device.writer.close()
            with contextlib.suppress(OSError):
                await device.writer.wait_closed()
    assert [call.path for call in world.journal.of(Faults.SERVICE)] == [f"/{path}/register"]
