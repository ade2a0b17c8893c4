"""The webhook goes onto enrollments with its key, and what it answers is explained as DPS would take it."""

import json
from typing import Any

import httpx
import pytest

from allocation.request import parse
from clients.connections import Connections
from clients.webhook import ANSWER_BYTES, WebhookReply, call_webhook
from lifecycle.enrollments import webhook as hook
from lifecycle.enrollments.change import change, create
from lifecycle.errors import InvalidOption
from local.explore import Life, Run, explore
from local.switches import Switches
from provisioning.ids import InvalidId, check_known_id, check_registration_id
from tests.clients.stage import QuickClock
from tests.lifecycle.enrollments.rig import HUBS, KEYS, WEBHOOK, Rig, group

BASE = "https://app.example/api/allocate"
KEY = "a/function+key=="
URL = hook.with_key(BASE, KEY)


async def test_attaching_under_every_switch_and_crash_ends_with_this_url_and_both_keys() -> None:
    async def scenario(run: Run) -> None:
        rig = Rig(Switches(run))
        await create(rig.groups(), group(customAllocationDefinition=None, allocationPolicy="hashed"))

        async def work(life: Life) -> None:
            await change(
                rig.groups(life.transport(rig.transport())), "line-a", hook.attached(URL, "2021-10-01")
            )

        await run.live(work)
        check_attached(rig)
        await rig.aclose()

    report = await explore(scenario)
    report.check()
    assert "dps.mask_webhook_url_on_get" in report.consulted


def check_attached(rig: Rig) -> None:
    held = rig.service.group("line-a")
    assert held is not None
    assert held.keys is not None
    assert (held.webhook_url, held.allocation_policy, held.hubs) == (URL, "custom", HUBS)
    assert (held.keys.primary, held.keys.secondary) == (KEYS["primaryKey"], KEYS["secondaryKey"])


class Lost(httpx.AsyncBaseTransport):
    """Loses the first PUT, before or after it arrives."""

    def __init__(self, rig: Rig, *, after: bool) -> None:
        self.inner, self.after, self.left = rig.transport(), after, 1

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT" and self.left:
            self.left -= 1
            if self.after:
                await self.inner.handle_async_request(request)
            raise httpx.ReadError("gone", request=request)
        return await self.inner.handle_async_request(request)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("after", [False, True])
async def test_new_key_alone_arrives_though_an_answer_is_lost_and_reads_mask_it(
    masked: bool, after: bool
) -> None:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", masked)
    rig = Rig(switches)
    await create(rig.groups(), group())
    await change(rig.groups(Lost(rig, after=after)), "line-a", hook.attached(URL, "2021-10-01"))
    check_attached(rig)
    await rig.aclose()


async def test_lost_key_is_not_taken_for_written_because_somebody_else_wrote(rig_masked: Rig) -> None:
    rig = rig_masked
    await create(rig.groups(), group())

    class Overtaken(Lost):
        """The first PUT is lost, and another writer's arrives in its place."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "PUT" and self.left:
                await change(rig.groups(), "line-a", noted, webhook_url=WEBHOOK)
            return await super().handle_async_request(request)

    def noted(document: dict[str, Any]) -> dict[str, Any]:
        return document | {"certificatePolicyName": "theirs"}  # what this change says nothing of

    await change(rig.groups(Overtaken(rig, after=False)), "line-a", hook.attached(URL, "2021-10-01"))
    check_attached(rig)
    held = rig.service.group("line-a")
    assert held is not None
    assert held.members["certificatePolicyName"] == "theirs"
    await rig.aclose()


@pytest.fixture
def rig_masked() -> Rig:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", True)
    return Rig(switches)


@pytest.mark.parametrize(
    ("base", "key"),
    [
        ("", KEY),
        ("http://app.example/api", KEY),
        (f"{BASE}?code=x", KEY),
        (BASE, "a key"),
        (BASE, "k\u00e9y"),
    ],
)
def test_url_or_key_that_cannot_be_is_refused_without_being_shown(base: str, key: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        hook.with_key(base, key)
    assert key not in str(caught.value)


def test_no_device_can_have_the_id_of_a_check() -> None:
    with pytest.raises(InvalidId):
        check_registration_id(hook.CHECK_ID)
    check_known_id(hook.CHECK_ID, "registration_id")  # though rows of it can be looked for


@pytest.mark.parametrize("document", [None, group()])
def test_body_is_one_that_the_app_reads_and_has_no_secret(document: dict[str, Any] | None) -> None:
    body = hook.request_body(document, HUBS)
    for secret in (*KEYS.values(), WEBHOOK.partition("?")[2]):
        assert secret.encode() not in body
    facts = parse(body, "rig")
    assert facts.registration_id == hook.CHECK_ID
    assert list(facts.linked_hubs.values()) == list(HUBS)
    assert facts.enrollment_kind == "group"
    assert facts.current_hub is None


async def test_body_is_the_one_that_dps_sends_but_for_the_device() -> None:
    rig = Rig()
    await create(rig.groups(), group())
    there = await rig.groups().read("line-a")
    from local.dps.webhook import request_body as emulated

    held = rig.service.group("line-a")
    assert held is not None
    assert json.loads(hook.request_body(there, HUBS)) == emulated(held, hook.CHECK_ID, None, None, HUBS)
    await rig.aclose()


def answered(status: int, body: Any = None, seconds: float = 0.1) -> WebhookReply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    return WebhookReply(status, raw, seconds)


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (answered(401), 400209, "key"),
        (answered(403, {"error": "rejected by policy"}), 400207, "rejected by policy"),
        (answered(400, {"error": "missing", "field": "linkedHubs"}), 400207, "linkedHubs: missing"),
        (answered(404), 400207, "no such function"),
        (answered(408), 400207, "at once"),
        (answered(302), 400207, "redirects is unknown"),
        (answered(429), 400207, "ten times"),
        (answered(500), 400207, "ten times"),
        (answered(503, {"error": "no hub has room"}), 400207, "no hub has room"),
        (answered(200, {"iotHubHostName": ""}), 400208, "without a hub"),
        (answered(200, {}), 400208, "without a hub"),
        (answered(200, b"<html>"), 400207, "JSON"),
        (answered(200, {"iotHubHostName": "other.azure-devices.net"}), 400207, "none of the hubs"),
        (WebhookReply(None, trouble="untrusted"), None, "certificate"),
        (WebhookReply(None, trouble="unreachable"), None, "nobody answers"),
        (WebhookReply(None, trouble="silent"), None, "in time"),
        (WebhookReply(None, trouble="dropped"), None, "broke"),
    ],
)
def test_each_answer_is_explained_with_what_dps_makes_of_it_and_a_fix(
    reply: WebhookReply, code: int | None, words: str
) -> None:
    verdict = hook.explain(reply, HUBS)
    assert not verdict.good
    assert verdict.error_code == code
    assert words in verdict.meaning
    assert verdict.fix


def test_hub_that_was_offered_is_good_in_any_case_and_slowness_is_told_of() -> None:
    verdict = hook.explain(answered(200, {"iotHubHostName": HUBS[0].upper()}), HUBS)
    assert (verdict.good, verdict.fix, verdict.hub) == (True, "", HUBS[0].upper())
    slow = hook.explain(answered(200, {"iotHubHostName": HUBS[0]}, seconds=20), HUBS)
    assert (slow.good, bool(slow.fix)) == (True, True)


class Answers(httpx.AsyncBaseTransport):
    def __init__(self, outcome: httpx.Response | Exception) -> None:
        self.outcome = outcome
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize(
    ("outcome", "status", "trouble"),
    [
        (httpx.Response(200, json={}), 200, ""),
        (httpx.Response(302, headers={"location": "https://evil.example"}), 302, ""),
        (httpx.ConnectError("no"), None, "unreachable"),
        (httpx.ReadError("no"), None, "dropped"),
        (httpx.Response(200, content=b"x" * (ANSWER_BYTES + 1)), 200, ""),
    ],
)
async def test_webhook_is_called_once_and_never_followed(
    outcome: httpx.Response | Exception, status: int | None, trouble: str
) -> None:
    transport = Answers(outcome)
    connections = Connections(transport=transport)
    reply = await call_webhook(connections, QuickClock(), URL, b"{}")
    assert (reply.status, reply.trouble) == (status, trouble)
    assert len(reply.body) <= ANSWER_BYTES
    [asked] = transport.asked
    assert "authorization" not in asked.headers
    assert KEY not in repr(reply)
    await connections.close()


async def test_webhook_that_does_not_answer_is_given_up() -> None:
    import asyncio

    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

    connections = Connections(transport=Silent())
    reply = await call_webhook(connections, QuickClock(), URL, b"{}", seconds=0.01)
    assert reply.trouble == "silent"
    await connections.close()
