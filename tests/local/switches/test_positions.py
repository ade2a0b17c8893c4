"""Each position of each switch of DPS and its MQTT endpoint can be told from the others on the wire."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from local.asgi import Request
from local.dps.authorities import CaCertificate
from local.dps.behaviour import Behaviour
from local.dps.keys import derive_key
from local.dps.limits import Limits
from local.iothub.service import HubService
from local.mqtt.behaviour import MqttBehaviour
from local.mqtt.packets import Connack, Connect
from local.switches import SWITCHES, Switch, Switches
from tests.local.dps import pki
from tests.local.dps.rig import (
    HUBS,
    OTHER_KEY,
    PRIMARY,
    SCOPE,
    SECONDARY,
    VERSION,
    Rig,
    choose,
    custom,
    group,
    individual,
    symmetric,
)
from tests.local.mqtt.wire import endpoint, user_name

STATIC: dict[str, Any] = {"allocationPolicy": "static", "iotHubs": [HUBS[0]]}
ROOT = pki.root()
QUERY = {"api-version": VERSION}
GROUP = json.dumps(group(**custom())).encode()
FEW = Limits(operations_per_minute=1)
Scenario = Callable[[Rig, Switches], Awaitable[Any]]
SCENARIOS: dict[str, Scenario] = {}


def seen_in(name: str) -> Callable[[Scenario], Scenario]:
    """What a client sees of the switch."""

    def keep(scenario: Scenario) -> Scenario:
        SCENARIOS[name] = scenario
        return scenario

    return keep


@pytest.mark.parametrize(
    "switch",
    [each for each in SWITCHES if not each.name.startswith(("hub.", "site."))],
    ids=lambda switch: switch.name,
)
async def test_each_position_is_told_from_the_others(switch: Switch) -> None:
    seen = []
    for position in switch.options:
        switches = Switches()
        switches.set(switch.name, position)
        async with Rig(switches.behaviour(Behaviour(), "dps")) as rig:
            seen.append(await SCENARIOS[switch.name](rig, switches))
        told = {each["name"]: each["consulted"] for each in switches.told()}
        assert told[switch.name]
    assert all(each not in seen[:number] for number, each in enumerate(seen)), seen


@pytest.mark.parametrize("switch", [each for each in SWITCHES if each.name.startswith("dps.")])
async def test_a_device_that_registers_twice_consults_none_it_need_not(switch: Switch) -> None:
    switches = Switches()
    async with Rig(switches.behaviour(Behaviour(), "dps")) as rig:
        await rig.put_group(**STATIC)
        await rig.register()
        await rig.register()
    assert not {each["name"]: each["consulted"] for each in switches.told()}[switch.name]


@seen_in("dps.mask_webhook_url_on_get")
async def masked(rig: Rig, _: Switches) -> Any:
    await rig.put_group(**custom())
    return (await rig.call("GET", "/enrollmentGroups/g1")).json()["customAllocationDefinition"]["webhookUrl"]


@seen_in("dps.put_without_keys")
async def put_bare(rig: Rig, _: Switches) -> Any:
    await rig.put_group()
    answer = await rig.call(
        "PUT", "/enrollmentGroups/g1", group(attestation=symmetric(None, None)), if_match="*"
    )
    keys = (await rig.call("POST", "/enrollmentGroups/g1/attestationmechanism")).json()["symmetricKey"]
    return answer.status_code, keys["primaryKey"] == PRIMARY


@seen_in("dps.orphans_queryable")
async def orphans(rig: Rig, _: Switches) -> Any:
    await rig.put_group()
    await rig.register()
    await rig.call("DELETE", "/enrollmentGroups/g1")
    return (await rig.call("POST", "/registrations/g1/query")).status_code


async def page(rig: Rig, asked: str | None) -> int:
    for number in range(12):
        await rig.put_enrollment(f"dev-{number}")
    headers = {"x_ms_max_item_count": asked} if asked else {}
    return len((await rig.call("POST", "/enrollments/query", {"query": "SELECT *"}, **headers)).json())


@seen_in("dps.default_page_size")
async def default_page(rig: Rig, _: Switches) -> Any:
    return await page(rig, None)


@seen_in("dps.max_page_size")
async def most_of_a_page(rig: Rig, _: Switches) -> Any:
    return await page(rig, "12")


@seen_in("dps.continuation_lifetime")
async def continued_late(rig: Rig, _: Switches) -> Any:
    for number in range(3):
        await rig.put_enrollment(f"dev-{number}")
    query = {"query": "SELECT *"}
    first = await rig.call("POST", "/enrollments/query", query, x_ms_max_item_count="2")
    await rig.clock.advance(120)
    token = first.headers["x-ms-continuation"]
    return (await rig.call("POST", "/enrollments/query", query, x_ms_continuation=token)).status_code


@seen_in("dps.retry_after_on_429")
async def told_when(rig: Rig, _: Switches) -> Any:
    async with Rig(rig.dps.behaviour, limits=FEW) as few:
        answers = [await few.call("GET", "/enrollments/none") for _ in range(2)]
    assert answers[-1].status_code == 429
    return answers[-1].headers.get("retry-after")


@seen_in("dps.other_key_refused_seconds")
async def second_key(rig: Rig, _: Switches) -> Any:
    await rig.put_enrollment()
    await rig.start("dev-1", PRIMARY)
    return (await rig.start("dev-1", SECONDARY)).status_code


@seen_in("dps.put_update_returns_keys")
async def told_keys(rig: Rig, _: Switches) -> Any:
    await rig.put_group()
    answer = await rig.call("PUT", "/enrollmentGroups/g1", group(), if_match="*")
    return answer.json()["attestation"].get("symmetricKey", {}).get("primaryKey")


@seen_in("dps.enrollment_delete_drops_registration")
async def record_of_a_deleted_enrollment(rig: Rig, _: Switches) -> Any:
    await rig.put_enrollment()
    await rig.register(key=PRIMARY)
    await rig.call("DELETE", "/enrollments/dev-1")
    return (await rig.call("GET", "/registrations/dev-1")).status_code


@seen_in("dps.failure_keeps_hub")
async def hub_of_a_failed_device(rig: Rig, _: Switches) -> Any:
    await rig.put_group(**custom())
    await rig.register()
    rig.webhook = lambda _: httpx.Response(403)
    return (await rig.state()).get("assignedHub")


@seen_in("dps.retired_hubs_in_linked_hubs")
async def offered(rig: Rig, _: Switches) -> Any:
    rig.hub_c.apply_allocation_policy = False
    await rig.put_group(**custom())
    await rig.register()
    return rig.asked[0]["linkedHubs"]


@seen_in("dps.hub_key_follows_registration")
async def key_on_the_hub(rig: Rig, _: Switches) -> Any:
    await rig.put_group(**STATIC)
    await rig.register()
    await rig.call(
        "PUT", "/enrollmentGroups/g1", group(attestation=symmetric(OTHER_KEY), **STATIC), if_match="*"
    )
    await rig.register(key=derive_key(OTHER_KEY, "dev-1"))
    return rig.hub_a.devices["dev-1"].identity.keys.primary


@seen_in("dps.existing_twin")
async def twin_of_a_device_without_a_record(rig: Rig, _: Switches) -> Any:
    await rig.put_group(**custom())
    for mark in ("old", "new"):
        rig.webhook = choose(HUBS[0], initialTwin={"tags": {"mark": mark}})
        await rig.register()
        await rig.call("DELETE", "/registrations/dev-1")
    return rig.hub_a.devices["dev-1"].twin.tags


@seen_in("dps.hub_throttle")
async def status_at_a_full_hub(rig: Rig, _: Switches) -> Any:
    HubService(rig.hub_a, world=rig.world)
    rig.hub_a.registry_budget.take(100)
    await rig.put_group(**STATIC)
    operation = (await rig.start("dev-1")).json()["operationId"]
    return (await rig.poll("dev-1", operation)).json()["status"]


@seen_in("dps.webhook_timeout")
async def calls_of_a_silent_webhook(rig: Rig, _: Switches) -> Any:
    calls = []

    async def silent(request: httpx.Request) -> httpx.Response:
        calls.append(request.url.path)
        await asyncio.Event().wait()
        raise AssertionError("nobody waits so long")

    async with httpx.AsyncClient(transport=httpx.MockTransport(silent)) as client:
        patient = type(rig.dps)(
            id_scope=SCOPE,
            hubs=rig.dps.hubs,
            policies=rig.dps.policies,
            world=rig.world,
            behaviour=rig.dps.behaviour,
            webhook_client=client,
        )
        try:
            put = Request("PUT", ("enrollmentGroups", "g1"), QUERY, {"authorization": rig.owner()}, GROUP)
            assert patient.asgi.handle(put).status == 200
            path = (SCOPE, "registrations", "dev-1", "register")
            device = Request("PUT", path, QUERY, {"authorization": rig.token("dev-1")}, b"{}")
            assert patient.asgi.handle(device).status == 202
            await rig.clock.advance(20)
        finally:
            await patient.aclose()
    return len(calls)


async def by_certificate(rig: Rig, body: dict[str, Any], sent: pki.Party) -> Any:
    """The status of a registration by that certificate alone, and what the device is told of it."""
    await rig.clock.advance((datetime.now(UTC) - rig.clock.now()).total_seconds())
    kind = "enrollments" if "registrationId" in body else "enrollmentGroups"
    name = body.get("registrationId") or body["enrollmentGroupId"]
    assert (await rig.call("PUT", f"/{kind}/{name}", {**body, **STATIC})).status_code == 200
    at = (SCOPE, "registrations", "dev-1")
    put = Request("PUT", (*at, "register"), QUERY, {}, b"{}", (sent.pem,))
    status = rig.dps.asgi.handle(put).status
    shown = rig.dps.asgi.handle(Request("POST", at, QUERY, {}, b"", (sent.pem,))).value
    return status, sorted(shown.get("x509", ()))


def signed_by(signer: pki.Party) -> dict[str, Any]:
    certificates = {"signingCertificates": {"primary": {"certificate": signer.pem}}}
    return group(attestation={"type": "x509", "x509": certificates})


@seen_in("dps.client_certificates_expire")
async def old_certificate(rig: Rig, _: Switches) -> Any:
    old = pki.self_signed("dev-1", end=datetime.now(UTC) - timedelta(days=1))
    held = {"clientCertificates": {"primary": {"certificate": old.pem}}}
    return await by_certificate(rig, individual(attestation={"type": "x509", "x509": held}), old)


@seen_in("dps.signing_certificates_are_trusted")
async def signer_nobody_verified(rig: Rig, _: Switches) -> Any:
    return await by_certificate(rig, signed_by(ROOT), ROOT.issue("dev-1"))


@seen_in("dps.x509_result_shows_certificates")
async def told_certificates(rig: Rig, _: Switches) -> Any:
    rig.dps.authorities.put(CaCertificate("ca", ROOT.pem.encode()))
    return await by_certificate(rig, signed_by(ROOT), ROOT.issue("dev-1"))


@seen_in("mqtt.credentials_checked")
async def connecting_with_a_wrong_key(rig: Rig, switches: Switches) -> Any:
    await rig.put_group()
    async with endpoint(rig, switches.behaviour(MqttBehaviour(), "mqtt")) as mqtt:
        device = await mqtt.device()
        answer = await device.ask(
            Connect("dev-1", user_name("dev-1"), rig.token("dev-1", OTHER_KEY).encode())
        )
        assert isinstance(answer, Connack)
        return answer.code
