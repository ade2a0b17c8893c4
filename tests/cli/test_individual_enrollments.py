"""`enrollment`: individual enrollments of each attestation, read by other clients and vice versa."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.rig import HUBS, Rig
from tests.cli.rig_clients import azure, node_client
from tests.local.dps.pki import Party, root, self_signed
from tests.local.dps.rig import OTHER_KEY, PRIMARY, SECONDARY, individual

ONE = "enrollment"
EK = "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEA"
pytestmark = pytest.mark.asyncio(loop_scope="package")


def pem(folder: Path, party: Party, name: str = "one.pem") -> str:
    path = folder / name
    path.write_text(party.pem)
    return str(path)


async def read(rig: Rig, name: str) -> dict[str, Any]:
    return dict(await azure(rig, lambda client: dict(client.enrollment.get(name))))


async def put(rig: Rig, name: str, **members: Any) -> None:
    await azure(rig, lambda client: client.enrollment.create_or_update(name, individual(name, **members)))


async def test_a_device_with_keys_is_enrolled_with_every_option(rig: Rig) -> None:
    ran = await rig.run(
        *(ONE, "create", "--eid", "dev-1", "--attestation-type", "symmetrickey"),
        *("--primary-key", PRIMARY, "--secondary-key", SECONDARY, "--device-id", "press#1"),
        *("--device-information", '{"color": "red"}', "--ap", "static", "--iot-hubs", HUBS[0]),
        *(
            "--initial-twin-tags",
            '{"site": "n"}',
            "--edge-enabled",
            "--ps",
            "enabled",
            "--rp",
            "never",
            "--yes",
        ),
    )
    assert ran.code == 0, ran.err
    made = await read(rig, "dev-1")
    assert (made["deviceId"], made["optionalDeviceInformation"]) == ("press#1", {"color": "red"})
    assert (made["allocationPolicy"], made["iotHubs"]) == ("static", [HUBS[0]])
    assert (made["capabilities"], made["initialTwin"]["tags"]) == ({"iotEdge": True}, {"site": "n"})
    assert made["reprovisionPolicy"] == {"updateHubAssignment": False, "migrateDeviceData": False}
    told = await azure(rig, lambda client: client.enrollment.get_attestation_mechanism("dev-1"))
    assert told["symmetricKey"] == {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}


async def test_a_device_with_a_tpm_is_enrolled_and_gets_another_key(rig: Rig) -> None:
    words = (ONE, "create", "--eid", "dev-1", "--at", "tpm", "--endorsement-key", EK, "--yes")
    assert (await rig.run(*words)).code == 0
    assert (await read(rig, "dev-1"))["attestation"]["tpm"]["endorsementKey"] == EK
    seeds = "14963E8F3BA5B3984110B3C1CA8E8B89"
    assert (await rig.run(ONE, "update", "--eid", "dev-1", "--ek", seeds, "--yes")).code == 0
    assert (await read(rig, "dev-1"))["attestation"]["tpm"]["endorsementKey"] == seeds


async def test_a_device_with_a_certificate_is_enrolled_and_rolled(rig: Rig) -> None:
    one, two = self_signed("dev-1"), root("R").issue("dev-1")
    words = (ONE, "create", "--eid", "dev-1", "--at", "x509", "--cp", pem(rig.folder, one), "--yes")
    assert (await rig.run(*words)).code == 0
    new = pem(rig.folder, two, "two.pem")
    more = ("--secondary-certificate-path", new, "--rc", "true", "--yes")
    ran = await rig.run(ONE, "update", "--eid", "dev-1", *more)
    assert ran.code == 0, ran.err
    held = (await read(rig, "dev-1"))["attestation"]["x509"]["clientCertificates"]
    assert "primary" not in held
    assert held["secondary"]["info"]["sha256Thumbprint"] == two.thumbprint


async def test_an_update_changes_what_it_names_and_nothing_else(rig: Rig) -> None:
    await put(rig, "dev-1", deviceId="press", iotHubs=list(HUBS), newer={"member": 1})
    before = await read(rig, "dev-1")
    words = ("--did", "press-2", "--info", '{"color": "blue"}', "--yes")
    assert (await rig.run(ONE, "update", "--eid", "dev-1", *words)).code == 0
    after = await read(rig, "dev-1")
    changed = {"deviceId": "press-2", "optionalDeviceInformation": {"color": "blue"}}
    written = {name: after[name] for name in ("etag", "lastUpdatedDateTimeUtc")}
    assert after == {**before, **changed, **written}


async def test_what_another_client_made_is_shown_listed_and_deleted(rig: Rig) -> None:
    for name in ("dev-1", "dev-2"):
        await put(rig, name)
    assert (await rig.run(ONE, "show", "--eid", "dev-1")).json == await read(rig, "dev-1")
    listed = (await rig.run(ONE, "list")).json
    assert listed == [await read(rig, "dev-1"), await read(rig, "dev-2")]
    shown = (await rig.run(ONE, "show", "--eid", "dev-1", "--keys", "true")).json
    assert shown["attestation"]["symmetricKey"]["primaryKey"] == PRIMARY
    assert (await rig.run(ONE, "delete", "--eid", "dev-1", "--discard-keys", "--yes")).code == 0
    assert [each["registrationId"] for each in (await rig.run(ONE, "list")).json] == ["dev-2"]


async def test_etags_guard_changes_of_a_device(rig: Rig) -> None:
    await put(rig, "dev-1")
    stale = (await read(rig, "dev-1"))["etag"]
    words = (ONE, "update", "--eid", "dev-1", "--pk", OTHER_KEY, "--etag", stale, "--yes")
    assert (await rig.run(*words)).code == 0
    assert (await rig.run(*words)).code == 5
    gone = await rig.run(ONE, "delete", "--eid", "dev-1", "--etag", stale, "--discard-keys", "--yes")
    assert gone.code == 5


async def test_a_devices_registration_is_shown_and_deleted(rig: Rig) -> None:
    await put(rig, "dev-1", deviceId="press")
    await rig.register("dev-1", PRIMARY)
    shown = (await rig.run(ONE, "registration", "show", "--eid", "dev-1")).json
    assert (shown["registrationId"], shown["deviceId"], shown["status"]) == ("dev-1", "press", "assigned")
    assert shown == await azure(rig, lambda client: dict(client.device_registration_state.get("dev-1")))
    words = (ONE, "registration", "delete", "--enrollment-id", "dev-1", "--yes")
    assert (await rig.run(*words)).code == 0
    assert (await rig.run(ONE, "registration", "show", "--eid", "dev-1")).code == 4


async def test_what_the_commands_enroll_nodes_client_reads(rig: Rig) -> None:
    words = ("--at", "symmetricKey", "--pk", PRIMARY, "--sk", SECONDARY, "-d", "press", "--yes")
    assert (await rig.run(ONE, "create", "--eid", "dev-1", *words)).code == 0
    async with node_client(rig) as node:
        found = await node("getIndividualEnrollment", "dev-1")
        assert (found["registrationId"], found["deviceId"]) == ("dev-1", "press")
        told = await node("getIndividualEnrollmentAttestationMechanism", "dev-1")
        assert told["symmetricKey"]["primaryKey"] == PRIMARY
        await node("createOrUpdateIndividualEnrollment", {**found, "provisioningStatus": "disabled"})
    assert (await rig.run(ONE, "show", "--eid", "dev-1")).json["provisioningStatus"] == "disabled"
