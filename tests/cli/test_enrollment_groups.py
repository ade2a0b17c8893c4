"""`enrollment-group`: what it writes is read by clients nobody here wrote, and the other way round."""

import asyncio
import base64
import gc
import json
import re
from pathlib import Path
from typing import Any

import pytest
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

from local.faults import Rule, dropped
from tests.cli.rig import HUBS, WEBHOOK, Rig, run
from tests.cli.rig_clients import azure, node_client
from tests.local.dps.pki import Party, root
from tests.local.dps.rig import OTHER_KEY, PRIMARY, SECONDARY, group

GROUP = "enrollment-group"
pytestmark = pytest.mark.asyncio(loop_scope="package")


def pem(folder: Path, party: Party, name: str = "one.pem") -> str:
    path = folder / name
    path.write_text(party.pem)
    return str(path)


async def read(rig: Rig, name: str) -> dict[str, Any]:
    return dict(await azure(rig, lambda client: dict(client.enrollment_group.get(name))))


async def keys(rig: Rig, name: str) -> dict[str, str]:
    told = await azure(rig, lambda client: client.enrollment_group.get_attestation_mechanism(name))
    return dict(told["symmetricKey"])


async def put(rig: Rig, name: str, **members: Any) -> None:
    await azure(rig, lambda client: client.enrollment_group.create_or_update(name, group(name, **members)))


async def test_a_group_is_created_with_every_option_of_symmetric_attestation(rig: Rig) -> None:
    ran = await rig.run(
        *(GROUP, "create", "--eid", "line-a", "--pk", PRIMARY, "--sk", SECONDARY),
        *("--ap", "custom", "--wh", WEBHOOK, "--av", "2021-10-01", "--ih", *HUBS[:2]),
        *("--tags", "{'site':'north'}", "--props", '{"interval": 60}', "--ee", "true"),
        *("--ps", "disabled", "--rp", "reprovisionandresetdata", "--yes"),
    )
    assert ran.code == 0, ran.err
    made = await read(rig, "line-a")
    assert ran.json["etag"] == made["etag"]
    assert made["customAllocationDefinition"] == {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"}
    assert (made["allocationPolicy"], made["iotHubs"]) == ("custom", list(HUBS[:2]))
    assert made["initialTwin"] == {
        "tags": {"site": "north"},
        "properties": {"desired": {"interval": 60}},
    }
    assert made["capabilities"] == {"iotEdge": True}
    assert made["provisioningStatus"] == "disabled"
    assert made["reprovisionPolicy"] == {"updateHubAssignment": True, "migrateDeviceData": False}
    assert await keys(rig, "line-a") == {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}


async def test_a_group_without_keys_gets_two_of_64_bytes(rig: Rig) -> None:
    assert (await rig.run(GROUP, "create", "--group-id", "line-a", "--yes")).code == 0
    made = await keys(rig, "line-a")
    assert [len(base64.b64decode(key)) for key in made.values()] == [64, 64]
    assert made["primaryKey"] != made["secondaryKey"]


async def test_a_new_group_migrates_devices_and_is_no_edge_unless_told(rig: Rig) -> None:
    await rig.run(GROUP, "create", "--gid", "line-a", "--yes")
    made = await read(rig, "line-a")
    assert made["reprovisionPolicy"] == {"updateHubAssignment": True, "migrateDeviceData": True}
    assert made["capabilities"] == {"iotEdge": False}


async def test_an_edge_group_becomes_a_plain_one_again(rig: Rig) -> None:
    await put(rig, "line-a", capabilities={"iotEdge": True})
    assert (await rig.run(GROUP, "update", "--eid", "line-a", "--ee", "False", "--yes")).code == 0
    assert (await read(rig, "line-a"))["capabilities"] == {"iotEdge": False}


@pytest.mark.parametrize(
    ("policy", "hubs"),
    [("hashed", HUBS), ("geolatency", HUBS[:1]), ("static", HUBS[:1]), ("Hashed", ())],
)
async def test_each_allocation_policy_is_set_in_any_case(
    rig: Rig, policy: str, hubs: tuple[str, ...]
) -> None:
    named = ("--iot-hubs", *hubs) if hubs else ()
    words = (GROUP, "create", "--enrollment-id", "line-a", "--allocation-policy", policy, *named, "--yes")
    ran = await rig.run(*words)
    assert ran.code == 0, ran.err
    made = await read(rig, "line-a")
    assert made["allocationPolicy"].lower() == policy.lower()
    assert made.get("iotHubs", []) == list(hubs)


async def test_a_group_is_created_and_rolled_with_certificates(rig: Rig) -> None:
    one, two = root("One").issue("Signer one", ca=True), root("Two").issue("Signer two", ca=True)
    first, second = pem(rig.folder, one), pem(rig.folder, two, "two.pem")
    words = (GROUP, "create", "--eid", "line-x", "--certificate-path", first, "--scp", second, "--yes")
    assert (await rig.run(*words)).code == 0
    held = (await read(rig, "line-x"))["attestation"]["x509"]["signingCertificates"]
    assert held["primary"]["info"]["sha256Thumbprint"] == one.thumbprint
    assert held["secondary"]["info"]["sha256Thumbprint"] == two.thumbprint

    three = root("Three").issue("Signer three", ca=True)
    new = pem(rig.folder, three, "3.pem")
    assert (await rig.run(GROUP, "update", "--eid", "line-x", "--cp", new, "--rsc", "--yes")).code == 0
    held = (await read(rig, "line-x"))["attestation"]["x509"]["signingCertificates"]
    assert held["primary"]["info"]["sha256Thumbprint"] == three.thumbprint
    assert "secondary" not in held


async def test_a_group_is_created_and_rolled_with_ca_names(rig: Rig) -> None:
    words = (GROUP, "create", "--eid", "line-x", "--ca-name", "ca-1", "--yes")
    assert (await rig.run(*words)).code == 0
    more = ("--secondary-ca-name", "ca-2", "--remove-certificate", "--yes")
    ran = await rig.run(GROUP, "update", "--eid", "line-x", *more)
    assert ran.code == 0, ran.err
    assert (await read(rig, "line-x"))["attestation"]["x509"]["caReferences"] == {"secondary": "ca-2"}


async def test_a_group_that_another_client_made_is_shown_in_the_services_members(rig: Rig) -> None:
    await put(rig, "line-a", iotHubs=list(HUBS[:1]))
    shown = (await rig.run(GROUP, "show", "--eid", "LINE-A")).json
    assert shown == await read(rig, "line-a")


async def test_keys_are_shown_only_when_asked_for(rig: Rig) -> None:
    definition = {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"}
    await put(rig, "line-a", allocationPolicy="custom", customAllocationDefinition=definition)
    for words in (
        ("show", "--eid", "line-a"),
        ("show", "--eid", "line-a", "--keys", "false"),
        ("list",),
        ("update", "--eid", "line-a", "--ps", "disabled", "--yes"),
        ("update", "--eid", "line-a", "--sk", OTHER_KEY, "--yes"),
        ("delete", "--eid", "line-a", "--discard-keys", "--dry-run"),
    ):
        ran = await rig.run(GROUP, *words)
        assert ran.code == 0, ran.err
        for secret in (PRIMARY, SECONDARY, OTHER_KEY, "not-to-be-seen"):
            assert secret not in ran.out + ran.err, words
    shown = (await rig.run(GROUP, "show", "--eid", "line-a", "--show-keys")).json
    assert shown["attestation"]["symmetricKey"] == {"primaryKey": PRIMARY, "secondaryKey": OTHER_KEY}
    assert shown["customAllocationDefinition"]["webhookUrl"] == WEBHOOK


async def test_an_update_changes_what_it_names_and_nothing_else(rig: Rig) -> None:
    twin = {"tags": {"site": "north"}, "properties": {"desired": {"interval": 60}}}
    definition = {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"}
    await put(
        rig,
        "line-a",
        initialTwin=twin,
        allocationPolicy="custom",
        customAllocationDefinition=definition,
        iotHubs=list(HUBS),
        memberOfANewerVersion={"kept": True},
    )
    before = await read(rig, "line-a")
    words = (GROUP, "update", "--eid", "line-a", "--provisioning-status", "disabled", "--yes")
    assert (await rig.run(*words)).code == 0
    after = await read(rig, "line-a")
    changed = ("provisioningStatus", "etag", "lastUpdatedDateTimeUtc")
    assert after == {**before, **{name: after[name] for name in changed}}
    assert after["provisioningStatus"] == "disabled"
    assert await keys(rig, "line-a") == {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}


async def test_one_key_is_replaced_and_the_other_kept(rig: Rig) -> None:
    await put(rig, "line-a")
    (rig.folder / "key").write_text(OTHER_KEY + "\n")
    words = (GROUP, "update", "--eid", "line-a", "--primary-key", f"@{rig.folder / 'key'}", "--yes")
    assert (await rig.run(*words)).code == 0
    assert await keys(rig, "line-a") == {"primaryKey": OTHER_KEY, "secondaryKey": SECONDARY}


async def test_twins_are_replaced_part_by_part_and_never_nested_again(rig: Rig) -> None:
    twin = {"tags": {"site": "north"}, "properties": {"desired": {"interval": 60}}}
    await put(rig, "line-a", initialTwin=twin)
    words = ("--initial-twin-properties", '{"interval": 30}', "--yes")
    assert (await rig.run(GROUP, "update", "--eid", "line-a", *words)).code == 0
    assert (await read(rig, "line-a"))["initialTwin"] == {
        "tags": {"site": "north"},
        "properties": {"desired": {"interval": 30}},
    }
    assert (await rig.run(GROUP, "update", "--eid", "line-a", "--tags", "{}", "--yes")).code == 0
    assert (await read(rig, "line-a"))["initialTwin"]["tags"] == {}


async def test_hubs_are_replaced_and_one_empty_name_frees_the_choice(rig: Rig) -> None:
    await put(rig, "line-a", allocationPolicy="hashed", iotHubs=list(HUBS))
    assert (await rig.run(GROUP, "update", "--eid", "line-a", "--ih", HUBS[2], HUBS[0], "--yes")).code == 0
    assert (await read(rig, "line-a"))["iotHubs"] == [HUBS[2], HUBS[0]]
    assert (await rig.run(GROUP, "update", "--eid", "line-a", "--ih", "", "--yes")).code == 0
    assert not (await read(rig, "line-a")).get("iotHubs")


async def test_a_webhooks_version_changes_and_its_url_stays(rig: Rig) -> None:
    definition = {"webhookUrl": WEBHOOK, "apiVersion": "2019-03-31"}
    await put(rig, "line-a", allocationPolicy="custom", customAllocationDefinition=definition)
    words = (GROUP, "update", "--eid", "line-a", "--api-version", "2021-10-01", "--yes")
    assert (await rig.run(*words)).code == 0
    changed = (await read(rig, "line-a"))["customAllocationDefinition"]
    assert changed == {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"}


async def test_a_webhook_without_a_key_is_told_of(rig: Rig) -> None:
    url = "https://app.example/api/allocate"
    words = ("--ap", "custom", "--webhook-url", url, "--av", "2021-10-01", "--yes")
    ran = await rig.run(GROUP, "create", "--eid", "line-a", *words)
    assert ran.code == 0
    assert "no ?code=FUNCTION-KEY" in ran.err


async def test_every_change_is_guarded_by_the_etag_that_was_read(rig: Rig) -> None:
    await put(rig, "line-a")
    stale = (await read(rig, "line-a"))["etag"]
    update = (GROUP, "update", "--eid", "line-a", "--yes")
    assert (await rig.run(*update, "--ps", "disabled", "--etag", stale)).code == 0
    moved = await rig.run(*update, "--ps", "enabled", "-e", stale)
    assert (moved.code, "ETag" in moved.err) == (5, True)
    assert (await read(rig, "line-a"))["provisioningStatus"] == "disabled"
    gone = await rig.run(GROUP, "delete", "--eid", "line-a", "-e", stale, "--discard-keys", "--yes")
    assert gone.code == 5
    assert (await rig.run(*update, "--ps", "enabled", "--etag", "*")).code == 0
    assert (await read(rig, "line-a"))["provisioningStatus"] == "enabled"


async def test_an_update_to_what_is_there_already_sends_nothing(rig: Rig) -> None:
    await put(rig, "line-a", provisioningStatus="disabled")
    before = len(rig.calls)
    ran = await rig.run(GROUP, "update", "--eid", "line-a", "--ps", "disabled")
    assert (ran.code, "nothing was sent" in ran.err) == (0, True)
    assert rig.calls[before:] == [
        "GET /enrollmentGroups/line-a",
        "POST /enrollmentGroups/line-a/attestationmechanism",
        "GET /enrollmentGroups/line-a",
    ]


async def test_a_group_that_is_there_is_not_replaced_by_create(rig: Rig) -> None:
    await put(rig, "line-a", provisioningStatus="disabled")
    ran = await rig.run(GROUP, "create", "--eid", "line-a", "--yes")
    assert ran.code == 5
    assert (await read(rig, "line-a"))["provisioningStatus"] == "disabled"


@pytest.mark.parametrize("words", [("show",), ("update", "--ps", "disabled"), ("delete", "--discard-keys")])
async def test_a_group_that_is_not_there_is_exit_code_4(rig: Rig, words: tuple[str, ...]) -> None:
    ran = await rig.run(GROUP, *words, "--eid", "nobody")
    assert (ran.code, "nobody" in ran.err) == (4, True)


async def test_a_symmetric_group_goes_only_when_its_keys_are_discarded_or_safe(rig: Rig) -> None:
    await put(rig, "line-a")
    login = {"DPS_CONNECTION_STRING": rig.connection_string, "CA_FILE": str(rig.ca)}
    refused = await run(GROUP, "delete", "--eid", "line-a", "--yes", environment=login)
    assert (refused.code, "VAULT_URL" in refused.err, "--discard-keys" in refused.err) == (2, True, True)
    assert (await rig.run(GROUP, "show", "--eid", "line-a")).code == 0
    assert (await rig.run(GROUP, "delete", "--eid", "line-a", "--discard-keys", "--yes")).code == 0
    assert (await rig.run(GROUP, "show", "--eid", "line-a")).code == 4


async def test_a_deleted_groups_keys_are_in_the_vault_for_its_own_client(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rig.cloud.identity.items():
        monkeypatch.setenv(name, value)  # azure-identity reads the process's environment
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(rig.ca))
    await put(rig, "line-a")
    ran = await rig.run(GROUP, "delete", "--eid", "line-a", "--yes")
    assert ran.code == 0, ran.err
    assert (PRIMARY in ran.err, SECONDARY in ran.err) == (False, False)
    [name] = re.findall(r"kept in secret ([a-z0-9-]+)", ran.err)

    def secret() -> str:
        with (
            ManagedIdentityCredential() as credential,
            SecretClient(rig.cloud.vault_address.url, credential, verify_challenge_resource=False) as vault,
        ):
            value = vault.get_secret(name).value
        gc.collect()
        return value or ""

    kept = json.loads(await asyncio.to_thread(secret))
    assert kept == {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}
    assert (await rig.run(GROUP, "show", "--eid", "line-a")).code == 4


async def test_a_group_whose_keys_cannot_be_kept_stays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rig.cloud.identity.items():
        monkeypatch.setenv(name, value)
    await put(rig, "line-b")
    with rig.faults.during(Rule(dropped(), service="vault", method="PUT", count=None)):
        ran = await rig.run(GROUP, "delete", "--eid", "line-b", "--yes")
    assert (ran.code, "not deleted" in ran.err) == (1, True), ran.err
    assert await keys(rig, "line-b") == {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}


async def test_a_group_goes_without_more_ado_where_it_has_no_symmetric_keys(rig: Rig) -> None:
    signer = root("One").issue("Signer", ca=True)
    words = (GROUP, "create", "--eid", "line-x", "--cp", pem(rig.folder, signer), "--yes")
    assert (await rig.run(*words)).code == 0
    assert (await rig.run(GROUP, "delete", "--eid", "line-x", "--yes")).code == 0
    assert (await rig.run(GROUP, "show", "--eid", "line-x")).code == 4


async def test_what_the_commands_make_nodes_client_reads_and_changes(rig: Rig) -> None:
    await rig.run(
        *(GROUP, "create", "--eid", "line-a", "--pk", PRIMARY, "--sk", SECONDARY),
        *("--ap", "hashed", "--ih", *HUBS[:2], "--tags", '{"site": "n"}', "--yes"),
    )
    async with node_client(rig) as node:
        found = await node("getEnrollmentGroup", "line-a")
        assert (found["iotHubs"], found["initialTwin"]["tags"]) == (list(HUBS[:2]), {"site": "n"})
        told = await node("getEnrollmentGroupAttestationMechanism", "line-a")
        assert told["symmetricKey"] == {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}
        await node("createOrUpdateEnrollmentGroup", {**found, "provisioningStatus": "disabled"})
    assert (await rig.run(GROUP, "show", "--eid", "line-a")).json["provisioningStatus"] == "disabled"
