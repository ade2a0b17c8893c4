"""The composition root: which functions a role has, and what a cold start does not pay for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(code: str, **environment: str) -> str:
    """Run code in a fresh interpreter, as a worker would import the app."""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


INDEX = """
import json
from function_app import app
print(json.dumps([function.get_function_name() for function in app.get_functions()]))
"""


@pytest.mark.parametrize(
    ("role", "names"), [("all", ["allocate"]), ("allocation", ["allocate"]), ("lifecycle", [])]
)
def test_a_role_holds_its_own_functions(role: str, names: list[str]) -> None:
    assert json.loads(run(INDEX, APP_ROLE=role)) == names


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("all", ["allocate", "count_devices", "prune"]),
        ("allocation", ["allocate"]),
        ("lifecycle", ["count_devices", "prune"]),
    ],
)
def test_with_state_tables_the_lifecycle_role_takes_care_of_them(role: str, names: list[str]) -> None:
    assert json.loads(run(INDEX, APP_ROLE=role, STATE_TABLES="UseDevelopmentStorage=true")) == names


BROKEN = """
import asyncio, logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from function_app import app
[function] = app.get_functions()
answer = asyncio.run(function.get_user_function()(None))
print(function.get_function_name(), answer.status_code, answer.get_body())
"""


COUNTED = """
import asyncio, os
import azure.functions as func
import function_app
from allocation import fingerprint, read_uses
from settings import Settings

[allocate] = [each for each in function_app.app.get_functions() if each.get_function_name() == "allocate"]

async def main():
    table = function_app.App(Settings.read(os.environ)).wiring.table("keyuse")
    for url, params, headers, key in (
        ("?CODE=a-1&x=1", {"CODE": "a-1", "x": "1"}, {}, "a-1"),
        ("?code=b-1&Code=c-1", {"code": "b-1,c-1"}, {}, "b-1"),
        ("?code=d-1", {"code": "d-1"}, {"X-Functions-Key": "e-1"}, "e-1"),
    ):
        request = func.HttpRequest(
            "POST", f"https://app/api/allocate{url}", headers=headers, params=params, body=b"{}"
        )
        await allocate.get_user_function()(request)
        for _ in range(500):
            if fingerprint(key) in {use.fingerprint for use in await read_uses(table)}:
                print(key)
                break
            await asyncio.sleep(0.02)

asyncio.run(main())
"""


def test_each_use_of_a_key_is_counted_however_it_was_presented(azurite: str) -> None:
    environment = {"APP_ROLE": "allocation", "STATE_TABLES": azurite, "DPS_NAME": "counted"}
    assert run(COUNTED, **environment).split() == ["a-1", "b-1", "e-1"]


def test_a_setting_that_cannot_be_used_has_devices_come_again_and_is_told() -> None:
    said = run(BROKEN, APP_ROLE="allocation", ALLOWED_ENROLLMENTS="line-a")
    assert "allocate 503 " in said
    assert "ALLOWED_ENROLLMENTS" in said
    assert "allocation_broken" in said


DEVELOPMENT = "UseDevelopmentStorage=true"
TOLD = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
"""


def test_a_setting_that_the_app_can_do_without_takes_no_function_away_and_is_told() -> None:
    reference = "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/chat)"
    said = run(TOLD + INDEX, APP_ROLE="lifecycle", AUDIT_NOTIFY_URL=reference, STATE_TABLES=DEVELOPMENT)
    lines = said.splitlines()
    assert "count_devices" in json.loads(lines[-1])
    event = json.loads(lines[0])
    assert (event["event"], event["setting"]) == ("setting_ignored", "AUDIT_NOTIFY_URL")
    assert "was not resolved" in event["problem"]
    assert "v.example" not in said


WITHOUT_OPENTELEMETRY = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
sys.modules["opentelemetry.trace"] = None  # as a package that cannot be imported
"""


def test_telemetry_that_cannot_be_imported_keeps_no_device_from_its_answer() -> None:
    said = run(
        WITHOUT_OPENTELEMETRY + INDEX,
        APP_ROLE="allocation",
        PYTHON_ENABLE_OPENTELEMETRY="true",
        APPLICATIONINSIGHTS_CONNECTION_STRING="InstrumentationKey=00000000-0000-0000-0000-000000000000",
    )
    told, names = said.splitlines()
    assert json.loads(names) == ["allocate"]
    assert "telemetry_unavailable" in told


BROKEN_AT_START = """
import wiring
class Broken:
    def __init__(self, *arguments, **more): raise RuntimeError("SECRET")
wiring.Wiring = Broken
"""


def test_a_fault_of_ours_at_the_start_has_devices_come_again_instead_of_failing_them() -> None:
    said = run(BROKEN_AT_START + BROKEN, APP_ROLE="allocation")
    assert "allocate 503 " in said
    assert "RuntimeError" in said
    assert "SECRET" not in said


def test_with_a_dps_and_a_vault_it_runs_the_jobs_and_hears_their_events() -> None:
    names = json.loads(
        run(
            INDEX,
            APP_ROLE="lifecycle",
            STATE_TABLES="UseDevelopmentStorage=true",
            DPS_HOST="a.azure-devices-provisioning.net",
            VAULT_URL="https://kv.vault.azure.net",
        )
    )
    state = ["count_devices", "prune"]
    jobs = ["jobs", "audit_due", "purge_due", "device_deleted"]
    assert names == [*state, *jobs, "secret_near_expiry", "rotate_daily"]


STATE = """
import asyncio, json, os
from function_app import App
from allocation import Ledger, LoadRow, cordon, read_fleet, write_load
from provisioning.hubs import hub_key
from settings import Settings

async def main():
    app = App(Settings.read(os.environ))
    body = open("tests/events/allocation_group.json", "rb").read()
    linked = json.loads(body)["linkedHubs"]
    *others, last = linked
    for hub in others:
        await cordon(app.wiring.table("fleet"), "factory", hub, "kim", app.clock)
    request = json.loads(body)
    request["deviceRuntimeContext"].pop("currentIotHubHostName", None)
    while (answer := await app.allocator.answer(json.dumps(request).encode(), "factory")).status == 503:
        await asyncio.sleep(0.2)  # a slow machine: DPS comes again, too
    assert (answer.status, json.loads(answer.body)["iotHubHostName"]) == (200, last), answer
    device = request["deviceRuntimeContext"]["registrationId"]
    told = [entry async for entry in Ledger(app.wiring.table("ledger"), str).history("factory", device)]
    assert told[0].hub == hub_key(last), told
    await app.count_devices()  # no hub can be reached from here
    await app.prune()
    fleet = await read_fleet(app.wiring.table("fleet"), "factory")
    print(json.dumps(fleet.loads[hub_key("nowhere.invalid")].devices))

asyncio.run(main())
"""


async def test_the_app_keeps_its_state_in_the_tables_that_the_setting_names(azurite: str) -> None:
    said = run(
        STATE,
        STATE_TABLES=azurite,
        DPS_NAME="factory",
        HUBS="nowhere.invalid",
        REQUEST_SECONDS="60",
        LEDGER_SECONDS="20",
        IDENTITY_ENDPOINT="http://127.0.0.1:1/msi",
        IDENTITY_HEADER="x",
    )
    assert json.loads(said.splitlines()[-1]) is None


BACKGROUND = """
import asyncio, json, os
from function_app import App
from lifecycle.audit.runs import RunStore
from lifecycle.jobs import overview
from settings import Settings

async def main():
    app = App(Settings.read(os.environ))
    background = app.background
    kinds = ["audit", "purge", "decommission", "rotation", "webhook-key"]
    assert [kind.name for kind in background.kinds] == kinds
    await background.vault_event({"id": "1", "type": "nonsense", "data": {}})
    await background.hub_event({"id": "1", "eventType": "nonsense", "data": {}})
    await background.audit()
    await background.audit()  # twice within a minute: the same job
    await background.work()  # no service can be reached from here
    found = await overview(background.jobs)
    ended = [[entry.kind, entry.what, entry.detail] for entry in found.history]
    [run] = await RunStore(app.wiring.table("audit"), "unreachable").runs()
    await app.prune()
    assert [run.id] == [each.id for each in await RunStore(app.wiring.table("audit"), "unreachable").runs()]
    assert app.rates.per_minute("audit", "hub-query", "hub.invalid") == 20  # a quarter of 4 times 20
    print(json.dumps([ended, sorted(run.found), len(run.not_evaluated) > 0]))

asyncio.run(main())
"""


async def test_an_audit_of_what_cannot_be_entered_is_one_run_that_concludes_nothing(azurite: str) -> None:
    said = run(
        BACKGROUND,
        STATE_TABLES=azurite,
        DPS_NAME="unreachable",
        DPS_HOST="nowhere.invalid",
        HUBS="hub.invalid",
        HUB_UNITS="hub.invalid=4",
        VAULT_URL="https://kv.invalid",
        IDENTITY_ENDPOINT="http://127.0.0.1:1/msi",
        IDENTITY_HEADER="x",
    )
    assert json.loads(said.splitlines()[-1]) == [[["audit", "done", ""]], [], True]


ANSWER = """
import asyncio, json, sys
import function_app
EVENT = "tests/events/allocation_group.json"
import azure.functions as func
[allocate] = function_app.app.get_functions()
request = func.HttpRequest("POST", "/api/allocate", body=open(EVENT, "rb").read())
reply = asyncio.run(allocate.get_user_function()(request))
assert reply.status_code == 200, reply.get_body()
late = ("httpx", "azure.identity", "azure.data.tables", "azure.core", "cryptography", "pydantic", "aiohttp")
print(json.dumps([name for name in late if name in sys.modules]))
"""


def test_the_first_answer_waits_for_no_heavy_import() -> None:
    assert json.loads(run(ANSWER)) == []


def test_warming_imports_what_the_clients_will_need() -> None:
    code = "import sys; from clients.warm import warm; warm(); print(*sys.modules)"
    assert {"httpx", "azure.identity", "azure.data.tables", "cryptography"} <= set(run(code).split())


def test_the_app_warms_up_by_itself_after_indexing() -> None:
    code = (
        "import threading, function_app\n"
        "print([t.function.__name__ for t in threading.enumerate() if isinstance(t, threading.Timer)])"
    )
    assert run(code).strip() == "['warm']"


def test_a_bad_setting_stops_an_app_without_the_webhook_with_its_name_and_the_fix() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", INDEX],
        cwd=ROOT,
        env={"APP_ROLE": "lifecycle", "COLD_POLICY": "never"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert "app setting COLD_POLICY: 'never' cannot be used; set it to wait or packaged" in ran.stderr


def test_the_hosts_own_log_of_requests_is_off_for_it_has_urls_with_keys() -> None:
    """The lines of these categories quote the query (azure-functions-host #3110 and #11602)."""
    levels = json.loads((ROOT / "host.json").read_text())["logging"]["logLevel"]
    assert levels["Microsoft.AspNetCore.Hosting.Diagnostics"] == "None"
    assert levels["System.Net.Http.HttpClient"] == "None"


EXPORTING = {
    "PYTHON_ENABLE_OPENTELEMETRY": "true",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=00000000-0000-0000-0000-000000000001;"
    "IngestionEndpoint=http://127.0.0.1:9/",
}


def test_the_first_answer_waits_for_no_exporter() -> None:
    heavy = 'late = ("azure.core", "azure.monitor", "opentelemetry.sdk", "requests", "psutil")'
    code = ANSWER.replace(ANSWER[ANSWER.index("late = ") : ANSWER.index("\nprint")], heavy)
    assert json.loads(run(code, **EXPORTING)) == []


def test_a_connection_string_that_is_none_costs_telemetry_and_no_answer() -> None:
    code = (
        "import logging, sys, time\n"
        "logging.basicConfig(stream=sys.stdout, format='%(message)s')\n"
        "import function_app\n"
        "import threading\n"
        "[thread] = [t for t in threading.enumerate() if t.name == 'telemetry']\n"
        "thread.join(60)\n"
    )
    said = run(code, **{**EXPORTING, "APPLICATIONINSIGHTS_CONNECTION_STRING": "CANARY=1"})
    [line] = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert line["event"] == "telemetry_unavailable"
    assert "CANARY" not in said
