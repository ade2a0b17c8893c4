"""What an audit asks of the vault, of webhooks and of the policy, and what it makes of the answers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from allocation import ALL_OPEN, CompiledPolicy, Entry, HubState, Ledger
from allocation.replay import CHECKED, of_entry
from allocation.request import REJECTED, parse
from clients.arm import Unknown
from clients.connections import Connections
from clients.errors import TableUnavailable
from clients.pacing import UnpacedShare
from clients.vault import VaultClient
from lifecycle.audit import checks
from lifecycle.audit.evidence import VaultSecret, WebhookEvidence
from lifecycle.audit.finding import Finding, Source
from lifecycle.audit.group_secrets import group_secrets, rotation_names
from lifecycle.audit.ports import Webhooks
from lifecycle.audit.webhook_calls import NONE_OFFERED, webhook_calls
from lifecycle.audit.would_go import would_go
from lifecycle.enrollments.webhook import CHECK_ID
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment
from provisioning.hubs import HubKey
from provisioning.keys import SymmetricKey, SymmetricKeys
from provisioning.registrations import Registration
from tests.clients.stage import QuickClock
from tests.lifecycle.audit import made
from tests.lifecycle.audit.engine_rig import DPS, AuditRig
from tests.lifecycle.enrollments.cloud import VAULT, Bearer
from tests.lifecycle.enrollments.rig import HUBS, PRIMARY, SECONDARY, group
from tests.lifecycle.rotation.rig import GROUP, SECRET, RotationRig

KEYS = SymmetricKeys(SymmetricKey.parse(PRIMARY), SymmetricKey.parse(SECONDARY))
HUB_A, HUB_B = (HubKey(name) for name in HUBS)


def symmetric(**members: Any) -> EnrollmentGroup:
    return EnrollmentGroup.read(group(**members))


# The vault.


def asking(rig: RotationRig) -> Callable[..., Awaitable[VaultSecret | Unknown | None]]:
    return group_secrets(rig.vault_client(), rotation_names(rig.store))


@pytest.mark.parametrize(
    ("value", "holds"),
    [(PRIMARY, "primary"), (SECONDARY, "secondary"), ("bm9uZS1vZi10aGVzZS1rZXlz", "neither")],
)
async def test_secret_tells_which_slot_it_holds_and_nothing_of_its_value(value: str, holds: str) -> None:
    rig = RotationRig()
    await rig.furnish(published=False)
    expires = rig.clock.now() + timedelta(days=30)
    rig.vault.put(SECRET, value, expires=int(expires.timestamp()))
    found = await asking(rig)(symmetric(), KEYS)
    assert isinstance(found, VaultSecret)
    assert (found.name, found.enabled, found.holds) == (SECRET, True, holds)
    assert found.expires == expires.replace(microsecond=0)
    assert value not in repr(found)
    assert await asking(rig)(symmetric(), None) == replace(found, holds="")
    await rig.aclose()


async def test_group_without_rotation_or_whose_secret_is_gone_has_none() -> None:
    rig = RotationRig()
    await rig.furnish(published=False)
    assert await asking(rig)(symmetric(), KEYS) is None
    assert await asking(rig)(symmetric(enrollmentGroupId="not-adopted"), KEYS) is None
    await rig.aclose()


async def test_newest_version_that_is_disabled_is_told_and_no_older_one_in_its_place() -> None:
    rig = RotationRig()
    await rig.furnish()
    await rig.clock.advance(60)
    rig.vault.put(SECRET, SECONDARY, enabled=False)
    found = await asking(rig)(symmetric(), KEYS)
    assert isinstance(found, VaultSecret)
    assert (found.enabled, found.holds, found.expires) == (False, "", None)
    await rig.aclose()


@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_vault_that_does_not_answer_is_unknown(status: int) -> None:
    rig = RotationRig()
    await rig.furnish()
    refusing = httpx.MockTransport(lambda _: httpx.Response(status))
    vault = VaultClient(
        VAULT,
        auth=Bearer(),
        connections=Connections(transport=refusing),
        share=UnpacedShare(),
        clock=QuickClock(),
        jitter=lambda: 0.0,
    )
    found = await group_secrets(vault, rotation_names(rig.store))(symmetric(), KEYS)
    assert isinstance(found, Unknown)
    assert "Key Vault" in found.reason
    await rig.aclose()


async def test_rows_that_cannot_be_read_are_unknown_and_x509_groups_ask_nothing() -> None:
    rig = RotationRig()
    asked: list[str] = []

    async def names(name: str) -> str | None:
        asked.append(name)
        raise TableUnavailable("table rotations: no answer")

    ask = group_secrets(rig.vault_client(), names)
    assert await ask(symmetric(), KEYS) == Unknown("table rotations: no answer")
    assert await ask(symmetric(attestation={"type": "x509"}), None) is None
    assert asked == [GROUP]
    await rig.aclose()


# Webhooks.

BASE = "https://fleet.example/api/allocate"
KEY = "function+key/of=test"
SHOWN = f"{BASE}?code=key-that-dps-shows"
MASKED = f"{BASE}?****"
FOREIGN = "https://other.example/place"


@dataclass
class Answering:
    """Stands where webhooks are: 401 without a key, else as set."""

    status: int = 200
    said: Any = field(default_factory=lambda: {"iotHubHostName": HUBS[0]})
    anonymous: int = 401
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if not request.url.query:
            return httpx.Response(self.anonymous)
        return httpx.Response(self.status, json=self.said)

    @property
    def urls(self) -> list[str]:
        return [str(each.url) for each in self.asked]

    def webhooks(self, *, key: str = KEY, hubs: Mapping[HubKey, str] | None = None) -> Webhooks:
        async def linked() -> Mapping[HubKey, str] | Unknown:
            return Unknown("nobody says") if hubs is None else hubs

        connections = Connections(transport=httpx.MockTransport(self))
        return webhook_calls(connections, QuickClock(), base=BASE, key=key, dps="line", linked=linked)


def calling(url: str, **members: Any) -> EnrollmentGroup:
    return symmetric(customAllocationDefinition={"webhookUrl": url, "apiVersion": "2021-10-01"}, **members)


def outcomes(told: tuple[WebhookEvidence, ...]) -> list[tuple[str, str]]:
    """Check and what came of it."""
    found = [each for one in told for each in checks.webhook(one, made.around())]
    return [(each.check, "found" if isinstance(each, Finding) else "unknown") for each in found]


@pytest.mark.parametrize(
    ("url", "called"),
    [
        (SHOWN, SHOWN),
        (MASKED, f"{BASE}?code=function%2Bkey%2Fof%3Dtest"),
        (BASE, f"{BASE}?code=function%2Bkey%2Fof%3Dtest"),
        (f"{BASE}/line?****", f"{BASE}/line?code=function%2Bkey%2Fof%3Dtest"),
        (f"{FOREIGN}?sig=shown", f"{FOREIGN}?sig=shown"),
    ],
)
async def test_webhook_is_called_as_dps_would_then_without_its_key(url: str, called: str) -> None:
    there = Answering()
    told = await there.webhooks()(calling(url))
    assert there.urls == [called, called.partition("?")[0]]
    assert [(each.status, each.problem, each.with_key) for each in told] == [
        (200, "", True),
        (401, "", False),
    ]
    assert {each.resource for each in told} == {"group:line-a"}
    assert outcomes(told) == []
    facts = parse(there.asked[0].content, "line")
    assert (facts.registration_id, list(facts.linked_hubs)) == (CHECK_ID, [HUB_A, HUB_B])
    assert PRIMARY not in there.asked[0].content.decode()


@pytest.mark.parametrize("url", [f"{FOREIGN}?****", FOREIGN, "http://other.example/place?code=x"])
async def test_other_webhook_whose_key_is_not_known_or_would_go_in_the_clear_is_not_called(url: str) -> None:
    there = Answering()
    told = await there.webhooks()(calling(url))
    assert there.asked == []
    assert outcomes(told) == [("DPS-ALLOC-006", "unknown")]


async def test_own_key_never_goes_to_a_host_that_only_looks_like_ours() -> None:
    there = Answering()
    for url in ("https://fleet.example.evil/api/allocate?****", "https://fleet.example/other?****"):
        await there.webhooks()(calling(url))
    assert there.asked == []


async def test_without_the_key_only_the_call_that_needs_none_is_made() -> None:
    there = Answering(anonymous=200)
    told = await there.webhooks(key="")(calling(MASKED))
    assert there.urls == [BASE]
    assert outcomes(told) == [("DPS-ALLOC-006", "unknown"), ("DPS-ALLOC-004", "found")]


@pytest.mark.parametrize(
    ("status", "said", "problem"),
    [
        (403, {"error": REJECTED}, ""),
        (403, {"error": "Ip Forbidden"}, "refuses"),
        (401, {}, "does not take the key"),
        (503, {"error": "key-that-dps-shows"}, "asks to be called again"),
        (500, {"error": SHOWN}, "asks to be called again"),
        (200, {"iotHubHostName": "key-that-dps-shows"}, NONE_OFFERED),
        (200, [], NONE_OFFERED),
    ],
)
async def test_answer_is_judged_as_dps_would_and_never_repeated(status: int, said: Any, problem: str) -> None:
    told = await Answering(status, said).webhooks()(calling(SHOWN))
    assert problem in told[0].problem
    assert bool(told[0].problem) is bool(problem)
    assert outcomes(told) == ([("DPS-ALLOC-006", "found")] if problem else [])
    assert "key-that-dps-shows" not in repr(told)


async def test_reject_of_another_app_is_a_failure() -> None:
    told = await Answering(403, {"error": REJECTED}).webhooks()(calling(f"{FOREIGN}?code=x"))
    assert "refuses" in told[0].problem


async def test_webhook_where_nobody_answers_is_called_once() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        raise httpx.ConnectError("refused", request=request)

    asked: list[str] = []

    async def linked() -> Unknown:
        return Unknown("nobody says")

    connections = Connections(transport=httpx.MockTransport(refuse))
    call = webhook_calls(connections, QuickClock(), base=BASE, key=KEY, dps="", linked=linked)
    told = await call(calling(SHOWN))
    assert asked == [SHOWN]
    assert [(each.status, "nobody answers there" in each.problem) for each in told] == [(None, True)]


async def test_hubs_that_dps_would_offer_are_the_linked_ones_where_none_is_named() -> None:
    there = Answering()
    bare = IndividualEnrollment.read(
        {
            "registrationId": "dev-1",
            "attestation": {"type": "symmetricKey"},
            "allocationPolicy": "custom",
            "customAllocationDefinition": {"webhookUrl": SHOWN, "apiVersion": "2021-10-01"},
        }
    )
    told = await there.webhooks()(bare)
    assert there.asked == []
    assert [each.untold for each in told] == ["which hubs DPS would offer is not known: nobody says"]
    told = await there.webhooks(hubs={HUB_A: HUBS[0]})(bare)
    assert [each.resource for each in told] == ["individual:dev-1"] * 2
    assert list(parse(there.asked[0].content, "").linked_hubs) == [HUB_A]


@pytest.mark.parametrize("members", [{"provisioningStatus": "disabled"}, {"allocationPolicy": "hashed"}])
async def test_webhook_that_dps_does_not_call_is_not_called(members: dict[str, Any]) -> None:
    there = Answering()
    assert await there.webhooks()(calling(SHOWN, **members)) == ()
    assert there.asked == []


# The policy.


def assigned(hub: str = HUBS[0], **members: Any) -> Registration:
    document = {"registrationId": "dev-1", "status": "assigned", "assignedHub": hub, **members}
    return Registration.read(document)


DRAINING = replace(ALL_OPEN, states={HUB_A: HubState.DRAINING})
LINKED = {HUB_A: HUBS[0], HUB_B: HUBS[1]}
BY_PAYLOAD = made.policy('{"rules": [{"name": "r", "when": {"payload": [{"path": "model", "eq": "x"}]}}]}')


def test_device_of_a_draining_hub_would_go_to_the_other_one_and_one_elsewhere_stays() -> None:
    ask = would_go("line", made.POLICY, DRAINING, {})
    assert ask(assigned(), symmetric()) == HUB_B
    assert ask(assigned("Hub-A.azure-devices.net"), symmetric()) == HUB_B
    assert ask(assigned(HUBS[1]), symmetric()) is None
    assert would_go("line", made.POLICY, ALL_OPEN, {})(assigned(), symmetric()) is None


@pytest.mark.parametrize(
    ("record", "enrollment"),
    [
        (assigned(), symmetric(allocationPolicy="hashed")),
        (assigned(), symmetric(provisioningStatus="disabled")),
        (assigned(), symmetric(reprovisionPolicy={"updateHubAssignment": False})),
        (assigned(), symmetric(iotHubs=[HUBS[0]])),
        (assigned(status="failed"), symmetric()),
        (Registration.read({"registrationId": "dev-1", "status": "unassigned"}), symmetric()),
    ],
    ids=["not custom", "disabled", "never moves", "one hub", "failed", "not assigned"],
)
def test_nobody_says_where_a_device_would_go_that_is_not_asked_about(
    record: Registration, enrollment: EnrollmentGroup
) -> None:
    assert would_go("line", made.POLICY, DRAINING, LINKED)(record, enrollment) is None


def test_policy_that_reads_what_only_the_device_tells_is_not_guessed() -> None:
    assert would_go("line", BY_PAYLOAD, DRAINING, LINKED)(assigned(), symmetric()) is None


def test_linked_hubs_count_where_the_enrollment_names_none() -> None:
    bare = symmetric(iotHubs=[])
    assert would_go("line", made.POLICY, DRAINING, LINKED)(assigned(), bare) == HUB_B
    assert would_go("line", made.POLICY, DRAINING, {})(assigned(), bare) is None


# A whole run.


async def test_run_asks_the_policy_for_the_devices_of_custom_groups_alone() -> None:
    rig = AuditRig()
    rig.fill(40, enrollments=4, groups=2)
    store = rig.service.store
    custom = next(iter(store.groups))
    definition = {"webhookUrl": SHOWN, "apiVersion": "2021-10-01"}
    members = {
        **custom.members,
        "allocationPolicy": "custom",
        "customAllocationDefinition": definition,
        "iotHubs": [],
    }
    store.groups.put(replace(custom, members=members))
    fleet = replace(ALL_OPEN, states={HUB_A: HubState.DRAINING})
    every = made.policy("{}")

    async def policy() -> CompiledPolicy:
        return every

    async def view() -> Any:
        return fleet

    ports = rig.ports(policy=policy, fleet=view, would_go=partial(would_go, DPS))
    await rig.audit(ports=ports)
    expected = {
        f"registration:{each.registration_id.lower()}"
        for each in store.registrations
        if each.group == custom.id and each.assigned_hub == HUBS[0]
    }
    assert expected
    report = await rig.report()
    assert {name for check, name in report.about if check == "DPS-REC-011"} == expected


async def test_run_calls_webhooks_only_when_told_to_and_notes_what_they_say() -> None:
    there = Answering(status=503)
    reports = []
    for params in ({}, {"webhook": True}):
        rig = AuditRig()
        rig.fill(4, groups=1)
        one = next(iter(rig.service.store.groups))
        definition = {"webhookUrl": SHOWN, "apiVersion": "2021-10-01"}
        members = {**one.members, "allocationPolicy": "custom", "customAllocationDefinition": definition}
        rig.service.store.groups.put(replace(one, members={**members, "iotHubs": list(HUBS)}))
        await rig.audit(ports=rig.ports(webhooks=there.webhooks()), params=params)
        report = await rig.report()
        reports.append({check for check, _ in report.about} & {"DPS-ALLOC-004", "DPS-ALLOC-006"})
        assert bool(there.asked) is bool(params)
    assert reports == [set(), {"DPS-ALLOC-006"}]


async def test_run_compares_groups_with_the_vault() -> None:
    rig = AuditRig()
    rig.fill(4, groups=1)
    asked: list[str] = []

    async def secrets(group: EnrollmentGroup, keys: SymmetricKeys | None) -> VaultSecret | None:
        asked.append(group.id)
        return None

    await rig.audit(ports=rig.ports(secrets=secrets))
    report = await rig.report()
    symmetric_groups = [each.id for each in rig.service.store.groups]
    assert asked == symmetric_groups
    assert Source.VAULT in report.run.sources


async def unconfirmed(registration_id: str) -> list[str]:
    """What a run says of an old answer to that device, which no record confirms."""
    rig = AuditRig()
    rig.fill(4, groups=1)
    entry = old_answer(rig, registration_id)
    await Ledger(rig.tables.ledger, lambda: "s").write(entry)
    await rig.audit()
    report = await rig.report()
    assert Source.LEDGER in report.run.sources
    return [check for check, resource in report.about if resource == "service" and "OPS" in check]


def old_answer(rig: AuditRig, registration_id: str) -> Entry:
    return Entry(
        dps=DPS,
        registration_id=registration_id,
        enrollment_kind="group",
        enrollment_id="line-a",
        at=rig.clock.now() - timedelta(days=2),
        status=200,
        outcome="placed",
        hub=HUB_A,
    )


async def test_check_of_the_webhook_is_no_answer_that_dps_should_confirm() -> None:
    assert await unconfirmed(CHECK_ID) == []
    assert len(await unconfirmed("dev-that-never-was")) == 1


def test_check_of_the_webhook_is_not_replayed() -> None:
    assert of_entry(old_answer(AuditRig(), CHECK_ID)) is CHECKED
