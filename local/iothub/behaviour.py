"""What the facts leave open about IoT Hub, each as one choice.

A field that says nothing of its source is unknown; "seen" is what somebody observed on a real hub, once.
Defaults are the plainest reading. Code that must be safe whatever the real service does can be run under
other values.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HubBehaviour:
    """One reading of the unknown behaviours of a hub."""

    statistics_lag: float = 0.0
    """Seconds by which `GET /statistics/devices` is behind the registry."""

    statistics_never_fall: bool = False
    """Whether deleted devices stay counted: the total is then the most there ever were (seen in 2019)."""

    statistics_count_as_identity: bool = True
    """Whether reading statistics uses the budget of identity operations."""

    query_lag: float = 0.0
    """Seconds until queries see a new or a changed device (seen: 1.4 s for a new one)."""

    query_ghosts: float = 0.0
    """Seconds for which queries still find a deleted device, if more than `query_lag`.

    Seen: one was found 25 minutes after it was deleted, and counted by `COUNT()`."""

    default_page_size: int = 100
    """Rows of a page when the request names no number, or one below 1."""

    max_page_size: int = 1000
    """Most rows of a page, whatever the request asks for ("may use a different value": documented)."""

    continuation_lifetime: float | None = None
    """Seconds after which a continuation token is refused with 400; None: never."""

    query_limit: int = 8192
    """Longest query text in characters.

    About 8,200 seen for the condition of a job, refused with 412; here a longer one is a 400."""

    retry_after: bool = False
    """Whether a 429 says in `Retry-After` when to come back (seen: it does not, for configurations)."""

    bulk_counts_devices: bool = True
    """Whether a bulk call uses as many identity operations as it names devices; False: one."""

    unquoted_if_match: bool = True
    """Whether an identity's etag in `If-Match` may come without quotes.

    Seen both ways: refused with 412 in 2018, accepted in 2026."""

    capital_thumbprints: bool = False
    """Whether a twin's `x509Thumbprint` has `PrimaryThumbprint` (seen) and not `primaryThumbprint`
    (documented)."""

    numbered_errors: bool = False
    """Whether error bodies have `errorCode`, `message`, `trackingId` and not `Message` with the name in
    front, and `ExceptionMessage` (both seen)."""

    move_sends_deleted: bool = True
    """Whether the hub a device leaves sends DeviceDeleted when DPS moves the device (inferred)."""

    message_limit: int = 1024 * 1024
    """Largest request body in bytes."""
