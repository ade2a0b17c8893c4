"""A toy to explore: the rotation of a group's key, over a provisioning service and a vault of a few lines.

The rotation keeps a row in a store, so that a process that dies can be followed by another. `bug` plants
one of four mistakes.
"""

import base64
import hashlib
import itertools
import json
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from local.explore import Life, Run

Bug = Literal["none", "publish before place", "put without keys", "no write-ahead", "tires"]
OLD, OTHER = "old-key", "other-key"


@dataclass
class Store:
    """Where a process leaves what the next one must know."""

    rows: dict[str, str] = field(default_factory=dict)

    async def get(self, name: str) -> str | None:
        return self.rows.get(name)

    async def put(self, name: str, value: str) -> None:
        self.rows[name] = value


class World:
    """One group with two keys, and a vault from which devices are given a key as soon as it is published."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.store = Store()
        self.keys = {"primary": OLD, "secondary": OTHER}
        self.versions: list[str] = [OLD]
        self.pending: str | None = None
        self.wrongs: list[str] = []
        self.entropy = itertools.count()

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        answer = self._dps(request.method, body) if request.url.host == "dps" else self._vault(request, body)
        self._look()
        return answer

    def _dps(self, method: str, body: dict[str, Any]) -> httpx.Response:
        if method == "GET":
            return httpx.Response(200, json=self.keys)
        given = {name: body[name] for name in self.keys if body.get(name)}
        if given.keys() != self.keys.keys():
            # Both the positions of the switch that a PUT which names one key may meet.
            done = self.run.choose("dps.put_without_keys", ("keep", "regenerate", "refuse"))
            if done == "refuse":
                return httpx.Response(400)
            if done == "regenerate":
                self.keys = {name: f"made-up-{name}" for name in self.keys}
        self.keys |= given
        return httpx.Response(200, json=self.keys)

    def _vault(self, request: httpx.Request, body: dict[str, Any]) -> httpx.Response:
        pending = request.url.path == "/pending"
        if request.method == "GET":
            value = self.pending if pending else self.versions[-1]
            return httpx.Response(200, json={"value": value}) if value else httpx.Response(404)
        if pending:
            self.pending = body["value"]
        else:
            self.versions.append(body["value"])
        return httpx.Response(200)

    def _look(self) -> None:
        if OLD not in self.keys.values():
            self.wrongs.append("devices with the key of before are locked out")
        if self.versions[-1] not in self.keys.values():
            self.wrongs.append(f"devices are given {self.versions[-1]!r}, which opens nothing")

    def check(self) -> None:
        new = self.versions[-1]
        assert not self.wrongs, self.wrongs[0]
        assert self.store.rows["step"] == "done"
        assert len(self.versions) == len(set(self.versions)), "a key was published twice"
        assert new != OLD
        assert self.keys == {"primary": OLD, "secondary": new}


class Rotation:
    """The app: told nothing, it reads from its row how far a process before it came."""

    def __init__(self, life: Life, world: World, bug: Bug) -> None:
        self._http = httpx.AsyncClient(transport=life.transport(world.transport()))
        self._store = life.port(world.store, "store")
        self._bug = bug
        self._entropy = world.entropy

    async def run(self) -> None:
        async with self._http:
            if self._bug == "tires" and await self._tired():
                await self._store.put("step", "done")
                return
            key = await self._written_ahead()
            steps = [("placed", self._place), ("published", self._publish)]
            if self._bug == "publish before place":
                steps.reverse()
            done = await self._store.get("step")
            names = [name for name, _ in steps]
            first = names.index(done) + 1 if done in names else 0
            for name, step in steps[first:] if done != "done" else ():
                await step(key)
                await self._store.put("step", name)
            await self._store.put("step", "done")

    async def _tired(self) -> bool:
        """A process that follows two that died takes it that all is done."""
        lives = int(await self._store.get("lives") or 0) + 1
        await self._store.put("lives", str(lives))
        return lives > 2

    async def _written_ahead(self) -> str:
        found = await self._http.get("http://vault/pending")
        if found.status_code == 200:
            return str(found.json()["value"])
        key = base64.b64encode(hashlib.sha256(b"%d" % next(self._entropy)).digest()).decode()
        if self._bug != "no write-ahead":
            await self._send("http://vault/pending", {"value": key})
        return key

    async def _place(self, key: str) -> None:
        now = (await self._http.get("http://dps/group")).json()
        if now["secondary"] == key:
            return
        other = {} if self._bug == "put without keys" else {"primary": now["primary"]}
        await self._send("http://dps/group", other | {"secondary": key})

    async def _publish(self, key: str) -> None:
        live = (await self._http.get("http://vault/live")).json()["value"]
        if live != key:
            await self._send("http://vault/live", {"value": key})

    async def _send(self, url: str, body: dict[str, str]) -> None:
        (await self._http.put(url, json=body)).raise_for_status()


def scenario_with(bug: Bug) -> Any:
    async def scenario(run: Run) -> None:
        world = World(run)
        await run.live(lambda life: Rotation(life, world, bug).run())
        world.check()

    return scenario
