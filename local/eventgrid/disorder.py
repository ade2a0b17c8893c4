"""What goes wrong with deliveries on request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disorder:
    """How deliveries are disturbed; without anything they are made at once, in order, once.

    Chances are from 0 to 1 and are drawn for each event and subscription from the world's randomness.
    Event Grid promises delivery at least once and in no order, so all but `drop` may really happen.

    Raises:
        ValueError: a chance is none, or a time is negative.
    """

    duplicate: float = 0.0
    """Chance that an event is sent a second time although it was delivered."""
    duplicate_after: float = 0.0
    """Seconds between the success and the second time."""
    delay: float = 0.0
    """Each first delivery waits a random time up to so many seconds. Events overtake each other by it."""
    shuffle: float = 0.0
    """Events are held back for so many seconds and then sent in a random order."""
    drop: float = 0.0
    """Chance that an event is lost without a trace but in the journal (an outage over the time to live)."""
    jitter: float = 0.0
    """Each retry's wait is longer by a random part of up to this fraction (documented: some jitter)."""

    def __post_init__(self) -> None:
        for name in ("duplicate", "drop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        for name in ("duplicate_after", "delay", "shuffle", "jitter"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
