"""A DPS in process, the safe change over it, and a second writer with hands of its own."""

import random
from typing import Any

import httpx

from clients.auth import ConnectionString
from clients.connections import Connections
from clients.dps import DpsClient
from clients.pacing import UnpacedShare
from lifecycle.enrollments.at_dps import DpsEnrollments, groups, individuals
from local.dps.behaviour import Behaviour
from local.dps.service import ProvisioningService
from local.hub import IotHub
from local.switches import Switches
from local.world import ManualClock, World

HUBS = ("hub-a.azure-devices.net", "hub-b.azure-devices.net")
PRIMARY = "cHJpbWFyeS1rZXktb2YtdGhlLWdyb3Vw"
SECONDARY = "c2Vjb25kYXJ5LWtleS1vZi10aGUtZ3JvdXA="
KEYS = {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}
WEBHOOK = "https://app.example/api/allocate?code=function-key-of-the-test"


class Rig:
    """One DPS with two hubs."""

    def __init__(
        self, switches: Switches | None = None, *, webhooks: httpx.AsyncClient | None = None
    ) -> None:
        self.clock = ManualClock()
        behaviour: Behaviour = Behaviour() if switches is None else switches.behaviour(Behaviour(), "dps")
        self.service = ProvisioningService(
            "rig",
            hubs=[IotHub(name, seed=1) for name in HUBS],
            world=World(self.clock, seed=1),
            behaviour=behaviour,
            webhook_client=webhooks,
        )

    def transport(self) -> httpx.ASGITransport:
        """The way to it, without a network."""
        return httpx.ASGITransport(self.service.asgi)

    def dps(self, transport: httpx.AsyncBaseTransport | None = None) -> DpsClient:
        """A client of it; over a transport that may fail or die."""
        keys = ConnectionString.parse(self.service.connection_string(self.service.host_name))
        return DpsClient(
            self.service.host_name,
            auth=keys.auth(self.clock),
            connections=Connections(transport=transport or self.transport()),
            share=UnpacedShare(),
            clock=self.clock,
            jitter=random.Random(1).random,
        )

    def groups(self, transport: httpx.AsyncBaseTransport | None = None) -> DpsEnrollments[Any]:
        """Its groups as documents."""
        return groups(self.dps(transport))

    def individuals(self, transport: httpx.AsyncBaseTransport | None = None) -> DpsEnrollments[Any]:
        """Its individual enrollments as documents."""
        return individuals(self.dps(transport))

    async def aclose(self) -> None:
        """Close what it holds."""
        await self.service.aclose()


def group(**members: Any) -> dict[str, Any]:
    """The document of a symmetric-key group with a webhook."""
    return {
        "enrollmentGroupId": "line-a",
        "attestation": {"type": "symmetricKey", "symmetricKey": dict(KEYS)},
        "allocationPolicy": "custom",
        "customAllocationDefinition": {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"},
        "iotHubs": list(HUBS),
        "initialTwin": {"tags": {"site": "a"}, "properties": {"desired": {"interval": 5}}},
        **members,
    }
