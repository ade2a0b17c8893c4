"""A vault in process, and the calls clients make."""

import json
from typing import Any, Self

import httpx

from local.issuer import VAULT, Issuer
from local.vault import KeyVault, VaultBehaviour, VaultEvent
from local.world import ManualClock, World

VERSION = "2025-07-01"
QUICK = VaultBehaviour(deleting_seconds=0, recovering_seconds=0, purging_seconds=0)
"""A vault whose deletes and recoveries are done at once, for clients that poll in real time."""
DAY = 86_400


class Rig:
    """`events` are those the vault has told of."""

    def __init__(self, behaviour: VaultBehaviour | None = None) -> None:
        self.clock = ManualClock()
        self.world = World(self.clock, seed=7)
        self.issuer = Issuer(self.clock, lifetime=10_000 * DAY)
        self.vault = KeyVault(self.issuer, self.world, behaviour=behaviour)
        self.events: list[VaultEvent] = []
        self.vault.subscribe(self.events.append)
        self.token = self.issuer.token(VAULT[0])
        transport = httpx.ASGITransport(self.vault)
        self.http = httpx.AsyncClient(transport=transport, base_url="https://localhost:8443")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.vault.aclose()
        await self.http.aclose()

    @property
    def now(self) -> int:
        return int(self.clock.now().timestamp())

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **query: str
    ) -> httpx.Response:
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {token or self.token}"}
        if "://" in path:
            return await self.http.request(method, path, content=content, headers=headers)
        asked = {"api-version": VERSION, **query}
        return await self.http.request(method, path, content=content, headers=headers, params=asked)

    async def set(self, name: str = "s1", value: str = "v", **members: Any) -> dict[str, Any]:
        answer = await self.call("PUT", f"/secrets/{name}", {"value": value, **members})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def set_expiring(self, seconds: float, name: str = "s1") -> str:
        """Set a secret that expires so many seconds from now; the new version."""
        made = await self.set(name, attributes={"exp": int(self.now + seconds)})
        return str(made["id"].rpartition("/")[2])

    def told(self, *kinds: str) -> list[tuple[str, str]]:
        """Kind and version of the events of those kinds."""
        return [(event.kind, event.version) for event in self.events if event.kind in kinds]


def error(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and inner code."""
    body = answer.json()["error"]
    return answer.status_code, body["code"], body.get("innererror", {}).get("code")
