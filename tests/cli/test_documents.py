"""`export` and `apply`: enrollments as files, and `escrow`: what brings back a group that was deleted."""

import json
from typing import Any

import pytest

from local.faults import Rule, dropped
from tests.cli.rig import HUBS, WEBHOOK, Ran, Rig
from tests.cli.rig_clients import azure
from tests.local.dps.rig import OTHER_KEY, PRIMARY, SECONDARY, custom, group, individual

SECRETS = (PRIMARY, SECONDARY, OTHER_KEY, WEBHOOK.partition("?")[2])
pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.fixture
def vault(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way into the vault: azure-identity reads the process's environment."""
    for name, value in rig.cloud.identity.items():
        monkeypatch.setenv(name, value)


async def stock(rig: Rig) -> None:
    definition = {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"}
    members = custom(customAllocationDefinition=definition, iotHubs=list(HUBS), newMember={"kept": [1.5]})
    await azure(
        rig, lambda client: client.enrollment_group.create_or_update("line:a", group("line:a", **members))
    )
    await azure(rig, lambda client: client.enrollment.create_or_update("dev-1", individual("dev-1")))


async def everything(rig: Rig) -> list[dict[str, Any]]:
    def read(client: Any) -> list[dict[str, Any]]:
        found = [dict(each) for each in client.enrollment_group.query({"query": "SELECT *"})]
        return found + [dict(each) for each in client.enrollment.query({"query": "SELECT *"})]

    return await azure(rig, read)


def check_no_secret(ran: Ran) -> None:
    for secret in SECRETS:
        assert secret not in ran.out + ran.err


@pytest.mark.parametrize("form", ["yaml", "jsonl"])
async def test_export_applied_changes_nothing_and_holds_no_secret(rig: Rig, form: str) -> None:
    await stock(rig)
    before = await everything(rig)
    folder = rig.folder / "enrollments"
    ran = await rig.run("export", "--to", str(folder), "--format", form)
    assert ran.code == 0, ran.err
    assert sorted(each.name for each in folder.iterdir()) == [
        f"group.line%3Aa.{form}",
        f"individual.dev-1.{form}",
    ]
    texts = "".join(each.read_text() for each in folder.iterdir())
    assert not [secret for secret in SECRETS if secret in texts]
    ran = await rig.run("apply", "--file", str(folder), "--prune", "groups", "individuals")
    assert (ran.code, "everything is as the files say" in ran.err) == (0, True), ran.err
    assert await everything(rig) == before
    stream = await rig.run("export", "--format", form)
    check_no_secret(stream)
    assert stream.out == "".join(
        (folder / name).read_text() for name in (f"group.line%3Aa.{form}", f"individual.dev-1.{form}")
    )


async def test_plan_is_shown_asked_for_and_carried_out(rig: Rig) -> None:
    await stock(rig)
    file = rig.folder / "wanted.yaml"
    file.write_text(
        "enrollmentGroupId: line:a\nprovisioningStatus: disabled\n---\n"
        "registrationId: dev-2\n"
        "attestation: {type: symmetricKey, symmetricKey: {environment: {primaryKey: DEV_2}}}\n"
    )
    keys = {"DEV_2": OTHER_KEY}
    refused = await rig.run("apply", "--file", str(file), environment=keys)
    assert (refused.code, "1 to create, 1 to update, 0 to delete" in refused.err) == (7, True)
    check_no_secret(refused)
    dry = await rig.run("apply", "--file", str(file), "--dry-run", environment=keys)
    assert (dry.code, "calls of the DPS" in dry.err) == (0, True)
    assert len(await everything(rig)) == 2
    done = await rig.run("apply", "--file", str(file), "--yes", environment=keys)
    assert [each["outcome"] for each in done.json] == ["done", "done"]
    check_no_secret(done)
    changed = {
        each.get("enrollmentGroupId") or each["registrationId"]: each for each in await everything(rig)
    }
    assert changed["line:a"]["provisioningStatus"] == "disabled"
    assert changed["line:a"]["customAllocationDefinition"]["webhookUrl"] == WEBHOOK
    assert changed["line:a"]["newMember"] == {"kept": [1.5]}
    told = await azure(rig, lambda client: client.enrollment.get_attestation_mechanism("dev-2"))
    assert told["symmetricKey"]["primaryKey"] == OTHER_KEY
    told = await azure(rig, lambda client: client.enrollment_group.get_attestation_mechanism("line:a"))
    assert told["symmetricKey"] == {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}
    assert not (await rig.run("apply", "--file", str(file), environment=keys)).out


@pytest.mark.usefixtures("vault")
async def test_pruned_group_comes_back_from_escrow_with_the_same_keys(rig: Rig) -> None:
    await stock(rig)
    file = rig.folder / "rest.yaml"
    file.write_text("registrationId: dev-1\n")
    kept = await rig.run("export", "--kind", "groups")
    ran = await rig.run("apply", "--file", str(file), "--prune", "groups", "--yes")
    assert [each["outcome"] for each in ran.json] == ["done"]
    check_no_secret(ran)
    assert [each.get("registrationId") for each in await everything(rig)] == ["dev-1"]

    shown = await rig.run("escrow", "show", "line:a")
    assert shown.json[0]["enrollment"]["enrollment"] == "line:a"
    check_no_secret(shown)
    file.write_text(
        kept.out.replace("symmetricKey: keep", "symmetricKey: escrow").replace("key: keep", "key: setting")
    )
    settings = {"WEBHOOK_KEY": WEBHOOK.partition("code=")[2]}
    back = await rig.run("apply", "--file", str(file), "--yes", environment=settings)
    assert back.code == 0, back.err
    check_no_secret(back)
    told = await azure(rig, lambda client: client.enrollment_group.get_attestation_mechanism("line:a"))
    assert told["symmetricKey"] == {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}
    found = await azure(rig, lambda client: dict(client.enrollment_group.get("line:a")))
    assert found["customAllocationDefinition"]["webhookUrl"] == WEBHOOK


@pytest.mark.usefixtures("vault")
async def test_deleted_enrollment_is_created_anew_with_its_kept_keys(rig: Rig) -> None:
    await stock(rig)
    for noun, name, words in (
        ("enrollment-group", "line:a", ()),
        ("enrollment", "dev-1", ("--attestation-type", "symmetricKey")),
    ):
        assert (await rig.run(noun, "delete", "--eid", name, "--yes")).code == 0
        create = (noun, "create", "--eid", name, *words, "--yes")
        assert (await rig.run(*create, "--from-escrow", "--primary-key", OTHER_KEY)).code == 2
        ran = await rig.run(*create, "--from-escrow")
        assert ran.code == 0, ran.err
        check_no_secret(ran)
        shown = await rig.run(noun, "show", "--eid", name, "--show-keys")
        assert shown.json["attestation"]["symmetricKey"] == {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}
    missing = await rig.run("enrollment-group", "create", "--eid", "never-was", "--from-escrow", "--yes")
    assert missing.code == 4
    assert (await rig.run("escrow", "show", "never-was")).code == 4


async def test_prune_deletes_no_more_than_allowed_and_keeps_what_keeps_devices_out(rig: Rig) -> None:
    await stock(rig)
    await azure(
        rig,
        lambda client: client.enrollment.create_or_update(
            "stolen", individual("stolen", provisioningStatus="disabled")
        ),
    )
    file = rig.folder / "a.yaml"
    file.write_text('enrollmentGroupId: "line:a"\n')
    words = ("apply", "--file", str(file), "--prune", "individuals", "--discard-keys", "--yes")
    refused = await rig.run(*words, "--most-deleted", "0")
    assert (refused.code, len(await everything(rig))) == (2, 3)
    assert (await rig.run(*words)).code == 0
    left = [each.get("registrationId") for each in await everything(rig)]
    assert left == [None, "stolen"]


async def test_service_that_fails_in_the_middle_is_gone_on_from(rig: Rig) -> None:
    file = rig.folder / "three.jsonl"
    attestation = {"type": "symmetricKey", "symmetricKey": "new"}
    documents = [{"enrollmentGroupId": f"g{number}", "attestation": attestation} for number in range(3)]
    file.write_text("\n".join(map(json.dumps, documents)))
    with rig.faults.during(
        Rule(dropped(), service="dps", method="PUT", path="/enrollmentGroups/g1", count=None)
    ):
        ran = await rig.run("apply", "--file", str(file), "--yes")
    assert ran.code == 1
    assert [each["outcome"] for each in json.loads(ran.out)] == ["done", "failed", "not tried"]
    again = await rig.run("apply", "--file", str(file), "--yes")
    assert [each["id"] for each in again.json] == ["g1", "g2"]
    assert len(await everything(rig)) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("enrollmentGroupId: &a g", "aliases"),
        (
            "enrollmentGroupId: g\nattestation: {type: symmetricKey, symmetricKey: {primaryKey: secret}}",
            "holds keys",
        ),
        ("enrollmentGroupId: g\n---\nenrollmentGroupId: G", "stands in"),
        ("enrollmentGroupId: 'x\x1by'", "bad.yaml"),
    ],
)
async def test_hostile_file_is_refused_before_any_call(rig: Rig, text: str, words: str) -> None:
    file = rig.folder / "bad.yaml"
    file.write_text(text)
    ran = await rig.run("apply", "--file", str(file), "--yes")
    assert (ran.code, words in ran.err, rig.calls) == (2, True, [])
    assert "secret" not in ran.err
    assert "\x1b" not in ran.err


async def test_file_or_folder_that_is_not_there_is_named(rig: Rig) -> None:
    assert (await rig.run("apply", "--file", str(rig.folder / "none.yaml"))).code == 2
    (rig.folder / "empty").mkdir()
    assert (await rig.run("apply", "--file", str(rig.folder / "empty"))).code == 2
    (rig.folder / "latin.yaml").write_bytes(b"\xff\xfe\x00")
    assert (await rig.run("apply", "--file", str(rig.folder / "latin.yaml"))).code == 2
