"""Who gets which events, and when a delivery is tried again. No I/O."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from local.eventgrid.events import EVENT_GRID, Event, Schema

RETRY_WAITS = (10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 10_800.0, 21_600.0)
"""Seconds before each retry (documented); the last is followed by `LAST_WAIT` for ever."""
LAST_WAIT = 43_200.0
ANSWER_LIMIT = 30.0
"""Seconds an endpoint has to answer before the retry is queued (documented)."""
LATE_LIMIT = 180.0
"""Seconds within which a late success still takes the queued retry back (documented: "tries to")."""
MANUAL_LIMIT = 300.0
"""Seconds in which a subscription can be validated by its URL (documented)."""
FINAL = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 413: "RequestEntityTooLarge"}
"""Statuses of a webhook that are not tried again (documented)."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """An event subscription with a webhook.

    Raises:
        ValueError: a limit is outside what Event Grid allows.
    """

    name: str
    topic: str
    """ARM resource id of the source; compared without case."""
    endpoint: str
    """The whole URL, with its key. It is a secret: the journal masks it."""
    schema: Schema = EVENT_GRID
    event_types: frozenset[str] | None = None
    """None: all."""
    max_attempts: int = 30
    """Deliveries of one event, 1 to 30."""
    time_to_live: timedelta = timedelta(minutes=1440)
    """1 to 1440 minutes; looked at only before a retry (documented)."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= 30:
            raise ValueError(f"max_attempts is {self.max_attempts}; Event Grid allows 1 to 30")
        if not timedelta(minutes=1) <= self.time_to_live <= timedelta(minutes=1440):
            raise ValueError(f"time_to_live is {self.time_to_live}; Event Grid allows 1 to 1440 minutes")

    def __repr__(self) -> str:
        return f"Subscription({self.name!r}, {self.topic!r})"

    def wants(self, event: Event) -> bool:
        """Whether the event is of its topic and of one of its types."""
        if event.topic.lower() != self.topic.lower():
            return False
        return self.event_types is None or event.type in self.event_types


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event given up: what a dead-letter container would hold; without one Event Grid drops it."""

    subscription: str
    event: Event
    reason: str
    """MaxDeliveryAttemptsExceeded, TimeToLiveExceeded, or `Undeliverable` for a final status."""
    attempts: int
    outcome: str
    """Of the last delivery: the name of a final status, `HTTP 500`, TimedOut or NoConnection."""
    published: datetime
    last_attempt: datetime


def retry_wait(attempts: int) -> float:
    """Seconds before the next delivery after that many failed ones (at least 1)."""
    return RETRY_WAITS[attempts - 1] if attempts <= len(RETRY_WAITS) else LAST_WAIT
