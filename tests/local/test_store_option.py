"""A stack that is kept: stopped and started again, it is the same to every client."""

import json
import signal
import ssl
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.data.tables import TableServiceClient

from local.admin import TOKEN_HEADER
from local.clients import Device, ServiceClient, connect
from local.dps.keys import derive_key
from local.issuer import VAULT
from tests.local.test_stack import ROOT, enroll, local_stack, trust

HUBS = ("--hub", "hub-a", "--hub", "hub-b:3")


def stopped(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    said = process.stdout.read()
    assert process.wait(30) == 0, said
    assert "kept in " in said


def run_local(*options: str) -> subprocess.CompletedProcess[str]:
    """./run local, which is expected to end by itself."""
    argv = [sys.executable, "-m", "local", *options]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


async def secret(state: dict[str, Any], method: str, **body: Any) -> httpx.Response:
    """Set or get a secret with a token of the stack's managed identity."""
    async with httpx.AsyncClient(verify=trust(state)) as http:
        identity = state["identity"]
        answer = await http.get(
            identity["IDENTITY_ENDPOINT"],
            params={"api-version": "2019-08-01", "resource": VAULT[0]},
            headers={"X-IDENTITY-HEADER": identity["IDENTITY_HEADER"]},
        )
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        url = f"{state['vault']['url']}/secrets/line-a?api-version=7.6"
        return await http.request(method, url, headers=headers, json=body or None)


async def test_everything_is_the_same_after_a_restart(tmp_path: Path) -> None:
    store = tmp_path / "store"
    options = ("--store", str(store), *HUBS)
    with local_stack(tmp_path, *options) as (process, first):
        key = derive_key(await enroll(first, "line-a"), "dev-1")
        device = Device("dev-1", key)
        async with connect(f"https://{first['dps']['host']}", trust(first)) as http:
            before = await device.register(http, first["dps"]["id_scope"])
        assert before["status"] == "assigned"
        assert (await secret(first, "PUT", value="a value")).status_code == 200
        with TableServiceClient.from_connection_string(first["tables"]) as tables:
            tables.create_table("kept").create_entity({"PartitionKey": "p", "RowKey": "r", "n": 7})
        async with httpx.AsyncClient(base_url=first["admin"]["url"], verify=trust(first)) as admin:
            headers = {TOKEN_HEADER: first["admin"]["token"]}
            await admin.post("/clock", json={"advance": 120}, headers=headers)
        old_ca = Path(first["ca"]).read_text()  # noqa: ASYNC240  a small file
        refused = run_local(*options)
        assert (refused.returncode, "in use by another" in refused.stderr) == (1, True)
        stopped(process)

    kept = store / "services.jsonl"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    saved = kept.read_bytes()

    with local_stack(tmp_path, *options) as (process, second):
        for name in ("dps", "hubs", "hub_connection_strings", "vault", "arm", "functions", "tables"):
            assert second[name] == first[name], name
        assert second["admin"]["url"] == first["admin"]["url"]
        old_trust = ssl.create_default_context(cadata=old_ca)
        async with connect(f"https://{second['dps']['host']}", old_trust) as http:
            operator = ServiceClient(http, first["dps"]["connection_string"])
            assert [each["registrationId"] async for each in operator.registrations("line-a")] == ["dev-1"]
            after = await device.register(http, second["dps"]["id_scope"])
        assert (after["status"], after["assignedHub"]) == ("assigned", before["assignedHub"])
        assert after["substatus"] == "reprovisionedToInitialAssignment"
        assert after["createdDateTimeUtc"] == before["createdDateTimeUtc"]
        async with httpx.AsyncClient(base_url=second["admin"]["url"], verify=old_trust) as admin:
            clock = await admin.get("/clock", headers={TOKEN_HEADER: second["admin"]["token"]})
        assert clock.json()["ahead"] == pytest.approx(120, abs=1)
        assert (await secret(second, "GET")).json()["value"] == "a value"
        with TableServiceClient.from_connection_string(first["tables"]) as tables:
            [entity] = tables.get_table_client("kept").list_entities()
            assert entity["n"] == 7
        process.kill()  # what a killed stack did is lost; what it was started with stays
        process.wait(20)
    assert kept.read_bytes() == saved


async def test_a_stored_stack_takes_on_new_hubs_and_weights_and_is_not_seeded_twice(tmp_path: Path) -> None:
    options = ("--store", str(tmp_path / "store"), "--seed-registrations", "50")
    with local_stack(tmp_path, *options, "--hub", "hub-a", "--hub", "hub-b") as (process, first):
        stopped(process)
    with local_stack(tmp_path, *options, "--hub", "hub-c", "--hub", "HUB-B:9") as (process, second):
        assert second["hubs"] == [*first["hubs"], "hub-c.azure-devices.net"]
        assert second["dps"] == first["dps"]
        stopped(process)
    lines = [json.loads(each) for each in (tmp_path / "store" / "services.jsonl").read_bytes().splitlines()]
    weights = [each["hub"]["allocation_weight"] for each in lines if "hub" in each]
    assert weights == [1, 9, 1]
    assert sum("registration" in each for each in lines) == 50


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("{}", (), "is no state of a local stack: nothing of it is used"),
        (None, ("--dps-name", "another"), "the store holds the DPS local-dps, not another"),
    ],
)
def test_a_store_that_cannot_be_used_is_said_in_one_line_and_left_alone(
    tmp_path: Path, content: str | None, options: tuple[str, ...], said: str
) -> None:
    store = tmp_path / "store"
    kept = store / "services.jsonl"
    if content is None:
        kept.parent.mkdir()
        kept.write_bytes((Path(__file__).parent / "kept" / "version-1.jsonl").read_bytes())
        said = said.replace("local-dps", "dps-local")
    else:
        kept.parent.mkdir()
        kept.write_text(content)
    before = kept.read_bytes()
    ran = run_local("--store", str(store), *options)
    assert ran.returncode == 1
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
    assert kept.read_bytes() == before


def test_a_role_that_does_not_exist_is_refused_with_those_that_do() -> None:
    ran = run_local("--role", "Owner")
    assert ran.returncode == 2
    assert "'Owner' is no role; there are Device Provisioning Service Data Contributor" in ran.stderr


async def test_the_apps_identity_may_do_what_its_roles_say(tmp_path: Path) -> None:
    with local_stack(tmp_path, "--role", "Key Vault Secrets User") as (_, state):
        assert (await secret(state, "PUT", value="v")).status_code == 403
        assert (await secret(state, "GET")).status_code == 404
