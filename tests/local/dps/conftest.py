from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.local.dps.rig import Rig
from tests.openapi.judge import JUDGED, OPERATIONS


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with Rig() as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if JUDGED:
        errors = sum(count for (_, status), count in JUDGED.items() if status >= 400)
        reached = len({name for name, status in JUDGED if name and status < 300})
        terminalreporter.write_line(
            f"{JUDGED.total()} answers of the DPS emulator ({errors} of them errors) were held to the "
            f"published description; {reached} of its {len(OPERATIONS)} operations succeeded."
        )
