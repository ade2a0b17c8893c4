"""What the facts leave open about Key Vault, each as one choice.

Every field is a behaviour that no public source establishes, unless its text says otherwise. The other
unknowns, on which nothing of interest hangs, and what this emulator does:
- the message of a 400 other than for a bad name and for a property over its limit: words of its own;
- the status of an unknown or missing `api-version`: 400, after the token was looked at;
- a DELETE of a secret that is deleted: 404, since the name is no longer in the collection;
- recover and purge of a secret on its way into or out of the deleted ones: 409, as a set is (the purge of
  one that is being deleted is seen);
- the versions of a deleted secret: an empty list, as those of one that never was (seen);
- `null` for an attribute, tags or contentType in an update: leaves it as it is;
- `exp` before `nbf`, or in the past: accepted;
- which requests count against the throttle: those with a good token;
- backup and restore: not emulated (404).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VaultBehaviour:
    """One reading of the unknown behaviours of Key Vault, and its settings."""

    retention_days: int = 90
    """Days a deleted secret can be recovered: 7 to 90, 90 unless set (documented)."""

    purge_protection: bool = False
    """Whether purging is refused until the retention has passed (documented; the message is seen)."""

    deleting_seconds: float = 5.0
    """How long a deleted secret is in neither collection. That there is such a time, and about five
    seconds of it, is seen in recorded calls; its bounds are unknown."""

    recovering_seconds: float = 1.0
    """How long a recovered secret is in neither collection (seen: up to a second)."""

    purging_seconds: float = 5.0
    """How long after a purge its name cannot be used (that there is such a time is seen)."""

    transactions: int | None = 4000
    """Requests that each span of `throttle_window` allows (documented: 4,000 in 10 s for a vault);
    None: no throttle."""

    throttle_window: float = 10.0
    """Seconds. Whether the real span slides, as this one does, is unknown."""

    retry_after: int | None = None
    """The `Retry-After` of a 429 in seconds; None: there is none (so in the answers seen)."""

    default_page_size: int = 25
    """Most items of a page, and their number when the request names none (documented)."""

    empty_pages: bool = False
    """Whether a list has pages without items that still have a `nextLink` (seen among deleted secrets)."""

    near_expiry_days: float = 30.0
    """Days before `exp` of the current version at which SecretNearExpiry comes (documented)."""

    late_event_seconds: float = 120.0
    """How long after a version was made an event comes whose time had passed by then ("within several
    minutes" is documented)."""

    patched_exp_counts: bool = True
    """Whether the events of expiry follow an `exp` that was set by an update of a version.

    False: a version whose `exp` was changed raises none."""

    disabled_raises_events: bool = True
    """Whether a disabled current version raises the events of expiry."""

    def __post_init__(self) -> None:
        if not 7 <= self.retention_days <= 90:
            raise ValueError(f"retention_days is {self.retention_days}; Key Vault allows 7 to 90")

    @property
    def recovery_level(self) -> str:
        """`recoveryLevel` of every secret (documented names)."""
        customized = "Customized" if self.retention_days < 90 else ""
        return f"{customized}Recoverable{'' if self.purge_protection else '+Purgeable'}"
