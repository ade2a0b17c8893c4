"""A DPS with hubs, filled as years of use leave them, and an audit of it that runs tick by tick."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from clients.arm import DpsPage, LinkedHub, Unknown
from clients.auth import ConnectionString
from clients.connections import Connections
from clients.dps import DpsClient
from clients.hubs import HubClient, HubShares
from clients.ports import RateShare, Table
from lifecycle.audit.finding import Finding
from lifecycle.audit.job import KIND, Audit
from lifecycle.audit.ports import Audited, Limits, Ports
from lifecycle.audit.report import Run as Told
from lifecycle.audit.runs import RunStore
from lifecycle.jobs import JobRow, JobStore, State, Terms, tick
from lifecycle.rates import Rates
from local.dps.behaviour import Behaviour
from local.dps.limits import UNTHROTTLED
from local.dps.records import Registration
from local.dps.seed import seed
from local.dps.service import ProvisioningService
from local.hub import InitialTwin, IotHub
from local.iothub.behaviour import HubBehaviour
from local.iothub.service import HubService
from local.switches import Switches
from local.world import Journal, ManualClock, World
from provisioning.hubs import HubKey, hub_key
from tests.clients.dps_stage import Follower
from tests.heard import Heard
from tests.memory_table import MemoryTable

DPS = "rig"
HUBS = ("hub-a.azure-devices.net", "hub-b.azure-devices.net", "hub-c.azure-devices.net")
JOB = "audit:2026-01-01"
TERMS = Terms()


@dataclass
class Tables:
    """What outlives every process."""

    audit: Table = field(default_factory=MemoryTable)
    jobs: Table = field(default_factory=MemoryTable)
    ledger: Table = field(default_factory=MemoryTable)


class Arm:
    """A management plane that shows the linked hubs; `page_is` to have it otherwise."""

    def __init__(self, hubs: Sequence[str]) -> None:
        linked = tuple(LinkedHub(name, hub_key(name), 1, True, "") for name in hubs)
        self.page_is: DpsPage | Unknown = DpsPage(
            DPS, "", "S1", 1, "0ne00000000", "rig", "global", "Hashed", linked, None
        )

    async def page(self) -> DpsPage | Unknown:
        return self.page_is

    async def certificates(self) -> Unknown:
        return Unknown("no certificates here")


class AuditRig:
    """Services in one process, and whatever audits them."""

    def __init__(
        self,
        *,
        switches: Switches | None = None,
        hubs: Sequence[str] = HUBS,
        journal: int = 100_000,
        page: int = 1000,
    ) -> None:
        self.clock = ManualClock()
        self.world = World(self.clock, seed=7, journal=Journal(journal))
        dps, hub = Behaviour(max_page_size=page), HubBehaviour(max_page_size=page)
        self.service = ProvisioningService(
            DPS,
            hubs=[IotHub(name, seed=1) for name in hubs],
            world=self.world,
            behaviour=dps if switches is None else switches.behaviour(dps, "dps"),
            limits=UNTHROTTLED,
        )
        self.hubs = {
            each.host_name: HubService(
                each,
                world=self.world,
                behaviour=hub if switches is None else switches.behaviour(hub, "hub"),
                throttled=False,
            )
            for each in self.service.hubs
        }
        self.arm = Arm(hubs)
        self.tables = Tables()
        self.heard = Heard()
        self.audited = Audited(DPS)
        self.announced: list[str] = []

    def fill(self, registrations: int, *, enrollments: int = 0, groups: int = 2, clean: bool = True) -> None:
        """Seed it; a clean one is as it should be. All of it is two hours old, or older."""
        seed(self.service, registrations=registrations, enrollments=enrollments, groups=groups)
        store = self.service.store
        now = self.clock.now()
        for table in (store.groups, store.individuals):
            for each in list(table):
                members = {**each.members, "allocationPolicy": "hashed"}
                table.put(replace(each, members=members, created=now, updated=now))
        if clean:
            for record in [each for each in store.registrations if each.status != "assigned"]:
                store.registrations.delete(record.registration_id.lower())
                self.remove_device(record.assigned_hub, record.device_id or record.registration_id)

    def remove_device(self, hub: str | None, device_id: str) -> None:
        """Take a device out of a hub's registry."""
        if hub is not None:
            self.hubs[hub].hub.remove(device_id)

    def add_device(self, hub: str, device_id: str) -> None:
        """Put a device into a hub's registry."""
        registry = self.hubs[hub].hub
        twin = InitialTwin(tags={}, desired={})
        registry.create_or_get(
            device_id, keys=registry.new_keys(), iot_edge=False, twin=twin, now=self.clock.now()
        )

    def record(self, number: int) -> Registration:
        """One of the assigned records, in no special order."""
        return [each for each in self.service.store.registrations if each.status == "assigned"][number]

    def transport(self) -> httpx.AsyncBaseTransport:
        return Internet(self)

    def ports(
        self, transport: httpx.AsyncBaseTransport | None = None, tables: Tables | None = None, **more: Any
    ) -> Ports:
        """What one process works with."""
        clock = Follower(self.clock)
        tables = tables or self.tables
        connections = Connections(transport=transport or self.transport())
        keys = ConnectionString.parse(self.service.connection_string(self.service.host_name))

        def dps(share: RateShare) -> DpsClient:
            return DpsClient(
                self.service.host_name,
                auth=keys.auth(self.clock),
                connections=connections,
                share=share,
                clock=clock,
                jitter=random.Random(1).random,
            )

        def hub(name: HubKey, shares: HubShares) -> HubClient:
            text = self.hubs[name].connection_string(name)
            return HubClient(
                name,
                auth=ConnectionString.parse(text).auth(self.clock),
                connections=connections,
                shares=shares,
                clock=clock,
                jitter=random.Random(1).random,
            )

        async def announce(run: Told) -> None:
            self.announced.append(run.id)

        values: dict[str, Any] = {
            "arm": self.arm,
            "ledger": tables.ledger,
            "jobs": JobStore(tables.jobs, DPS, clock),
            "announce": announce,
            **more,
        }
        return Ports(dps=dps, hub=hub, table=tables.audit, clock=clock, telemetry=self.heard, **values)

    async def audit(
        self,
        job: str = JOB,
        *,
        ports: Ports | None = None,
        audited: Audited | None = None,
        terms: Terms = TERMS,
        ticks: int = 200,
        params: dict[str, Any] | None = None,
        each_tick: Callable[[], None] = lambda: None,
    ) -> JobRow:
        """Run an audit to its end, a tick a minute, in one process."""
        ports = ports or self.ports()
        assert ports.jobs is not None
        audit, rates = Audit(ports, audited or self.audited), Rates(ports.clock)
        await ports.jobs.create(job, KIND, by="test", params=params)
        found = None
        for _ in range(ticks):
            await tick([audit.kind], ports.jobs, rates, self.heard, terms=terms)
            each_tick()
            found = await ports.jobs.find(job)
            assert found is not None
            if found.state in (State.DONE, State.FAILED, State.BLOCKED):
                return found
            await self.clock.advance(60)
        raise AssertionError(f"the audit does not end: {found}")

    @property
    def store(self) -> RunStore:
        """Where its runs are."""
        return RunStore(self.tables.audit, DPS)

    async def report(self, job: str = JOB) -> "Report":
        """What a run came to: all of it but what it cost and when it ended."""
        told = await self.store.run(job)
        assert told is not None, "no such run has ended"
        return Report(
            replace(told, ended=None, calls=None),
            tuple([each async for each in self.store.findings(job, "")]),
        )

    def calls(self) -> list[str]:
        """What was asked of DPS and the hubs: method and path, oldest first."""
        return [f"{call.service} {call.method} {call.path}" for call in self.world.journal]


@dataclass(frozen=True)
class Report:
    """A run and its findings."""

    run: Told
    findings: tuple[Finding, ...]

    @property
    def about(self) -> list[tuple[str, str]]:
        """Check and resource of each finding."""
        return [(each.check, each.resource) for each in self.findings]


class Internet(httpx.AsyncBaseTransport):
    """Leads each host name to its service."""

    def __init__(self, rig: AuditRig) -> None:
        self._dps = httpx.ASGITransport(rig.service.asgi)
        self._hubs = {name: httpx.ASGITransport(hub.asgi) for name, hub in rig.hubs.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._hubs.get(request.url.host, self._dps).handle_async_request(request)


QUICK = Limits(save=0.0)
"""Saves wherever it may: for tests that kill."""
