"""A DPS with two hubs and records of every kind, and runs of the purge over it."""

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import httpx

from allocation import Allocator, Budget, FixedKnowledge, Ledger, record
from allocation.policy.compile import EVERY_HUB_ALIKE
from clients.arm import Unknown
from clients.auth import ConnectionString
from clients.connections import Connections
from clients.dps import DpsClient
from clients.hubs import HubClient, HubShares
from clients.ports import Clock, RateShare, Table
from lifecycle.audit.snapshot import Group, Listed, Snapshots, group_key
from lifecycle.enrollments import change as changes
from lifecycle.enrollments.at_dps import individuals
from lifecycle.jobs import JobKind, JobRow, JobStore, State, show, tick
from lifecycle.purge.act import pace_of
from lifecycle.purge.archive import Archive, Archived
from lifecycle.purge.hubs import Hub
from lifecycle.purge.job import create, purge_kind
from lifecycle.purge.marks import Mark, Marks
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.work import Ports
from lifecycle.rates import SHARES, Rates, Shares
from local.dps.records import Registration
from local.hub import DeviceKeys, InitialTwin, IotHub
from local.iothub.events import DEVICE_DELETED, HubEvent
from local.switches import Defaults, Switches
from local.world import ManualClock
from provisioning.hubs import HubKey, hub_key
from tests.lifecycle.enrollments.cloud import CloudRig, Internet
from tests.lifecycle.enrollments.rig import HUBS, group
from tests.memory_table import MemoryTable

NAME = "dps-1"
HUB_A, HUB_B = (hub_key(each) for each in HUBS)
GONE_HUB = "hub-gone.azure-devices.net"
PLAIN = {"allocationPolicy": "hashed", "customAllocationDefinition": None}
POLICY = PurgePolicy(most_percent=100, quarantine_days=2)
LONG = timedelta(days=400)


class Moving:
    """The manual clock, which moves on when somebody sleeps."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.advance(max(0.0, seconds))


@dataclass
class Told:
    """Telemetry that remembers."""

    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    measures: list[tuple[str, float]] = field(default_factory=list)

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))

    def measure(self, name: str, value: float, **_: str) -> None:
        self.measures.append((name, value))

    def span(self, name: str, seconds: float, **_: object) -> None:
        """What a slice took is told by the loop."""


class Journal(httpx.AsyncBaseTransport):
    """The way to everything, which writes down what was called; `before` may interfere."""

    def __init__(self, rig: "PurgeRig") -> None:
        self._rig = rig
        self._inner = Internet(rig)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        rig, host = self._rig, request.url.host
        for each in rig.before:
            await each(request)
        if host.endswith(".azure-devices.net") and host not in rig.hubs:
            raise httpx.ConnectError("no such host")
        answer = await self._inner.handle_async_request(request)
        where = "dps" if host == rig.service.host_name else host.partition(".")[0]
        rig.calls[where, request.method, request.url.path.split("/")[1]] += 1
        if request.method == "DELETE" and answer.status_code == 204:
            rig.deletes.append((request.url.path.rpartition("/")[2], request.headers["if-match"]))
        return answer


class Given(Switches):
    """Behaviours as a test has them."""

    def __init__(self, **services: Mapping[str, Any]) -> None:
        super().__init__(Defaults())
        self._services = services

    def behaviour(self, value: Any, service: str) -> Any:
        """The value with this service's fields."""
        return replace(value, **self._services.get(service, {}))


class PurgeRig(CloudRig):
    """The service, and the table that outlives processes."""

    def __init__(
        self,
        switches: Switches | None = None,
        *,
        units: Mapping[str, int] | None = None,
        shares: Shares = SHARES,
    ) -> None:
        super().__init__(switches)
        self.units = units
        self.shares = shares
        self.moving = Moving(self.clock)
        self.pace: Clock = self.moving
        """What the rates' minutes are measured by."""
        self.memory = MemoryTable()
        self.told = Told()
        self.calls: Counter[tuple[str, str, str]] = Counter()
        self.deletes: list[tuple[str, str]] = []
        self.before: list[Callable[[httpx.Request], Any]] = []
        self.deletions: list[tuple[str, str]] = []
        """What hubs told of deleted devices: which, and at which hub."""
        for name in HUBS:
            self.at(name).subscribe(self._heard)
        self.linked: frozenset[HubKey] | Unknown = frozenset({HUB_A, HUB_B})
        self._number = 0
        self._unique = count(1)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    async def group(self, name: str) -> None:
        await changes.create(self.groups(), group(enrollmentGroupId=name, **PLAIN))

    async def individual(self, name: str, **members: Any) -> None:
        document = group(**PLAIN, registrationId=name, **members)
        del document["enrollmentGroupId"]
        await changes.create(individuals(self.dps()), document)

    def record(
        self,
        name: str,
        through: str | None = "line-a",
        *,
        hub: str | None = HUBS[0],
        status: str = "assigned",
        age: timedelta = LONG,
        device: bool = True,
        seen: timedelta | None = LONG,
        tags: dict[str, Any] | None = None,
    ) -> None:
        """A record and, unless told otherwise, its device at that hub, last seen so long ago."""
        self._number += 1
        when = self.now - age
        self.service.store.registrations.put(
            name.lower(),
            Registration(
                registration_id=name,
                group=through,
                created=when,
                updated=when,
                etag=f'"{self._number:08}"',
                status=status,
                substatus="initialAssignment" if status == "assigned" else None,
                assigned_hub=hub,
                device_id=name if hub else None,
            ),
        )
        if hub in HUBS and device:
            self.device(name, hub, seen=seen, tags=tags)

    def device(
        self, name: str, hub: str, *, seen: timedelta | None = LONG, tags: dict[str, Any] | None = None
    ) -> None:
        at = self.at(hub)
        keys, twin = DeviceKeys("cA==", "cA=="), InitialTwin(tags=tags or {}, desired={})
        at.create_or_get(name, keys=keys, iot_edge=False, twin=twin, now=self.now - LONG)
        if seen is not None:
            at.touch(name, self.now - seen)

    def at(self, hub: str) -> IotHub:
        return self.hubs[hub].hub

    def there(self, name: str) -> bool:
        return self.service.registration(name) is not None

    def _heard(self, event: HubEvent) -> None:
        if event.type == DEVICE_DELETED:
            self.deletions.append((event.data["deviceId"], event.host_name))

    async def webhook_call(self, device: str, through: str, hub: str) -> None:
        """The app answers a call, whoever made it, and writes it down."""
        body = {
            "enrollmentGroup": {"enrollmentGroupId": through, "attestation": {"type": "symmetricKey"}},
            "deviceRuntimeContext": {
                "registrationId": device,
                "currentIotHubHostName": hub,
                "currentDeviceId": device,
                "symmetricKey": {},
            },
            "linkedHubs": list(HUBS),
        }
        allocator = Allocator(
            knowledge=FixedKnowledge(EVERY_HUB_ALIKE),
            clock=self.moving,
            telemetry=self.told,
            ledger=Ledger(self.memory, lambda: f"{len(self.told.events):08x}"),
            record=record,
            budget=Budget(request=60.0, ledger=60.0),
        )
        assert (await allocator.answer(json.dumps(body).encode(), NAME)).status == 200

    async def remember(self, name: str, *ids: str | Listed, run: str = "audit-1") -> None:
        """What an audit would have kept of a group."""
        snapshots, made = Snapshots(self.memory, NAME), "2020-01-01T00:00:00Z"
        kept = [each if isinstance(each, Listed) else Listed(each) for each in ids]
        found = self.service.group(name)
        if found is not None:
            made = str(
                (await self.dps().groups.get(name)).document()["createdDateTimeUtc"]  # type: ignore[union-attr]
            )
        await snapshots.write(run, f"g-{name}", "1", 0, kept)
        key, at = group_key(name, made), self.now - timedelta(days=1)
        before = {each.key: each.etag for each in await snapshots.groups()}
        await snapshots.put(
            Group(key, name, run, f"g-{name}", [["1", 1]], len(ids), at, etag=before.get(key))
        )

    async def drop_group(self, name: str) -> None:
        """The careless way: its records stay."""
        found = await self.dps().groups.get(name)
        assert found is not None
        await self.dps().groups.delete(name, found.etag)

    def ports(self, transport: httpx.AsyncBaseTransport | None = None, table: Table | None = None) -> Ports:
        way, kept = transport or Journal(self), table or self.memory

        async def linked() -> frozenset[HubKey] | Unknown:
            return self.linked

        def dps(share: RateShare) -> DpsClient:
            keys = ConnectionString.parse(self.service.connection_string(self.service.host_name))
            return DpsClient(
                self.service.host_name,
                auth=keys.auth(self.moving),
                connections=Connections(transport=way),
                share=share,
                clock=self.moving,
                jitter=random.Random(1).random,
            )

        def hub(hub: HubKey, shares: HubShares) -> Hub:
            return HubClient(
                hub,
                auth=ConnectionString.parse(self.hubs.get(hub, self.hubs[HUB_A]).connection_string(hub)).auth(
                    self.moving
                ),
                connections=Connections(transport=way),
                shares=shares,
                clock=self.moving,
                jitter=random.Random(1).random,
            )

        return Ports(NAME, kept, kept, self.moving, dps, hub, linked, self.told)

    def kind(self, ports: Ports) -> tuple[JobKind, JobStore, Rates]:
        rates = Rates(self.pace, self.shares, units=self.units)
        return purge_kind(ports, pace_of(rates)), self.jobs(ports.table), rates

    def jobs(self, table: Table) -> JobStore:
        """With ids that repeat in a test that does."""
        return JobStore(table, NAME, self.moving, unique=self.unique)

    def unique(self) -> str:
        return f"{next(self._unique):032x}"

    async def purge(
        self,
        job: str,
        policy: PurgePolicy = POLICY,
        *,
        dry_run: bool = False,
        ports: Ports | None = None,
        ends: frozenset[State] = frozenset({State.DONE}),
    ) -> JobRow:
        """A whole run."""
        kind, store, rates = self.kind(ports or self.ports())
        for _ in range(300):
            await create(store, job, policy, by="test", dry_run=dry_run)
            await tick([kind], store, rates, self.told)
            row = await show(store, job)
            if row.state in ends:
                return row
            assert row.state in (State.WAITING, State.RUNNING), row.problem
            await self.clock.advance(60)
        raise AssertionError("the job does not end")

    async def wait(self, **duration: float) -> None:
        await self.clock.advance(timedelta(**duration).total_seconds())

    async def purge_for_good(self, policy: PurgePolicy = POLICY, name: str = "purge") -> JobRow:
        """Mark in one run, delete in the next."""
        await self.purge(f"{name}-1", policy)
        await self.wait(days=policy.quarantine_days, hours=1)
        return await self.purge(f"{name}-2", policy)

    async def marks(self) -> dict[str, Mark]:
        return {mark.id: mark async for _, mark in Marks(self.memory, NAME).all()}

    async def archived(self) -> list[Archived]:
        archive = Archive(self.memory, NAME)
        return [each for run in await archive.runs() async for each in archive.records(run.run)]

    def dps_calls(self) -> int:
        return sum(count for (where, _, _), count in self.calls.items() if where == "dps")


def aged(policy: PurgePolicy, **values: Any) -> PurgePolicy:
    """The policy with other values."""
    return replace(policy, **values)
