from collections.abc import AsyncIterator

import pytest_asyncio

from tests.local.dps.rig import Rig
from tests.local.mqtt.wire import Endpoint, endpoint


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Rig() as made:
        yield made


@pytest_asyncio.fixture
async def mqtt(rig: Rig) -> AsyncIterator[Endpoint]:
    await rig.put_group()
    async with endpoint(rig) as made:
        yield made
