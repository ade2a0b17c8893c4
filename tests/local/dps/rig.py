"""A provisioning service in process, a webhook under a test's control, and the calls clients make."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

import httpx

from local.dps import sas
from local.dps.behaviour import Behaviour
from local.dps.keys import derive_key
from local.dps.policies import OWNER, AccessPolicy
from local.dps.service import ProvisioningService
from local.hub import IotHub
from local.world import ManualClock, SkewableClock, World
from tests.openapi.judge import Judge

VERSION = "2021-10-01"
SCOPE = "0ne00000000"
POLICY_KEY = base64.b64encode(bytes(range(32))).decode()
PRIMARY = base64.b64encode(b"\x01" * 32).decode()
SECONDARY = base64.b64encode(b"\x02" * 32).decode()
OTHER_KEY = base64.b64encode(b"\x03" * 32).decode()
HUBS = ("hub-a.azure-devices.net", "hub-b.azure-devices.net", "hub-c.azure-devices.net")
WEBHOOK = "https://app.example/api/allocate?code=not-to-be-seen"
NEVER = {"updateHubAssignment": False, "migrateDeviceData": False}
RESET = {"updateHubAssignment": True, "migrateDeviceData": False}
MIGRATE = {"updateHubAssignment": True, "migrateDeviceData": True}
Reply = Callable[[dict[str, Any]], httpx.Response]


def choose(host: str | None, **more: Any) -> Reply:
    """A webhook that always answers so."""
    return lambda _: httpx.Response(200, json={"iotHubHostName": host, **more})


class Rig:
    """`webhook` is what the webhook does with each body; `asked` is what it was asked.

    Every answer is held to the published description; one that does not conform fails the test.
    """

    def __init__(self, behaviour: Behaviour | None = None, **options: Any) -> None:
        self.clock = ManualClock()
        self.world = World(SkewableClock(self.clock), seed=7)
        self.asked: list[dict[str, Any]] = []
        self.webhook: Reply = choose(HUBS[0])
        self.hub_a, self.hub_b, self.hub_c = (IotHub(host, seed=1) for host in HUBS)
        self._webhook_client = httpx.AsyncClient(transport=httpx.MockTransport(self._reply))
        self.dps = ProvisioningService(
            id_scope=SCOPE,
            hubs=(self.hub_a, self.hub_b, self.hub_c),
            policies=[AccessPolicy(OWNER, POLICY_KEY, SECONDARY)],
            world=self.world,
            behaviour=behaviour,
            webhook_client=self._webhook_client,
            **options,
        )
        self.judge = Judge(self.dps.asgi)
        transport = httpx.ASGITransport(self.judge)
        self.http = httpx.AsyncClient(transport=transport, base_url="https://localhost:8443")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.dps.aclose()
        await self.http.aclose()
        await self._webhook_client.aclose()
        if kind is None:
            self.judge.check()

    def _reply(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content))
        return self.webhook(self.asked[-1])

    def owner(self, key: str = POLICY_KEY, policy: str = OWNER, resource: str = "localhost") -> str:
        return sas.sign(resource, key, self.clock.now() + timedelta(hours=1), policy)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """A service API call; header names have underscores for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("authorization", self.owner())
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        return await self.http.request(method, _versioned(path), content=content, headers=named)

    async def put_group(self, name: str = "g1", **members: Any) -> httpx.Response:
        return await self.call("PUT", f"/enrollmentGroups/{name}", group(name, **members))

    async def put_enrollment(self, name: str = "dev-1", **members: Any) -> httpx.Response:
        return await self.call("PUT", f"/enrollments/{name}", individual(name, **members))

    def token(self, device: str, key: str | None = None, seconds: float = 3600) -> str:
        """A device's token; without a key, that of a device of a group with the PRIMARY key."""
        key = key or derive_key(PRIMARY, device)
        expires = self.clock.now() + timedelta(seconds=seconds)
        return sas.sign(f"{SCOPE}/registrations/{device}", key, expires, "registration")

    async def start(self, device: str, key: str | None = None, **members: Any) -> httpx.Response:
        """Register, without polling."""
        return await self.http.put(
            _versioned(f"/{SCOPE}/registrations/{device}/register"),
            json={"registrationId": device, **members},
            headers={"authorization": self.token(device, key)},
        )

    async def poll(self, device: str, operation: str, key: str | None = None) -> httpx.Response:
        return await self.http.get(
            _versioned(f"/{SCOPE}/registrations/{device}/operations/{operation}"),
            headers={"authorization": self.token(device, key)},
        )

    async def look_up(self, device: str, key: str | None = None) -> httpx.Response:
        headers = {"authorization": self.token(device, key)}
        return await self.http.post(_versioned(f"/{SCOPE}/registrations/{device}"), headers=headers)

    async def register(self, device: str = "dev-1", key: str | None = None, **members: Any) -> dict[str, Any]:
        """Register and poll to the end; the operation's final body."""
        started = await self.start(device, key, **members)
        assert started.status_code == 202, started.text
        await self.clock.advance(0)
        polled = await self.poll(device, started.json()["operationId"], key)
        assert polled.status_code == 200, polled.text
        return dict(polled.json())

    async def state(self, device: str = "dev-1", key: str | None = None, **members: Any) -> dict[str, Any]:
        """The registration state a whole registration ends with."""
        return dict((await self.register(device, key, **members))["registrationState"])


def symmetric(primary: str | None = PRIMARY, secondary: str | None = SECONDARY) -> dict[str, Any]:
    keys = {"primaryKey": primary, "secondaryKey": secondary}
    return {"type": "symmetricKey", "symmetricKey": {name: key for name, key in keys.items() if key}}


def group(name: str = "g1", **members: Any) -> dict[str, Any]:
    return {"enrollmentGroupId": name, "attestation": symmetric(), **members}


def individual(name: str = "dev-1", **members: Any) -> dict[str, Any]:
    return {"registrationId": name, "attestation": symmetric(), **members}


def custom(**members: Any) -> dict[str, Any]:
    definition = {"webhookUrl": WEBHOOK, "apiVersion": VERSION}
    return {"allocationPolicy": "custom", "customAllocationDefinition": definition, **members}


def _versioned(path: str) -> str:
    return path if "?" in path else f"{path}?api-version={VERSION}"
