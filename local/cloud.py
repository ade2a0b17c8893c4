"""Azure as one machine has it: a DPS with its hubs, a vault, the management plane and tokens, each served."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from local.arm import ArmPage, FunctionSite, ProvisioningResource
from local.arm.resources import group_id
from local.dps.authorities import CaCertificate
from local.dps.behaviour import Behaviour
from local.dps.limits import UNTHROTTLED, Limits
from local.dps.service import ProvisioningService
from local.eventgrid import EventGrid
from local.faults import Faults, shapes
from local.hub import IotHub
from local.iothub.behaviour import HubBehaviour
from local.iothub.service import HubService
from local.issuer import Identity, Issuer, Role, TokenService
from local.issuer.roles import EVERYTHING, WEBSITE_CONTRIBUTOR
from local.issuer.tokens import SYSTEM
from local.kept import Head, KeptHub, Services, Store, lines
from local.mqtt import MqttBehaviour, device_api, met_by, serve_mqtt
from local.outgoing import Outgoing
from local.serve import Address, serve
from local.switches import Switches
from local.tls import ServerCertificate
from local.topics import SystemTopics
from local.vault.service import KeyVault
from local.world import World

OPERATOR = "00000000-0000-4000-8000-0000000000a1"
"""Client id of the identity of commands: beside what the app may, it may change keys of function apps."""


@dataclass(frozen=True, slots=True)
class ServedHub:
    """A hub and where it listens."""

    service: HubService
    address: Address

    @property
    def connection_string(self) -> str:
        """For clients of the hub's service API, with every permission."""
        return self.service.connection_string(self.address.host)


@dataclass(frozen=True, slots=True)
class Cloud:
    """The emulated services of one world and where they listen, all on loopback."""

    world: World
    dps: ProvisioningService
    dps_address: Address
    mqtt: Address
    hubs: Mapping[str, ServedHub]
    """By host name, in the order of linking."""
    vault: KeyVault
    vault_address: Address
    arm_address: Address
    dps_resource: str
    """The DPS's resource id at the management plane."""
    site_resources: tuple[str, ...]
    """Those of the function apps."""
    issuer: Issuer
    identity: Mapping[str, str]
    """The environment variables by which a process gets tokens as a managed identity does."""
    identity_address: Address
    topics: SystemTopics
    """What the hubs and the vault tell, and who gets it."""
    outgoing: Outgoing
    made: datetime
    """When this world began, perhaps in an earlier run."""

    def state(self) -> dict[str, Any]:
        """Where everything is and how to get in. Holds secrets."""
        return {
            "dps": {
                "host": self.dps_address.host,
                "connection_string": self.dps.connection_string(self.dps_address.host),
                "id_scope": self.dps.id_scope,
                "mqtt_port": self.mqtt.port,
            },
            "hubs": list(self.hubs),
            "hub_urls": {name: hub.address.url for name, hub in self.hubs.items()},
            "hub_connection_strings": {name: hub.connection_string for name, hub in self.hubs.items()},
            "vault": {"url": self.vault_address.url},
            "arm": {"url": self.arm_address.url, "dps": self.dps_resource},
            "operator": {"client_id": OPERATOR},
            "identity": dict(self.identity),
        }

    def kept(self, *, ahead: float, ports: Mapping[str, int], tables_key: str) -> Iterator[bytes]:
        """All that a store keeps of it, as `Store.save` takes it. Holds secrets.

        Args:
            ahead: seconds by which the world's clock is ahead of the machine's.
            ports: of services that are not the cloud's own.
            tables_key: of Azurite's account.
        """
        hubs = [hub.service for hub in self.hubs.values()]
        head = Head(
            name=self.dps.name,
            id_scope=self.dps.id_scope,
            policies=self.dps.policies,
            authorities=tuple(self.dps.authorities),
            hubs=tuple(_kept_hub(hub) for hub in hubs),
            made=self.made,
            ahead=ahead,
            vault_since=self.topics.vault_since,
            ports={**ports, **self._ports()},
            tables_key=tables_key,
        )
        records = {hub.hub.host_name: hub.hub for hub in hubs}
        return lines(head, Services(self.dps, records, self.vault))

    def _ports(self) -> dict[str, int]:
        hubs = {f"hub {name}": hub.address.port for name, hub in self.hubs.items()}
        return {
            "dps": self.dps_address.port,
            "mqtt": self.mqtt.port,
            "vault": self.vault_address.port,
            "arm": self.arm_address.port,
            "identity": self.identity_address.port,
            **hubs,
        }


def _kept_hub(service: HubService) -> KeptHub:
    hub = service.hub
    return KeptHub(hub.host_name, hub.allocation_weight, hub.apply_allocation_policy, service.policies)


@dataclass(frozen=True, slots=True)
class Setting:
    """What may be otherwise than usual in a cloud.

    Attributes:
        ca_certificates: what DPS knows for devices that prove themselves by X.509.
        hub_locations: host name -> region, where that is not the DPS's own.
        roles: what the managed identity may do.
        sites: function apps whose functions' keys the management plane can change.
        ports: fixed ones: `dps`, `mqtt`, `vault`, `arm`, `identity`, `hub HOST-NAME`; 0 and none: any.
        store: what an earlier run left; its records, keys and ports are taken over.
    """

    ca_certificates: Iterable[CaCertificate] = ()
    hub_locations: Mapping[str, str] = field(default_factory=dict)
    roles: tuple[Role, ...] = EVERYTHING
    sites: tuple[FunctionSite, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    store: Store | None = None

    @property
    def head(self) -> Head | None:
        """What the store begins with."""
        return None if self.store is None else self.store.head

    def port(self, name: str) -> int:
        """Where a service is to listen."""
        kept = {} if self.head is None else self.head.ports
        return self.ports.get(name) or kept.get(name, 0)


@asynccontextmanager
async def serve_cloud(
    hubs: Mapping[str, int],
    certificate: ServerCertificate,
    *,
    world: World,
    name: str,
    limits: Limits,
    faults: Faults,
    switches: Switches,
    setting: Setting | None = None,
) -> AsyncIterator[Cloud]:
    """Serve it until the block ends.

    Args:
        hubs: host name of each linked hub -> its allocationWeight; hubs of the store are linked as well.
        certificate: what every service shows but the identity endpoint, which is plain HTTP in Azure too.
        world: clock, randomness and journal of all of them.
        name: of the DPS; that of the store counts more.
        limits: its quotas and rates; without rates the hubs have none either.
        faults: stand before every service but the identity endpoint, and in the way of all calls to webhooks.
        switches: decide what DPS and the hubs do where the facts leave it open.
        setting: what else is not as usual.

    Raises:
        OSError: a port is taken or not allowed, or the store cannot be read.
        Damaged: the store is not what was written.
    """
    given = setting or Setting()
    head = given.head
    async with AsyncExitStack() as parts:
        operator = Identity(OPERATOR, f"{OPERATOR[:-1]}2", roles=(*given.roles, WEBSITE_CONTRIBUTOR))
        issuer = Issuer(world.clock, system=replace(SYSTEM, roles=given.roles), identities=(operator,))
        outgoing = Outgoing(faults)
        webhooks = await parts.enter_async_context(outgoing.client("webhook"))
        records = _hubs(hubs, head)
        dps = ProvisioningService(
            name if head is None else head.name,
            hubs=records.values(),
            ca_certificates=_authorities(given, head),
            policies=None if head is None else head.policies,
            world=world,
            behaviour=switches.behaviour(Behaviour(), "dps"),
            limits=limits,
            tokens=issuer,
            webhook_client=webhooks,
        )
        parts.push_async_callback(dps.aclose)
        vault = KeyVault(issuer, world, group=group_id())
        parts.push_async_callback(vault.aclose)
        if given.store is not None:
            given.store.fill(Services(dps, records, vault))
        vault.watch.run()

        faulty = faults.around("dps", dps.asgi, shapes.dps)
        dps_address = await parts.enter_async_context(
            serve(faulty, certificate, port=given.port("dps"), ask_for_certificate=True)
        )
        mqtt = await parts.enter_async_context(
            serve_mqtt(
                dps,
                certificate,
                port=given.port("mqtt"),
                behaviour=switches.behaviour(MqttBehaviour(), "mqtt"),
                answer=met_by(faults, "dps", device_api(dps)),
            )
        )
        policies = {} if head is None else {hub.host_name: hub.policies for hub in head.hubs}
        served: dict[str, ServedHub] = {}
        for hub in records.values():
            service = HubService(
                hub,
                world=world,
                policies=policies.get(hub.host_name),
                behaviour=switches.behaviour(HubBehaviour(), "hub"),
                tokens=issuer,
                throttled=limits != UNTHROTTLED,
            )
            faulty = faults.around(hub.host_name, service.asgi, shapes.hub)
            address = await parts.enter_async_context(
                serve(faulty, certificate, port=given.port(f"hub {hub.host_name}"))
            )
            served[hub.host_name] = ServedHub(service, address)
        vault_address = await parts.enter_async_context(
            serve(faults.around("vault", vault, shapes.vault), certificate, port=given.port("vault"))
        )
        made = world.clock.now() if head is None else head.made
        resource = ProvisioningResource(dps, hub_locations=given.hub_locations, certified=made)
        page = ArmPage([resource], issuer, world, sites=given.sites)
        arm_address = await parts.enter_async_context(
            serve(faults.around("arm", page, shapes.arm), certificate, port=given.port("arm"))
        )
        tokens = TokenService(issuer, world)
        identity = await parts.enter_async_context(serve(tokens, None, port=given.port("identity")))
        grid = EventGrid(await parts.enter_async_context(outgoing.client("eventgrid")), world)
        parts.push_async_callback(grid.aclose)
        yield Cloud(
            world=world,
            dps=dps,
            dps_address=dps_address,
            mqtt=mqtt,
            hubs=served,
            vault=vault,
            vault_address=vault_address,
            arm_address=arm_address,
            dps_resource=page.resource_id(resource),
            site_resources=tuple(map(page.site_id, given.sites)),
            issuer=issuer,
            identity=tokens.environment(identity.url),
            identity_address=identity,
            topics=SystemTopics(
                grid,
                world,
                hubs=records.values(),
                vault=vault,
                group=group_id(),
                vault_since=None if head is None else head.vault_since,
            ),
            outgoing=outgoing,
            made=made,
        )


def _hubs(given: Mapping[str, int], head: Head | None) -> dict[str, IotHub]:
    """The hubs of the store, in their order, then those that are new; what is given says the weights."""
    weights = {} if head is None else head.weights
    applies = {} if head is None else {hub.host_name: hub.apply_allocation_policy for hub in head.hubs}
    spelled = {host.lower(): host for host in weights}
    named = {spelled.get(host.lower(), host): weight for host, weight in given.items()}
    return {
        host: IotHub(host, allocation_weight=weight, apply_allocation_policy=applies.get(host, True))
        for host, weight in {**weights, **named}.items()
    }


def _authorities(given: Setting, head: Head | None) -> list[CaCertificate]:
    """Those of the store and those that are given; of two with one name the given one."""
    every = [*(() if head is None else head.authorities), *given.ca_certificates]
    return list({each.name.lower(): each for each in every}.values())
