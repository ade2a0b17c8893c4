"""`webhook`: attached with its key, which nobody sees, and checked as DPS would call it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from local.asgi import Receive, Send
from local.faults import Rule, dropped
from local.serve import serve
from local.tls import CertificateAuthority, ServerCertificate
from tests.cli.rig import HUBS, WEBHOOK, Rig
from tests.cli.rig_clients import azure
from tests.cli.test_consent import at_terminal
from tests.local.dps.rig import PRIMARY, SECONDARY, custom, group, individual

KEY = "the-function-key-of-this-app"
BASE = "https://app.example/api/allocate"
APP = {"WEBHOOK_URL": BASE, "WEBHOOK_KEY": KEY}
pytestmark = pytest.mark.asyncio(loop_scope="package")


async def put(rig: Rig, name: str, **members: Any) -> None:
    await azure(rig, lambda client: client.enrollment_group.create_or_update(name, group(name, **members)))


async def definition(rig: Rig, name: str) -> tuple[str, dict[str, str]]:
    found = await azure(rig, lambda client: dict(client.enrollment_group.get(name)))
    return found["allocationPolicy"], dict(found["customAllocationDefinition"])


async def test_webhook_is_attached_to_groups_and_individuals_and_its_key_is_not_shown(rig: Rig) -> None:
    await put(rig, "line-a", allocationPolicy="hashed", iotHubs=list(HUBS))
    await put(rig, "line-b")
    await azure(rig, lambda client: client.enrollment.create_or_update("dev-1", individual("dev-1")))
    words = ("webhook", "attach", "line-a", "line-b", "--individual", "dev-1", "--yes")
    ran = await rig.run(*words, environment=APP)
    assert [each["outcome"] for each in ran.json] == ["attached"] * 3
    expected = ("custom", {"webhookUrl": f"{BASE}?code={KEY}", "apiVersion": "2021-10-01"})
    assert await definition(rig, "line-a") == await definition(rig, "line-b") == expected
    told = await azure(rig, lambda client: client.enrollment_group.get_attestation_mechanism("line-a"))
    assert told["symmetricKey"] == {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}
    assert KEY not in ran.out + ran.err
    again = await rig.run(*words, environment=APP)
    assert [each["outcome"] for each in again.json] == ["already"] * 3


async def test_one_that_fails_stops_none_of_the_others_and_the_rest_is_done_by_all_groups(rig: Rig) -> None:
    for name in ("line-a", "line-b", "line-c"):
        await put(rig, name)
    ran = await rig.run("webhook", "attach", "line-a", "nobody", "line-c", "--yes", environment=APP)
    assert ran.code == 1
    outcomes = {each["id"]: each["outcome"] for each in json.loads(ran.out)}
    assert outcomes == {"line-a": "attached", "nobody": "failed", "line-c": "attached"}
    rest = await rig.run("webhook", "attach", "--all-groups", "--yes", environment=APP)
    assert {each["id"]: each["outcome"] for each in rest.json} == {
        "line-a": "already",
        "line-b": "attached",
        "line-c": "already",
    }


async def test_service_that_fails_is_not_asked_for_the_others(rig: Rig) -> None:
    for name in ("line-a", "line-b"):
        await put(rig, name)
    with rig.faults.during(Rule(dropped(), service="dps", method="PUT", count=None)):
        ran = await rig.run("webhook", "attach", "line-a", "line-b", "--yes", environment=APP)
    assert ran.code == 1
    assert [each["outcome"] for each in json.loads(ran.out)] == ["failed", "not tried"]
    assert KEY not in ran.out + ran.err


async def test_dry_run_shows_and_changes_nothing(rig: Rig) -> None:
    await put(rig, "line-a")
    ran = await rig.run("webhook", "attach", "line-a", "--dry-run", environment=APP)
    assert [each["outcome"] for each in ran.json] == ["would change"]
    assert f"{BASE}?****" in ran.err
    assert KEY not in ran.err
    found = await azure(rig, lambda client: dict(client.enrollment_group.get("line-a")))
    assert not found.get("customAllocationDefinition")


async def test_key_may_come_from_the_vault(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rig.cloud.identity.items():
        monkeypatch.setenv(name, value)
    rig.cloud.vault.put("function-key", "key-from-the-vault")
    await put(rig, "line-a")
    words = ("webhook", "attach", "line-a", "--key-secret", "function-key", "--yes")
    ran = await rig.run(*words, environment={"WEBHOOK_URL": BASE})
    assert ran.code == 0, ran.err
    assert (await definition(rig, "line-a"))[1]["webhookUrl"] == f"{BASE}?code=key-from-the-vault"
    assert "key-from-the-vault" not in ran.out + ran.err


async def test_key_is_asked_for_unseen_and_there_is_no_option_for_it(rig: Rig) -> None:
    await put(rig, "line-a")
    words = ("webhook", "attach", "line-a", "--webhook-url", BASE, "--yes")
    nobody = await rig.run(*words)
    assert (nobody.code, "--key-secret" in nobody.err) == (2, True)
    assert (await rig.run(*words, "--key", "x")).code == 2
    async with at_terminal(rig, *words) as (person, ran):
        await person.sees("function key of the webhook: ")
        person.types("typed-function-key\n")
        assert (await ran).code == 0
    assert "typed-function-key" not in person.seen
    assert (await definition(rig, "line-a"))[1]["webhookUrl"] == f"{BASE}?code=typed-function-key"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("line-a", "--all-groups"),
        ("line-a", "--webhook-url", "http://app.example/x"),
        ("line-a", "--webhook-url", f"{BASE}?code=seen"),
        ("line-a", "--api-version", "2017-01-01"),
        ("a b",),
    ],
)
async def test_what_cannot_be_is_refused_before_any_call(rig: Rig, words: tuple[str, ...]) -> None:
    ran = await rig.run("webhook", "attach", *words, "--yes", environment=APP)
    assert ran.code == 2
    assert rig.calls == []


@asynccontextmanager
async def webhook(
    certificate: ServerCertificate, status: int, body: Any
) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook over TLS that answers so, and what it was asked."""
    asked: list[dict[str, Any]] = []

    async def app(_scope: Any, receive: Receive, send: Send) -> None:
        raw = b""
        while True:
            message = await receive()
            raw += message.get("body", b"")
            if not message.get("more_body"):
                break
        asked.append(json.loads(raw))
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    async with serve(app, certificate) as address:
        yield f"{address.url}/api/allocate", asked


async def test_check_calls_as_dps_would_and_explains_a_good_answer(
    rig: Rig, certificate: ServerCertificate
) -> None:
    async with webhook(certificate, 200, {"iotHubHostName": HUBS[1]}) as (url, asked):
        definition = {"webhookUrl": f"{url}?code={KEY}", "apiVersion": "2021-10-01"}
        await put(rig, "line-a", **custom(customAllocationDefinition=definition), iotHubs=list(HUBS[:2]))
        ran = await rig.run("webhook", "check", "line-a")
    assert ran.json["good"] is True
    assert ran.json["hub"] == HUBS[1]
    [body] = asked
    assert body["linkedHubs"] == list(HUBS[:2])
    assert body["deviceRuntimeContext"]["registrationId"] == ".webhook-check."
    assert body["enrollmentGroup"]["customAllocationDefinition"]["webhookUrl"] == f"{url}?****"
    assert KEY not in ran.out + ran.err
    assert not list(rig.cloud.dps.registrations())


@pytest.mark.parametrize(("status", "code"), [(401, 400209), (403, 400207), (503, 400207)])
async def test_check_explains_what_dps_makes_of_a_refusal(
    rig: Rig, certificate: ServerCertificate, status: int, code: int
) -> None:
    async with webhook(certificate, status, {"error": "\x1b[31mno"}) as (url, _):
        words = ("webhook", "check", "--webhook-url", url, "--anonymous", "--hub", HUBS[0])
        ran = await rig.run(*words)
    assert ran.code == 1
    assert json.loads(ran.out)["errorCode"] == code
    assert "\x1b" not in ran.out + ran.err


async def test_check_tells_of_a_certificate_that_nobody_trusts(
    rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("other")
    other = await asyncio.to_thread(lambda: CertificateAuthority(folder).issue())
    async with webhook(other, 200, {}) as (url, asked):
        words = ("webhook", "check", "--webhook-url", url, "--anonymous", "--hub", HUBS[0])
        ran = await rig.run(*words)
    assert (ran.code, "certificate is not trusted" in ran.err, asked) == (1, True, [])


async def test_check_tells_why_an_enrollment_does_not_ask_this_app(rig: Rig) -> None:
    await put(rig, "line-a", allocationPolicy="hashed", provisioningStatus="disabled")
    other = {"WEBHOOK_URL": "https://localhost:1/api/allocate", "WEBHOOK_KEY": KEY}
    ran = await rig.run("webhook", "check", "line-a", environment=other)
    assert ran.code == 1
    for words in ("not custom", "is disabled", "nobody answers"):
        assert words in ran.err
    assert WEBHOOK.partition("?")[2] not in ran.err
