"""What Bicep calls tables, functions and events is what the code calls them."""

import ast
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from pathlib import Path

import pytest

from allocation import KeyUse, read_uses
from clients.errors import TableUnavailable
from clients.ports import Receipt, Row, Table
from local.topics import EVENT_FUNCTIONS, HUBS, VAULT
from provisioning.hubs import hub_key
from tests.allocation.instance import Instance, State
from tests.allocation.making import hub
from tests.infra.reading import INFRA, MAIN, template
from tests.memory_table import MemoryTable

ROOT = INFRA.parent
DEPLOYED = ("provisioning", "allocation", "lifecycle", "clients")
EVENTS = template(INFRA / "events.bicep")


def sources(*folders: str) -> Iterator[Path]:
    yield from (ROOT / f"{name}.py" for name in ("function_app", "wiring", "background", "job_ports"))
    yield from chain.from_iterable((ROOT / folder).rglob("*.py") for folder in folders)


def tables_in_code() -> set[str]:
    """Every literal that is given to a method called table, or _table."""
    return {
        argument.value
        for file in sources(*DEPLOYED, "cli")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("table", "_table")
        for argument in node.args[:1]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def tables_in_bicep(*names: str) -> list[str]:
    found: list[str] = []
    for name in names:
        listed = MAIN.variables[name]
        assert isinstance(listed, list)
        found += [str(each) for each in listed]
    return found


ALL_TABLES = ("allocationReads", "allocationWrites", "lifecycleTables")


def test_the_tables_of_the_code_are_made() -> None:
    made, used = tables_in_bicep(*ALL_TABLES), tables_in_code()
    assert {"policies", "fleet", "ledger"} <= used
    assert sorted(made) == sorted(used), (
        "infra/main.bicep: put each table into allocationReads or allocationWrites, if the webhook uses it, "
        "else into lifecycleTables"
    )
    assert (
        MAIN.modules["state"].params["tables"] == "concat(allocationReads, allocationWrites, lifecycleTables)"
    )


class Watched:
    """A table that refuses what the allocation app's role on it would not allow."""

    def __init__(self, inner: Table, *, writable: bool) -> None:
        self.inner = inner
        self.writable = writable
        self.used = 0

    async def get(self, partition: str, key: str) -> Row | None:
        self.used += 1
        return await self.inner.get(partition, key)

    async def scan(self, partition: str, *, start: str = "", stop: str | None = None) -> AsyncIterator[Row]:
        self.used += 1
        async for row in self.inner.scan(partition, start=start, stop=stop):
            yield row

    def __getattr__(self, name: str) -> object:
        if not self.writable:
            raise AssertionError(f"the webhook called {name} of a table that it may only read")
        self.used += 1
        return getattr(self.inner, name)

    async def insert(self, row: Row) -> Receipt:
        return await self._write("insert", row)

    async def put(self, row: Row) -> Receipt:
        return await self._write("put", row)

    async def replace(self, row: Row) -> Receipt:
        return await self._write("replace", row)

    async def delete(self, row: Row) -> Receipt:
        return await self._write("delete", row)

    async def write(self, changes: object) -> Receipt:
        return await self._write("write", changes)

    async def _write(self, name: str, what: object) -> Receipt:
        self.used += 1
        if not self.writable:
            raise TableUnavailable(f"403 AuthorizationPermissionMismatch: {name}")
        receipt = await getattr(self.inner, name)(what)
        assert isinstance(receipt, Receipt)
        return receipt


async def test_the_webhook_places_and_records_with_the_rights_it_is_given() -> None:
    state = State()
    await state.activate({"hubs": [{"name": hub(name)} for name in "abc"]})
    reads, writes = tables_in_bicep("allocationReads"), tables_in_bicep("allocationWrites")
    assert sorted(reads + writes) == ["fleet", "keyuse", "ledger", "policies"]
    held = {"keyuse": MemoryTable()}
    tables = {
        name: Watched(held.get(name) or getattr(state, name), writable=name in writes)
        for name in reads + writes
    }
    instance = Instance(tables["policies"], tables["fleet"], tables["ledger"])
    answer = await instance.ask("dev-1")
    [told] = instance.heard.of("allocation")
    assert answer.status == 200
    assert (told["hub"] in {hub_key(hub(name)) for name in "abc"}, told["degraded"]) == (True, "")
    assert instance.heard.of("ledger_gap") == []
    uses = KeyUse(tables["keyuse"], instance.clock, instance.heard)
    uses.count("a-function-key", "dps-1", answer.status)
    await uses.flush()
    assert len(await read_uses(tables["keyuse"])) == 1
    assert [name for name, table in tables.items() if not table.used] == []


GROUP = "/subscriptions/0e0e0e0e-0000-0000-0000-000000000000/resourceGroups/g/providers"

INDEX = """
import json
from function_app import app
triggers = {each.get_function_name(): each.get_trigger().get_binding_name() for each in app.get_functions()}
print(json.dumps(triggers))
"""


def functions(role: str) -> dict[str, str]:
    """What the app of a role has: the function's name and its kind of trigger."""
    given = {
        "APP_ROLE": role,
        "DPS_NAME": "factory",
        "DPS_HOST": "factory.azure-devices-provisioning.net",
        "DPS_RESOURCE_ID": f"{GROUP}/Microsoft.Devices/provisioningServices/factory",
        "STATE_TABLES": "https://state.table.core.windows.net",
        "VAULT_URL": "https://vault.vault.azure.net",
        "WEBHOOK_URL": "https://app.azurewebsites.net/api/allocate",
        "IDENTITY_CLIENT_ID": "0e0e0e0e-0000-0000-0000-000000000000",
    }
    ran = subprocess.run(
        [sys.executable, "-c", INDEX], cwd=ROOT, env=given, capture_output=True, text=True, check=True
    )
    found = json.loads(ran.stdout)
    assert isinstance(found, dict)
    return found


def subscriptions() -> dict[str, list[str]]:
    """Function -> event types, as events.bicep has them."""
    found = {}
    for held in EVENTS.variables.values():
        if isinstance(held, dict) and "function" in held:
            types = held["types"]
            assert isinstance(types, list)
            found[str(held["function"])] = sorted(str(each) for each in types)
    return found


def test_events_reach_the_functions_that_the_local_stack_sends_them_to() -> None:
    assert subscriptions() == {each.function: sorted(each.types or ()) for each in EVENT_FUNCTIONS}
    sources_of = {"vaultTopics": VAULT, "hubTopics": HUBS}
    for each in EVENT_FUNCTIONS:
        [variable] = [
            name
            for name, held in EVENTS.variables.items()
            if isinstance(held, dict) and held.get("function") == each.function
        ]
        [topics] = [name for name in sources_of if f"{variable}.function" in str(EVENTS.variables[name])]
        assert sources_of[topics] == each.source


@pytest.fixture(scope="module")
def lifecycle() -> dict[str, str]:
    return functions("lifecycle")


def test_every_function_that_gets_events_is_subscribed(lifecycle: dict[str, str]) -> None:
    told = {name for name, trigger in lifecycle.items() if trigger == "eventGridTrigger"}
    assert told <= set(subscriptions()), "infra/events.bicep and local/topics.py: subscribe these too"


def test_what_alerts_look_for_in_requests_are_functions_of_the_app(lifecycle: dict[str, str]) -> None:
    looked_for = {
        line.split('"')[1]
        for file in (INFRA / "queries").glob("*.kql")
        for line in file.read_text().splitlines()
        if line.startswith("| where Name has ")
    }
    assert looked_for == {"allocate"}
    assert functions("allocation") == {"allocate": "httpTrigger"}
    assert lifecycle["count_devices"] == "timerTrigger"


def test_the_webhook_is_called_by_the_route_it_has() -> None:
    route = "/api/allocate"
    assert f"{route}'" in str(MAIN.modules["lifecycleApp"].params["appSettings"])
    domain = template(INFRA / "domain.bicep")
    held = domain.resource("route").body["properties"]
    assert isinstance(held, dict)
    assert held["patternsToMatch"] == [route, f"{route}/*"]
    assert domain.outputs["webhookUrl"] == f"'https://${{domain}}{route}'"
