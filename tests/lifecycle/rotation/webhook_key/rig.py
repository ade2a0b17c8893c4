"""A DPS, a vault, a management plane and the webhook in process; devices register as time passes."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any
from urllib.parse import parse_qsl

import httpx

from allocation import Allocator, FixedKnowledge, KeyUse, Use, read_uses
from allocation.policy import EVERY_HUB_ALIKE
from clients.connections import Connections
from clients.function_keys import FunctionKeysClient
from clients.outcomes import Deleted, Gone
from clients.ports import RateShare, Table
from clients.vault_shapes import SecretValue
from clients.webhook import WebhookReply, call_webhook
from lifecycle.enrollments.at_dps import groups, individuals
from lifecycle.enrollments.change import Enrollments, Kind
from lifecycle.jobs import JobRow, JobStore, State, Terms, tick
from lifecycle.rates import Rate, Rates
from lifecycle.rotation.webhook_key.observe import Peer, RollPorts
from lifecycle.rotation.webhook_key.plan import RollPlan, plan
from lifecycle.rotation.webhook_key.rewrite import KIND, RewritePorts, rewrite_kind
from lifecycle.rotation.webhook_key.roll import WATCH_SECONDS, Roll
from lifecycle.rotation.webhook_key.row import RollRow, RollTerms, Stage, begun, retried
from lifecycle.rotation.webhook_key.step import Rest
from lifecycle.rotation.webhook_key.store import RollStore
from local.arm import ArmPage, FunctionSite, ProvisioningResource
from local.dps.keys import derive_key
from local.sites import FunctionKeys, SiteBehaviour
from local.switches import Switches
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment
from tests.lifecycle.enrollments.cloud import Anybody, Bearer, CloudRig, Internet
from tests.lifecycle.enrollments.rig import PRIMARY, group
from tests.lifecycle.rotation.rig import Advancing
from tests.lifecycle.toy import Told
from tests.memory_table import MemoryTable

BASE = "https://app.example/api/allocate"
OLD = "old-function-key-not-to-be-seen"
SECRET = "webhook-key"
FUNCTION = "allocate"
DAY = timedelta(days=1)
TERMS = RollTerms(
    probes=3, probe_time=timedelta(seconds=6), watch=timedelta(minutes=2), unused=timedelta(days=7)
)
FINALLY = "the app looks at every enrollment once more: the old key goes right after"
"""What a command says that waits for the app."""
RATES = {KIND: {Rate.DPS: 0.9}}
"""Wide: what the pace of the rates costs is not what these tests are about."""


class Quiet(Told):
    def measure(self, name: str, value: float, **dimensions: str) -> None:
        """The webhook measures its answers."""


Work = Callable[[], Awaitable[None]]


class Living(Advancing):
    """The rig's clock: while somebody sleeps, time passes, and each half minute a device registers.

    While a command waits for the app, the app works, where `app` says how.
    """

    def __init__(self, rig: "RollRig") -> None:
        super().__init__(rig.clock)
        self._rig = rig
        self._last = 0.0
        self.app: Work | None = None

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.monotonic() - self._last >= 30:
            self._last = self.monotonic()
            await self._rig.device_registers()
        if seconds == WATCH_SECONDS and self.app is not None and FINALLY in self._rig.notes[-1:]:
            await self.app()


class RollRig(CloudRig):
    """The cloud, two groups and an individual enrollment that ask the webhook, and the tables."""

    def __init__(self, switches: Switches | None = None, *, table: Table | None = None) -> None:
        self.table: Table = table or MemoryTable()
        client = httpx.AsyncClient(transport=httpx.ASGITransport(self.webhook))
        super().__init__(switches, webhooks=client)
        self._client = client
        self.told = Quiet()
        behaviour = SiteBehaviour() if switches is None else switches.behaviour(SiteBehaviour(), "site")
        self.site = FunctionSite(
            "func-allocation", FunctionKeys(self.clock, lambda: {FUNCTION: OLD}, behaviour=behaviour)
        )
        self.arm = ArmPage(
            [ProvisioningResource(self.service)], Anybody(), self.service.world, sites=[self.site]
        )
        self.time = Living(self)
        self.uses = KeyUse(self.table, self.time, self.told)
        self.allocator = Allocator(
            knowledge=FixedKnowledge(EVERY_HUB_ALIKE), clock=self.time, telemetry=self.told
        )
        self.registering = True
        self.names = ["dps-1"]
        self.rates = RATES
        self.answers: list[int] = []
        """What DPS's calls were answered, and everybody else's."""
        self.notes: list[str] = []
        self._keys = random.Random(11)
        self._unique = count(1)

    # The webhook as a Functions host serves it.

    async def webhook(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        key = dict(parse_qsl(scope["query_string"].decode())).get("code", "")
        status, body = 401, b""
        if self.site.keys.accepts(FUNCTION, key):
            answer = await self.allocator.answer(message["body"], "dps-1")
            status, body = answer.status, answer.body
            self.uses.count(key, "dps-1", status)
        self.answers.append(status)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def device_registers(self, name: str = "dev-1", group_id: str = "line-a") -> None:
        """A device of the canary group registers to the end, and what the webhook counted is written."""
        del group_id
        if not self.registering:
            return
        await self.register(name, derive_key(PRIMARY, name))
        await self.uses.flush()

    async def register(self, device: str, key: str | None = None) -> dict[str, Any]:
        begun_with = len(self.answers)
        state = await super().register(device, key)
        for _ in range(200):
            if len(self.answers) > begun_with and state.get("status") != "assigning":
                break
            await asyncio.sleep(0)
            record = self.service.store.registrations.get(device)
            state = record.wire() if record is not None else state
        return state

    # The world as it begins.

    async def furnish(self, *, others: int = 1) -> None:
        url = f"{BASE}?code={OLD}"
        definition = {"webhookUrl": url, "apiVersion": "2021-10-01"}
        dps = self.dps()
        await dps.groups.create(EnrollmentGroup.read(group(customAllocationDefinition=definition)))
        elsewhere = {"webhookUrl": "https://other.example/api/allocate?code=x", "apiVersion": "2021-10-01"}
        await dps.groups.create(
            EnrollmentGroup.read(group(enrollmentGroupId="elsewhere", customAllocationDefinition=elsewhere))
        )
        named = {"webhookUrl": f"{BASE}/dps-1?code={OLD}", "apiVersion": "2021-10-01"}
        for number in range(others):
            document = {
                **group(customAllocationDefinition=named),
                "registrationId": f"single-{number}",
            }
            del document["enrollmentGroupId"]
            await dps.individuals.create(IndividualEnrollment.read(document))
        await self.device_registers()

    # What is true, whoever says what.

    def held(self) -> dict[str, str]:
        """The webhook URL of each enrollment, as DPS really has it."""
        store = self.service.store
        found = {}
        for table in (store.groups, store.individuals):
            for each in table:
                found[each.key] = str(each.members["customAllocationDefinition"]["webhookUrl"])
        return found

    def keys_held(self) -> set[str]:
        """The keys in the URLs that are ours."""
        return {url.partition("code=")[2] for url in self.held().values() if url.startswith(BASE)}

    def in_vault(self) -> set[str]:
        return {each.value for name in (SECRET, f"{SECRET}-pending") for each in self.vault.peek(name)}

    def at_app(self) -> dict[str, str]:
        found = self.site.keys.all(FUNCTION)
        assert found is not None
        return found

    # An operator, and the app's worker.

    @property
    def store(self) -> RollStore:
        return RollStore(self.table, "dps-1", self.time)

    @property
    def jobs(self) -> JobStore:
        return JobStore(self.table, "dps-1", self.time, unique=self.unique)

    def unique(self) -> str:
        return f"{next(self._unique):032x}"

    def new_key(self) -> SecretValue:
        return SecretValue("new-" + self._keys.randbytes(16).hex())

    def transport(self) -> "Everywhere":  # type: ignore[override]  # the base's knows fewer hosts
        return Everywhere(self)

    def keys_client(self, transport: httpx.AsyncBaseTransport | None = None) -> FunctionKeysClient:
        return FunctionKeysClient(
            self.arm.site_id(self.site),
            FUNCTION,
            auth=Bearer(),
            connections=Connections(transport=transport or self.transport()),
            share=_Unpaced(),
            clock=self.time,
            jitter=random.Random(1).random,
            url="https://management.azure.com",
        )

    def ports(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        table: Table | None = None,
        dps_name: str = "dps-1",
    ) -> RollPorts:
        """Of a DPS by this name; all of them have the one DPS's enrollments, which is as good."""
        transport = transport or self.transport()
        dps, held = self.dps(transport), table or self.table
        connections = Connections(transport=transport)

        async def call(url: str, body: bytes) -> WebhookReply:
            return await call_webhook(connections, self.time, url, body)

        async def uses() -> tuple[Use, ...]:
            return await read_uses(held)

        def peer(name: str) -> Peer:
            jobs = JobStore(held, name, self.time, unique=self.unique)
            return Peer(RollStore(held, name, self.time), jobs)

        return RollPorts(
            keys=self.keys_client(transport),
            vault=self.vault_client(transport),
            enrollments={"group": groups(dps), "individual": individuals(dps)},
            listings={"group": dps.groups, "individual": dps.individuals},
            registrations=dps.registrations,
            jobs=JobStore(held, dps_name, self.time, unique=self.unique),
            uses=uses,
            call=call,
            peer=peer,
            dps=dps_name,
        )

    async def plan(self, ports: RollPorts | None = None, **options: Any) -> RollPlan:
        return await plan(ports or self.ports(), SECRET, (BASE,), **options)

    def begin(self, found: RollPlan, terms: RollTerms = TERMS) -> Callable[[RollRow, datetime], RollRow]:
        """What `start` says: begin, or go on."""

        def edit(row: RollRow, now: datetime) -> RollRow:
            if row.stage is not Stage.IDLE:
                return retried(row)
            return begun(
                row,
                self.unique(),
                by="operator",
                now=now,
                secret=SECRET,
                site="site",
                function=FUNCTION,
                bases=(BASE,),
                terms=terms,
                old_name=found.old_name,
                old_mark=found.old_mark,
                canary=(found.canary_kind, found.canary_id),
            )

        return edit

    def roll(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        table: Table | None = None,
        dps_name: str = "dps-1",
    ) -> Roll:
        self.time.app = partial(self.tick, transport, table)
        return Roll(
            RollStore(table or self.table, dps_name, self.time),
            self.ports(transport, table, dps_name),
            by="operator",
            tell=self.notes.append,
            unique=self.unique,
            make_key=self.new_key,
        )

    async def start(self, terms: RollTerms = TERMS, **options: Any) -> tuple[RollRow, Rest]:
        """`rotate webhook-key start`."""
        return await self.roll().walk(self.begin(await self.plan(**options), terms))

    async def tick(
        self, transport: httpx.AsyncBaseTransport | None = None, table: Table | None = None
    ) -> None:
        """That of each DPS's app."""
        for name in self.names:
            await self._tick(name, transport, table)

    async def _tick(
        self, dps_name: str, transport: httpx.AsyncBaseTransport | None, table: Table | None
    ) -> None:
        held = table or self.table

        def ports(slice_: Any) -> RewritePorts:
            made, share = self.ports(transport, held, dps_name), slice_.share(Rate.DPS)
            paced = {kind: Paced(each, share) for kind, each in made.enrollments.items()}
            return RewritePorts(listings=made.listings, enrollments=paced, vault=made.vault)

        kind = rewrite_kind(RollStore(held, dps_name, self.time), ports, self.told)
        jobs = JobStore(held, dps_name, self.time, unique=self.unique)
        await tick([kind], jobs, Rates(self.time, self.rates), self.told, terms=Terms())

    async def work(
        self, transport: httpx.AsyncBaseTransport | None = None, table: Table | None = None
    ) -> None:
        """Ticks each minute, until no job is left that could go on within the hour."""
        left: list[JobRow] = []
        for _ in range(60):
            await self.tick(transport, table)
            left = [job for job in (await self.jobs.current()).jobs if job.state is not State.BLOCKED]
            if not left:
                return
            await self.clock.advance(60)
        raise AssertionError(f"it does not end: {left}")

    async def to_overlap(self, **options: Any) -> RollRow:
        """A roll up to the point where the old key rests."""
        await self.start(**options)
        await self.work()
        return (await self.start(**options))[0]

    async def pass_time(self, span: timedelta) -> None:
        await self.clock.advance(span.total_seconds())

    async def aclose(self) -> None:
        await self._client.aclose()
        await super().aclose()


class Paced:
    """Enrollments whose calls take the time that the job's share of the rate leaves them."""

    def __init__(self, enrollments: Enrollments, share: RateShare) -> None:
        self.kind: Kind = enrollments.kind
        self._of = enrollments
        self._share = share

    async def read(self, enrollment_id: str) -> Any:
        await self._share.call()
        return await self._of.read(enrollment_id)

    async def keys(self, enrollment_id: str) -> Any:
        await self._share.call()
        return await self._of.keys(enrollment_id)

    async def write(self, enrollment_id: str, document: Any, etag: str | None) -> Any:
        await self._share.call()
        return await self._of.write(enrollment_id, document, etag)

    async def delete(self, enrollment_id: str, etag: str) -> Any:
        await self._share.call()
        return await self._of.delete(enrollment_id, etag)


class _Unpaced:
    async def call(self) -> None:
        """At once."""


class Everywhere(httpx.AsyncBaseTransport):
    """Leads each host name to its service."""

    def __init__(self, rig: RollRig) -> None:
        self._others = Internet(rig)
        self._arm = httpx.ASGITransport(rig.arm)
        self._app = httpx.ASGITransport(rig.webhook)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if host == "management.azure.com":
            return await self._arm.handle_async_request(request)
        if host == "app.example":
            return await self._app.handle_async_request(request)
        return await self._others.handle_async_request(request)


__all__ = ["BASE", "DAY", "FUNCTION", "OLD", "SECRET", "TERMS", "Deleted", "Gone", "RollRig", "Work"]
