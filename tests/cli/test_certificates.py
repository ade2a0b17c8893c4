"""`roll-certificate`: three steps, each shown with the next, as Python's client sees them."""

from typing import Any

import pytest

from tests.cli.rig import Rig
from tests.cli.rig_clients import azure
from tests.local.dps.pki import Party, root, self_signed

ROLL = ("enrollment-group", "roll-certificate", "--eid", "line-x")
OLD, NEW = root("Old").issue("Old signer", ca=True), root("New").issue("New signer", ca=True)
pytestmark = pytest.mark.asyncio(loop_scope="package")


def pem(rig: Rig, party: Party, name: str) -> str:
    path = rig.folder / name
    path.write_text(party.pem)
    return str(path)


async def slots(rig: Rig) -> dict[str, str]:
    found: Any = await azure(rig, lambda client: dict(client.enrollment_group.get("line-x")))
    held = found["attestation"]["x509"]["signingCertificates"]
    return {slot: each["info"]["subjectName"] for slot, each in held.items() if each}


async def test_certificate_of_a_group_is_rolled_and_each_step_names_the_next(rig: Rig) -> None:
    create = ("enrollment-group", "create", "--eid", "line-x", "--cp", pem(rig, OLD, "old.pem"), "--yes")
    assert (await rig.run(*create)).code == 0
    assert "--certificate-path" in (await rig.run(*ROLL, "--status")).json["next"]
    new = ("--certificate-path", pem(rig, NEW, "new.pem"), "--yes")
    assert "--promote" in (await rig.run(*ROLL, *new)).json["next"]
    assert await slots(rig) == {"primary": "CN=Old signer", "secondary": "CN=New signer"}
    assert "--retire" in (await rig.run(*ROLL, *new, "--promote")).json["next"]
    again = await rig.run(*ROLL, *new, "--promote")
    assert "done already" in again.err
    assert await slots(rig) == {"primary": "CN=New signer", "secondary": "CN=Old signer"}
    assert "complete" in (await rig.run(*ROLL, *new, "--retire")).json["next"]
    assert await slots(rig) == {"primary": "CN=New signer"}


async def test_slot_in_use_is_not_overwritten_and_a_step_out_of_turn_not_made(rig: Rig) -> None:
    create = ("enrollment-group", "create", "--eid", "line-x", "--yes")
    files = ("--cp", pem(rig, OLD, "old.pem"), "--scp", pem(rig, root("Two"), "two.pem"))
    assert (await rig.run(*create, *files)).code == 0
    new = ("--certificate-path", pem(rig, NEW, "new.pem"), "--yes")
    before = await slots(rig)
    for step in ((), ("--promote",), ("--retire",)):
        assert (await rig.run(*ROLL, *new, *step)).code == 2
    assert await slots(rig) == before
    assert (await rig.run(*ROLL, "--promote", "--yes")).code == 2
    assert (await rig.run(*ROLL, *new, "--promote", "--retire")).code == 2
    assert (await rig.run(*ROLL, *new, "--ca-name", "x")).code == 2


async def test_old_one_goes_only_with_consent(rig: Rig) -> None:
    files = ("--cp", pem(rig, NEW, "new.pem"), "--scp", pem(rig, OLD, "old.pem"))
    assert (await rig.run("enrollment-group", "create", "--eid", "line-x", *files, "--yes")).code == 0
    assert (await rig.run(*ROLL, "--cp", str(rig.folder / "new.pem"), "--retire")).code == 7
    assert len(await slots(rig)) == 2


async def test_leaf_certificate_is_no_signer_of_a_group_and_rolls_an_individual_enrollment(rig: Rig) -> None:
    one, two = (pem(rig, self_signed("dev-1"), name) for name in ("one.pem", "two.pem"))
    create = ("enrollment", "create", "--eid", "dev-1", "--at", "x509", "--cp", one, "--yes")
    assert (await rig.run(*create)).code == 0
    assert (await rig.run(*ROLL, "--cp", two, "--yes")).code == 2
    roll = ("enrollment", "roll-certificate", "--eid", "dev-1", "--cp", two, "--yes")
    for step in ((), ("--promote",), ("--retire",)):
        assert (await rig.run(*roll, *step)).code == 0
    assert (await rig.run(*roll[:4], "--status")).json["secondary"] is None
