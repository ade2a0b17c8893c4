"""The whole system on one machine: Azurite, the emulators over TLS, and the Functions host with the app."""

import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.admin import AdminPort
from local.azurite import Azurite
from local.cloud import Cloud, serve_cloud
from local.dps.authorities import CaCertificate
from local.dps.limits import Limits
from local.dps.seed import seed
from local.dps.service import ProvisioningService
from local.faults import Faults
from local.functions import FunctionsProcess
from local.hub import IotHub
from local.processes import Child
from local.proxy import AzuriteProxy
from local.serve import Address, serve
from local.switches import Switches
from local.tls import CertificateAuthority
from local.world import Call, ShiftedClock, SkewableClock, World

DEFAULT_HUBS = {"hub-a.azure-devices.net": 1, "hub-b.azure-devices.net": 1, "hub-c.azure-devices.net": 1}


@dataclass(frozen=True, slots=True)
class Options:
    """What a stack is made of. Ports: 0 takes any free one.

    Attributes:
        hubs: host name of each linked hub -> its allocationWeight at DPS, 1 to 1000.
        policy: the allocation policy, as text; None for the app's packaged one.
        limits: the quotas and rates of the DPS.
        ca_certificates: what the DPS knows for devices that prove themselves by X.509.
        registrations: how many registration records there are from the start.
        enrollments: how many individual enrollments.
    """

    hubs: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_HUBS))
    dps_name: str = "local-dps"
    dps_port: int = 0
    mqtt_port: int = 0
    functions_port: int = 0
    tables_port: int = 0
    admin_port: int = 0
    policy: str | None = None
    limits: Limits = field(default_factory=Limits)
    ca_certificates: tuple[CaCertificate, ...] = ()
    registrations: int = 0
    enrollments: int = 0


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack. Its parts are public: tests and demos look into them."""

    cloud: Cloud
    ca: Path
    trust: ssl.SSLContext
    functions: FunctionsProcess
    azurite: Azurite
    tables: AzuriteProxy
    admin: AdminPort
    admin_address: Address

    @property
    def dps(self) -> ProvisioningService:
        """The DPS."""
        return self.cloud.dps

    @property
    def address(self) -> Address:
        """Where the DPS listens."""
        return self.cloud.dps_address

    @property
    def hubs(self) -> tuple[IotHub, ...]:
        """The records of the linked hubs."""
        return tuple(hub.service.hub for hub in self.cloud.hubs.values())

    @property
    def dps_connection_string(self) -> str:
        """For clients of the service API, with every permission."""
        return self.dps.connection_string(self.address.host)

    @property
    def allocate_url(self) -> str:
        """The webhook's URL with its function key, as `--webhook-url` takes it."""
        return self.functions.function_url("allocate", "allocate")

    def webhook_calls(self) -> tuple[Call, ...]:
        """Every call of DPS to the webhook, oldest first."""
        return self.cloud.world.journal.of("webhook")

    def unanswered_webhook_calls(self) -> int:
        """How many of them got no answer at all."""
        return sum(call.status is None for call in self.webhook_calls())

    def children(self) -> tuple[Child, ...]:
        """The processes that must run as long as the stack does."""
        assert self.functions.child is not None
        return (self.azurite.child, self.functions.child)

    def state(self) -> dict[str, Any]:
        """Where everything is and how to get in. Holds secrets."""
        return self.cloud.state() | {
            "ca": str(self.ca),
            "functions": {
                "url": self.functions.url,
                "master_key": self.functions.master_key,
                "allocate_url": self.allocate_url,
            },
            "tables": self.tables.connection_string,
            "admin": {"url": self.admin_address.url, "token": self.admin.token},
        }


@asynccontextmanager
async def run_stack(options: Options, tell: Callable[[str], None]) -> AsyncIterator[Stack]:
    """Start everything; at the end of the block stop it and remove its files.

    Args:
        options: what it is made of.
        tell: is told each step, for people.

    Raises:
        OSError: a port is taken or not allowed.
        ChildFailed, NotInstalled: a child process did not start.
    """
    async with AsyncExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="dps-stack-")))
        azurite = await parts.enter_async_context(
            Azurite(log=folder / "azurite.log", port=options.tables_port or None)
        )
        tell(f"Azurite serves tables on 127.0.0.1:{azurite.port}")

        clock = ShiftedClock()
        world = World(SkewableClock(clock))
        faults, switches = Faults(world), Switches()
        tables = await parts.enter_async_context(AzuriteProxy(azurite.connection_string, faults))
        certificate = CertificateAuthority(folder / "tls").issue()
        cloud = await parts.enter_async_context(
            serve_cloud(
                options.hubs,
                certificate,
                world=world,
                name=options.dps_name,
                limits=options.limits,
                ca_certificates=options.ca_certificates,
                faults=faults,
                switches=switches,
                dps_port=options.dps_port,
                mqtt_port=options.mqtt_port,
            )
        )
        tell(
            f"DPS serves {cloud.dps_address.url} and MQTT on port {cloud.mqtt.port}, "
            f"with {len(cloud.hubs)} linked hubs, a key vault and the management plane beside it"
        )

        if options.registrations or options.enrollments:
            seed(cloud.dps, registrations=options.registrations, enrollments=options.enrollments)
            tell(f"seeded: {options.registrations:,} registrations, {options.enrollments:,} enrollments")

        settings = {"APP_ROLE": "all", **cloud.identity}
        if options.policy is not None:
            policy = folder / "policy.json"
            policy.write_text(options.policy)
            settings["POLICY_FILE"] = str(policy)
        functions = FunctionsProcess(
            folder=folder / "functions",
            python=sys.executable,
            port=options.functions_port,
            settings=settings,
            clock_ahead=0.0,
        )
        parts.push_async_callback(functions.stop)
        await functions.start()
        tell(f"the Functions host serves {functions.url}")
        admin = AdminPort(world, faults, switches, clock, moved=functions.move_clock)
        admin_address = await parts.enter_async_context(serve(admin, certificate, port=options.admin_port))
        yield Stack(
            cloud=cloud,
            ca=certificate.ca_pem,
            trust=certificate.client_context(),
            functions=functions,
            azurite=azurite,
            tables=tables,
            admin=admin,
            admin_address=admin_address,
        )
