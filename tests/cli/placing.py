"""The webhook beside the emulated DPS, over the same state tables that the commands change."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from allocation import Freshness
from clients.tables import TableAccount
from local.serve import serve
from tests.allocation.instance import Instance
from tests.cli.rig import Ran, Rig
from tests.cli.rig_clients import azure
from tests.local.dps.rig import group

ALWAYS_FRESH = Freshness(refresh=0.0, max_age=0.0, stale_seconds=5.0, cold_seconds=5.0)


@dataclass(frozen=True)
class App:
    """Commands on a rig with state tables of its own."""

    rig: Rig
    environment: dict[str, str]

    async def run(self, *words: str) -> Ran:
        return await self.rig.run(*words, environment=dict(self.environment))

    async def activate(self, text: str) -> Any:
        file = self.rig.folder / "active.yaml"
        file.write_text(text)
        return (await self.run("policy", "activate", str(file), "--by", "kim", "--yes")).json

    def homes(self) -> dict[str, str]:
        """Device -> hub, as the DPS has it."""
        return {
            record.registration_id: record.assigned_hub
            for record in self.rig.cloud.dps.store.registrations
            if record.assigned_hub
        }

    async def enroll(self, name: str, url: str, **members: Any) -> None:
        """A group that asks this webhook."""
        custom = {"webhookUrl": url, "apiVersion": "2021-10-01"}
        whole = group(name, allocationPolicy="custom", customAllocationDefinition=custom, **members)
        await azure(self.rig, lambda client: client.enrollment_group.create_or_update(name, whole))


@asynccontextmanager
async def webhook(app: App) -> AsyncIterator[str]:
    """An instance of the app that answers DPS until the block ends; its URL."""
    account = TableAccount.from_connection_string(app.environment["STATE_TABLES"])
    dps = app.environment["DPS_NAME"]
    instance = Instance(
        account.table("policies"), account.table("fleet"), account.table("ledger"), freshness=ALWAYS_FRESH
    )

    async def asgi(_scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = await instance.allocator.answer(body, dps)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async with serve(asgi, None) as address:
        yield f"{address.url}/api/allocate?code=not-to-be-seen"
    await account.close()


def environment_of(rig: Rig, azurite: str, dps: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in rig.cloud.identity.items():
        monkeypatch.setenv(name, value)  # azure-identity reads the process's environment
    return {"STATE_TABLES": azurite, "DPS_NAME": dps}
