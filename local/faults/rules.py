"""Which calls a fault meets, and what it does to them."""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

Kind = Literal["status", "slow", "stall", "drop", "half", "skew"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STATUSES = (429, 500, 503)
_LATE_ONLY = "half"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to a call.

    `after` tells the two halves of every outage apart: without it the service never sees the call, with it
    the service has carried the call out and only the answer suffers. (A slow call is carried out late
    without it, at once with it; either way the client may have given up.)

    Raises:
        ValueError: a value that cannot be; the text names it and what it may be.
    """

    kind: Kind
    after: bool = False
    status: int = 503
    """Of a `status`: 429, 500 or 503."""
    retry_after: int | None = None
    """Of a `status`: seconds in its Retry-After header; None: it has none."""
    seconds: float = 0.0
    """Of a `slow`: how long. Of a `skew`: how far the service's clock is ahead (negative: behind)."""
    octets: int | None = None
    """Of a `half`: bytes of the body that come before the connection ends; None: half of it."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; it may be {', '.join(KINDS)}")
        if self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}; it may be 429, 500 or 503")
        if not math.isfinite(self.seconds) or (self.seconds < 0 and self.kind != "skew"):
            raise ValueError(f"seconds is {self.seconds!r}; it must be finite, and at least 0 unless a skew")
        if self.kind in ("slow", "skew") and self.seconds == 0:
            raise ValueError(f"seconds is 0; a {self.kind} needs another number")
        if self.retry_after is not None and self.retry_after < 0:
            raise ValueError(f"retry_after is {self.retry_after}; it must be at least 0, or left out")
        if self.octets is not None and self.octets < 0:
            raise ValueError(f"octets is {self.octets}; it must be at least 0, or left out")

    @property
    def late(self) -> bool:
        """Whether the service has carried the call out when this happens."""
        return self.after or self.kind == _LATE_ONLY

    def told(self) -> dict[str, Any]:
        """For the journal and the admin port."""
        told: dict[str, Any] = {"kind": self.kind}
        if self.kind == "status":
            told |= {"status": self.status, "retry_after": self.retry_after}
        if self.kind in ("slow", "skew"):
            told["seconds"] = self.seconds
        if self.kind == "half":
            told["octets"] = self.octets
        return told if self.kind == "skew" else told | {"after": self.late}


def throttled(retry_after: int | None = None) -> Fault:
    """429, with a Retry-After in seconds or without."""
    return Fault(kind="status", status=429, retry_after=retry_after)


def answered(status: int, *, after: bool = False, retry_after: int | None = None) -> Fault:
    """429, 500 or 503 in the service's own shape; `after`: although the call was carried out."""
    return Fault(kind="status", status=status, after=after, retry_after=retry_after)


def slowed(seconds: float, *, after: bool = False) -> Fault:
    """The call is carried out so much later; `after`: it is carried out at once and answered so late."""
    return Fault(kind="slow", seconds=seconds, after=after)


def stalled(*, after: bool = False) -> Fault:
    """No answer ever comes, and the connection stays open until the client gives up."""
    return Fault(kind="stall", after=after)


def dropped(*, after: bool = False) -> Fault:
    """The connection ends without an answer."""
    return Fault(kind="drop", after=after)


def halved(octets: int | None = None) -> Fault:
    """The connection ends within the answer's body: after so many bytes, or half of it."""
    return Fault(kind="half", octets=octets)


def skewed(seconds: float) -> Fault:
    """For this call the service judges tokens and dates records by a clock so many seconds ahead."""
    return Fault(kind="skew", seconds=seconds)


@dataclass(frozen=True, slots=True)
class Rule:
    """The calls a fault meets. In patterns `*` stands for any text; case does not count.

    Raises:
        ValueError: a value that cannot be; the text names it and what it may be.
    """

    fault: Fault
    service: str = "*"
    """Pattern of the name the emulator was put under."""
    method: str = "*"
    """Pattern of the HTTP method."""
    path: str = "*"
    """Pattern of the path, decoded, without the query."""
    nth: int = 1
    """The first of the matching calls that may be met; those before it pass."""
    count: int | None = 1
    """How many calls are met; None: all from then on."""
    probability: float = 1.0
    """Of each call that may be met. Drawn from the world's seeded randomness."""

    def __post_init__(self) -> None:
        if self.nth < 1:
            raise ValueError(f"nth is {self.nth}; the first matching call is 1")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count is {self.count}; it must be at least 1, or null for every call")
        if not 0 < self.probability <= 1:
            raise ValueError(f"probability is {self.probability}; it must be over 0 and at most 1")

    def matches(self, service: str, method: str, path: str) -> bool:
        """Whether a call is one of those it counts."""
        given = ((self.service, service), (self.method, method), (self.path, path))
        return all(_pattern(pattern).fullmatch(text) is not None for pattern, text in given)


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.IGNORECASE | re.DOTALL)
