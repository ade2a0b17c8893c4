"""The one place where the host asks what time it is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for the timers."""

    def now(self) -> datetime:
        """The current time in UTC, aware."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait about so many seconds."""
        ...


class WallClock:
    """The process's own clock.

    It is read afresh each time, so whatever moves the clock of the process (time-machine) moves the timers.
    """

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop, whose time does not jump with the wall clock."""
        await asyncio.sleep(seconds)
