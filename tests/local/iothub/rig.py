"""A served hub in process, under a clock that the test moves."""

import base64
import json
from datetime import timedelta
from typing import Any, Self

import httpx

from local.dps import sas
from local.hub import DeviceKeys, InitialTwin, IotHub
from local.iothub import auth
from local.iothub.auth import HubPolicy
from local.iothub.behaviour import HubBehaviour
from local.iothub.service import HubService
from local.world import ManualClock, World

VERSION = "2021-04-12"
HOST = "hub-a.azure-devices.net"
KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(b"\x09" * 32).decode()
PRIMARY = base64.b64encode(b"\x01" * 32).decode()
SECONDARY = base64.b64encode(b"\x02" * 32).decode()
POLICIES = [HubPolicy(name, KEY, OTHER_KEY, allowed) for name, allowed in auth.BUILT_IN.items()]


class Rig:
    """Without throttles unless `throttled` is given."""

    def __init__(
        self, behaviour: HubBehaviour | None = None, *, hub: IotHub | None = None, **options: Any
    ) -> None:
        self.clock = ManualClock()
        self.world = World(self.clock, seed=7)
        self.hub = hub or IotHub(HOST, seed=1)
        self.service = HubService(
            self.hub,
            world=self.world,
            policies=POLICIES,
            behaviour=behaviour,
            **{"throttled": False, **options},
        )
        transport = httpx.ASGITransport(self.service.asgi)
        self.http = httpx.AsyncClient(transport=transport, base_url="https://localhost:8444")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    def token(
        self, policy: str = auth.OWNER, key: str = KEY, resource: str = HOST, seconds: float = 3600
    ) -> str:
        return sas.sign(resource, key, self.clock.now() + timedelta(seconds=seconds), policy)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """A call; header names have underscores for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("authorization", self.token())
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        url = path if "api-version" in path else f"{path}{'&' if '?' in path else '?'}api-version={VERSION}"
        return await self.http.request(method, url, content=content, headers=named)

    async def put(
        self, device_id: str = "dev-1", *, etag: str | None = None, **members: Any
    ) -> httpx.Response:
        headers = {} if etag is None else {"if_match": etag}
        return await self.call("PUT", f"/devices/{device_id}", {"deviceId": device_id, **members}, **headers)

    async def query(self, text: str, **headers: str) -> httpx.Response:
        return await self.call("POST", "/devices/query", {"query": text}, **headers)

    async def found(self, text: str = "SELECT * FROM devices") -> list[str]:
        """The device ids a query finds on its first page."""
        answer = await self.query(text)
        assert answer.status_code == 200, answer.text
        return [row["deviceId"] for row in answer.json()]

    async def total(self) -> int:
        answer = await self.call("GET", "/statistics/devices")
        return int(answer.json()["totalDeviceCount"])

    def make(self, *device_ids: str) -> None:
        """Devices as DPS makes them."""
        for device_id in device_ids:
            self.hub.create_or_get(
                device_id,
                keys=DeviceKeys(PRIMARY, SECONDARY),
                iot_edge=False,
                twin=InitialTwin({"site": "x"}, {"interval": 5}),
                now=self.clock.now(),
            )


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and error code; the body must say the same."""
    name = answer.headers["iothub-errorcode"]
    assert answer.json()["Message"].startswith(f"ErrorCode:{name};")
    assert answer.json()["ExceptionMessage"].startswith("Tracking ID:")
    return answer.status_code, name
