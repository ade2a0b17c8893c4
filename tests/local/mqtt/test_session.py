"""What a device gets over MQTT, packet by packet, and what ends its connection."""

import asyncio
import json
import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.asgi import Request, Response
from local.dps.behaviour import Behaviour
from local.dps.errors import CUSTOM_ALLOCATION_FAILED
from local.mqtt.behaviour import MqttBehaviour
from local.mqtt.codec import encode
from local.mqtt.packets import (
    Connack,
    ConnackCode,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    Will,
)
from local.mqtt.server import device_api
from local.mqtt.session import ANSWERS
from tests.local.dps.rig import HUBS, OTHER_KEY, PRIMARY, SCOPE, Rig, choose, custom
from tests.local.mqtt.wire import POLL, REGISTER, Device, Endpoint, endpoint, until, user_name


def body(message: Publish) -> dict[str, Any]:
    return dict(json.loads(message.payload))


async def poll(device: Device, operation: str, rid: str = "2") -> Publish:
    await device.send(Publish(POLL.format(rid, quote(operation, safe=""))))
    return await device.message()


async def started(device: Device, payload: bytes = b"{}") -> str:
    await device.send(Publish(REGISTER.format("1"), payload))
    answer = await device.message()
    assert answer.topic == "$dps/registrations/res/202/?$rid=1&retry-after=3"
    return str(body(answer)["operationId"])


async def test_a_device_registers_and_polls(mqtt: Endpoint) -> None:
    await mqtt.rig.put_enrollment(allocationPolicy="static", iotHubs=[HUBS[1]])
    device = await mqtt.subscribed(key=PRIMARY)
    await device.send(Publish(REGISTER.format("a-1"), b'{"registrationId":"dev-1"}', 1, 7))
    assert await device.next() == Puback(7)
    answer = await device.message()
    assert (answer.topic, answer.qos) == ("$dps/registrations/res/202/?$rid=a-1&retry-after=3", 1)
    assert body(answer)["status"] == "assigning"
    assert answer.packet_id is not None
    await device.send(Puback(answer.packet_id))
    final = await poll(device, body(answer)["operationId"])
    assert final.topic == "$dps/registrations/res/200/?$rid=2"
    assert body(final)["registrationState"]["assignedHub"] == HUBS[1]
    assert "dev-1" in mqtt.rig.hub_b.devices


async def test_both_protocols_speak_of_the_same_operations(mqtt: Endpoint) -> None:
    device = await mqtt.subscribed()
    operation = await started(device)
    over_https = (await mqtt.rig.poll("dev-1", operation)).json()
    assert body(await poll(device, operation)) == over_https
    begun = (await mqtt.rig.start("dev-1")).json()["operationId"]
    assert body(await poll(device, begun))["status"] == "assigned"


@pytest.mark.parametrize(
    ("payload", "status"),
    [(b"[", 400), (b'{"registrationId":"other"}', 400), (b'{"payload":1}', 400), (b"", 202), (b"null", 202)],
)
async def test_a_body_is_judged_as_over_https(mqtt: Endpoint, payload: bytes, status: int) -> None:
    device = await mqtt.subscribed()
    await device.send(Publish(REGISTER.format("1"), payload))
    answer = await device.message()
    path = f"/{SCOPE}/registrations/dev-1/register?api-version=2021-10-01"
    headers = {"authorization": mqtt.rig.token("dev-1")}
    over_https = await mqtt.rig.http.put(path, content=payload, headers=headers)
    assert answer.topic.split("/")[3] == str(over_https.status_code) == str(status)
    assert sorted(body(answer)) == sorted(over_https.json())


async def test_an_unknown_operation_is_404(mqtt: Endpoint) -> None:
    answer = await poll(await mqtt.subscribed(), "5.x.y")
    assert answer.topic == "$dps/registrations/res/404/?$rid=2"


async def test_an_unknown_api_version_and_another_scope_are_refused_as_over_https(mqtt: Endpoint) -> None:
    for name, status in (
        (user_name("dev-1", "api-version=1999-01-01"), 400),
        ("0ne0000dead/registrations/dev-1/api-version=2019-03-31", 404),
    ):
        device = await mqtt.device()
        token = mqtt.rig.token("dev-1").encode()
        assert await device.ask(Connect("dev-1", name, token)) == Connack(ConnackCode.ACCEPTED)
        await device.ask(Subscribe(1, ((ANSWERS, 0),)))
        await device.send(Publish(REGISTER.format("1"), b"{}"))
        assert (await device.message()).topic == f"$dps/registrations/res/{status}/?$rid=1"


@pytest.mark.parametrize("password", [b"", b"nonsense", b"\xff\xfe", None])
async def test_a_token_that_is_none_is_refused_when_the_device_registers(
    mqtt: Endpoint, password: bytes | None
) -> None:
    device = await mqtt.subscribed(password=password)
    await device.send(Publish(REGISTER.format("1"), b"{}"))
    answer = await device.message()
    assert answer.topic == "$dps/registrations/res/401/?$rid=1"
    assert body(answer)["errorCode"] == 401000


async def test_a_wrong_key_is_refused_when_the_device_registers(mqtt: Endpoint) -> None:
    device = await mqtt.subscribed(key=OTHER_KEY)
    await device.send(Publish(REGISTER.format("1"), b"{}"))
    assert body(await device.message())["errorCode"] == 401002
    assert mqtt.rig.dps.registration("dev-1") is None


async def test_a_token_that_expires_during_the_connection_opens_nothing_more(mqtt: Endpoint) -> None:
    device = await mqtt.subscribed()
    operation = await started(device)
    await mqtt.rig.clock.advance(3601)
    assert (await poll(device, operation)).topic == "$dps/registrations/res/401/?$rid=2"


@pytest.mark.parametrize(
    ("key", "code"), [(None, ConnackCode.ACCEPTED), (OTHER_KEY, ConnackCode.NOT_AUTHORIZED)]
)
async def test_a_wrong_key_is_refused_at_once_under_the_other_reading(
    rig: Rig, key: str | None, code: ConnackCode
) -> None:
    await rig.put_group()
    async with endpoint(rig, MqttBehaviour(credentials_checked="connect")) as mqtt:
        device = await mqtt.device()
        packet = Connect("dev-1", user_name("dev-1"), rig.token("dev-1", key).encode())
        assert await device.ask(packet) == Connack(code)
        if code:
            assert await device.next() is None
        assert [call.method for call in rig.world.journal][-1] == "CONNECT"


@pytest.mark.parametrize(
    ("client_id", "name", "code"),
    [
        ("DEV-1", user_name("dev-1"), ConnackCode.ACCEPTED),
        ("dev-1", user_name("dev-1", "?api-version=2021-10-01"), ConnackCode.ACCEPTED),
        ("dev-2", user_name("dev-1"), ConnackCode.IDENTIFIER_REJECTED),
        ("", user_name("dev-1"), ConnackCode.IDENTIFIER_REJECTED),
        ("dev-1", None, ConnackCode.BAD_USER_NAME_OR_PASSWORD),
        ("dev-1", "dev-1", ConnackCode.BAD_USER_NAME_OR_PASSWORD),
        ("dev-1", user_name("dev-1", "ClientVersion=1"), ConnackCode.BAD_USER_NAME_OR_PASSWORD),
        ("dev-1", user_name("dev-1") + "/more", ConnackCode.BAD_USER_NAME_OR_PASSWORD),
    ],
)
async def test_connect_names_scope_device_and_version(
    mqtt: Endpoint, client_id: str, name: str | None, code: ConnackCode
) -> None:
    device = await mqtt.device()
    assert await device.ask(Connect(client_id, name)) == Connack(code)
    if code:
        assert await device.next() is None


async def test_another_protocol_level_is_refused_with_code_1(mqtt: Endpoint) -> None:
    for level in (b"\x00\x06MQIsdp\x03", b"\x00\x04MQTT\x05"):
        device = await mqtt.device()
        rest = level + b"\x02\x00\x3c\x00\x05dev-1"
        answer = await device.ask(bytes((0x10, len(rest))) + rest)
        assert answer == Connack(ConnackCode.UNACCEPTABLE_PROTOCOL)
        assert await device.next() is None


async def test_no_session_outlives_its_connection(mqtt: Endpoint) -> None:
    first = await mqtt.subscribed(clean_session=False, will=Will("a", b"b", 1, retain=True))
    await first.send(Disconnect())
    assert await first.next() is None
    second = await mqtt.connected(clean_session=False)  # its CONNACK says: no session present
    await second.send(Publish(REGISTER.format("1"), b"{}"), Pingreq())
    assert await second.next() == Pingresp()  # and the subscription is gone


async def test_only_the_documented_filter_is_granted_and_at_most_qos_1(mqtt: Endpoint) -> None:
    device = await mqtt.connected()
    wanted = ((ANSWERS, 2), ("#", 0), ("$dps/registrations/res/202/#", 1), (ANSWERS, 0))
    assert await device.ask(Subscribe(9, wanted)) == Suback(9, (1, 0x80, 0x80, 0))


async def test_answers_have_the_qos_that_was_granted(mqtt: Endpoint) -> None:
    device = await mqtt.subscribed(qos=0)
    await device.send(Publish(REGISTER.format("1"), b"{}", 1, 3))
    assert await device.next() == Puback(3)
    answer = await device.message()
    assert (answer.qos, answer.packet_id) == (0, None)


async def test_after_unsubscribing_no_answer_comes(mqtt: Endpoint) -> None:
    device = await mqtt.subscribed()
    assert await device.ask(Unsubscribe(4, ("other",))) == Unsuback(4)
    await started(device)
    assert await device.ask(Unsubscribe(5, ("other", ANSWERS))) == Unsuback(5)
    await device.send(Publish(REGISTER.format("1"), b"{}", 1, 6), Pingreq())
    assert [await device.next(), await device.next()] == [Puback(6), Pingresp()]


@pytest.mark.parametrize("rid", ["a%20b", "%24x", "é", "with space", "1+1", "x" * 900])
async def test_the_request_id_comes_back_as_it_was_written(mqtt: Endpoint, rid: str) -> None:
    device = await mqtt.subscribed()
    if "+" in rid:  # a topic name may not hold it
        await device.send(Publish(REGISTER.format(rid)))
        assert await device.next() is None
        return
    await device.send(Publish(REGISTER.format(rid), b"{}"))
    assert (await device.message()).topic == f"$dps/registrations/res/202/?$rid={rid}&retry-after=3"


async def test_a_missing_request_id_comes_back_empty(mqtt: Endpoint) -> None:
    device = await mqtt.subscribed()
    await device.send(Publish("$dps/registrations/PUT/iotdps-register/?rid=1", b"{}"))
    assert (await device.message()).topic == "$dps/registrations/res/202/?$rid=&retry-after=3"


FORBIDDEN = {
    "a second CONNECT": encode(Connect("dev-1", user_name("dev-1"))),
    "a packet of the server's": encode(Pingresp()),
    "QoS 2": encode(Publish(REGISTER.format("1"), b"{}", 2, 1)),
    "another topic": encode(Publish("devices/dev-1/messages/events/", b"{}")),
    "almost the topic": encode(Publish("$dps/registrations/PUT/iotdps-register", b"{}")),
    "a topic too long": encode(Publish(REGISTER.format("x" * 1024), b"{}")),
    "a packet too large": b"\x30\x80\x80\x80\x01",
    "no packet": b"\x00\x00",
}


@pytest.mark.parametrize("raw", FORBIDDEN.values(), ids=FORBIDDEN.keys())
async def test_what_may_not_be_sent_ends_the_connection_and_no_other(mqtt: Endpoint, raw: bytes) -> None:
    other = await mqtt.subscribed("dev-2")
    device = await mqtt.subscribed()
    assert await device.ask(raw) is None
    assert mqtt.rig.dps.registration("dev-1") is None
    await started(other)


async def test_a_body_over_the_services_limit_is_413(rig: Rig) -> None:
    await rig.put_group()
    async with endpoint(rig, MqttBehaviour()) as mqtt:
        device = await mqtt.subscribed()
        await device.send(Publish(REGISTER.format("1"), b" " * (Behaviour().message_limit + 1)))
        assert (await device.message()).topic == "$dps/registrations/res/413/?$rid=1"


async def test_the_first_packet_must_be_a_connect_of_modest_size(mqtt: Endpoint) -> None:
    for raw in (encode(Pingreq()), encode(Connect("d", "u" * 60_000))):
        assert await (await mqtt.device()).ask(raw) is None


async def test_a_connection_without_a_connect_ends(mqtt: Endpoint) -> None:
    device = await mqtt.device()
    await device.send(b"\x10")
    await until(lambda: mqtt.timer.sleeping)
    await mqtt.timer.advance(30)
    assert await device.next() is None


async def test_a_silent_client_is_given_up_after_one_and_a_half_keep_alives(mqtt: Endpoint) -> None:
    device = await mqtt.subscribed(keep_alive=60)
    await mqtt.timer.advance(89)
    assert await device.ask(Pingreq()) == Pingresp()
    await mqtt.timer.advance(89)
    assert await device.ask(Pingreq()) == Pingresp()
    await mqtt.timer.advance(90)
    assert await device.next() is None


async def test_moving_the_worlds_clock_cuts_no_connection(mqtt: Endpoint) -> None:
    device = await mqtt.subscribed(keep_alive=60)
    await mqtt.rig.clock.advance(3000)
    assert await device.ask(Pingreq()) == Pingresp()


async def test_without_a_keep_alive_a_silent_client_stays(mqtt: Endpoint) -> None:
    device = await mqtt.subscribed()
    await mqtt.timer.advance(86_400)
    assert await device.ask(Pingreq()) == Pingresp()


async def test_a_second_connection_of_a_device_takes_over(mqtt: Endpoint) -> None:
    first = await mqtt.subscribed()
    second = await mqtt.subscribed("DEV-1", key=None)
    assert await first.next() is None
    assert await second.ask(Pingreq()) == Pingresp()
    third = await mqtt.subscribed()  # the first's end has not unseated the second
    assert await second.next() is None
    assert await third.ask(Pingreq()) == Pingresp()


async def test_connections_over_the_limit_are_closed_at_once(rig: Rig) -> None:
    await rig.put_group()
    async with endpoint(rig, MqttBehaviour(connection_limit=2)) as mqtt:
        first, second = await mqtt.connected("dev-1"), await mqtt.connected("dev-2")
        assert await (await mqtt.device()).next() is None
        await first.send(Disconnect())
        assert await first.next() is None
        assert await second.ask(Pingreq()) == Pingresp()
        await until(lambda: len(mqtt.connections) == 1)
        await mqtt.connected("dev-3")


async def test_a_client_that_acknowledges_nothing_is_given_up(rig: Rig) -> None:
    await rig.put_group()
    async with endpoint(rig, MqttBehaviour(unacknowledged_limit=3)) as mqtt:
        device = await mqtt.subscribed()
        for _ in range(3):
            await started(device)
        assert await device.ask(Publish(REGISTER.format("1"), b"{}")) is None


async def test_packet_ids_of_answers_go_round(rig: Rig) -> None:
    await rig.put_group()
    async with endpoint(rig, MqttBehaviour(unacknowledged_limit=2)) as mqtt:
        device = await mqtt.subscribed()
        seen = []
        for _ in range(5):
            await device.send(Publish(REGISTER.format("1"), b"{}"))
            packet_id = (await device.message()).packet_id
            assert packet_id
            seen.append(packet_id)
            await device.send(Puback(packet_id), Puback(999))
        assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("status", [500, 503, 429, None])
async def test_an_outage_of_the_webhook_ends_as_a_failed_status(mqtt: Endpoint, status: int | None) -> None:
    """A 5xx answer would make MQTT clients ask for ever; what they get is 200 and `failed`."""

    def out(_: object) -> httpx.Response:
        if status is None:
            raise httpx.ConnectError("unreachable")
        return httpx.Response(status)

    await mqtt.rig.put_enrollment(**custom())
    mqtt.rig.webhook = out
    device = await mqtt.subscribed(key=PRIMARY)
    operation, polls = await started(device), 1
    while (answer := await poll(device, operation, str(polls))).topic.split("/")[3] == "202":
        assert answer.topic.endswith(f"$rid={polls}&retry-after=3")
        assert answer.packet_id is not None
        await device.send(Puback(answer.packet_id))
        await mqtt.rig.clock.advance(3)
        polls += 1
    assert answer.topic == f"$dps/registrations/res/200/?$rid={polls}"
    assert len(mqtt.rig.asked) == 11
    assert 135 <= polls <= 145  # about seven minutes
    state = body(answer)["registrationState"]
    assert (state["status"], state["errorCode"]) == ("failed", CUSTOM_ALLOCATION_FAILED)


async def test_faults_can_stand_in_front_of_the_device_api(rig: Rig) -> None:
    await rig.put_group()
    faults = iter([Response(429, {"errorCode": 429001}, {"Retry-After": "7"}), ConnectionResetError()])
    api = device_api(rig.dps)

    async def answer(request: Request, *, keep: bool = True) -> Response | None:
        match next(faults, None):
            case Response() as faulted:
                return faulted
            case ConnectionResetError() as broken:
                raise broken
        return await api(request, keep=keep)

    async with endpoint(rig, answer=answer) as mqtt:
        device = await mqtt.subscribed()
        await device.send(Publish(REGISTER.format("1"), b"{}"))
        assert (await device.message()).topic == "$dps/registrations/res/429/?$rid=1&retry-after=7"
        assert await device.ask(Publish(REGISTER.format("2"), b"{}")) is None
        await started(await mqtt.subscribed())


async def test_the_webhooks_payload_reaches_the_device_and_the_devices_the_webhook(mqtt: Endpoint) -> None:
    await mqtt.rig.put_enrollment(**custom())
    mqtt.rig.webhook = choose(HUBS[2], payload={"hello": "device"})
    device = await mqtt.subscribed(key=PRIMARY)
    operation = await started(device, b'{"registrationId":"dev-1","payload":{"model":"m"}}')
    await mqtt.rig.clock.advance(0)
    state = body(await poll(device, operation))["registrationState"]
    assert (state["assignedHub"], state["payload"]) == (HUBS[2], {"hello": "device"})
    assert mqtt.rig.asked[-1]["deviceRuntimeContext"]["payload"] == {"model": "m"}


async def test_the_journal_tells_of_connections_and_operations_without_the_token(mqtt: Endpoint) -> None:
    device = await mqtt.subscribed(keep_alive=30)
    await started(device)
    connect, put = tuple(mqtt.rig.world.journal)[-2:]
    assert (connect.method, connect.status) == ("CONNECT", 0)
    assert connect.path.startswith(f"{SCOPE}/registrations/dev-1/api-version=2019-03-31")
    assert connect.request == {"clientId": "dev-1", "keepAlive": 30}
    assert (put.method, put.path, put.status) == ("PUT", f"/{SCOPE}/registrations/dev-1/register", 202)
    assert not re.search("sig=|SharedAccess", repr(tuple(mqtt.rig.world.journal)))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=st.binary(max_size=300), connected=st.booleans())
def test_arbitrary_bytes_never_harm_the_server(
    raw: bytes, connected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with Rig() as rig:
            await rig.put_group()
            async with endpoint(rig) as mqtt:
                device = await (mqtt.subscribed("dev-2") if connected else mqtt.device())
                await device.send(raw)
                device.writer.write_eof()
                while await device.next() is not None:
                    pass
                await started(await mqtt.subscribed("dev-1"))

    asyncio.run(run())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
