"""A clock under a test's control, its date and its monotonic seconds apart."""

import asyncio
from datetime import UTC, datetime, timedelta


class HandClock:
    """Stands still until it is moved. `sleep` moves it, and lets other tasks run once."""

    def __init__(self) -> None:
        self.date = datetime(2026, 11, 22, 6, tzinfo=UTC)
        self.seconds = 1_000.0

    def now(self) -> datetime:
        return self.date

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.move(seconds)
        await asyncio.sleep(0)

    def move(self, seconds: float, *, date: bool = True, monotonic: bool = True) -> None:
        """Let time pass, on one of the two only if so told: a suspended machine, or a date that was set."""
        if date:
            self.date += timedelta(seconds=seconds)
        if monotonic:
            self.seconds += seconds
