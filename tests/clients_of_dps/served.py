"""An emulated DPS over TLS for clients nobody here wrote; every answer is held to the description."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from local.dps import sas
from local.dps.keys import derive_key
from local.dps.service import ProvisioningService
from local.hub import IotHub
from local.serve import Address, serve
from local.tls import ServerCertificate
from local.world import World
from tests.local.dps.rig import HUBS, PRIMARY, SCOPE, VERSION
from tests.openapi.judge import Judge


@dataclass(frozen=True, slots=True)
class Served:
    """A running service."""

    dps: ProvisioningService
    address: Address
    ca: Path
    trust: ssl.SSLContext

    @property
    def connection_string(self) -> str:
        """For service clients that can be told a port."""
        return self.dps.connection_string(self.address.host)

    @property
    def service_token(self) -> str:
        """An `Authorization` header with every permission."""
        policy = self.dps.policies[0]
        expires = datetime.now(UTC) + timedelta(hours=1)
        return sas.sign("localhost", policy.primary_key, expires, policy.name)

    async def register(self, device: str, key: str | None = None) -> None:
        """Let a device register, by default one of a group whose primary key is PRIMARY."""
        token = sas.sign(
            f"{SCOPE}/registrations/{device}",
            key or derive_key(PRIMARY, device),
            datetime.now(UTC) + timedelta(hours=1),
        )
        path = f"/{SCOPE}/registrations/{device}/register?api-version={VERSION}"
        async with httpx.AsyncClient(verify=self.trust, base_url=self.address.url, trust_env=False) as http:
            started = await http.put(path, json={"registrationId": device}, headers={"authorization": token})
        assert started.status_code == 202, started.text


@asynccontextmanager
async def serving(
    certificate: ServerCertificate, *, ask_for_certificate: bool = False
) -> AsyncIterator[Served]:
    """A new service until the block ends."""
    dps = ProvisioningService(
        id_scope=SCOPE, hubs=[IotHub(host, seed=1) for host in HUBS], world=World(seed=7)
    )
    judge = Judge(dps.asgi)
    async with serve(judge, certificate, ask_for_certificate=ask_for_certificate) as address:
        yield Served(dps, address, certificate.ca_pem, certificate.client_context())
    await dps.aclose()
    judge.check()


async def in_thread(work: Callable[[], None]) -> None:
    """A blocking client's work, beside the server's event loop."""

    def run() -> None:
        work()
        gc.collect()  # closes the connections that closed clients leave behind in reference cycles

    await asyncio.wait_for(asyncio.to_thread(run), 60)
