"""Tables of both kinds, for tests that hold one contract over both: in memory, and Azurite's."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from clients.ports import Table
from clients.tables import TableAccount
from tests.memory_table import MemoryTable


@pytest.fixture(params=["memory", "azurite"])
def tables_at(request: pytest.FixtureRequest) -> str | None:
    """A connection string; None for tables in memory."""
    return request.getfixturevalue("azurite") if request.param == "azurite" else None


@pytest.fixture
async def table(tables_at: str | None) -> AsyncIterator[Table]:
    """A new table."""
    if tables_at is None:
        yield MemoryTable(page=7)
        return
    account = TableAccount.from_connection_string(tables_at)
    yield account.table(f"t{uuid4().hex}")
    await account.close()
