"""A whole audit against a bare loop that fetches and decodes the same pages and reads the same ledger.

The emulators are one process; the bare loop and the audit are each a process of their own, over the same
TLS, in the same run. The audit's tables are Azurite's, as they would be Azure's. Rates are lifted: how long
an audit takes under its share of them is a matter of arithmetic.

Usage of a child: python -m tests.bench.audit (serve FOLDER RECORDS TABLES | bare READY | audit READY)
"""

import asyncio
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

from allocation import Entry, Ledger
from clients.arm import DpsPage, LinkedHub, Unknown
from clients.auth import ConnectionString
from clients.clock import SystemClock
from clients.connections import Connections
from clients.dps import API_VERSION, DpsClient
from clients.hubs import HUB_API_VERSION, HubClient, HubShares
from clients.pacing import PacedShare
from clients.ports import Change, RateShare, Table
from clients.tables import TableAccount
from lifecycle.audit.job import KIND, Audit
from lifecycle.audit.listings import ENROLLMENTS_PAGE, RECORDS_PAGE
from lifecycle.audit.ports import Audited, Ports
from lifecycle.jobs import JobStore, State, Terms, tick
from lifecycle.rates import Rate, Rates
from provisioning.hubs import HubKey, hub_key
from tests.bench.measure import ROOT, Amount, Ratio, Results, process
from tests.bench.resident import peak_mb

DPS = "bench"
JOB = "audit:bench"
HUBS = tuple(f"hub-{number}.azure-devices.net" for number in range(4))
HUB_PAGE = 500
LEDGER_SHARE = 10
"""One in so many records has a row in the ledger."""

RATIO_AIM = 1.5
MEMORY_AIM_MB = 150
CALLS_AIM = 1.02
PATIENCE_SECONDS = 1_800
TERMS = Terms(slice_seconds=3_000.0, lease_seconds=3_600.0)


def audit(rounds: int, records: int, tell: Callable[[str], None]) -> Results:
    """Time against the bare loop, the memory of the process, and calls against the fewest possible."""
    from tests.bench.ledger import azurite

    ratios: list[float] = []
    told: list[dict[str, Any]] = []
    tell(f"audit: filling {records:,} records")
    with (
        tempfile.TemporaryDirectory() as name,
        azurite(Path(name)) as tables,
        served(Path(name), records, tables) as ready,
    ):
        before = child(ready, "bare")
        for number in range(rounds):
            tell(f"audit of {records:,} records, round {number + 1} of {rounds}")
            ours, after = child(ready, "audit", str(number)), child(ready, "bare")
            ratios.append(ratio_of(before, ours, after))
            told.append(ours)
            before = after
    calls = max(each["calls"] for each in told) / before["calls"]
    what = f"audit of {records:,} records"
    return Results(
        (),
        (
            Ratio(f"{what} / bare loop over the same pages", round(statistics.median(ratios), 2), RATIO_AIM),
            Ratio(f"{what}: calls / the fewest possible", round(calls, 3), CALLS_AIM),
        ),
        (
            Amount(f"{what}: most memory", round(max(each["peak_mb"] for each in told)), "MB", MEMORY_AIM_MB),
            Amount(f"{what}: time", round(statistics.median(each["seconds"] for each in told), 1), "s"),
        ),
    )


def ratio_of(before: dict[str, Any], ours: dict[str, Any], after: dict[str, Any]) -> float:
    """How long an audit took beside the bare loops right before it and right after it."""
    return float(ours["seconds"] / statistics.mean((before["seconds"], after["seconds"])))


@contextmanager
def served(folder: Path, records: int, tables: str) -> Iterator[Path]:
    """The emulators, filled; the file that says where they are."""
    ready = folder / "ready.json"
    argv = [sys.executable, "-m", "tests.bench.audit", "serve", str(folder), str(records), tables]
    with process(argv, folder / "log") as running:
        until = time.monotonic() + PATIENCE_SECONDS
        while not ready.exists():
            if running.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"bench: the emulators did not start:\n{(folder / 'log').read_text()}")
            time.sleep(0.05)
        yield ready


def child(ready: Path, what: str, *more: str) -> dict[str, Any]:
    """Seconds, calls, peak memory and more of a bare loop or an audit."""
    argv = [sys.executable, "-m", "tests.bench.audit", what, str(ready), *more]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, check=False)
    if ended.returncode:
        raise SystemExit(f"bench: {what} failed:\n{ended.stderr.decode()[-3_000:]}")
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


async def serve_all(folder: Path, records: int, tables: str) -> None:
    """Serve a filled DPS and its hubs, all of whose devices are where their records say."""
    from local.dps.limits import UNTHROTTLED
    from local.dps.seed import seed
    from local.dps.service import ProvisioningService
    from local.hub import IotHub
    from local.iothub.service import HubService
    from local.serve import serve
    from local.tls import CertificateAuthority
    from local.world import World

    world = World()
    dps = ProvisioningService(DPS, hubs=[IotHub(name) for name in HUBS], world=world, limits=UNTHROTTLED)
    hubs = [HubService(each, world=world, throttled=False) for each in dps.hubs]
    seed(dps, registrations=records, enrollments=records // 50, groups=10)
    certificate = CertificateAuthority(folder / "tls").issue()
    await _fill_ledger(dps.store.registrations, records, tables)
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serve(dps.asgi, certificate))
        told: dict[str, Any] = {
            "ca": str(certificate.ca_pem),
            "tables": tables,
            "dps": dps.connection_string(f"localhost:{address.port}"),
            "groups": [each.id for each in dps.store.groups],
            "hubs": {},
        }
        for hub in hubs:
            place = await stack.enter_async_context(serve(hub.asgi, certificate))
            name = hub.hub.host_name
            told["hubs"][name] = [f"https://localhost:{place.port}", hub.connection_string(name)]
        ready = folder / "ready.json"
        ready.with_suffix(".tmp").write_text(json.dumps(told))
        ready.with_suffix(".tmp").replace(ready)
        await asyncio.Event().wait()


async def _fill_ledger(registrations: Any, records: int, tables: str) -> None:
    """Rows that an earlier audit has confirmed, as all but the latest are."""
    from tests.memory_table import MemoryTable

    memory = MemoryTable()
    books = Ledger(memory, lambda: "x")
    wanted = records // LEDGER_SHARE
    for record in registrations:
        if wanted and record.status == "assigned" and record.group:
            wanted -= 1
            await books.write(
                Entry(
                    dps=DPS,
                    registration_id=record.registration_id,
                    enrollment_kind="group",
                    enrollment_id=record.group,
                    at=record.updated,
                    status=200,
                    outcome="placed",
                    hub=HubKey(record.assigned_hub),
                    confirmed_at=record.updated,
                    confirmed_hub=HubKey(record.assigned_hub),
                )
            )
    connections = Connections()
    table = TableAccount.from_connection_string(tables, http=connections.open).table("ledger")
    partitions = [f"{DPS}|groups", *[each async for each in books.partitions(DPS)]]
    for partition in partitions:
        rows = [row async for row in memory.scan(partition)]
        for start in range(0, len(rows), 100):
            await table.write([Change("put", row) for row in rows[start : start + 100]])
    await connections.close()


def _tables(ready: dict[str, Any], connections: Connections) -> Callable[[str], Table]:
    return TableAccount.from_connection_string(ready["tables"], http=connections.open).table


async def bare_loop(ready: dict[str, Any]) -> dict[str, Any]:
    """The least that reads it all: fetch, decode, follow; and the ledger's rows by the app's own client."""
    import httpx

    trust = ssl.create_default_context(cafile=ready["ca"])
    calls = items = 0
    seconds = 0.0
    async with httpx.AsyncClient(verify=trust, trust_env=False) as client:

        async def walk(url: str, login: ConnectionString, size: int, body: Any) -> AsyncIterator[int]:
            header = await login.auth(SystemClock()).header()
            token: str | None = None
            while True:
                headers = {"authorization": header, "x-ms-max-item-count": str(size)}
                if token is not None:
                    headers["x-ms-continuation"] = token
                answer = await client.post(url, headers=headers, json=body)
                yield len(json.loads(answer.content))
                token = answer.headers.get("x-ms-continuation")
                if token is None:
                    return

        login = ConnectionString.parse(ready["dps"])
        base, version = f"https://{login.host}", f"api-version={API_VERSION}"
        everything = {"query": "SELECT *"}
        lists: list[tuple[str, ConnectionString, int, Any]] = [
            (f"{base}/enrollmentGroups/query?{version}", login, ENROLLMENTS_PAGE, everything),
            (f"{base}/enrollments/query?{version}", login, ENROLLMENTS_PAGE, everything),
        ]
        lists += [
            (f"{base}/registrations/{group}/query?{version}", login, RECORDS_PAGE, None)
            for group in ready["groups"]
        ]
        for url, text in ready["hubs"].values():
            query = {"query": "SELECT * FROM devices"}
            lists.append(
                (
                    f"{url}/devices/query?api-version={HUB_API_VERSION}",
                    ConnectionString.parse(text),
                    HUB_PAGE,
                    query,
                )
            )
        started = time.perf_counter()
        for each in lists:
            async for found in walk(*each):
                calls, items = calls + 1, items + found
        connections = Connections()
        books = Ledger(_tables(ready, connections)("ledger"), lambda: "x")
        rows = 0
        async for _ in books.of_dps(DPS):
            rows += 1
        seconds = time.perf_counter() - started
        await connections.close()
    # Beside the pages: the keys of each group, and each hub's statistics.
    fewest = calls + len(ready["groups"]) + len(ready["hubs"])
    return {"seconds": seconds, "calls": fewest, "items": items, "rows": rows, "peak_mb": peak_mb()}


class Unpaced(PacedShare):
    """A share of everything."""

    @property
    def wait(self) -> float:
        return 0.0

    async def call(self) -> None:
        """Return at once."""


class Lifted(Rates):
    """No rates."""

    def share(self, kind: str, rate: Rate, hub: str = "") -> PacedShare:
        del kind, rate, hub
        return Unpaced(1, SystemClock())


class Arm:
    """A management plane that shows the hubs."""

    async def page(self) -> DpsPage | Unknown:
        linked = tuple(LinkedHub(name, hub_key(name), 1, True, "") for name in HUBS)
        return DpsPage(DPS, "", "S1", 1, "", "", "", "Hashed", linked, None)

    async def certificates(self) -> Unknown:
        return Unknown("none here")


async def whole_audit(ready: dict[str, Any], turn: str = "") -> dict[str, Any]:
    """An audit to its end, with tables of its own: a first audit, as each turn of a comparison should be."""
    clock = SystemClock()
    web, state = Connections(ca_file=Path(ready["ca"])), Connections()
    table = _tables(ready, state)
    login = ConnectionString.parse(ready["dps"])

    def dps(share: RateShare) -> DpsClient:
        return DpsClient(
            login.host,
            auth=login.auth(clock),
            connections=web,
            share=share,
            clock=clock,
            jitter=lambda: 0.0,
        )

    def hub(name: HubKey, shares: HubShares) -> HubClient:
        url, text = ready["hubs"][name]
        auth = ConnectionString.parse(text).auth(clock)
        return HubClient(
            name, auth=auth, connections=web, shares=shares, clock=clock, jitter=lambda: 0.0, url=url
        )

    jobs = JobStore(table(f"jobs{turn}"), DPS, clock)
    ports = Ports(
        dps=dps,
        hub=hub,
        table=table(f"audit{turn}"),
        clock=clock,
        telemetry=Silent(),
        arm=Arm(),
        ledger=table("ledger"),
        jobs=jobs,
    )
    work, rates = Audit(ports, Audited(DPS)), Lifted(clock)
    await jobs.create(JOB, KIND, by="bench")
    started = time.perf_counter()
    while True:
        await tick([work.kind], jobs, rates, Silent(), terms=TERMS)
        found = await jobs.find(JOB)
        assert found is not None, "the job was created"
        if found.state in (State.DONE, State.FAILED, State.BLOCKED):
            break
        if found.problem:
            raise SystemExit(found.problem)
    seconds = time.perf_counter() - started
    from lifecycle.audit.runs import RunStore

    (stored,) = await RunStore(table(f"audit{turn}"), DPS).stored(1)
    await web.close()
    await state.close()
    calls = {name: count for name, count in stored.figures.calls.items() if name != "arm"}
    return {
        "seconds": seconds,
        "calls": sum(calls.values()),
        "peak_mb": peak_mb(),
        "state": found.state,
        "problem": found.problem,
        "found": dict(stored.run.found),
        "counts": dict(stored.figures.counts),
        "notes": dict(stored.figures.notes),
    }


class Silent:
    """Telemetry that goes nowhere."""

    def event(self, name: str, **fields: object) -> None:
        del name, fields

    def measure(self, name: str, value: float, **dimensions: str) -> None:
        del name, value, dimensions

    def span(self, name: str, seconds: float, **attributes: object) -> None:
        del name, seconds, attributes


def main(what: str, *more: str) -> None:
    if what == "serve":
        asyncio.run(serve_all(Path(more[0]), int(more[1]), more[2]))
        return
    ready = json.loads(Path(more[0]).read_text())
    run = bare_loop(ready) if what == "bare" else whole_audit(ready, *more[1:])
    print(json.dumps(asyncio.run(run)))


if __name__ == "__main__":
    main(*sys.argv[1:])
