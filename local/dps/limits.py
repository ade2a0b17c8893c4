"""How much one provisioning service takes: the documented quotas and rates."""

from collections.abc import Callable
from dataclasses import dataclass

from local.dps.errors import THROTTLED, DpsError
from local.world import Clock


@dataclass(frozen=True, slots=True)
class Limits:
    """The documented limits of one service; None lifts one."""

    individual_enrollments: int | None = 1_000_000
    groups: int | None = 100
    """Enrollment groups of each attestation type."""
    registrations: int | None = 1_000_000
    """Registration records."""
    operations_per_minute: int | None = 1_000
    """Calls of the service API; a bulk operation or a query is one."""
    registrations_per_minute: int | None = 1_000
    polls_per_device: int | None = 5
    """Polls of one device in ten seconds."""


UNTHROTTLED = Limits(operations_per_minute=None, registrations_per_minute=None, polls_per_device=None)
"""The quotas without the rates."""


class Throttle:
    """Lets so many calls pass in each stretch of time, for each caller apart.

    How DPS measures is unknown: here a stretch starts with its first call and ends on its own, and calls
    that were refused do not count.
    """

    def __init__(
        self,
        limit: int | None,
        seconds: float,
        clock: Clock,
        *,
        retry_after: Callable[[], int | None] = lambda: None,
    ) -> None:
        """Make one.

        Args:
            limit: calls of one caller in each stretch; None: any number.
            seconds: how long a stretch is.
            clock: measures it.
            retry_after: asked at each refusal for the seconds it names; None: none.
        """
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._retry_after = retry_after
        self._ends = float("-inf")
        self._counts: dict[str, int] = {}

    def take(self, caller: str = "") -> None:
        """Count a call.

        Raises:
            DpsError: 429.
        """
        if self._limit is None:
            return
        now = self._clock.monotonic()
        if now >= self._ends:
            self._ends = now + self._seconds
            self._counts.clear()
        count = self._counts.get(caller, 0)
        if count >= self._limit:
            message = "Operations are being throttled for this tenant."
            after = self._retry_after()
            raise DpsError(THROTTLED, message, headers={} if after is None else {"Retry-After": str(after)})
        self._counts[caller] = count + 1
