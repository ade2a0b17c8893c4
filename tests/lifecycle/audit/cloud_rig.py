"""A cloud in process, this app's webhook in it, and the audit as the app composes it: nothing stands in."""

import asyncio
import base64
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx

from allocation import Allocator, FixedKnowledge, Freshness, Ledger, PolicyStore, StoredKnowledge, record
from allocation.policy import EVERY_HUB_ALIKE, CompiledPolicy, compile_policy, read_document
from clients.connections import Connections
from clients.ports import Table
from clients.service import Auth
from job_ports import audit_ports, audited
from lifecycle.audit.job import Audit
from lifecycle.audit.runs import RunStore
from lifecycle.jobs import JobKind, JobStore, State, tick
from lifecycle.rates import Rates
from lifecycle.rotation.row import RotationTerms, adopt
from lifecycle.rotation.store import RotationStore
from local.arm import ArmPage, ProvisioningResource
from local.arm.resources import group_id
from local.dps import sas
from local.dps.authorities import CaCertificate
from local.dps.behaviour import Behaviour
from local.dps.keys import derive_key
from local.dps.service import ProvisioningService
from local.hub import IotHub
from local.iothub.behaviour import HubBehaviour
from local.iothub.service import HubService
from local.switches import Switches
from local.vault import KeyVault
from local.world import ManualClock, World
from settings import Settings
from tests.clients.dps_stage import Follower
from tests.heard import Heard
from tests.lifecycle.audit.engine_rig import Report
from tests.lifecycle.audit.made import pem
from tests.lifecycle.enrollments.cloud import Anybody, Bearer
from tests.memory_table import MemoryTable
from wiring import Wiring

DPS = "dps-1"
HOST = f"{DPS}.azure-devices-provisioning.net"
HUB_A, HUB_B = (f"hub-{name}.azure-devices.net" for name in "ab")
ARM, VAULT = "management.azure.com", "kv-local.vault.azure.net"
APP = "https://fleet.example/api/allocate"
KEY = "the-function-key-of-this-app"
WEBHOOK = f"{APP}?code={KEY}"
OPEN = f"{APP}/{DPS}"
"""The same app by its other route, which somebody left without a key."""
FOREIGN = "https://other.example/place?code=its-own-key"
API = {"api-version": "2021-10-01"}
RIGHTS = {"authorization": "Bearer any"}
FOREVER = timedelta(days=3650)


def strong(seed: str, size: int = 64) -> str:
    """A symmetric key that looks drawn."""
    return base64.b64encode(hashlib.shake_256(seed.encode()).digest(size)).decode()


class CloudRig:
    """DPS, hubs, vault, management plane and the app's webhook, by one clock."""

    def __init__(
        self, hubs: Sequence[str] = (HUB_A, HUB_B), *, switches: Switches | None = None, **settings: str
    ):
        self.clock = ManualClock()
        world = World(self.clock, seed=7)
        dps, hub = Behaviour(), HubBehaviour()
        if switches is not None:
            dps, hub = switches.behaviour(dps, "dps"), switches.behaviour(hub, "hub")
        self.internet = Internet(self)
        self._webhooks = httpx.AsyncClient(transport=self.internet)
        self.service = ProvisioningService(
            DPS,
            hubs=[IotHub(name, seed=1) for name in hubs],
            tokens=Anybody(),
            world=world,
            behaviour=dps,
            webhook_client=self._webhooks,
        )
        self.hubs = {
            each.host_name: HubService(each, world=world, tokens=Anybody(), behaviour=hub, throttled=False)
            for each in self.service.hubs
        }
        self.vault = KeyVault(Anybody(), world, group=group_id())
        resource = ProvisioningResource(self.service)
        self.arm = ArmPage([resource], Anybody(), world)
        self.tables: dict[str, MemoryTable] = {}
        self.aside: list[IotHub] = []
        """Hubs that are not linked for now."""
        self.heard = Heard()
        self.settings = Settings.read(
            {
                "APP_ROLE": "lifecycle",
                "DPS_NAME": DPS,
                "DPS_HOST": HOST,
                "DPS_RESOURCE_ID": self.arm.resource_id(resource),
                "VAULT_URL": f"https://{VAULT}",
                "WEBHOOK_URL": APP,
                "STATE_TABLES": "UseDevelopmentStorage=true",
                **settings,
            }
        )
        self.now = Follower(self.clock)
        self.wiring = Wired(self)
        self.jobs = JobStore(self.table("jobs"), DPS, self.now)
        self.rotations = RotationStore(self.table("rotations"), DPS, self.now)
        self.policies = PolicyStore(self.table("policies"), DPS, self.now)
        self.http = httpx.AsyncClient(transport=self.internet, headers=RIGHTS)
        ports = audit_ports(
            self.wiring, DPS, self.wiring.dps, self.jobs, lambda: EVERY_HUB_ALIKE, telemetry=self.heard
        )
        self.ports = ports
        self.audited = audited(self.settings, DPS, host=HOST, scheduled=True)

    async def aclose(self) -> None:
        for each in (self.service, self.vault, self.http, self._webhooks, self.wiring.connections):
            await (each.close() if isinstance(each, Connections) else each.aclose())

    def table(self, name: str) -> MemoryTable:
        return self.tables.setdefault(name, MemoryTable())

    # The app's webhook.

    def instance(self, policy: CompiledPolicy | None = None, *, ledger: bool = True) -> Allocator:
        """An instance of the app; with a policy, one that knows no other."""
        numbers = itertools.count()
        stored = StoredKnowledge(
            policies=self.table("policies"),
            fleet=self.table("fleet"),
            packaged=EVERY_HUB_ALIKE,
            cold_packaged=False,
            clock=self.now,
            telemetry=self.heard,
            freshness=Freshness(refresh=0.01, max_age=0.02),
        )
        return Allocator(
            knowledge=stored if policy is None else FixedKnowledge(policy),
            clock=self.now,
            telemetry=self.heard,
            ledger=Ledger(self.table("ledger"), lambda: f"{next(numbers):08x}") if ledger else None,
            record=record,
        )

    # What operators and other tools do, by the services' own APIs.

    async def put_group(self, name: str, **members: Any) -> None:
        document = {"enrollmentGroupId": name, **members}
        await self._put(f"https://{HOST}/enrollmentGroups/{name}", document)

    async def put_individual(self, name: str, **members: Any) -> None:
        await self._put(f"https://{HOST}/enrollments/{name}", {"registrationId": name, **members})

    async def delete_group(self, name: str) -> None:
        gone = await self.http.delete(f"https://{HOST}/enrollmentGroups/{name}", params=API)
        gone.raise_for_status()

    async def _put(self, url: str, document: Mapping[str, Any]) -> None:
        headers = {"if-match": "*"} if (await self.http.get(url, params=API)).status_code == 200 else {}
        put = await self.http.put(url, params=API, json=document, headers=headers)
        assert put.status_code == 200, put.text

    async def adopt(self, group: str, key: str = "", **version: Any) -> None:
        """Take a group into rotation, with its primary key, or another, in the vault."""
        now = self.clock.now()
        await self.rotations.insert(
            adopt(group, f"{group}-key", RotationTerms(), active="primary", others="free", by="kim", now=now)
        )
        expires = int((now + FOREVER).timestamp())
        self.vault.put(f"{group}-key", key or strong(group), **{"expires": expires, **version})

    def authority(self, name: str, der: bytes, *, verified: bool = True) -> None:
        self.service.authorities.put(CaCertificate(name, pem(der).encode(), verified=verified))

    async def at_hub(self, method: str, hub: str, device: str) -> None:
        """Make a device at a hub, or delete it there, past DPS."""
        told = await self.http.request(
            method,
            f"https://{hub}/devices/{device}",
            params={"api-version": "2021-04-12"},
            json={"deviceId": device} if method == "PUT" else None,
            headers={"if-match": "*"} if method == "DELETE" else {},
        )
        assert told.is_success, told.text

    async def activate(self, document: str) -> CompiledPolicy:
        """Put a policy in force."""
        await self.policies.activate(await self.policies.put(document), "kim")
        return compile_policy(read_document(document))

    # Devices.

    async def register(self, device: str, key: str, *, to_the_end: bool = True) -> dict[str, Any]:
        """Register; the state. Not to the end: as far as it goes before a webhook is asked again."""
        scope, expires = self.service.id_scope, self.clock.now() + timedelta(hours=1)
        token = sas.sign(f"{scope}/registrations/{device}", key, expires, "registration")
        url = f"https://{HOST}/{scope}/registrations/{device}"
        async with httpx.AsyncClient(
            transport=self.internet, params=API, headers={"authorization": token}
        ) as http:
            begun = await http.put(f"{url}/register", json={"registrationId": device})
            if begun.status_code != 202:
                return {"status": begun.status_code}
            asked = len(self.internet.called)
            while self.service.running and (  # noqa: ASYNC110 - the emulator has no event for it
                to_the_end or len(self.internet.called) == asked
            ):
                await asyncio.sleep(0)
            ended = await http.get(f"{url}/operations/{begun.json()['operationId']}")
            body = ended.json()
            return {"status": body["status"], **body.get("registrationState", {})}

    async def register_in(self, group: str, device: str, *, to_the_end: bool = True) -> dict[str, Any]:
        return await self.register(device, derive_key(strong(group), device), to_the_end=to_the_end)

    # Audits.

    async def run(self, kind: JobKind, job: str, params: Mapping[str, Any] | None = None) -> State:
        """A job, a tick a minute, until it has ended or waits for somebody."""
        await self.jobs.create(job, kind.name, by="test", params=params)
        rates = Rates(self.now)
        for _ in range(100):
            await tick([kind], self.jobs, rates, self.heard)
            found = await self.jobs.find(job)
            assert found is not None
            if found.state in (State.DONE, State.FAILED, State.BLOCKED):
                return found.state
            await self.clock.advance(60)
        raise AssertionError("the job does not end")

    async def audit(
        self,
        job: str = "audit:1",
        *,
        webhooks: bool = True,
        params: Mapping[str, Any] | None = None,
        **thresholds: Any,
    ) -> Report:
        """A run as `audit run --webhooks` asks for it, or by params; and what it came to."""
        told = replace(self.audited, thresholds=replace(self.audited.thresholds, **thresholds))
        kind = Audit(self.ports, told).kind
        asked = params or ({"webhook": True} if webhooks else None)
        assert await self.run(kind, job, asked) is State.DONE
        store = RunStore(self.table("audit"), DPS)
        run = await store.run(job)
        assert run is not None
        return Report(run, tuple([each async for each in store.findings(job, "")]))


class Wired(Wiring):
    """The wiring of the rig's settings over its own network, tables and token."""

    def __init__(self, rig: CloudRig) -> None:
        super().__init__(rig.settings, rig.now)
        self.connections = Connections(transport=rig.internet)
        self._rig = rig

    def token(self, scope: str) -> Auth:
        return Bearer()

    def table(self, name: str) -> Table:
        return self._rig.table(name)


class Internet(httpx.AsyncBaseTransport):
    """Leads each host name to its service; `apps` answer for webhooks, each under its URL without a query."""

    def __init__(self, rig: CloudRig) -> None:
        self._rig = rig
        self._apps: dict[str, httpx.ASGITransport] = {}
        self.instance: Allocator | None = None
        self.called: list[str] = []
        self.down: set[str] = set()
        """Of webhooks: URLs that answer 503."""
        self.seconds = 0.0
        """That a webhook takes."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if host not in self._apps:
            if (app := self._app(host)) is None:
                return await self._webhook(request)
            self._apps[host] = httpx.ASGITransport(app)
        return await self._apps[host].handle_async_request(request)

    def _app(self, host: str) -> Any:
        rig = self._rig
        served: dict[str, Any] = {HOST: rig.service.asgi, ARM: rig.arm, VAULT: rig.vault}
        return served.get(host) or (rig.hubs[host].asgi if host in rig.hubs else None)

    async def _webhook(self, request: httpx.Request) -> httpx.Response:
        url, code = str(request.url.copy_with(query=None)), request.url.params.get("code")
        self.called.append(str(request.url))
        await self._rig.clock.advance(self.seconds)
        if str(request.url) in self.down:
            return httpx.Response(503)
        ours = url.startswith(APP)
        wanted = KEY if ours else "its-own-key"
        if code != wanted and url != OPEN:
            return httpx.Response(401)
        instance = self.instance or self._rig.instance()
        answer = await instance.answer(request.content, DPS)
        return httpx.Response(answer.status, content=answer.body)
