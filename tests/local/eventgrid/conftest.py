from collections.abc import AsyncIterator

import pytest_asyncio

from tests.local.eventgrid.rig import Grid, running
from tests.local.host.conftest import run_app as run_app  # noqa: PLC0414 - a fixture for the tests here


@pytest_asyncio.fixture
async def eg() -> AsyncIterator[Grid]:
    async with running() as made:
        yield made
