"""What all tests share: one Azurite for the whole run."""

import gc
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from local.azurite import Azurite, NotInstalled

# How long a thing takes is for the benchmark to say: a busy machine fails no test.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """What a file of tests left open is noticed at its own end, and not in the next one's tests."""
    yield
    gc.collect()


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
