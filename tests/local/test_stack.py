"""./run local as a user has it: a process with a state file, real clients, a clean end."""

import asyncio
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.data.tables import TableServiceClient

from local.clients import CallFailedError, Device, ServiceClient, connect
from local.dps import sas
from local.dps.keys import derive_key

ROOT = Path(__file__).parents[2]
REGISTER = ROOT / "tests" / "node" / "register.js"
HUBS = ["hub-a.azure-devices.net", "hub-b.azure-devices.net"]


@contextmanager
def local_stack(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """./run local, ready."""
    file = folder / "state.json"
    argv = [sys.executable, "-m", "local", "--state", str(file), *options]
    with subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("ready:"):
                    break
            else:
                pytest.fail(f"./run local ended with status {process.wait()}")
            yield process, json.loads(file.read_text())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("local")
    with local_stack(folder, "--hub", "hub-a", "--hub", "hub-b.azure-devices.net:3") as (_, read):
        assert stat.S_IMODE((folder / "state.json").stat().st_mode) == 0o600
        yield read


def trust(state: dict[str, Any]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=state["ca"])


def custom(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    definition = {"webhookUrl": state["functions"]["allocate_url"], "apiVersion": "2021-10-01"}
    return {
        "attestation": {"type": "symmetricKey"},
        "allocationPolicy": "custom",
        "customAllocationDefinition": definition,
    } | more


async def enroll(state: dict[str, Any], group: str, **more: Any) -> str:
    """Make a group and return its primary key."""
    async with connect(f"https://{state['dps']['host']}", trust(state)) as http:
        operator = ServiceClient(http, state["dps"]["connection_string"])
        await operator.put_group({"enrollmentGroupId": group, **custom(state, **more)})
        return (await operator.keys(f"enrollmentGroups/{group}"))["primaryKey"]


def test_the_page_describes_each_member_of_the_state_file(state: dict[str, Any]) -> None:
    page = (ROOT / "local" / "README.md").read_text()
    named = {"hub_connection_strings", "hub_urls", "identity"}  # their members are host names and variables
    members = [
        f"{name}.{inner}" if isinstance(value, dict) and name not in named else name
        for name, value in state.items()
        for inner in (value if isinstance(value, dict) and name not in named else [""])
    ]
    assert [member for member in members if f"`{member}`" not in page] == []


async def test_the_state_file_tells_everything(state: dict[str, Any]) -> None:
    assert state["hubs"] == HUBS
    assert state["dps"]["host"].startswith("localhost:")
    assert state["dps"]["connection_string"].startswith(
        f"HostName={state['dps']['host']};SharedAccessKeyName="
    )
    assert state["dps"]["id_scope"]
    async with httpx.AsyncClient() as http:
        key = {"x-functions-key": state["functions"]["master_key"]}
        status = await http.get(f"{state['functions']['url']}/admin/host/status", headers=key)
        assert status.json()["state"] == "Running"
        assert (await http.post(state["functions"]["allocate_url"], json={})).status_code == 400
    with TableServiceClient.from_connection_string(state["tables"]) as tables:
        assert {table.name for table in tables.list_tables()} <= {"fleet", "ledger", "policies"}


async def test_nodes_own_client_registers_through_emulator_and_webhook(state: dict[str, Any]) -> None:
    """azure-iot-provisioning-device-http with azure-iot-security-symmetric-key, unmodified."""
    group_key = await enroll(state, "node", initialTwin={"tags": {"site": "x"}})
    device_key = derive_key(group_key, "node-dev-1")

    async def register(key: str, payload: str = "") -> dict[str, Any]:
        host, port = state["dps"]["host"].split(":")
        process = await asyncio.create_subprocess_exec(
            os.environ.get("NODE", "node"),
            *(str(REGISTER), host, port, state["dps"]["id_scope"], "node-dev-1"),
            env={**os.environ, "NODE_EXTRA_CA_CERTS": state["ca"], "DEVICE_KEY": key, "PAYLOAD": payload},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        told: dict[str, Any] = json.loads(out)
        return told

    result = await register(device_key, '{"model": "m1"}')
    assert result["registrationId"] == "node-dev-1"
    assert result["status"] == "assigned"
    assert result["assignedHub"] in HUBS
    assert result["deviceId"] == "node-dev-1"
    again = await register(device_key)
    assert again["assignedHub"] == result["assignedHub"]
    assert "error" in await register(group_key), "the group's own key is not a device's"


async def test_weights_of_the_command_line_reach_the_webhook(state: dict[str, Any]) -> None:
    key = await enroll(state, "weights")
    async with connect(f"https://{state['dps']['host']}", trust(state)) as http:
        devices = [Device(name, derive_key(key, name)) for name in (f"w-{n}" for n in range(60))]
        states = await asyncio.gather(
            *(device.register(http, state["dps"]["id_scope"]) for device in devices)
        )
    assert {each["status"] for each in states} == {"assigned"}
    # Ids and hash are fixed: this is what weights 1 and 3 make of them; equal weights make it 29.
    assert sum(each["assignedHub"] == HUBS[1] for each in states) == EXPECTED_ON_B


EXPECTED_ON_B = 44


async def test_a_wrong_webhook_key_fails_the_device_with_the_code_for_it(state: dict[str, Any]) -> None:
    url = state["functions"]["allocate_url"].partition("?")[0]
    definition = {"webhookUrl": f"{url}?code=wrong", "apiVersion": "2021-10-01"}
    key = await enroll(state, "wrong", customAllocationDefinition=definition)
    async with connect(f"https://{state['dps']['host']}", trust(state)) as http:
        told = await Device("wrong-1", derive_key(key, "wrong-1")).register(http, state["dps"]["id_scope"])
        assert (told["status"], told["errorCode"]) == ("failed", 400209)
        with pytest.raises(CallFailedError) as refused:
            await Device("wrong-1", key).register(http, state["dps"]["id_scope"])
        assert refused.value.status == 401


async def test_a_device_that_polls_too_fast_is_throttled_unless_the_rates_are_lifted(
    state: dict[str, Any], tmp_path: Path
) -> None:
    async def statuses(served: dict[str, Any]) -> list[int]:
        key = derive_key(await enroll(served, "fast"), "fast-1")
        host, scope = served["dps"]["host"], served["dps"]["id_scope"]
        token = sas.sign(f"{scope}/registrations/fast-1", key, datetime.now(UTC) + timedelta(hours=1))
        path = f"/{scope}/registrations/fast-1"
        async with connect(f"https://{host}", trust(served)) as http:
            options: dict[str, Any] = {
                "params": {"api-version": "2021-10-01"},
                "headers": {"Authorization": token},
            }
            registered = await http.put(f"{path}/register", json={"registrationId": "fast-1"}, **options)
            poll = f"{path}/operations/{registered.json()['operationId']}"
            return [(await http.get(poll, **options)).status_code for _ in range(12)]

    assert (await statuses(state))[-1] == 429
    with local_stack(tmp_path, "--unthrottled") as (_, free):
        assert set(await statuses(free)) <= {200, 202}


async def test_faults_switches_clock_and_journal_are_moved_from_outside(tmp_path: Path) -> None:
    """Seven minutes of DPS retrying pass in seconds, and the failure says the same as in real time."""
    with local_stack(tmp_path) as (_, state):
        key = await enroll(state, "trouble")
        headers = {"x-local-admin-token": state["admin"]["token"]}
        async with (
            httpx.AsyncClient(base_url=state["admin"]["url"], verify=trust(state), headers=headers) as admin,
            connect(f"https://{state['dps']['host']}", trust(state)) as http,
        ):
            rule = {"service": "webhook", "fault": {"kind": "status", "status": 503}, "count": None}
            added = await admin.post("/faults", json=rule)
            assert added.status_code == 200, added.text
            switched = await admin.put("/switches/dps.put_without_keys", json={"position": "refuse"})
            assert switched.status_code == 200, switched.text
            device = Device("trouble-1", derive_key(key, "trouble-1"))
            registering = asyncio.create_task(device.register(http, state["dps"]["id_scope"]))
            for _ in range(20):
                await asyncio.sleep(0.2)
                moved = await admin.post("/clock", json={"advance": 60})
                assert moved.status_code == 200, moved.text
            told = await registering
            assert (told["status"], told["errorCode"]) == ("failed", 400207)
            journal = (await admin.get("/journal", params={"service": "webhook"})).json()
            calls = journal["calls"] if isinstance(journal, dict) else journal
            assert len(calls) == 11, "one call and ten retries"
            async with httpx.AsyncClient(base_url=state["admin"]["url"], verify=trust(state)) as stranger:
                assert (await stranger.get("/journal")).status_code == 401


async def test_a_seeded_stack_lists_what_it_was_seeded_with(tmp_path: Path) -> None:
    with local_stack(tmp_path, "--seed-registrations", "500", "--seed-enrollments", "50") as (_, state):
        async with connect(f"https://{state['dps']['host']}", trust(state)) as http:
            operator = ServiceClient(http, state["dps"]["connection_string"])
            assert len([each async for each in operator.enrollments()]) == 50


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_of_it_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with local_stack(tmp_path) as (process, state):
        group = children(process.pid)
        assert len(group) >= 2
        process.send_signal(number)
        assert process.wait(20) == 0
        assert not any(alive(pid) for pid in group)
        assert not (tmp_path / "state.json").exists()
        assert not Path(state["ca"]).parent.exists()


def test_a_killed_stack_takes_its_children_along(tmp_path: Path) -> None:
    with local_stack(tmp_path) as (process, _):
        group = children(process.pid)
        process.kill()
        process.wait(20)
        deadline = time.monotonic() + 20
        while any(alive(pid) for pid in group) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(alive(pid) for pid in group)


def test_a_child_that_ends_by_itself_ends_the_stack_with_its_name(tmp_path: Path) -> None:
    with local_stack(tmp_path) as (process, state):
        port = state["functions"]["url"].rpartition(":")[2]
        [host] = [
            pid
            for pid in children(process.pid)
            if f"--port\0{port}" in cmdline(pid) or "local.host" in cmdline(pid)
        ]
        os.kill(host, signal.SIGKILL)
        assert process.wait(20) == 1
        assert process.stdout is not None
        assert "the Functions host ended by itself" in process.stdout.read()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--hub", "a:0"], "'a:0' is not NAME or NAME:WEIGHT with a weight of 1 to 1000"),
        (["--hub", ":3"], "':3' is not NAME"),
        (["--hub", "a", "--hub", "A"], "the same hub is named twice"),
        (["--seed-registrations", "1000001"], "'1000001' is not a number of 0 to 1000000"),
        (["--dps-port", "70000"], "'70000' is not a port"),
        (["--policy", "missing.json"], "missing.json cannot be read"),
    ],
)
def test_a_bad_option_is_refused_with_the_fix(option: list[str], said: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "local", *option], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert said in ran.stderr


def test_a_port_that_is_taken_is_said_in_one_line(state: dict[str, Any]) -> None:
    port = state["dps"]["host"].rpartition(":")[2]
    ran = subprocess.run(
        [sys.executable, "-m", "local", "--dps-port", port],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "./run local: " in ran.stderr
    assert "Address already in use" in ran.stderr
    assert "Traceback" not in ran.stderr


def cmdline(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def children(pid: int) -> list[int]:
    """All descendants, from /proc (Linux)."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
