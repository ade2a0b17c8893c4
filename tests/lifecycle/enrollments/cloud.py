"""A DPS, its hubs and a vault in process, and devices that register there."""

import random
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import httpx

from clients.auth import ConnectionString
from clients.connections import Connections
from clients.hubs import HubClient, HubShares
from clients.pacing import UnpacedShare
from clients.vault import VaultClient
from lifecycle.enrollments.at_dps import groups, individuals
from lifecycle.enrollments.devices import Hub, Places
from local.dps import sas
from local.dps.keys import derive_key
from local.hub import HubDevice as StoredDevice
from local.iothub.behaviour import HubBehaviour
from local.iothub.service import HubService
from local.issuer.roles import Granted
from local.switches import Switches
from local.vault import KeyVault, VaultBehaviour
from provisioning.hubs import HubKey
from tests.lifecycle.enrollments.rig import HUBS, PRIMARY, Rig

VAULT = "https://kv-local.vault.azure.net"


class Anybody:
    """Takes every token: who may do what is not what these tests are about."""

    def accept(self, token: str, audiences: Collection[str]) -> Granted:
        return Granted("o", "c", "t", ("*",), ("*",))


class Bearer:
    async def header(self, *, fresh: bool = False) -> str:
        return "Bearer any"


class CloudRig(Rig):
    """The DPS of `Rig`; its hubs and a vault answer too."""

    def __init__(
        self, switches: Switches | None = None, *, webhooks: httpx.AsyncClient | None = None
    ) -> None:
        super().__init__(switches, webhooks=webhooks)
        world = self.service.world
        behaviour = HubBehaviour() if switches is None else switches.behaviour(HubBehaviour(), "hub")
        self.hubs = {
            hub.host_name: HubService(hub, world=world, behaviour=behaviour, throttled=False)
            for hub in self.service.hubs
        }
        self.vault = KeyVault(Anybody(), world, behaviour=VaultBehaviour(transactions=None))

    def transport(self) -> "Internet":  # type: ignore[override]  # the base's knows the DPS alone
        return Internet(self)

    def vault_client(self, transport: httpx.AsyncBaseTransport | None = None) -> VaultClient:
        return VaultClient(
            VAULT,
            auth=Bearer(),
            connections=Connections(transport=transport or self.transport()),
            share=UnpacedShare(),
            clock=self.clock,
            jitter=random.Random(1).random,
        )

    def hub_client(self, hub: HubKey, transport: httpx.AsyncBaseTransport | None = None) -> HubClient:
        share = UnpacedShare()
        text = self.hubs[hub].connection_string(hub)
        return HubClient(
            hub,
            auth=ConnectionString.parse(text).auth(self.clock),
            connections=Connections(transport=transport or self.transport()),
            shares=HubShares(identities=share, queries=share, twins=share),
            clock=self.clock,
            jitter=random.Random(1).random,
        )

    def places(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        linked: tuple[str, ...] = HUBS,
        hub: Callable[[HubKey], Hub] | None = None,
    ) -> Places:
        dps = self.dps(transport)
        return Places(
            individuals(dps),
            dps.registrations,
            hub or (lambda name: self.hub_client(name, transport)),
            tuple(HubKey(name) for name in linked),
        )

    def enrollments(self, kind: str, transport: httpx.AsyncBaseTransport | None = None) -> Any:
        dps = self.dps(transport)
        return groups(dps) if kind == "group" else individuals(dps)

    def identity(self, hub: str, device_id: str) -> StoredDevice | None:
        """What a hub really holds."""
        return self.hubs[hub].hub.devices.get(device_id)

    async def register(self, device: str, key: str | None = None) -> dict[str, Any]:
        """Register with a key, that derived from the group's primary one by default.

        Returns:
            The state it ended in; {"status": HTTP status} where DPS refused to begin.
        """
        scope = self.service.id_scope
        expires = self.clock.now() + timedelta(hours=1)
        token = sas.sign(
            f"{scope}/registrations/{device}", key or derive_key(PRIMARY, device), expires, "registration"
        )
        url = f"https://{self.service.host_name}/{scope}/registrations/{device}"
        version, headers = {"api-version": "2021-10-01"}, {"authorization": token}
        async with httpx.AsyncClient(transport=Internet(self), params=version, headers=headers) as http:
            begun = await http.put(f"{url}/register", json={"registrationId": device})
            if begun.status_code != 202:
                return {"status": begun.status_code}
            await self.clock.advance(0)
            ended = await http.get(f"{url}/operations/{begun.json()['operationId']}")
            state: dict[str, Any] = ended.json()["registrationState"]
            return state

    async def aclose(self) -> None:
        await self.vault.aclose()
        await super().aclose()


class Internet(httpx.AsyncBaseTransport):
    """Leads each host name to its service."""

    def __init__(self, rig: CloudRig) -> None:
        self._dps = httpx.ASGITransport(rig.service.asgi)
        self._vault = httpx.ASGITransport(rig.vault)
        self._hubs = {name: httpx.ASGITransport(hub.asgi) for name, hub in rig.hubs.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if host.endswith(".vault.azure.net"):
            return await self._vault.handle_async_request(request)
        return await self._hubs.get(host, self._dps).handle_async_request(request)
