"""Who may use how much of DPS's and the hubs' rates: one table, held below the whole by a test.

Each kind of work has a static share of each rate that it calls under. Static, since the ticks of two kinds
may run in instances that know nothing of each other; one worker at a time runs a kind's jobs
(lifecycle.jobs), so a share in its memory is all that the kind uses. What the shares leave is for everybody
else: operators, other tools and, of a hub's registry operations, DPS itself, which creates devices with them.

A share gives way on 429: it halves its rate, keeps still until the service's Retry-After, and comes back
evenly over five minutes (clients.pacing). A new process begins at its whole share.

Sources of the limits: Microsoft, "IoT Hub Device Provisioning Service limits"; "IoT Hub quotas and
throttling" (registry operations and queries per unit and tier).
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from clients.pacing import PacedShare
from clients.ports import Clock
from lifecycle.errors import NoShare
from provisioning.hubs import HubKey


class Rate(StrEnum):
    """A rate limit that work shares."""

    DPS = "dps"
    """DPS service operations: 1,000 a minute for the whole service."""
    HUB_REGISTRY = "hub-registry"
    """A hub's identity registry operations, its statistics counted in: whose class those are is not known."""
    HUB_QUERY = "hub-query"
    """A hub's queries, by page."""


Shares = Mapping[str, Mapping[Rate, float]]
"""Kind of work -> rate -> the part of it, over 0 and below 1."""

PER_MINUTE: Mapping[Rate, int] = MappingProxyType(
    {Rate.DPS: 1000, Rate.HUB_REGISTRY: 100, Rate.HUB_QUERY: 20}
)
"""Calls a minute; of a hub: of one unit of S1, S2, B1, B2 or F1. For S3 and B3 see HIGH_TIER."""

SHARES: Shares = MappingProxyType(
    {
        "audit": {Rate.DPS: 0.12, Rate.HUB_REGISTRY: 0.10, Rate.HUB_QUERY: 0.25},
        "purge": {Rate.DPS: 0.60, Rate.HUB_REGISTRY: 0.25, Rate.HUB_QUERY: 0.25},
        "rotation": {Rate.DPS: 0.05, Rate.HUB_REGISTRY: 0.06},
        "webhook-key": {Rate.DPS: 0.08},
        "statistics": {Rate.HUB_REGISTRY: 0.03},
        "decommission": {Rate.DPS: 0.10, Rate.HUB_REGISTRY: 0.06, Rate.HUB_QUERY: 0.15},
    }
)
"""The shares where no setting says otherwise."""

MOST = {Rate.DPS: 0.95, Rate.HUB_REGISTRY: 0.5, Rate.HUB_QUERY: 0.75}
"""What all kinds together may have. DPS needs a hub's registry for each device that it creates there."""


def checked(shares: Shares) -> Shares:
    """The shares, if they leave others what they need.

    Raises:
        ValueError: names the kind or the rate, and the fix.
    """
    for kind, parts in shares.items():
        for rate, part in parts.items():
            if not 0 < part < 1:
                raise ValueError(f"share of {kind} of {rate}: {part}; a share is over 0 and below 1")
    for rate, most in MOST.items():
        total = math.fsum(parts.get(rate, 0.0) for parts in shares.values())
        if total > most + 1e-9:
            raise ValueError(f"shares of {rate}: {total:g} in all, of at most {most:g}; lower some of them")
    return shares


def adjusted(shares: Shares, changes: Shares) -> Shares:
    """The shares with some of them changed.

    Raises:
        ValueError: as `checked`, or a change names no kind.
    """
    unknown = sorted(set(changes) - set(shares))
    if unknown:
        raise ValueError(f"shares: no kind of work is called {unknown[0]!a}; there are {', '.join(shares)}")
    return checked({kind: {**parts, **changes.get(kind, {})} for kind, parts in shares.items()})


class Rates:
    """The shares of one process, each made at its first use. One instance per DPS, kept across ticks."""

    def __init__(
        self,
        clock: Clock,
        shares: Shares = SHARES,
        *,
        units: Mapping[HubKey, int] | Mapping[str, int] | None = None,
    ) -> None:
        """Make it.

        Args:
            clock: what minutes are measured by.
            shares: by kind.
            units: hub -> its units, times provisioning.hubs.HIGH_TIER where its tier is 3. A hub that is not
                named counts as one unit.

        Raises:
            ValueError: the shares are too much.
        """
        self._clock = clock
        self._shares = checked(shares)
        self._units: dict[str, int] = {str(hub): count for hub, count in (units or {}).items()}
        self._paced: dict[tuple[str, Rate, str], PacedShare] = {}

    @property
    def hubs(self) -> frozenset[str]:
        """The hubs whose units were told."""
        return frozenset(self._units)

    def per_minute(self, kind: str, rate: Rate, hub: str = "") -> int:
        """Calls a minute that a kind of work may make: at least one, where it has a share.

        Args:
            kind: of work.
            rate: which limit.
            hub: whose, for a hub's.

        Raises:
            NoShare: the kind has none of it.
        """
        part = self._shares.get(kind, {}).get(rate)
        if part is None:
            raise NoShare(f"work of kind {kind!a} has no share of {rate}: give it one in lifecycle/rates.py")
        units = 1 if rate is Rate.DPS else max(1, self._units.get(hub.lower(), 1))
        return max(1, math.floor(part * PER_MINUTE[rate] * units + 1e-9))

    def share(self, kind: str, rate: Rate, hub: str = "") -> PacedShare:
        """The one share of a kind of work; the same each time.

        Raises:
            NoShare: the kind has none of it.
        """
        name = (kind, rate, hub.lower())
        if name not in self._paced:
            self._paced[name] = PacedShare(self.per_minute(kind, rate, hub), self._clock)
        return self._paced[name]
