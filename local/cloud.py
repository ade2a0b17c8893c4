"""Azure as one machine has it: a DPS with its hubs, a vault, the management plane and tokens, each served."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from local.arm import ArmPage, ProvisioningResource
from local.dps.authorities import CaCertificate
from local.dps.behaviour import Behaviour
from local.dps.limits import UNTHROTTLED, Limits
from local.dps.service import ProvisioningService
from local.faults import Faults, shapes
from local.hub import IotHub
from local.iothub.behaviour import HubBehaviour
from local.iothub.service import HubService
from local.issuer import Issuer, TokenService
from local.mqtt import serve_mqtt
from local.serve import Address, serve
from local.switches import Switches
from local.tls import ServerCertificate
from local.vault.service import KeyVault
from local.world import World


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
    issuer: Issuer
    identity: Mapping[str, str]
    """The environment variables by which a process gets tokens as a managed identity does."""

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
            "hub_connection_strings": {name: hub.connection_string for name, hub in self.hubs.items()},
            "vault": {"url": self.vault_address.url},
            "arm": {"url": self.arm_address.url, "dps": self.dps_resource},
            "identity": dict(self.identity),
        }


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
    ca_certificates: Iterable[CaCertificate] = (),
    dps_port: int = 0,
    mqtt_port: int = 0,
) -> AsyncIterator[Cloud]:
    """Serve it until the block ends.

    Args:
        hubs: host name of each linked hub -> its allocationWeight.
        certificate: what every service shows but the identity endpoint, which is plain HTTP in Azure too.
        world: clock, randomness and journal of all of them.
        name: of the DPS.
        limits: its quotas and rates; without rates the hubs have none either.
        faults: stand before every service but the identity endpoint, and in DPS's way to the webhook.
        switches: decide what DPS and the hubs do where the facts leave it open.
        ca_certificates: what DPS knows for devices that prove themselves by X.509.
        dps_port: 0 takes any free one.
        mqtt_port: the same.

    Raises:
        OSError: a port is taken or not allowed.
    """
    async with AsyncExitStack() as parts:
        issuer = Issuer(world.clock)
        records = [IotHub(host, allocation_weight=weight) for host, weight in hubs.items()]
        webhooks = await parts.enter_async_context(_webhook_client(faults))
        dps = ProvisioningService(
            name,
            hubs=records,
            ca_certificates=ca_certificates,
            world=world,
            behaviour=switches.behaviour(Behaviour(), "dps"),
            limits=limits,
            tokens=issuer,
            webhook_client=webhooks,
        )
        parts.push_async_callback(dps.aclose)
        faulty = faults.around("dps", dps.asgi, shapes.dps)
        dps_address = await parts.enter_async_context(
            serve(faulty, certificate, port=dps_port, ask_for_certificate=True)
        )
        mqtt = await parts.enter_async_context(serve_mqtt(dps, certificate, port=mqtt_port))
        served: dict[str, ServedHub] = {}
        for hub in records:
            service = HubService(
                hub,
                world=world,
                behaviour=switches.behaviour(HubBehaviour(), "hub"),
                tokens=issuer,
                throttled=limits != UNTHROTTLED,
            )
            faulty = faults.around(hub.host_name, service.asgi, shapes.hub)
            address = await parts.enter_async_context(serve(faulty, certificate))
            served[hub.host_name] = ServedHub(service, address)
        vault = KeyVault(issuer, world)
        parts.push_async_callback(vault.aclose)
        vault_address = await parts.enter_async_context(
            serve(faults.around("vault", vault, shapes.vault), certificate)
        )
        resource = ProvisioningResource(dps)
        page = ArmPage([resource], issuer, world)
        arm_address = await parts.enter_async_context(
            serve(faults.around("arm", page, shapes.arm), certificate)
        )
        tokens = TokenService(issuer, world)
        identity = await parts.enter_async_context(serve(tokens, None))
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
            issuer=issuer,
            identity=tokens.environment(identity.url),
        )


def _webhook_client(faults: Faults) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    wire = httpx.AsyncHTTPTransport(trust_env=False, limits=limits)
    return httpx.AsyncClient(transport=faults.transport(wire, "webhook"))
