"""Our own app's jobs for both runtimes: what each function is given, and the services around it."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from allocation import Ledger
from clients.clock import SystemClock
from lifecycle.audit.runs import RunStore
from lifecycle.jobs import JobStore, overview
from lifecycle.purge.marks import Marks
from lifecycle.rotation.row import RotationTerms, adopt
from lifecycle.rotation.store import RotationStore
from local.cloud import Cloud, serve_cloud
from local.dps import ids
from local.dps.limits import UNTHROTTLED
from local.dps.records import Registration
from local.faults import Faults
from local.insights import Insights, connection_string
from local.serve import serve
from local.switches import Switches
from local.tls import CertificateAuthority
from local.world import World
from settings import TABLE, Settings
from tests.local.host.both_runtimes import EVENTS, ROOT, TIMERS, Json, Outcomes, answers_of, job, posted
from wiring import Wiring

GOLDEN = ROOT / "tests" / "events"
PROGRAMS = ("worker", "ours")
ROLES = ("all", "allocation", "lifecycle")
HUB = "hub-a.azure-devices.net"
SECRET = json.loads((GOLDEN / "secret_near_expiry_event_grid.json").read_text())
"""The event of the vault."""


def golden(name: str, **more: Any) -> list[tuple[str, Json]]:
    """The golden files of a name: events as a trigger is handed them, requests as DPS posts them."""
    found = sorted(GOLDEN.glob(f"{name}_*.json"))
    assert found
    if name == "allocation":
        return [(path.stem, posted(path.read_bytes().decode("latin-1"), **more)) for path in found]
    return [(path.stem, {"json": path.read_text()}) for path in found]


GIVEN: Mapping[str, list[tuple[str, Json]]] = {
    "allocate": [
        *golden("allocation"),
        *golden("allocation", params={"dps": "second"}),
        ("no body", posted("")),
        ("no JSON", posted("{")),
        ("nothing in it", posted("{}")),
    ],
    "count_devices": [("in time", TIMERS["in time"])],
    "prune": [("past due", TIMERS["past due"])],
    "audit_due": [("in time", TIMERS["in time"])],
    "purge_due": [("past due", TIMERS["past due"])],
    "rotate_daily": [("in time", TIMERS["in time"])],
    "device_deleted": golden("device_deleted"),
    "jobs": [("unmonitored", TIMERS["unmonitored"])],
    # After the jobs: the rotation that is asked for is not to begin.
    "secret_near_expiry": golden("secret_near_expiry"),
}
"""What each function is given, in this order."""

FUNCTIONS = {
    "all": list(GIVEN),
    "allocation": ["allocate"],
    "lifecycle": [name for name in GIVEN if name != "allocate"],
}
"""Of each role with all settings."""

EVENT_FUNCTIONS = ("device_deleted", "secret_near_expiry")
SPAN = "b7ad6b7169203331"
"""The host's, in which an invocation runs."""
TRACES = {name: f"{number:032x}" for number, name in enumerate(("allocate", "count_devices", "jobs"), 0xA1)}


class Call(NamedTuple):
    """One invocation."""

    function: str
    what: str
    given: Json


def calls(role: str) -> list[Call]:
    return [Call(name, *given) for name in FUNCTIONS[role] for given in GIVEN[name]]


ODD = [Call(function, what, given) for function in EVENT_FUNCTIONS for what, given in EVENTS.items()]
FULL = {role: [*calls(role), *(ODD if role == "lifecycle" else [])] for role in ROLES}
FEW = {role: [call for call in calls(role) if call.function == "allocate"] for role in ROLES}


def full(role: str, program: str, **where: str) -> dict[str, str]:
    """All settings; those that a role has no use for do it no harm."""
    return {
        **{setting.name: setting.default for setting in TABLE},
        "APP_ROLE": role,
        "DPS_NAME": f"own-{role}-{program}-{os.getpid()}-{time.time_ns()}",
        "COLD_POLICY": "packaged",  # how long a busy machine takes decides nothing
        "REQUEST_SECONDS": "60",
        "LEDGER_SECONDS": "60",
        "DPS_ID_SCOPE": "0ne000ABCDE",
        "VAULT_RESOURCE_ID": SECRET["topic"],
        "WEBHOOK_URL": "https://localhost:1/api/allocate",
        "WEBHOOK_KEY_SECRET": "webhook-key",
        "AUDIT_NOTIFY_URL": "https://localhost:1/chat",
        "TELEMETRY_IDS": "hashed",
        "TELEMETRY_ID_KEY": "a key",
        "PYTHON_ENABLE_OPENTELEMETRY": "true",
        **where,
    }


NOWHERE = {
    "STATE_TABLES": "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;"
    "TableEndpoint=http://127.0.0.1:1/a;",
    "DPS_HOST": "localhost:1",
    "DPS_RESOURCE_ID": "/subscriptions/0e0e0e0e-0000-0000-0000-000000000000/resourceGroups/rg-fleet"
    "/providers/Microsoft.Devices/provisioningServices/fleet",
    "ARM_URL": "https://localhost:1",
    "VAULT_URL": "https://localhost:1",
    "HUBS": f"{HUB}=https://localhost:1",
    "IDENTITY_ENDPOINT": "http://127.0.0.1:1/msi",
    "IDENTITY_HEADER": "x",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": connection_string("http://127.0.0.1:1"),
}
"""Addresses that refuse at once."""


class State:
    """What the app of one job keeps in the tables."""

    def __init__(self, tables: str, dps: str) -> None:
        self._dps = dps
        self._wiring = Wiring(Settings.read({"STATE_TABLES": tables}), SystemClock())

    async def adopt(self) -> None:
        """Take the group of the golden event into rotation."""
        now, terms = datetime.now(UTC), RotationTerms(timedelta(days=30), timedelta(days=90))
        row = adopt("line-a", SECRET["subject"], terms, active="primary", others="free", by="t", now=now)
        rotations = RotationStore(self._wiring.table("rotations"), self._dps, self._wiring.clock)
        assert await rotations.insert(row)

    async def found(self) -> Json:
        """All of it that counts; closes the tables."""
        jobs = await overview(JobStore(self._wiring.table("jobs"), self._dps, self._wiring.clock))
        marks = Marks(self._wiring.table("purge"), self._dps)
        ledger = Ledger(self._wiring.table("ledger"), str)
        found = {
            "ended": sorted((entry.kind, entry.what, entry.detail) for entry in jobs.history),
            "waiting": [(each.id, each.subject, each.by) for each in jobs.current.jobs],
            "marks": [(mark.id, str(mark.reason), mark.hub) async for _, mark in marks.all()],
            "audits": len(await RunStore(self._wiring.table("audit"), self._dps).runs()),
            "answered": [
                [entry.hub async for entry in ledger.history(self._dps, device)]
                for device in ("Dev-1", "press-7")
            ],
        }
        await self._wiring.close()
        return found


class Ran(NamedTuple):
    """What became of each job, what the served ones left in the tables by role, and what was exported."""

    outcomes: Mapping[str, Outcomes]
    left: Mapping[str, Outcomes]
    insights: Insights


def fill(cloud: Cloud) -> None:
    """What the golden events speak of: a record whose device its hub lost, a secret that is good for long."""
    now = datetime.now(UTC)
    record = Registration("Dev-1", None, now, now, '"1"', "assigned", "initialAssignment", HUB, "Dev-1")
    cloud.dps.store.registrations.put(ids.key("Dev-1"), record)
    cloud.vault.put(SECRET["subject"], "a value", expires=int((now + timedelta(days=60)).timestamp()))
    cloud.vault.put("webhook-key", "a key")


async def both(
    program: str, where: Mapping[str, str], folder: Path
) -> tuple[dict[str, Json], dict[str, Json]]:
    """The outcomes of one program's jobs, and what those left that are served."""
    served = {role: full(role, program, **where) for role in ROLES}
    states = {
        role: State(where["STATE_TABLES"], environment["DPS_NAME"]) for role, environment in served.items()
    }
    for state in states.values():
        await state.adopt()
    jobs = {
        **{f"{role}, few": job(ROOT, untitled(FEW[role]), APP_ROLE=role) for role in ROLES},
        **{role: job(ROOT, untitled(FULL[role]), **served[role]) for role in ROLES},
    }
    if program == "worker":
        jobs["all"]["stay"] = 6.0  # until the exporter is there
        for call in jobs["all"]["calls"]:
            if call["function"] in TRACES:
                call["trace"] = (f"00-{TRACES[call['function']]}-{SPAN}-01", "")
        jobs["lifecycle"]["specialised"] = True
    unserved = job(ROOT, untitled(FULL["all"]), **full("all", program, **NOWHERE))
    answers, [alone] = await asyncio.gather(
        asyncio.to_thread(answers_of, program, list(jobs.values()), folder / program),
        asyncio.to_thread(answers_of, program, [unserved], folder / f"{program}-unserved"),
    )
    left = {role: await state.found() for role, state in states.items()}
    return dict(zip(jobs, answers, strict=True)) | {"all, unserved": alone}, left


def untitled(asked: list[Call]) -> list[tuple[str, str, Json]]:
    return [(call.what, call.function, call.given) for call in asked]


async def run(azurite: str, folder: Path) -> Ran:
    """Run every job in both."""
    certificate = CertificateAuthority(folder / "tls").issue()
    world, insights = World(), Insights()
    async with (
        serve(insights, None) as ingestion,
        serve_cloud(
            dict.fromkeys((HUB, "hub-b.azure-devices.net"), 1),
            certificate,
            world=world,
            name="local-dps",
            limits=UNTHROTTLED,
            faults=Faults(world),
            switches=Switches(),
        ) as cloud,
    ):
        fill(cloud)
        where = {
            "STATE_TABLES": azurite,
            "DPS_HOST": cloud.dps_address.host,
            "DPS_RESOURCE_ID": cloud.dps_resource,
            "ARM_URL": cloud.arm_address.url,
            "VAULT_URL": cloud.vault_address.url,
            "HUBS": ",".join(f"{name}={hub.address.url}" for name, hub in cloud.hubs.items()),
            "CA_FILE": str(certificate.ca_pem.absolute()),
            "APPLICATIONINSIGHTS_CONNECTION_STRING": connection_string(ingestion.url),
            **cloud.identity,
        }
        theirs, ours = await asyncio.gather(*(both(program, where, folder) for program in PROGRAMS))
    outcomes, left = (
        {name: Outcomes(theirs[part][name], ours[part][name]) for name in theirs[part]} for part in (0, 1)
    )
    return Ran(outcomes, left, insights)
