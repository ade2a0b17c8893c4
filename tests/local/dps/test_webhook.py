"""Custom allocation: what the webhook is sent, and what DPS makes of each answer."""

import asyncio
from typing import Any

import httpx
import pytest

from local.dps.behaviour import Behaviour
from local.dps.service import ProvisioningService
from tests.local.dps.rig import HUBS, PRIMARY, WEBHOOK, Rig, choose, custom
from tests.openapi.judge import Judge

WAITS = [1, 10, 19, 28, 37, 46, 55, 64, 73, 82]


async def test_group_request_has_the_members_and_order_of_captured_ones(rig: Rig) -> None:
    await rig.put_group(**custom(iotHubs=[HUBS[1], HUBS[0]]))
    rig.webhook = choose(HUBS[1])
    await rig.register("Dev-1", payload={"modelId": "x"})
    body = rig.asked[0]
    assert list(body) == ["enrollmentGroup", "deviceRuntimeContext", "linkedHubs"]
    assert body["enrollmentGroup"]["attestation"] == {"type": "symmetricKey"}
    definition = {"webhookUrl": "https://app.example/api/allocate?****", "apiVersion": "2021-10-01"}
    assert body["enrollmentGroup"]["customAllocationDefinition"] == definition
    assert body["enrollmentGroup"]["etag"].startswith('"')
    assert list(body["deviceRuntimeContext"].items()) == [
        ("registrationId", "Dev-1"),
        ("symmetricKey", {}),
        ("payload", {"modelId": "x"}),
    ]
    assert body["linkedHubs"] == [HUBS[1], HUBS[0]]


async def test_later_requests_name_the_current_hub_and_device(rig: Rig) -> None:
    await rig.put_enrollment(deviceId="Other", **custom())
    await rig.register(key=PRIMARY)
    await rig.register(key=PRIMARY)
    assert list(rig.asked[1]) == ["individualEnrollment", "deviceRuntimeContext", "linkedHubs"]
    assert list(rig.asked[1]["deviceRuntimeContext"].items()) == [
        ("registrationId", "dev-1"),
        ("currentIotHubHostName", HUBS[0]),
        ("currentDeviceId", "Other"),
        ("symmetricKey", {}),
    ]
    assert rig.asked[1]["individualEnrollment"]["registrationState"]["status"] == "assigned"


@pytest.mark.parametrize(("listed", "hubs"), [(True, list(HUBS)), (False, list(HUBS[:2]))])
async def test_retired_hubs_are_listed_as_the_behaviour_says(listed: bool, hubs: list[str]) -> None:
    async with Rig(Behaviour(retired_hubs_in_linked_hubs=listed)) as rig:
        rig.hub_c.apply_allocation_policy = False
        await rig.put_group(**custom())
        await rig.register()
        assert rig.asked[0]["linkedHubs"] == hubs


def answer(status: int, content: bytes = b"", **headers: str) -> httpx.Response:
    return httpx.Response(status, content=content, headers=headers)


HUB_JSON = b'{"iotHubHostName":"hub-a.azure-devices.net"%s}'
LASTING: list[tuple[str, httpx.Response, int, str]] = [
    ("no host", answer(200, b"{}"), 400208, ""),
    ("null host", answer(200, b'{"iotHubHostName":null}'), 400208, ""),
    ("empty host", answer(200, b'{"iotHubHostName":""}'), 400208, ""),
    ("401", answer(401), 400209, ""),
    ("400", answer(400), 400207, "Custom allocation failed with status code: 400"),
    ("403", answer(403), 400207, "Custom allocation failed with status code: 403"),
    ("404", answer(404), 400207, "Custom allocation failed with status code: 404"),
    ("408", answer(408), 400207, "Custom allocation failed with status code: 408"),
    ("422", answer(422), 400207, "Custom allocation failed with status code: 422"),
    ("204", answer(204), 400207, "Custom allocation failed with status code: 204"),
    (
        "redirect",
        answer(302, location="https://else.where/"),
        400207,
        "Custom allocation failed with status code: 302",
    ),
    ("unlinked host", answer(200, b'{"iotHubHostName":"hub-x.azure-devices.net"}'), 400207, ""),
    ("host of a wrong type", answer(200, b'{"iotHubHostName":7}'), 400207, ""),
    ("no JSON", answer(200, b"hello"), 400207, ""),
    ("bad UTF-8", answer(200, b'"\xff"'), 400207, ""),
    ("no object", answer(200, b"[]"), 400207, ""),
    ("NaN", answer(200, HUB_JSON % b',"payload":{"a":NaN}'), 400207, ""),
    ("infinite", answer(200, HUB_JSON % b',"payload":{"a":1e999}'), 400207, ""),
    ("deep", answer(200, b"[" * 50_000), 400207, ""),
    ("payload of a wrong type", answer(200, HUB_JSON % b',"payload":"x"'), 400207, ""),
    ("twin of a wrong type", answer(200, HUB_JSON % b',"initialTwin":[]'), 400207, ""),
    ("too large", answer(200, HUB_JSON % (b',"payload":{"a":"%s"}' % (b"x" * 99_000))), 400207, ""),
]


@pytest.mark.parametrize(("reply", "code", "message"), [c[1:] for c in LASTING], ids=[c[0] for c in LASTING])
async def test_lasting_answers_fail_the_device_at_once(
    rig: Rig, reply: httpx.Response, code: int, message: str
) -> None:
    rig.webhook = lambda _: httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
    await rig.put_group(**custom())
    state = await rig.state()
    assert (state["status"], state["errorCode"]) == ("failed", code)
    assert state["errorMessage"]
    assert message in state["errorMessage"]
    assert len(rig.asked) == 1
    record = (await rig.call("GET", "/registrations/dev-1")).json()
    assert (record["status"], record["errorCode"]) == ("failed", code)


async def walk_waits(rig: Rig, operation: str) -> list[int]:
    """Advance second by second; the seconds between the webhook's calls."""
    seconds, last, waits = 0, 0, []
    await rig.clock.advance(0)
    asked = len(rig.asked)
    while rig.dps.running:
        polled = await rig.poll("dev-1", operation)
        assert (polled.status_code, polled.headers["retry-after"]) == (202, "3")
        assert polled.json()["registrationState"]["status"] == "assigning"
        await rig.clock.advance(1)
        seconds += 1
        if len(rig.asked) > asked:
            asked = len(rig.asked)
            waits.append(seconds - last)
            last = seconds
    return waits


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_throttling_and_server_errors_are_retried_ten_times(rig: Rig, status: int) -> None:
    rig.webhook = lambda _: httpx.Response(status)
    await rig.put_group(**custom())
    operation = (await rig.start("dev-1")).json()["operationId"]
    assert await walk_waits(rig, operation) == WAITS
    state = (await rig.poll("dev-1", operation)).json()["registrationState"]
    assert state["errorCode"] == 400207
    assert state["errorMessage"] == f"Custom allocation failed with status code: {status}"


def unreachable(_: Any) -> httpx.Response:
    raise httpx.ConnectError("no such host")


async def test_unreachable_webhook_is_retried_and_then_named_so(rig: Rig) -> None:
    rig.webhook = unreachable
    await rig.put_group(**custom())
    operation = (await rig.start("dev-1")).json()["operationId"]
    assert await walk_waits(rig, operation) == WAITS
    state = (await rig.poll("dev-1", operation)).json()["registrationState"]
    assert (state["errorCode"], state["errorMessage"]) == (
        400207,
        "An error occurred while sending the request.",
    )
    assert [call.status for call in rig.world.journal.of("webhook")] == [None] * 11


async def test_a_webhook_that_recovers_saves_the_device(rig: Rig) -> None:
    replies = iter(
        [lambda _: httpx.Response(503), unreachable, lambda _: httpx.Response(429), choose(HUBS[2])]
    )

    def recover(body: Any) -> httpx.Response:
        return next(replies)(body)

    rig.webhook = recover
    await rig.put_group(**custom())
    operation = (await rig.start("dev-1")).json()["operationId"]
    await rig.clock.advance(1 + 10 + 19)
    assert (await rig.poll("dev-1", operation)).json()["registrationState"]["assignedHub"] == HUBS[2]


@pytest.mark.parametrize("url", ["http://[::1", "https://a b/", "http://exa\udcffmple/"])
async def test_urls_that_cannot_be_called_are_refused_or_unreachable(rig: Rig, url: str) -> None:
    definition = {"webhookUrl": url, "apiVersion": "2021-10-01"}
    made = await rig.put_group(**custom(customAllocationDefinition=definition))
    rig.webhook = unreachable
    if made.status_code == 200:
        operation = (await rig.start("dev-1")).json()["operationId"]
        await rig.clock.advance(500)
        assert (await rig.poll("dev-1", operation)).json()["registrationState"]["errorCode"] == 400207
    else:
        assert made.status_code == 400


class SlowWebhook:
    """An ASGI application that never answers, or does when told."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = asyncio.Event()

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.calls += 1
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": HUB_JSON % b""})


def rig_with(client: httpx.AsyncClient, behaviour: Behaviour | None = None) -> Rig:
    rig = Rig(behaviour)
    rig.dps = ProvisioningService(
        hubs=rig.dps.hubs,
        policies=rig.dps.policies,
        world=rig.world,
        behaviour=behaviour,
        webhook_client=client,
    )
    rig.judge = Judge(rig.dps.asgi)
    rig.http = httpx.AsyncClient(transport=httpx.ASGITransport(rig.judge), base_url="https://localhost")
    return rig


async def test_a_slow_webhook_times_out_by_the_worlds_clock_and_is_asked_again() -> None:
    slow = SlowWebhook()
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(slow)) as client,
        rig_with(client, Behaviour(webhook_timeout=30)) as rig,
    ):
        await rig.put_group(**custom())
        operation = (await rig.start("dev-1")).json()["operationId"]
        await rig.clock.advance(29)
        assert (slow.calls, (await rig.poll("dev-1", operation)).status_code) == (1, 202)
        await rig.clock.advance(2)
        assert slow.calls == 2
        slow.go.set()
        await rig.clock.advance(0)
        assert (await rig.poll("dev-1", operation)).json()["status"] == "assigned"
        assert rig.clock.sleeping == 0


async def test_a_second_register_joins_the_running_one() -> None:
    slow = SlowWebhook()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(slow)) as client, rig_with(client) as rig:
        await rig.put_group(**custom())
        first, second = [(await rig.start(name)).json() for name in ("dev-1", "DEV-1")]
        await rig.clock.advance(0)
        assert first == second
        assert (await rig.call("GET", "/registrations/dev-1")).json()["status"] == "assigning"
        slow.go.set()
        await rig.clock.advance(0)
        assert slow.calls == 1
        third = (await rig.start("dev-1")).json()
        assert third["operationId"] != first["operationId"]


async def test_closing_the_service_ends_running_registrations() -> None:
    slow = SlowWebhook()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(slow)) as client:
        async with rig_with(client) as rig:
            await rig.put_group(**custom())
            await rig.start("dev-1")
            await rig.clock.advance(0)
            assert (slow.calls, rig.dps.running) == (1, 1)
        assert rig.dps.running == 0
        assert rig.clock.sleeping == 0


async def test_journal_of_a_webhook_call_hides_the_code(rig: Rig) -> None:
    rig.webhook = choose(HUBS[0], payload={"apiKey": "hide-me", "note": "see"})
    await rig.put_group(**custom())
    await rig.register()
    (call,) = rig.world.journal.of("webhook")
    assert (call.path, call.status) == ("https://app.example/api/allocate?****", 200)
    assert call.response["payload"] == {"apiKey": "****", "note": "see"}
    everything = repr(list(rig.world.journal))
    assert "not-to-be-seen" not in everything
    assert WEBHOOK.split("=")[1] not in everything
    assert PRIMARY not in everything
    assert "hide-me" not in everything
    assert len(rig.world.journal.of(rig.dps.name)) == 3
