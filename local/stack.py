"""The whole system on one machine: Azurite, the emulators over TLS, and the Functions host with the app."""

import json
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.admin import AdminPort
from local.arm import FunctionSite
from local.azurite import Azurite
from local.cloud import Cloud, Setting, serve_cloud
from local.dps.authorities import CaCertificate
from local.dps.limits import Limits
from local.dps.seed import seed
from local.dps.service import ProvisioningService
from local.faults import Faults
from local.functions import ROOT, FunctionsProcess
from local.host.indexing import EVENT_GRID
from local.host.named_keys import FILE
from local.hub import IotHub
from local.insights import Insights, connection_string
from local.issuer import Role
from local.issuer.roles import EVERYTHING
from local.kept import Head, Store
from local.processes import Child
from local.proxy import AzuriteProxy
from local.serve import Address, serve
from local.sites import FunctionKeys, SiteBehaviour
from local.switches import Switches
from local.tls import CertificateAuthority
from local.topics import EVENT_FUNCTIONS, EventFunction
from local.world import Call, ShiftedClock, SkewableClock, World

SITE = "func-local"
"""What the management plane calls the Functions app."""
KEY_SECRET = "webhook-key"  # noqa: S105 - a name
"""The vault's secret for the webhook's key."""

DEFAULT_HUBS = {"hub-a.azure-devices.net": 1, "hub-b.azure-devices.net": 1, "hub-c.azure-devices.net": 1}


@dataclass(frozen=True, slots=True)
class Options:
    """What a stack is made of. Ports: 0 takes any free one.

    Attributes:
        hubs: host name of each linked hub -> its allocationWeight at DPS, 1 to 1000; None: those of the
            store, or three. Hubs of the store that are not named stay linked.
        hub_locations: host name -> region, where that is not the DPS's own.
        dps_name: None: that of the store, or `local-dps`.
        dps_port: as all ports, 0: that of the store, or any free one.
        policy: the allocation policy, as text; None for the app's packaged one.
        policy_by_weights: whether, without a `policy`, the app gets one with the hubs' weights: DPS does
            not tell a webhook its own.
        limits: the quotas and rates of the DPS.
        ca_certificates: what the DPS knows for devices that prove themselves by X.509.
        registrations: how many registration records there are from the start, unless a store has some.
        enrollments: how many individual enrollments, likewise.
        app: the folder of the Functions app.
        settings: app settings beside, or in place of, those that say where everything is.
        event_functions: its functions that get events of hubs and vault; those it does not have are
            passed over.
        roles: what the managed identity, and so the app, may do with its tokens.
        telemetry: whether the app exports telemetry, to a stand-in of Application Insights.
        store: keeps everything between runs; None: all of it ends with the stack.
    """

    hubs: Mapping[str, int] | None = None
    hub_locations: Mapping[str, str] = field(default_factory=dict)
    dps_name: str | None = None
    dps_port: int = 0
    mqtt_port: int = 0
    functions_port: int = 0
    tables_port: int = 0
    admin_port: int = 0
    policy: str | None = None
    policy_by_weights: bool = False
    limits: Limits = field(default_factory=Limits)
    ca_certificates: tuple[CaCertificate, ...] = ()
    registrations: int = 0
    enrollments: int = 0
    app: Path = ROOT
    settings: Mapping[str, str] = field(default_factory=dict)
    event_functions: tuple[EventFunction, ...] = EVENT_FUNCTIONS
    roles: tuple[Role, ...] = EVERYTHING
    telemetry: bool = False
    store: Store | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack. Its parts are public: tests and demos look into them."""

    cloud: Cloud
    clock: ShiftedClock
    ca: Path
    trust: ssl.SSLContext
    functions: FunctionsProcess
    azurite: Azurite
    tables: AzuriteProxy
    admin: AdminPort
    admin_address: Address
    insights: Insights
    """What the app exported; nothing without the option."""

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

    def kept(self) -> Iterator[bytes]:
        """All that a store keeps of it, as `Store.save` takes it; nothing may change meanwhile."""
        ports = {
            "functions": int(self.functions.url.rpartition(":")[2]),
            "tables": self.tables.port,
            "admin": self.admin_address.port,
        }
        return self.cloud.kept(ahead=self.clock.ahead, ports=ports, tables_key=self.azurite.key)

    def state(self) -> dict[str, Any]:
        """Where everything is and how to get in. Holds secrets."""
        return self.cloud.state() | {
            "ca": str(self.ca),
            "functions": {
                "url": self.functions.url,
                "master_key": self.functions.master_key,
                "allocate_url": self.allocate_url,
                "site": self.cloud.site_resources[0],
                "key_secret": KEY_SECRET,
            },
            "tables": self.tables.connection_string,
            "admin": {"url": self.admin_address.url, "token": self.admin.token},
        }


class OtherName(Exception):
    """The store holds a DPS of another name; the text says which."""


@asynccontextmanager
async def run_stack(options: Options, tell: Callable[[str], None]) -> AsyncIterator[Stack]:
    """Start everything; at the end of the block stop it, save it if it is kept, and remove its other files.

    Args:
        options: what it is made of.
        tell: is told each step, for people.

    Raises:
        OSError: a port is taken or not allowed, or the store cannot be read or written.
        ChildFailed, NotInstalled: a child process did not start.
        Damaged, InUse, OtherName: the store cannot be used; nothing of it was changed.
    """
    async with AsyncExitStack() as parts:
        store = options.store
        folder = parts.enter_context(_folder(store))
        head = None if store is None else store.head
        name = _name(options, head)
        running: list[Stack] = []
        parts.callback(_save, store, running, tell)  # after everything has stopped: nothing changes any more

        azurite = await parts.enter_async_context(
            Azurite(
                log=folder / "azurite.log",
                key=head.tables_key if head else None,
                location=folder / "tables" if store else None,
            )
        )
        clock = ShiftedClock(ahead=head.ahead if head else 0.0)
        world = World(SkewableClock(clock))
        faults, switches = Faults(world), Switches()
        tables = await parts.enter_async_context(
            AzuriteProxy(azurite.connection_string, faults, listen=_port(options.tables_port, head, "tables"))
        )
        tell(f"Azurite serves tables on 127.0.0.1:{tables.port}")

        certificate = CertificateAuthority(folder / "tls", keep=store is not None).issue()
        kept_hubs = head.weights if head else DEFAULT_HUBS
        processes: list[FunctionsProcess] = []
        site = FunctionSite(
            SITE,
            FunctionKeys(
                world.clock,
                lambda: processes[0].function_keys if processes else {},
                behaviour=switches.behaviour(SiteBehaviour(), "site"),
                kept=folder / "functions" / FILE,
            ),
        )
        cloud = await parts.enter_async_context(
            serve_cloud(
                kept_hubs if options.hubs is None else options.hubs,
                certificate,
                world=world,
                name=name,
                limits=options.limits,
                faults=faults,
                switches=switches,
                setting=Setting(
                    ca_certificates=options.ca_certificates,
                    hub_locations=options.hub_locations,
                    roles=options.roles,
                    sites=(site,),
                    ports={"dps": options.dps_port, "mqtt": options.mqtt_port},
                    store=store,
                ),
            )
        )
        tell(
            f"DPS serves {cloud.dps_address.url} and MQTT on port {cloud.mqtt.port}, "
            f"with {len(cloud.hubs)} linked hubs, a key vault and the management plane beside it"
        )
        _seed(options, cloud, head, tell)

        insights = Insights()
        exports: dict[str, str] = {}
        if options.telemetry:
            # Plain HTTP: the exporter has no setting for the authorities that it trusts.
            ingestion = await parts.enter_async_context(serve(insights, None))
            exports = _exports(ingestion)
        functions = FunctionsProcess(
            folder=folder / "functions",
            python=sys.executable,
            port=_port(options.functions_port, head, "functions"),
            settings=exports
            | _settings(options, cloud, folder, certificate.ca_pem, tables.connection_string),
            # Where DPS masks webhook URLs, the app writes a group with its own and the vault's key.
            url_settings={"WEBHOOK_URL": "/api/allocate"} if "WEBHOOK_URL" not in options.settings else {},
            app=options.app,
            clock_ahead=clock.ahead,
        )
        processes.append(functions)
        parts.push_async_callback(functions.stop)
        await functions.start()
        tell(f"the Functions host serves {functions.url}")
        await _subscribe(options, cloud, functions, tell)
        admin = AdminPort(
            world,
            faults,
            switches,
            clock,
            moved=functions.move_clock,
            settle=cloud.outgoing.settle,
            topics=cloud.topics,
        )
        admin_address = await parts.enter_async_context(
            serve(admin, certificate, port=_port(options.admin_port, head, "admin"))
        )
        stack = Stack(
            cloud=cloud,
            clock=clock,
            ca=certificate.ca_pem,
            trust=certificate.client_context(),
            functions=functions,
            azurite=azurite,
            tables=tables,
            admin=admin,
            admin_address=admin_address,
            insights=insights,
        )
        running.append(stack)
        yield stack


@contextmanager
def _folder(store: Store | None) -> Iterator[Path]:
    if store is None:
        with tempfile.TemporaryDirectory(prefix="dps-stack-") as made:
            yield Path(made)
    else:
        with store.used():
            yield store.folder


def _name(options: Options, head: Head | None) -> str:
    if head is None:
        return options.dps_name or "local-dps"
    if options.dps_name not in (None, head.name):
        raise OtherName(f"the store holds the DPS {head.name}, not {options.dps_name}: leave the name out")
    return head.name


def _port(asked: int, head: Head | None, name: str) -> int:
    return asked or (head.ports.get(name, 0) if head else 0)


def _seed(options: Options, cloud: Cloud, head: Head | None, tell: Callable[[str], None]) -> None:
    if head is not None:
        tell(f"loaded: {len(cloud.dps.store.registrations):,} registrations and all that goes with them")
    elif options.registrations or options.enrollments:
        seed(cloud.dps, registrations=options.registrations, enrollments=options.enrollments)
        tell(f"seeded: {options.registrations:,} registrations, {options.enrollments:,} enrollments")


def _settings(options: Options, cloud: Cloud, folder: Path, ca: Path, tables: str) -> dict[str, str]:
    """The app settings: where everything is. Holds secrets."""
    settings = {
        "APP_ROLE": "all",
        **cloud.identity,
        "CA_FILE": str(ca.absolute()),
        "STATE_TABLES": tables,
        "DPS_HOST": cloud.dps_address.host,
        "DPS_RESOURCE_ID": cloud.dps_resource,
        "ARM_URL": cloud.arm_address.url,
        "DPS_ID_SCOPE": cloud.dps.id_scope,
        "VAULT_URL": cloud.vault_address.url,
        "WEBHOOK_KEY_SECRET": KEY_SECRET,
        "VAULT_RESOURCE_ID": cloud.vault.resource_id,
        "TELEMETRY_IDS": "clear",  # one machine, and devices that are made up
        # Nothing may go to the real hubs of these names.
        "HUBS": ",".join(f"{name}={hub.address.url}" for name, hub in cloud.hubs.items()),
        **options.settings,
    }
    text = options.policy
    if text is None and options.policy_by_weights:
        weights = [{"name": hub.host_name, "weight": hub.allocation_weight} for hub in cloud.dps.hubs]
        text = json.dumps({"hubs": weights})
    if text is not None:
        policy = folder / "policy.json"
        policy.write_text(text)
        settings["POLICY_FILE"] = str(policy.absolute())
    return settings


def _exports(ingestion: Address) -> dict[str, str]:
    """Settings that turn telemetry on, and batches that are sent within a second or two."""
    return {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": connection_string(ingestion.url),
        "PYTHON_ENABLE_OPENTELEMETRY": "true",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "OTEL_BLRP_SCHEDULE_DELAY": "500",
        "OTEL_METRIC_EXPORT_INTERVAL": "2000",
    }


async def _subscribe(
    options: Options, cloud: Cloud, functions: FunctionsProcess, tell: Callable[[str], None]
) -> None:
    """Have the app's functions told of events, which is possible once they exist."""
    for each in options.event_functions:
        if functions.has(each.function, EVENT_GRID):
            endpoint = functions.event_url(each.function)
            await cloud.topics.subscribe(
                each.function, each.source, endpoint, schema=each.schema, types=each.types
            )
            tell(f"events of {each.source} go to the function {each.function}")


def _save(store: Store | None, running: list[Stack], tell: Callable[[str], None]) -> None:
    """Keep a stack that has run; one that did not start leaves its store as it was."""
    if store is None or not running:
        return
    [stack] = running
    store.save(stack.kept())
    tell(f"kept in {store.folder}")
