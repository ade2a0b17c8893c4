"""No secret rests outside the vault: not in a table, a log, an answer, a setting's repr or a template."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from azure.data.tables import TableServiceClient

from settings import TABLE, Setting, Settings, SettingsError
from tests.infra.reading import FILES, MAIN
from tests.infra.test_agreement import tables_in_bicep

ROOT = Path(__file__).parents[1]
MODEL = (ROOT / "docs" / "threat-model.md").read_text()

CANARIES = {
    name: f"c4n4ry{name}AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHHIIIIJJJJKK=="
    for name in (
        "query",
        "header",
        "token",
        "primary",
        "secondary",
        "device",
        "url",
        "certificate",
        "storage",
    )
}

REQUESTS = """
import asyncio, json, logging, os, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
canaries = json.loads(os.environ["CANARIES"])
import azure.functions as func
import function_app
from allocation import PolicyStore
from settings import Settings

POLICY = {
    "rules": [
        {"name": "stolen", "when": {"registration_id": "stolen-*"}, "reject": {"reason": "reported"}},
        {
            "name": "all",
            "when": {"attestation": "symmetricKey", "edge": False, "payload": [{"path": "model", "eq": "x"}]},
            "twin": {"tags": {"tag": {"$from": "enrollment.tags.line"}}},
        },
    ]
}
[allocate] = [each for each in function_app.app.get_functions() if each.get_function_name() == "allocate"]
call = allocate.get_user_function()

def body(device, **more):
    request = json.load(open("tests/events/allocation_group.json"))
    keys = {"primaryKey": canaries["primary"], "secondaryKey": canaries["secondary"]}
    request["enrollmentGroup"]["attestation"] = {"type": "symmetricKey", "symmetricKey": keys}
    request["enrollmentGroup"]["customAllocationDefinition"]["webhookUrl"] = (
        "https://app.azurewebsites.net/api/allocate?code=" + canaries["url"]
    )
    context = request["deviceRuntimeContext"]
    context["registrationId"] = device
    context["symmetricKey"] = {"primaryKey": canaries["device"]}
    context["payload"] = {"model": "x", "password": canaries["token"]}
    context.update(more)
    return json.dumps(request).encode()

BODIES = [
    body("dev-1"), body("stolen-1"), body("dev-2", currentIotHubHostName=None),
    body("dev-3", x509={"clientCertificate": canaries["certificate"]}),
    body(7), body(""), body("dev-4")[:-9], body("dev-5").replace(b"linkedHubs", b"hubs"),
]

async def main():
    app = function_app.App(Settings.read(os.environ))
    await PolicyStore(app.wiring.table("policies"), "canaries", app.clock).activate(
        await PolicyStore(app.wiring.table("policies"), "canaries", app.clock).put(json.dumps(POLICY)), "kim"
    )
    told = []
    for sent in BODIES:
        request = func.HttpRequest(
            "POST",
            "https://app.azurewebsites.net/api/allocate?code=" + canaries["query"],
            headers={"x-functions-key": canaries["header"], "authorization": "Bearer " + canaries["token"]},
            params={"code": canaries["query"]},
            body=sent,
        )
        reply = await call(request)
        told.append([reply.status_code, reply.get_body().decode()])
    print(json.dumps(told))

asyncio.run(main())
"""


def everything(connection: str) -> str:
    """What an account holds, as text."""
    held = []
    with TableServiceClient.from_connection_string(connection) as account:
        for table in account.list_tables():
            held += [repr(dict(row)) for row in account.get_table_client(table.name).list_entities()]
    return "\n".join(held)


def test_no_key_of_a_request_is_logged_kept_or_answered(azurite: str) -> None:
    """Where keys may come from: the call's URL and headers, the enrollment's and the device's attestation,
    the enrollment's webhook (where DPS should mask it one day no more), and what a policy does not read."""
    ran = subprocess.run(
        [sys.executable, "-c", REQUESTS],
        cwd=ROOT,
        env={
            "APP_ROLE": "allocation",
            "STATE_TABLES": azurite,
            "DPS_NAME": "canaries",
            "REQUEST_SECONDS": "60",
            "LEDGER_SECONDS": "30",
            "CALLER_RANGES": "10.0.0.0/8",
            "ALLOWED_ENROLLMENTS": "group:none",
            "CANARIES": json.dumps(CANARIES),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout.splitlines()[-1])
    assert {status for status, _ in told} >= {200, 400, 403, 503}
    assert '"event":"allocation"' in ran.stderr
    assert '"event":"request_doubted"' in ran.stderr
    kept = everything(azurite)
    assert "canaries|group" in kept
    for name, canary in CANARIES.items():
        assert canary not in ran.stderr, name
        assert canary not in ran.stdout, name
        assert canary not in kept, name


SECRET_WORDS = re.compile(r"KEY$|CONNECTION|PASSWORD|TOKEN|NOTIFY|STATE_TABLES")


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)
def test_a_setting_that_may_hold_a_secret_is_one_that_is_never_shown(setting: Setting) -> None:
    assert setting.secret == bool(SECRET_WORDS.search(setting.name)), setting.name
    if setting.secret:
        held: dict[str, Any] = {
            setting.name: f"https://example.invalid/{CANARIES['storage']}"
            if setting.name.endswith("URL")
            else f"AccountName=a;AccountKey={CANARIES['storage']}"
        }
        try:
            shown = repr(Settings.read(held))
        except SettingsError as error:
            shown = f"{error!r} {error}"
        assert CANARIES["storage"] not in shown


SHAPES = {
    "account key": r"AccountKey=(?!\.\.\.|…|\{)[A-Za-z0-9+/]{20,}",
    "shared access key": r"SharedAccessKey=[A-Za-z0-9+/]{20,}",
    "function key": r"[?&]code=[\w%/+-]{20,}",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "signature": r"[?&]sig=[\w%/+-]{20,}",
}
"""What keys look like where they have been left lying about."""

PLACES = sorted(
    {
        *FILES,
        *(ROOT / "infra").rglob("*.json"),
        *(ROOT / "infra").rglob("*.sh"),
        *(ROOT / ".github").rglob("*.yml"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "allocation").rglob("*.yaml"),
        *ROOT.glob("*.json"),
        *ROOT.glob("*.yaml"),
        *ROOT.glob("*.md"),
        *ROOT.glob("*.toml"),
    }
)


def test_nothing_that_is_deployed_or_published_has_a_key_in_it() -> None:
    assert len(PLACES) > 30
    for shape, pattern in SHAPES.items():
        assert [str(place) for place in PLACES if re.search(pattern, place.read_text())] == [], shape


def test_the_shapes_are_those_of_keys() -> None:
    key = "c4n4ryAAAABBBBCCCCDDDDEEEEFFFFGGGG"
    texts = (
        f"AccountKey={key}==", f"SharedAccessKey={key}=", f"/api/allocate?code={key}==", f"&sig={key}%3D",
        "-----BEGIN EC " + "PRIVATE KEY-----",
    )  # fmt: skip
    names = ("account key", "shared access key", "function key", "signature", "private key")
    for name, text in zip(names, texts, strict=True):
        assert re.search(SHAPES[name], text)


def test_what_each_table_and_container_holds_is_told() -> None:
    names = {*tables_in_bicep("allocationReads", "allocationWrites", "lifecycleTables")}
    assert {"ledger", "audit"} <= names
    names |= {str(MAIN.variables["deadLetters"]), str(MAIN.variables["packages"])}
    told = re.findall(r"^\| (?:table|container) `(\w+)` \| \S", MODEL, re.MULTILINE)
    assert sorted(told) == sorted(names)
