"""The DPS client against the emulator, in process or over TLS, with faults in between."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from clients.auth import ConnectionString
from clients.connections import Connections
from clients.dps import DpsClient
from local.dps.behaviour import Behaviour
from local.dps.service import ProvisioningService
from local.faults import Faults, InProcess, shapes
from local.hub import IotHub
from local.serve import serve
from local.tls import ServerCertificate
from local.world import ManualClock, SkewableClock, SystemClock, World
from tests.clients.stage import CountingShare, QuickClock, no_jitter
from tests.local.dps.rig import HUBS, SCOPE, Rig

HOST = "mine.azure-devices-provisioning.net"


class Follower:
    """A manual clock that a sleep moves on."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.pauses: list[float] = []

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self._clock.advance(seconds)


@dataclass
class Place:
    """A service, a client of it, and what stands between them."""

    dps: ProvisioningService
    client: DpsClient
    faults: Faults
    share: CountingShare
    clock: Any
    secrets: tuple[str, ...]
    again: Callable[[], DpsClient]
    """Another client, as another process would have it."""


@asynccontextmanager
async def in_process(
    rig: Rig,
    around: Callable[[Any], Any] = lambda app: app,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Place]:
    """A client of the rig's service without sockets; `around` wraps the service's application."""
    faults = Faults(rig.world)
    app = faults.around("dps", around(rig.judge), shapes.dps)
    wire = transport or InProcess({"localhost": app}, rig.clock)
    connections = Connections(transport=wire)
    clock, share = Follower(rig.clock), CountingShare()

    def make() -> DpsClient:
        return client_of(rig.dps.connection_string("localhost"), connections, share, clock)

    yield Place(rig.dps, make(), faults, share, clock, secrets_of(rig.dps), make)
    await connections.close()


@asynccontextmanager
async def over_tls(
    certificate: ServerCertificate, behaviour: Behaviour | None = None
) -> AsyncIterator[Place]:
    """A client of a service of its own over TLS."""
    world = World(SkewableClock(SystemClock()), seed=7)
    hubs = [IotHub(host, seed=1) for host in HUBS]
    dps = ProvisioningService(id_scope=SCOPE, hubs=hubs, world=world, behaviour=behaviour)
    faults = Faults(world)
    clock, share = QuickClock(), CountingShare()
    connections = Connections(ca_file=certificate.ca_pem)
    async with serve(faults.around("dps", dps.asgi, shapes.dps), certificate) as address:

        def make() -> DpsClient:
            return client_of(dps.connection_string(address.host), connections, share, clock)

        yield Place(dps, make(), faults, share, clock, secrets_of(dps), make)
        await connections.close()
    await dps.aclose()


def client_of(
    connection_string: str, connections: Connections, share: CountingShare, clock: Any
) -> DpsClient:
    login = ConnectionString.parse(connection_string)
    return DpsClient(
        login.host,
        auth=login.auth(clock),
        connections=connections,
        share=share,
        clock=clock,
        jitter=no_jitter,
    )


def secrets_of(dps: ProvisioningService) -> tuple[str, ...]:
    return tuple(key for policy in dps.policies for key in (policy.primary_key, policy.secondary_key))
