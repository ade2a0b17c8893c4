"""What the chapters have in common: enrollment groups that ask the app, and who calls the stack."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from local.clients import ServiceClient, connect
from local.stack import Stack

API_VERSION = "2021-10-01"


def asks_webhook(
    group: str, webhook: str, *, moves: bool = True, api_version: str = API_VERSION
) -> dict[str, Any]:
    """An enrollment group with symmetric keys that DPS asks a webhook for.

    Args:
        group: its id.
        webhook: the URL, with its key.
        moves: whether devices may be moved to another hub.
        api_version: of what the webhook is sent.
    """
    return {
        "enrollmentGroupId": group,
        "attestation": {"type": "symmetricKey"},
        "allocationPolicy": "custom",
        "customAllocationDefinition": {"webhookUrl": webhook, "apiVersion": api_version},
        "reprovisionPolicy": {"updateHubAssignment": moves, "migrateDeviceData": moves},
    }


@dataclass(frozen=True, slots=True)
class Callers:
    """Who calls a chapter's stack.

    Attributes:
        service: an operator, at the DPS's service API.
        devices: the connections of devices.
        folder: for files; it goes with the chapter.
    """

    service: ServiceClient
    devices: httpx.AsyncClient
    folder: Path


@asynccontextmanager
async def callers(stack: Stack) -> AsyncIterator[Callers]:
    """Connections and a folder for one chapter."""
    with tempfile.TemporaryDirectory(prefix="dps-demo-") as folder:
        async with AsyncExitStack() as clients:
            operator = await clients.enter_async_context(connect(stack.address.url, stack.trust))
            devices = await clients.enter_async_context(connect(stack.address.url, stack.trust))
            service = ServiceClient(operator, stack.dps_connection_string, now=stack.cloud.world.clock.now)
            yield Callers(service, devices, Path(folder))
