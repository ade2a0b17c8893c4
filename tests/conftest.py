"""What all tests share: one Azurite for the whole run."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from local.azurite import Azurite, NotInstalled


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def azurite(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The connection string of an Azurite that serves tables; tests name their tables apart.

    Ask for it as an argument, or from a synchronous fixture: its loop cannot start within a running one.
    """
    try:
        async with Azurite(log=tmp_path_factory.mktemp("azurite") / "azurite.log") as running:
            yield running.connection_string
    except NotInstalled as error:
        pytest.fail(f"{error}. `./run test` sets everything up.", pytrace=False)
