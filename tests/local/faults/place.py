"""A provisioning service behind faults, and the deployed app's client, in process or on a real socket."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from clients.http import http_client
from local.dps import sas
from local.dps.policies import OWNER, AccessPolicy
from local.dps.service import ProvisioningService
from local.faults import Fault, Faults, InProcess, Rule, shapes
from local.serve import serve
from local.tls import CertificateAuthority
from local.world import SkewableClock, SystemClock, World
from tests.local.dps.rig import POLICY_KEY, SECONDARY, VERSION, group

WIRES = ("in process", "socket", "socket that asks for certificates")


@dataclass(slots=True)
class Place:
    world: World
    faults: Faults
    dps: ProvisioningService
    http: httpx.AsyncClient

    async def call(
        self, method: str, path: str, body: Any = None, *, patience: float = 10, **headers: str
    ) -> httpx.Response:
        expires = self.world.clock.now() + timedelta(hours=1)
        return await self.http.request(
            method,
            f"{path}?api-version={VERSION}",
            content=None if body is None else json.dumps(body).encode(),
            headers={"authorization": sas.sign("localhost", POLICY_KEY, expires, OWNER), **headers},
            timeout=patience,
        )

    async def put(self, name: str = "g1", *, patience: float = 10) -> httpx.Response:
        return await self.call("PUT", f"/enrollmentGroups/{name}", group(name), patience=patience)

    def add(self, fault: Fault, **where: Any) -> int:
        return self.faults.add(Rule(fault, **where))

    def carried_out(self, name: str = "g1") -> bool:
        return self.dps.group(name) is not None

    def told(self) -> list[tuple[str, str, Any]]:
        """What the journal says of faults: method, path and fault."""
        return [(call.method, call.path, call.response) for call in self.world.journal.of(Faults.SERVICE)]


@contextlib.asynccontextmanager
async def place(wire: str, folder: Path, world: World | None = None) -> AsyncIterator[Place]:
    world = world or World(SkewableClock(SystemClock()), seed=7)
    faults = Faults(world)
    policies = [AccessPolicy(OWNER, POLICY_KEY, SECONDARY)]
    dps = ProvisioningService(world=world, policies=policies)
    app = faults.around("dps", dps.asgi, shapes.dps)
    async with contextlib.AsyncExitStack() as parts:
        if wire.startswith("socket"):
            certificate = CertificateAuthority(folder).issue()
            asks = wire != "socket"
            address = await parts.enter_async_context(serve(app, certificate, ask_for_certificate=asks))
            http = http_client(ca_file=certificate.ca_pem)
            http.base_url = httpx.URL(address.url)
        else:
            http = http_client(transport=InProcess({"localhost": app}, world.clock))
            http.base_url = httpx.URL("https://localhost")
        await parts.enter_async_context(http)
        yield Place(world, faults, dps, http)
    await dps.aclose()
