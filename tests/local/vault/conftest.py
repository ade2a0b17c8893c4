from collections.abc import AsyncIterator

import pytest_asyncio

from tests.local.vault.rig import Rig


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Rig() as made:
        yield made
