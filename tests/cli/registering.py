"""A device that registers at the rig's DPS."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from local.dps import sas
from tests.cli.rig import Rig


async def register(rig: Rig, device: str, key: str) -> dict[str, Any]:
    """The state it ends in; {"status": HTTP status} where DPS refuses to begin."""
    dps = rig.cloud.dps
    token = sas.sign(
        f"{dps.id_scope}/registrations/{device}", key, datetime.now(UTC) + timedelta(hours=1), "registration"
    )
    url = f"https://localhost/{dps.id_scope}/registrations/{device}"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(dps.asgi),
        params={"api-version": "2021-10-01"},
        headers={"authorization": token},
    ) as http:
        begun = await http.put(f"{url}/register", json={"registrationId": device})
        if begun.status_code != 202:
            return {"status": begun.status_code}
        while True:
            ended = await http.get(f"{url}/operations/{begun.json()['operationId']}")
            if ended.status_code == 200:
                state: dict[str, Any] = ended.json()["registrationState"]
                return state
            await asyncio.sleep(0.01)
