"""A plan says what files would change, and carrying it out ends there, whoever dies in the middle."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from lifecycle.enrollments import change as changes
from lifecycle.enrollments import plan as plans
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.change import Kind
from lifecycle.enrollments.escrow import escrow, escrowed_keys, secret_name
from lifecycle.enrollments.files import KeyFrom, KeysFrom, Wanted, exported, read, written
from lifecycle.enrollments.plan import Outcome, Plan, There
from lifecycle.errors import FileRefused
from local.explore import Life, Run, explore
from local.switches import Switches
from tests.lifecycle.enrollments.cloud import CloudRig
from tests.lifecycle.enrollments.rig import HUBS, KEYS, WEBHOOK, group

HOST = "rig.azure-devices-provisioning.net"
NEW = {"primaryKey": "bmV3LXByaW1hcnkta2V5LW9mLXRoZS1ncm91cA==", "secondaryKey": KEYS["secondaryKey"]}
FUNCTION_KEY = "function-key-of-the-test"


class References:
    """What files name, held here."""

    def __init__(self, rig: CloudRig, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.rig, self.transport = rig, transport

    async def keys(self, source: KeysFrom, kind: Kind, enrollment_id: str) -> dict[str, str] | None:
        if source.source == "escrow":
            return await escrowed_keys(self.rig.vault_client(self.transport), HOST, kind, enrollment_id)
        return {"new": NEW, "vault": NEW}.get(source.source)

    async def webhook_key(self, source: KeyFrom) -> str | None:
        return FUNCTION_KEY if source.source == "setting" else None


def there(rig: CloudRig, transport: httpx.AsyncBaseTransport | None = None) -> dict[Kind, There]:
    dps = rig.dps(transport)

    async def groups() -> AsyncIterator[tuple[str, bool]]:
        async for each in dps.groups.all():
            yield each.id, not each.enabled

    async def individuals() -> AsyncIterator[tuple[str, bool]]:
        async for each in dps.individuals.all():
            yield each.id, not each.enabled

    return {
        "group": There(rig.enrollments("group", transport), groups),
        "individual": There(rig.enrollments("individual", transport), individuals),
    }


def wanted(*documents: Document) -> list[Wanted]:
    return [each for document in documents for each in read("".join(written([document], "jsonl")), "f.json")]


async def planned(
    rig: CloudRig,
    files: Sequence[Wanted],
    *,
    prune: tuple[Kind, ...] = (),
    transport: Any = None,
    **more: Any,
) -> Plan:
    return await plans.plan(
        files, there(rig, transport), References(rig, transport), prune=prune, webhook_url=WEBHOOK, **more
    )


async def applied(
    rig: CloudRig,
    plan: Plan,
    transport: httpx.AsyncBaseTransport | None = None,
    *,
    references: References | None = None,
    webhook_url: changes.OwnWebhook = WEBHOOK,
) -> list[Outcome]:
    places, references = there(rig, transport), references or References(rig, transport)
    done = []
    for item in plan.todo:

        async def keep(document: Document, kind: Kind = item.kind) -> None:
            await escrow(rig.vault_client(transport), HOST, kind, document)

        done.append(
            await plans.apply(
                item, places[item.kind], references, before_delete=keep, webhook_url=webhook_url
            )
        )
    return done


class Rolled(References):
    """The same after a roll of the webhook's key."""

    async def webhook_key(self, source: KeyFrom) -> str | None:
        return f"new-{FUNCTION_KEY}" if source.source == "setting" else None


SOURCES: tuple[Document, ...] = (
    {  # to be made
        "enrollmentGroupId": "line-new",
        "attestation": {"type": "symmetricKey", "symmetricKey": "new"},
        "allocationPolicy": "custom",
        "customAllocationDefinition": {
            "webhookUrl": WEBHOOK.partition("?")[0],
            "apiVersion": "2021-10-01",
            "key": "setting",
        },
    },
    {"enrollmentGroupId": "LINE-A", "provisioningStatus": "disabled", "initialTwin": {"tags": {"site": "b"}}},
)


async def stocked(switches: Switches | None = None) -> CloudRig:
    rig = CloudRig(switches)
    await changes.create(rig.groups(), group())
    await changes.create(rig.groups(), group(enrollmentGroupId="line-old"))
    return rig


async def test_plan_is_carried_out_under_every_switch_and_crash_and_then_empty() -> None:
    async def scenario(run: Run) -> None:
        rig = await stocked(Switches(run))

        async def work(life: Life) -> None:
            transport = life.transport(rig.transport())
            plan = await planned(rig, wanted(*SOURCES), transport=transport)
            assert all(not each.problem for each in await applied(rig, plan, transport))

        await run.live(work)
        assert not (await planned(rig, wanted(*SOURCES))).todo
        check_done(rig)
        await rig.aclose()

    report = await explore(scenario)
    report.check()
    assert report.runs > 30


def check_done(rig: CloudRig) -> None:
    made, changed = rig.service.group("line-new"), rig.service.group("line-a")
    assert made is not None
    assert changed is not None
    assert made.keys is not None
    assert changed.keys is not None
    assert made.webhook_url == WEBHOOK
    assert {"primaryKey": made.keys.primary, "secondaryKey": made.keys.secondary} == NEW
    assert (changed.keys.primary, changed.keys.secondary) == (KEYS["primaryKey"], KEYS["secondaryKey"])
    assert (changed.disabled, changed.webhook_url, changed.hubs) == (True, WEBHOOK, HUBS)
    assert (changed.initial_twin.tags, changed.initial_twin.desired) == ({"site": "b"}, {})


async def test_what_is_pruned_has_its_keys_in_the_vault() -> None:
    rig = await stocked()
    outcomes = await applied(rig, await planned(rig, wanted(*SOURCES), prune=("group",)))
    assert [each.problem for each in outcomes] == ["", "", ""]
    check_done(rig)
    assert rig.service.group("line-old") is None
    assert rig.vault.peek(secret_name(HOST, "group", "line-old"))
    await rig.aclose()


async def test_plan_counts_and_shows_without_secrets() -> None:
    rig = await stocked()
    plan = await planned(rig, wanted(*SOURCES), prune=("group",))
    assert plan.counts == {"create": 1, "update": 1, "unchanged": 0, "delete": 1, "keep": 0}
    assert (plan.calls, plan.minutes) == (14, 1)
    shown = repr(plan)
    for secret in (*KEYS.values(), *NEW.values(), FUNCTION_KEY):
        assert secret not in shown
    update = next(item for item in plan.items if item.action == "update")
    assert sorted(each.path for each in update.diff) == [
        "initialTwin.properties",
        "initialTwin.tags.site",
        "provisioningStatus",
    ]
    await rig.aclose()


async def test_planning_changes_nothing_and_nothing_is_deleted_without_prune() -> None:
    rig = await stocked()
    before = len(rig.service.world.journal.of("rig"))
    plan = await planned(rig, wanted(*SOURCES))
    assert {call.method for call in list(rig.service.world.journal.of("rig"))[before:]} <= {"GET", "POST"}
    await applied(rig, plan)
    assert rig.service.group("line-old") is not None
    await rig.aclose()


async def test_everything_exported_and_applied_is_an_empty_plan_and_makes_a_deleted_group_anew() -> None:
    rig = await stocked()
    sources = [exported(each.document()) async for each in rig.dps().groups.all()]
    assert not (await planned(rig, wanted(*sources), prune=("group", "individual"))).todo
    await applied(rig, await planned(rig, (), prune=("group",)))
    assert rig.service.group("line-a") is None
    with pytest.raises(FileRefused, match="escrow"):
        await planned(rig, wanted(*sources))
    for each in sources:
        each["attestation"]["symmetricKey"] = "escrow"
        each["customAllocationDefinition"]["key"] = "setting"
    outcomes = await applied(rig, await planned(rig, wanted(*sources)))
    assert [each.problem for each in outcomes] == ["", ""]
    held = rig.service.group("line-a")
    assert held is not None
    assert held.keys is not None
    assert (held.keys.primary, held.webhook_url) == (KEYS["primaryKey"], WEBHOOK)
    assert not (await planned(rig, wanted(*sources))).todo
    await rig.aclose()


async def test_disabled_individual_enrollment_is_never_pruned() -> None:
    rig = CloudRig()
    for name, status in (("dev-1", "disabled"), ("dev-2", "enabled")):
        document = {
            "registrationId": name,
            "provisioningStatus": status,
            "attestation": {"type": "symmetricKey", "symmetricKey": dict(KEYS)},
        }
        await changes.create(rig.individuals(), document)
    plan = await planned(rig, (), prune=("individual",))
    assert {item.id: item.action for item in plan.items} == {"dev-1": "keep", "dev-2": "delete"}
    await applied(rig, plan)
    assert rig.service.enrollment("dev-1") is not None
    assert rig.service.enrollment("dev-2") is None
    await rig.aclose()


async def test_what_was_changed_since_the_plan_was_shown_is_left_alone() -> None:
    rig = await stocked()
    plan = await planned(rig, wanted(*SOURCES))

    def other(document: Document) -> Document:
        document["initialTwin"] = {"tags": {"site": "c"}}
        return document

    await changes.change(rig.groups(), "line-a", other)
    await changes.create(rig.groups(), group(enrollmentGroupId="line-new"))
    outcomes = await applied(rig, plan)
    assert ["since the plan was shown" in each.problem for each in outcomes] == [True, True]
    held = rig.service.group("line-a")
    assert held is not None
    assert held.initial_twin.tags == {"site": "c"}
    await rig.aclose()


ABSENT: dict[str, tuple[Document, str]] = {
    "keep": ({"attestation": {"type": "symmetricKey"}}, "no keys to keep"),
    "no attestation": ({"provisioningStatus": "disabled"}, "attestation"),
    "escrow of nothing": (
        {"attestation": {"type": "symmetricKey", "symmetricKey": "escrow"}},
        "no keys in escrow",
    ),
    "unset variable": (
        {"attestation": {"type": "symmetricKey", "symmetricKey": {"environment": {"primaryKey": "NO"}}}},
        "environment NO",
    ),
    "no certificate in a slot": (
        {
            "enrollmentGroupId": "new",
            "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": 5}}},
        },
        "no certificate",
    ),
    "no text of a certificate": (
        {
            "attestation": {
                "type": "x509",
                "x509": {"signingCertificates": {"primary": {"info": {"version": 3}}}},
            }
        },
        "no certificate",
    ),
    "a webhook's key to keep": (
        {
            "attestation": {"type": "symmetricKey", "symmetricKey": "new"},
            "customAllocationDefinition": {"webhookUrl": "https://a.example/x", "key": "keep"},
        },
        "no key of it to keep",
    ),
}


@pytest.mark.parametrize(("members", "words"), ABSENT.values(), ids=ABSENT.keys())
async def test_what_cannot_be_made_is_refused_before_anything_is_sent(members: Document, words: str) -> None:
    rig = CloudRig()
    with pytest.raises(FileRefused, match=words):
        await planned(rig, wanted({"enrollmentGroupId": "g", **members}))
    await rig.aclose()


async def test_attestation_is_never_turned_into_another_kind() -> None:
    rig = await stocked()
    other = {
        "enrollmentGroupId": "line-a",
        "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "c"}}},
    }
    with pytest.raises(FileRefused, match="cannot be changed"):
        await planned(rig, wanted(other))
    await rig.aclose()


async def test_masked_webhook_without_a_known_key_is_refused_while_planning() -> None:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", True)
    rig = await stocked(switches)
    sources = wanted({"enrollmentGroupId": "line-a", "provisioningStatus": "disabled"})
    with pytest.raises(FileRefused, match="masks"):
        await plans.plan(sources, there(rig), References(rig), webhook_url=None)
    definition = {"webhookUrl": WEBHOOK.partition("?")[0], "apiVersion": "2019-03-31", "key": "keep"}
    sources += wanted({"enrollmentGroupId": "line-old", "customAllocationDefinition": definition})
    outcomes = await applied(rig, await planned(rig, sources))
    assert [each.problem for each in outcomes] == ["", ""]
    for name in ("line-a", "line-old"):
        held = rig.service.group(name)
        assert held is not None
        assert held.webhook_url == WEBHOOK
    await rig.aclose()


async def test_a_key_that_was_rolled_while_the_plan_was_read_is_not_written() -> None:
    rig = await stocked()
    plan = await planned(rig, wanted(*SOURCES))
    outcomes = await applied(rig, plan, references=Rolled(rig))
    assert {each.item.id: "replaced since" in each.problem for each in outcomes} == {
        "line-new": True,
        "LINE-A": False,
    }
    assert rig.service.store.groups.get("line-new") is None
    plan = await planned(rig, wanted(*SOURCES))
    assert FUNCTION_KEY not in repr(plan)


def url_of(rig: CloudRig, name: str) -> str:
    found = rig.service.store.groups.get(name)
    assert found is not None
    return str(found.members["customAllocationDefinition"]["webhookUrl"])


@pytest.mark.parametrize("masks", [False, True], ids=["shown", "masked"])
async def test_a_key_to_keep_is_the_one_that_is_there_when_it_is_written(masks: bool) -> None:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", masks)
    rig = await stocked(switches)
    base = WEBHOOK.partition("?")[0]
    custom = {"webhookUrl": base, "apiVersion": "2021-10-01", "key": "keep"}
    files = wanted({"enrollmentGroupId": "line-a", "tags": None, "customAllocationDefinition": custom,
                    "provisioningStatus": "disabled"})  # fmt: skip
    plan = await planned(rig, files)
    rolled = f"{base}?code=the-new-one"

    def roll(document: Document) -> Document:
        custom = {**document["customAllocationDefinition"], "webhookUrl": rolled}
        return {**document, "customAllocationDefinition": custom}

    await changes.change(rig.groups(), "line-a", roll)

    async def own() -> str | None:
        return rolled

    [done] = await applied(rig, plan, webhook_url=own)
    assert done.problem == ""
    assert url_of(rig, "line-a") == rolled
    held = rig.service.store.groups.get("line-a")
    assert held is not None
    assert held.members["provisioningStatus"] == "disabled"
