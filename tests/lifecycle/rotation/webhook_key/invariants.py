"""What must be true after every single call of a roll, whoever died before it."""

import json
from datetime import datetime
from typing import Any

import httpx

from tests.lifecycle.rotation.webhook_key.rig import FUNCTION, OLD, Everywhere, RollRig
from tests.memory_table import MemoryTable


class Invariants:
    """Looks at the world itself, not through the clients."""

    def __init__(self, rig: RollRig) -> None:
        self._rig = rig
        self._lived = {OLD}
        self._gone = False

    def check(self) -> None:
        rig = self._rig
        at_app = set(rig.at_app().values())
        for key in rig.keys_held():
            assert "*" not in key, "asterisks were written"
            assert key in at_app, "an enrollment has a key that the app does not"
            assert self._everywhere(key), "an enrollment has a key that some instance does not take yet"
        self._lived |= rig.keys_held()
        assert self._lived <= at_app | rig.in_vault(), "a key that was used is lost"
        assert rig.held()["elsewhere"].startswith("https://other.example/"), "another's webhook was touched"
        if OLD not in at_app and not self._gone:
            self._gone = True
            row = self.row()
            assert "retire" in row["consents"], "the old key went without consent"
            rested = rig.clock.now() - datetime.fromisoformat(row["clean_since"])
            assert rested.total_seconds() >= row["terms"]["unused"]
            assert OLD not in rig.keys_held()
        rolls = {(version.tags or {}).get("RotationId") for version in rig.vault.peek("webhook-key")} - {None}
        assert len(rolls) <= 1, "two rolls at once"
        assert len(at_app) <= 2, "more keys than the old one and the new"

    def _everywhere(self, key: str) -> bool:
        """Whether the slowest instance takes it."""
        keys = self._rig.site.keys
        behaviour = keys._behaviour
        spans = [span for spans in keys._spans[FUNCTION].values() for span in spans if span.value == key]
        lag = behaviour.key_lag * behaviour.instances if any(span.since for span in spans) else 0.0
        return any(span.counts(self._rig.clock.now().timestamp(), lag) for span in spans)

    def row(self) -> dict[str, Any]:
        assert isinstance(self._rig.table, MemoryTable)
        row: dict[str, Any] = json.loads(
            str(self._rig.table._partitions["dps-1|webhook-key"]["roll"].values["row"])
        )
        return row


class Watched(httpx.AsyncBaseTransport):
    """The network, with a look after each call."""

    def __init__(self, rig: RollRig, invariants: Invariants) -> None:
        self._inner = Everywhere(rig)
        self._invariants = invariants

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        body = await response.aread()
        self._invariants.check()
        return httpx.Response(response.status_code, headers=response.headers, content=body)
