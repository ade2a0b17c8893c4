"""A DPS, its hubs, a vault and tables in process, and workers of rotations that may die."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Literal

import httpx

from clients.auth import ConnectionString
from clients.connections import Connections
from clients.device import DeviceClient
from clients.dps import DpsClient
from clients.hubs import HubClient, HubShares
from clients.ports import Clock, RateShare, Table
from clients.vault import VaultClient
from lifecycle.jobs import JobRow, JobStore, Slice, State, Terms, tick
from lifecycle.rates import Rate, Rates
from lifecycle.rotation.canary import CanaryPlaces
from lifecycle.rotation.consent import consented
from lifecycle.rotation.identities import Fleet
from lifecycle.rotation.ports import Ports
from lifecycle.rotation.row import RotationRow, RotationTerms, SlotName, Stage, adopt
from lifecycle.rotation.run import KIND, rotation_kind
from lifecycle.rotation.store import RotationStore
from local.dps.keys import derive_key
from local.switches import Switches
from local.world import ManualClock
from provisioning.enrollments import EnrollmentGroup
from provisioning.hubs import HubKey
from provisioning.keys import SymmetricKey
from tests.lifecycle.enrollments.cloud import VAULT, Bearer, CloudRig, Internet
from tests.lifecycle.enrollments.rig import PRIMARY, SECONDARY, group
from tests.lifecycle.toy import Told
from tests.memory_table import MemoryTable

GROUP = "line-a"
SECRET = "line-a-key"
PROVIDER = "/subscriptions/s/provisioningServices/rig"
DAY = timedelta(days=1)
TERMS = RotationTerms(overlap=30 * DAY, validity=90 * DAY)
RATES = {KIND: {Rate.DPS: 0.9, Rate.HUB_REGISTRY: 0.4}}
"""Wide: what the pace of the rates costs is not what these tests are about."""

PLAIN = {
    "customAllocationDefinition": None,
    "allocationPolicy": "hashed",
}


class Advancing:
    """The rig's clock, for clients: who sleeps lets the time pass."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.advance(max(0.0, seconds))


class RotationRig(CloudRig):
    """The cloud of one group, and the tables of its rotation."""

    def __init__(self, switches: Switches | None = None, *, table: Table | None = None) -> None:
        super().__init__(switches)
        self.time = Advancing(self.clock)
        self.table: Table = table or MemoryTable()
        self.pace: Clock = self.time
        """What the rates' minutes are measured by."""
        self.told = Told()
        self.watch: list[Callable[[], None]] = []
        """Called after each call that a worker made."""
        self.webhook_url: str | None = None
        self.webhook: Callable[[], Awaitable[str | None]] | None = None
        self._keys = random.Random(5)
        self._unique = count(1)

    @property
    def store(self) -> RotationStore:
        return RotationStore(self.table, "dps-1", self.time)

    @property
    def jobs(self) -> JobStore:
        return JobStore(self.table, "dps-1", self.time)

    def new_key(self) -> SymmetricKey:
        return SymmetricKey(self._keys.randbytes(64))

    def unique(self) -> str:
        return f"{next(self._unique):032x}"

    # The world as it begins.

    async def furnish(
        self,
        *,
        terms: RotationTerms = TERMS,
        published: bool = True,
        others: Any = "free",
        adopted: bool = True,
        **members: Any,
    ) -> None:
        """A group whose primary slot is active, its key published; its expiry is 30 days away."""
        document = group(**{**PLAIN, **members})
        document = {name: value for name, value in document.items() if value is not None}
        await self.dps().groups.create(EnrollmentGroup.read(document))
        if published:
            expires = int((self.clock.now() + 30 * DAY).timestamp())
            self.vault.put(SECRET, PRIMARY, expires=expires, tags={"CredentialId": "primary"})
        if adopted:
            row = adopt(
                GROUP, SECRET, terms, active="primary", others=others, by="test", now=self.clock.now()
            )
            assert await self.store.insert(row)

    # What is true, whoever says what.

    def slots(self) -> dict[str, str]:
        """The keys that DPS really holds."""
        found = self.service.store.groups.get(GROUP)
        assert found is not None
        assert found.keys is not None
        return {"primary": found.keys.primary or "", "secondary": found.keys.secondary or ""}

    def enabled(self) -> bool:
        """Whether the group lets devices in."""
        found = self.service.store.groups.get(GROUP)
        assert found is not None
        return bool(found.members.get("provisioningStatus", "enabled") == "enabled")

    def secret_values(self, name: str = SECRET, *, enabled: bool | None = None) -> list[str]:
        """The values of a secret's versions, oldest first."""
        return [each.value for each in self.vault.peek(name) if enabled is None or each.enabled is enabled]

    def live(self) -> str:
        """What readers of the live secret get."""
        newest = self.vault.peek(SECRET)[-1]
        assert newest.enabled
        return newest.value

    def in_vault(self) -> set[str]:
        names = (SECRET, f"{SECRET}-pending", f"{SECRET}-replaced")
        return {value for name in names for value in self.secret_values(name)}

    # Workers.

    def ports(self, transport: httpx.AsyncBaseTransport, share: Callable[[Rate, str], RateShare]) -> Ports:
        dps_share = share(Rate.DPS, "")
        connections = Connections(transport=transport)
        host = self.service.host_name
        jitter = random.Random(1).random
        keys = ConnectionString.parse(self.service.connection_string(host))
        dps = DpsClient(
            host,
            auth=keys.auth(self.time),
            connections=connections,
            share=dps_share,
            clock=self.time,
            jitter=jitter,
        )
        vault = VaultClient(
            VAULT, auth=Bearer(), connections=connections, share=dps_share, clock=self.time, jitter=jitter
        )

        def hub(name: HubKey) -> HubClient:
            text = self.hubs[name].connection_string(name)
            of_hub = share(Rate.HUB_REGISTRY, name)
            return HubClient(
                name,
                auth=ConnectionString.parse(text).auth(self.time),
                connections=connections,
                shares=HubShares(identities=of_hub, queries=of_hub, twins=of_hub),
                clock=self.time,
                jitter=jitter,
            )

        devices = DeviceClient(
            f"https://{host}",
            self.service.id_scope,
            connections=connections,
            share=dps_share,
            clock=self.time,
            jitter=jitter,
        )
        return Ports(
            groups=dps.groups,
            vault=vault,
            places=CanaryPlaces(devices, dps.registrations, dps.individuals, hub),
            identities=Fleet(dps.registrations, hub),
            provider=PROVIDER,
            webhook_url=self.webhook_url,
            webhook=self.webhook,
        )

    def kind(self, transport: httpx.AsyncBaseTransport | None = None, table: Table | None = None) -> Any:
        def ports(slice_: Slice) -> Ports:
            return self.ports(transport or Internet(self), slice_.share)

        return rotation_kind(
            RotationStore(table or self.table, "dps-1", self.time),
            ports,
            self.told,
            unique=self.unique,
            make_key=self.new_key,
        )

    async def tick(
        self, transport: httpx.AsyncBaseTransport | None = None, table: Table | None = None
    ) -> None:
        store = JobStore(table or self.table, "dps-1", self.time, unique=self.unique)
        rates = Rates(self.pace, RATES)
        await tick([self.kind(transport, table)], store, rates, self.told, terms=Terms())

    async def work(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        table: Table | None = None,
        *,
        ticks: int = 40,
    ) -> None:
        """Tick each minute until no job is left that has something to do within the hour."""
        left: list[JobRow] = []
        for _ in range(ticks):
            await self.tick(transport, table)
            soon = self.clock.now() + timedelta(hours=1)
            left = [job for job in (await self.jobs.current()).jobs if job.state is not State.BLOCKED]
            if not any(job.not_before <= soon for job in left):
                return
            await self.clock.advance(60)
        raise AssertionError(f"it does not end: {left}")

    async def start(self, **params: Any) -> JobRow:
        """What `rotate start` writes."""
        versions = self.vault.peek(SECRET)
        told = {"do": "start", "group": GROUP, "version": versions[-1].id if versions else "", **params}
        return await self.command(**told)

    async def command(self, **params: Any) -> JobRow:
        made = await self.jobs.create(
            f"rotate:{self.unique()}", KIND, by="operator", params={"group": GROUP, **params}
        )
        return made.job

    async def advance(self) -> None:
        """What the daily timer writes for a row that is on its way."""
        await self.command(do="advance")

    async def consent(self, what: Literal["retire", "promote", "abort"]) -> None:
        """What `rotate retire` and its like write, and what follows."""
        await self.store.change(GROUP, lambda row: consented(row, what, self.clock.now()))
        await self.advance()
        await self.work()

    async def roll(self) -> None:
        """A whole rotation, its retirement included."""
        await self.start()
        await self.work()
        await self.pass_time((await self.row()).terms.overlap)
        await self.advance()
        await self.work()
        await self.consent("retire")
        assert (await self.row()).stage is Stage.IDLE

    async def row(self) -> RotationRow:
        return await self.store.get(GROUP)

    async def edit(self, **changes: Any) -> RotationRow:
        return await self.store.change(GROUP, lambda row: replace(row, **changes))

    async def pass_time(self, span: timedelta) -> None:
        await self.clock.advance(span.total_seconds())

    async def device(self, name: str, key: str) -> Any:
        """How a device that derived its key from a group's key fares."""
        return (await self.register(name, derive_key(key, name)))["status"]


def slot_of(rig: RotationRig, key: str) -> SlotName | None:
    """The slot that holds a key."""
    names: tuple[SlotName, SlotName] = ("primary", "secondary")
    return next((name for name in names if rig.slots()[name] == key), None)


__all__ = ["DAY", "GROUP", "PRIMARY", "SECONDARY", "SECRET", "TERMS", "RotationRig", "Stage", "slot_of"]
