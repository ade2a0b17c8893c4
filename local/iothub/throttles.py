"""How much of each class of operation a hub allows (documented), by the world's clock."""

import math
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from local.iothub import errors
from local.iothub.errors import HubError
from local.world import Clock

Tier = Literal["F1", "S1", "S2", "S3"]
MINUTE, SECOND = 60.0, 1.0


class Budget(Protocol):
    """A class of operations that is limited."""

    def take(self, count: int = 1) -> float:
        """Use `count` operations and return 0; or use none and return the seconds until there is room."""


class Unlimited:
    """Always has room."""

    def take(self, count: int = 1) -> float:  # noqa: ARG002 - the protocol's
        """Nothing to wait for."""
        return 0.0


class RateBudget:
    """At most so many in any stretch of time of that length.

    Whether the hub counts so, or lets bursts through and slows them, is unknown beyond "traffic shaping".
    """

    def __init__(self, limit: int, seconds: float, clock: Clock) -> None:
        self.limit = limit
        self._seconds = seconds
        self._clock = clock
        self._taken: deque[tuple[float, int]] = deque()
        self._used = 0

    def take(self, count: int = 1) -> float:
        """See `Budget`."""
        now = self._clock.monotonic()
        while self._taken and self._taken[0][0] + self._seconds <= now:
            self._used -= self._taken.popleft()[1]
        if self._used + count <= self.limit:
            self._used += count
            self._note(now, count)
            return 0.0
        left = self._used
        for at, taken in self._taken:
            left -= taken
            if left + count <= self.limit:
                return at + self._seconds - now
        return self._seconds

    def _note(self, now: float, count: int) -> None:
        if self._taken and self._taken[-1][0] == now:
            count += self._taken.pop()[1]
        self._taken.append((now, count))


class _Rates(NamedTuple):
    identity: int
    """A minute and unit."""
    queries: int
    """A minute and unit."""
    twin_reads: tuple[int, int]
    """A second: at least so many, or so many for each unit if that is more."""
    twin_updates: tuple[int, int]


_SMALL = _Rates(100, 20, (100, 0), (50, 0))
_RATES: dict[str, _Rates] = {
    "F1": _SMALL,
    "S1": _SMALL,
    "S2": _Rates(100, 20, (100, 10), (50, 5)),
    "S3": _Rates(5000, 1000, (500, 500), (250, 250)),
}


class Throttles:
    """A hub's budgets. The words of the messages beyond `CRUD` (seen) are the emulator's own."""

    def __init__(self, clock: Clock, tier: Tier = "S1", units: int = 1, *, on: bool = True) -> None:
        """Start with full budgets.

        Args:
            clock: what they are counted by.
            tier: of the hub.
            units: of the hub, at least one; most limits grow with them.
            on: False: no limits.

        Raises:
            ValueError: there are no units.
        """

        def budget(seconds: float) -> Budget:
            return RateBudget(0, seconds, clock) if on else Unlimited()

        self._rates = _RATES[tier]
        self.identity = budget(MINUTE)
        self.queries = budget(MINUTE)
        self.twin_reads = budget(SECOND)
        self.twin_updates = budget(SECOND)
        self.scale(units)

    def scale(self, units: int) -> None:
        """Give the hub so many units from now on; what was used of the budgets stays used.

        Raises:
            ValueError: there are no units.
        """
        if units < 1:
            raise ValueError(f"a hub has at least one unit, not {units}")
        rates = self._rates
        for budget, limit in (
            (self.identity, rates.identity * units),
            (self.queries, rates.queries * units),
            (self.twin_reads, _higher(rates.twin_reads, units)),
            (self.twin_updates, _higher(rates.twin_updates, units)),
        ):
            if isinstance(budget, RateBudget):
                budget.limit = limit


def _higher(rate: tuple[int, int], units: int) -> int:
    least, per_unit = rate
    return max(least, per_unit * units)


def spend(
    budget: Budget, operation: str, *, count: int = 1, retry_after: Callable[[], bool] = lambda: False
) -> None:
    """Use `count` operations of a budget.

    Args:
        budget: which.
        operation: what the message calls them.
        count: how many.
        retry_after: asked at a refusal whether it says when to come back.

    Raises:
        HubError: 429: there is no room.
    """
    wait = budget.take(count)
    if wait > 0:
        headers = {"Retry-After": str(math.ceil(wait))} if retry_after() else {}
        message = "The request has been throttled. Wait 10 seconds and try again. Operation type: "
        raise HubError(errors.THROTTLED, message + operation, headers=headers)
