"""Shares of a service's rate limit: none at all for commands, a static one for jobs."""

import asyncio

from clients.ports import Clock

WINDOW_SECONDS = 60.0
"""Azure states the rates of DPS and of hubs per minute."""

RECOVERY_SECONDS = 300.0
"""How long after the last 429 a share is back at its whole rate."""

LEAST = 0.1
"""The part of its rate that a share keeps, however often it is told to slow down."""

LONGEST_STILL = 3600.0
"""Seconds that a share keeps still at most. A Retry-After of years, or a date by another clock, would else
hold it for as long as the process lives."""

ONE_MOMENT_SECONDS = 1.0
"""Within it several 429 count as one: calls under way at once were all too many at once."""

_ENOUGH = 1e-6


class UnpacedShare:
    """The share of an operator's command: its calls are few, and a person waits for them."""

    async def call(self) -> None:
        """Return at once."""


class PacedShare:
    """So many calls a minute: never more in any window of 60 seconds, and evenly spread.

    A token bucket that refills by one each `60 / (n - burst + 1)` seconds and holds `burst`, 1 + 4 % of n:
    more than n in a window is then impossible, and 95 % of n are reached when callers are always waiting.
    First come, first served.

    A 429 halves the rate, and no call is made before the time the service named; the rate comes back
    evenly over five minutes. Others use the same limit, and nothing but a 429 tells of them.
    """

    def __init__(self, per_minute: int, clock: Clock) -> None:
        """Make it, full.

        Args:
            per_minute: the share, calls a minute.
            clock: what minutes are measured by.

        Raises:
            ValueError: a share below 1.
        """
        if per_minute < 1:
            raise ValueError(f"per_minute is {per_minute}; a share is at least 1 call a minute")
        self.per_minute = per_minute
        burst = 1 + per_minute // 25
        self._interval = WINDOW_SECONDS / (per_minute - burst + 1)
        self._tolerance = (burst - 1) * self._interval
        self._clock = clock
        self._turn = asyncio.Lock()
        # When the next call is due at an even pace; it may be made by the tolerance earlier.
        self._due = clock.monotonic()
        self._slowed_at = self._due - RECOVERY_SECONDS
        self._slowed_to = 1.0

    async def call(self) -> None:
        """Wait until one more attempt may be made."""
        async with self._turn:
            # Time is read again after each sleep, which may end late or be cut short by a slower rate.
            while (left := self._due - self._tolerance - self._clock.monotonic()) > _ENOUGH:
                await self._clock.sleep(left)
            now = self._clock.monotonic()
            self._due = max(now, self._due) + self._interval / self._part(now)

    def slow(self, retry_after: float | None) -> None:
        """An attempt was answered 429. Several of one moment count once."""
        now = self._clock.monotonic()
        if now - self._slowed_at >= max(ONE_MOMENT_SECONDS, self._interval):
            self._slowed_to = max(LEAST, self._part(now) / 2)
            self._slowed_at = now
        pause = max(min(retry_after or 0.0, LONGEST_STILL), self._interval / self._slowed_to)
        # By the tolerance later still: what was saved up is no longer to be had.
        self._due = max(self._due, now + pause + self._tolerance)

    @property
    def wait(self) -> float:
        """Seconds until the next call may be made, by whoever is first in line; 0: now."""
        return max(0.0, self._due - self._tolerance - self._clock.monotonic())

    @property
    def rate(self) -> float:
        """Calls a minute that it allows now, for reports: less than its share after a 429."""
        return self.per_minute * self._part(self._clock.monotonic())

    def _part(self, now: float) -> float:
        recovered = (now - self._slowed_at) / RECOVERY_SECONDS
        return min(1.0, self._slowed_to + (1.0 - self._slowed_to) * max(0.0, recovered))
