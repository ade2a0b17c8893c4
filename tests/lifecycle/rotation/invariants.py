"""What must be true after every single call of a rotation, whoever died before it."""

import json
from typing import Any

import httpx

from tests.lifecycle.enrollments.cloud import Internet
from tests.lifecycle.rotation.rig import GROUP, PRIMARY, SECONDARY, SECRET, RotationRig
from tests.memory_table import MemoryTable


def peeked(rig: RotationRig) -> dict[str, Any]:
    """The group's row as it is in the table now."""
    assert isinstance(rig.table, MemoryTable)
    row: dict[str, Any] = json.loads(str(rig.table._partitions["dps-1|rotation"][GROUP].values["row"]))
    return row


class Invariants:
    """Looks at the world itself, not through the clients."""

    def __init__(self, rig: RotationRig) -> None:
        self._rig = rig
        self._slots = rig.slots()
        self._lived: set[str] = {PRIMARY}
        self.overwritten = 0

    def check(self) -> None:
        rig, slots = self._rig, self._rig.slots()
        row = peeked(rig)
        held = set(slots.values()) | rig.in_vault()
        for slot, key in self._slots.items():
            if slots[slot] == key:
                continue
            self.overwritten += 1
            if row["mode"] == "routine":
                assert row["slots"][slot]["use"] == "free", f"{slot} was overwritten, and was not free"
            else:
                assert not rig.enabled(), "keys were exchanged while devices could register"
            assert slots[slot] in rig.in_vault(), "a key was placed that is not in the vault"
            assert key in rig.in_vault() or key in slots.values(), "an overwritten key is lost"
        self._slots = slots
        if rig.vault.peek(SECRET):
            live = rig.live()
            self._lived.add(live)
            if row["mode"] == "routine":
                assert live in slots.values(), "the live secret's key is in no slot"
            elif rig.enabled():
                new = set(slots.values()) - {PRIMARY, SECONDARY}
                assert not new or live in new, "devices may register, and the new key is not published"
        assert self._lived <= held, "a key that was live is lost"
        published = {(version.tags or {}).get("RotationId") for version in rig.vault.peek(SECRET)} - {None}
        assert len(published) <= 1, "two rotations of one occasion"


class Watched(httpx.AsyncBaseTransport):
    """The network, with a look after each call."""

    def __init__(self, rig: RotationRig, invariants: Invariants) -> None:
        self._inner = Internet(rig)
        self._invariants = invariants

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        body = await response.aread()
        self._invariants.check()
        return httpx.Response(response.status_code, headers=response.headers, content=body)
