"""`device`: kept out and let in again, as clients nobody here wrote see it."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from allocation import Entry, Ledger
from clients.tables import TableAccount
from local.dps.keys import derive_key
from local.faults import Rule, answered
from provisioning.hubs import HubKey
from tests.cli.registering import register
from tests.cli.rig import HUBS, Ran, Rig, run
from tests.cli.rig_clients import azure
from tests.local.dps.pki import self_signed
from tests.local.dps.rig import PRIMARY, group

DEVICE = "press-7"
KEY = derive_key(PRIMARY, DEVICE)
pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.fixture(autouse=True)
def identity(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who enters the hubs: azure-identity reads the process's environment."""
    for name, value in rig.cloud.identity.items():
        monkeypatch.setenv(name, value)


async def provisioned(rig: Rig) -> str:
    """A device of a group, and the hub it is on."""
    await azure(rig, lambda client: client.enrollment_group.create_or_update("line-a", group("line-a")))
    state = await register(rig, DEVICE, KEY)
    assert state["status"] == "assigned", state
    return str(state["assignedHub"])


def status(rig: Rig, hub: str) -> str:
    device = rig.cloud.hubs[hub].service.hub.devices.get(DEVICE)
    assert device is not None
    return str(device.identity.status)


async def individual(rig: Rig) -> dict[str, Any]:
    return dict(await azure(rig, lambda client: dict(client.enrollment.get(DEVICE))))


async def readmitted(rig: Rig) -> None:
    """Leave the hubs, which the tests share, without the device."""
    for hub in rig.cloud.hubs.values():
        hub.service.hub.remove(DEVICE)


async def test_device_is_revoked_and_readmitted(rig: Rig) -> None:
    hub = await provisioned(rig)
    ran = await rig.run("device", "revoke", DEVICE, "--reason", "stolen", "--yes")
    assert ran.json["individualEnrollment"] == "made"
    made = await individual(rig)
    assert made["provisioningStatus"] == "disabled"
    assert made["optionalDeviceInformation"]["dpsFleetRevocation"]["why"] == "stolen"
    assert status(rig, hub) == "disabled"
    assert (await register(rig, DEVICE, KEY))["status"] in (401, "disabled")
    check_no_key(rig, ran)

    shown = (await rig.run("device", "show", DEVICE)).json
    assert shown["revoked"] is True
    assert [each["status"] for each in shown["hubs"] if each["found"]] == ["disabled"]

    back = await rig.run("device", "readmit", DEVICE, "--yes")
    assert back.json["individualEnrollment"] == "deleted"
    assert status(rig, hub) == "enabled"
    assert (await register(rig, DEVICE, KEY))["status"] == "assigned"
    await readmitted(rig)


def check_no_key(rig: Rig, ran: Ran) -> None:
    held = rig.cloud.dps.enrollment(DEVICE)
    assert held is not None
    assert held.keys is not None
    for key in held.keys.present:
        assert key not in ran.out + ran.err


async def test_revoking_twice_is_revoking_once_and_nothing_is_asked(rig: Rig) -> None:
    await provisioned(rig)
    assert (await rig.run("device", "revoke", DEVICE, "--yes")).code == 0
    again = await rig.run("device", "revoke", DEVICE)
    assert again.json["individualEnrollment"] == "already"
    assert {each["outcome"] for each in again.json["hubs"]} == {"already", "not there"}
    await readmitted(rig)


async def test_nothing_happens_without_consent_or_in_a_dry_run(rig: Rig) -> None:
    hub = await provisioned(rig)
    refused = await rig.run("device", "revoke", DEVICE)
    assert (refused.code, f"hubs.{hub}.{DEVICE}.status" in refused.err) == (7, True)
    dry = await rig.run("device", "revoke", DEVICE, "--dry-run")
    assert (dry.code, "nothing was changed" in dry.err) == (0, True)
    assert status(rig, hub) == "enabled"
    assert rig.cloud.dps.enrollment(DEVICE) is None
    await readmitted(rig)


async def test_certificate_of_the_device_is_what_the_block_attests_by(rig: Rig) -> None:
    path = rig.folder / "device.pem"
    path.write_text(self_signed(DEVICE).pem)
    assert (await rig.run("device", "revoke", DEVICE, "--certificate-path", str(path), "--yes")).code == 0
    made = await individual(rig)
    assert made["attestation"]["type"] == "x509"
    assert made["provisioningStatus"] == "disabled"
    assert (await rig.run("device", "readmit", DEVICE, "--yes")).json["individualEnrollment"] == "deleted"


async def test_hub_that_refuses_is_told_of_and_the_rest_is_done(rig: Rig) -> None:
    hub = await provisioned(rig)
    with rig.faults.during(Rule(answered(500), service=hub, method="PUT", count=None)):
        ran = await rig.run("device", "revoke", DEVICE, "--yes")
    assert (ran.code, "run it again" in ran.err) == (1, True)
    assert '"failed"' in ran.out
    assert (await individual(rig))["provisioningStatus"] == "disabled"
    assert (await rig.run("device", "revoke", DEVICE, "--yes")).code == 0
    assert status(rig, hub) == "disabled"
    await readmitted(rig)


async def test_device_that_nobody_knows_is_exit_code_4(rig: Rig) -> None:
    assert (await rig.run("device", "show", "nobody")).code == 4


async def test_last_decision_is_shown_from_the_ledger(azurite: str, rig: Rig) -> None:
    await provisioned(rig)
    environment = {"STATE_TABLES": azurite, "DPS_NAME": f"dps-{uuid4().hex}"}
    account = TableAccount.from_connection_string(azurite)
    entry = Entry(
        dps=environment["DPS_NAME"],
        registration_id=DEVICE,
        enrollment_kind="group",
        enrollment_id="line-a",
        at=datetime.now(UTC),
        status=200,
        outcome="placed",
        hub=HubKey(HUBS[0]),
        why="first",
    )
    await Ledger(account.table("ledger"), lambda: "x").write(entry)
    await account.close()
    shown = (await rig.run("device", "show", DEVICE, environment=environment)).json["lastDecision"]
    assert (shown["hub"], shown["outcome"], shown["confirmed"]) == (HUBS[0], "placed", False)
    assert shown["enrollment"] == {"kind": "group", "id": "line-a"}
    await readmitted(rig)


async def test_what_is_not_known_of_hubs_and_ledger_is_said(rig: Rig) -> None:
    await provisioned(rig)
    login = {"DPS_CONNECTION_STRING": rig.connection_string, "CA_FILE": str(rig.ca)}
    ran = await run("device", "show", DEVICE, environment=login)
    assert ran.code == 0, ran.err
    assert "DPS_RESOURCE_ID or HUBS" in ran.err
    assert "STATE_TABLES is not set" in ran.err
    assert ran.json["hubs"][0]["problem"]  # its real host name is no host of this machine
    await readmitted(rig)
