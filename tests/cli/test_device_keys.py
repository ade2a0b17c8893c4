"""`compute-device-key`: the documented vectors, devices, files of ids, and nothing sent without need."""

import base64
import csv
import hashlib
import hmac
import io
import json

import pytest

from tests.cli.rig import Rig, run
from tests.cli.rig_clients import azure
from tests.local.dps.pki import root
from tests.local.dps.rig import PRIMARY, group

COMPUTE = ("enrollment-group", "compute-device-key")
GROUP_KEY = "oiK77Oy7rBw8YB6IS6ukRChAw+Yq6GC61RMrPLSTiOOtdI+XDu0LmLuNm11p+qv2I+adqGUdZHm46zXAQdZoOA=="
VECTORS = {
    "breakroom499-contoso-tstrsd-007": "JC8F96eayuQwwz+PkE7IzjH2lIAjCUnAa61tDigBnSs=",
    "mainbuilding167-contoso-hpsd-088": "6uejA9PfkQgmYylj8Zerp3kcbeVrGZ172YLa7VSnJzg=",
}
pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.mark.parametrize("name", VECTORS)
async def test_the_documented_vectors_hold_without_any_call(name: str) -> None:
    ran = await run(*COMPUTE, "--key", GROUP_KEY, "--registration-id", name)
    assert ran.json == VECTORS[name]


async def test_a_key_of_a_group_lets_its_device_register(rig: Rig) -> None:
    await azure(rig, lambda client: client.enrollment_group.create_or_update("g1", group("g1")))
    key = (await rig.run(*COMPUTE, "--eid", "g1", "--rid", "dev-1")).json
    await rig.register("dev-1", key)
    shown = (await rig.run("enrollment-group", "registration", "show", "--rid", "dev-1")).json
    assert shown["status"] == "assigned"


async def test_a_file_of_ids_gives_each_key_beside_the_case_it_was_derived_from(rig: Rig) -> None:
    names = [*VECTORS, "Dev-1", "dev-1"]
    path = rig.folder / "ids.txt"
    path.write_text("\ufeff" + "\n\n".join(names) + "\r\n")
    words = (*COMPUTE, "--symmetric-key", GROUP_KEY, "--registration-ids", str(path))
    lines = (await run(*words, "-o", "jsonl")).out.splitlines()
    told = {row["registrationId"]: row["deviceKey"] for row in map(json.loads, lines)}
    assert list(told) == names
    assert {name: told[name] for name in VECTORS} == VECTORS
    assert told["Dev-1"] != told["dev-1"]
    rows = list(csv.DictReader(io.StringIO((await run(*words, "-o", "csv")).out)))
    assert {row["registrationId"]: row["deviceKey"] for row in rows} == told


async def test_ids_come_from_standard_input_too(rig: Rig) -> None:
    words = (*COMPUTE, "--key", GROUP_KEY, "--registration-ids", "-", "-o", "tsv")
    ran = await run(*words, stdin="\n".join(VECTORS))
    assert ran.out == "".join(f"{name}\t{key}\n" for name, key in VECTORS.items())


async def test_a_bad_line_is_named_before_anything_is_written(rig: Rig) -> None:
    path = rig.folder / "ids.txt"
    path.write_text("dev-1\ndev 2\n")
    ran = await run(*COMPUTE, "--key", GROUP_KEY, "--registration-ids", str(path))
    assert (ran.code, ran.out) == (2, "")
    assert "line 2" in ran.err


async def test_an_id_with_capitals_is_told_that_its_case_counts(rig: Rig) -> None:
    ran = await run(*COMPUTE, "--key", PRIMARY, "--rid", "Dev-1")
    digest = hmac.digest(base64.b64decode(PRIMARY), b"Dev-1", hashlib.sha256)
    assert ran.json == base64.b64encode(digest).decode()
    assert "exactly this case" in ran.err


async def test_a_group_of_certificates_has_no_device_keys(rig: Rig) -> None:
    (rig.folder / "ca.pem").write_text(root("R").pem)
    words = ("--cp", str(rig.folder / "ca.pem"), "--yes")
    assert (await rig.run("enrollment-group", "create", "--eid", "x", *words)).code == 0
    ran = await rig.run(*COMPUTE, "--eid", "x", "--rid", "dev-1")
    assert (ran.code, "x509" in ran.err) == (1, True)


async def test_the_groups_key_is_in_no_message(rig: Rig) -> None:
    for key in (GROUP_KEY[:-3], GROUP_KEY + "A", f"{GROUP_KEY} x"):
        ran = await run("--debug", *COMPUTE, "--key", key, "--rid", "dev-1")
        assert (ran.code, GROUP_KEY[:20] in ran.err) == (2, False)


async def test_neither_key_nor_group_is_told_what_to_give() -> None:
    ran = await run(*COMPUTE, "--rid", "dev-1")
    assert (ran.code, "--key" in ran.err) == (2, True)
