"""What a purge would do, counted before it does anything: pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.rules import Reason
from lifecycle.purge.state import Tally
from lifecycle.rates import Rate, Rates

EFFECT: Mapping[Reason, str] = {
    Reason.ORPHAN: "its enrollment is gone: only another enrollment can let it register again, and "
    "it is then placed as a new device",
    Reason.DEVICE_GONE: "it is on no hub: nothing, until it registers; it is then placed as a new device",
    Reason.UNLINKED_HUB: "its hub is not linked any more: nothing, until it registers; it is then placed as "
    "a new device",
    Reason.FAILED: "nothing, until it tries to register again, which it could do anyway",
    Reason.DISABLED: "nothing: its enrollment stays as it is, and so does whether it may register",
    Reason.OLD: "if it wakes, its hub still has it; when it registers again, it is placed as a new device "
    "and its twin may be set anew (unknown)",
    Reason.DECOMMISSIONED: "its group is gone: only another enrollment can let it register again, and it is "
    "then placed as a new device",
}
"""What a device behind a deleted record experiences."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What a run may delete, and whether the plan stays within.

    Attributes:
        most: records.
        due: records that it would delete.
        problem: why it would not begin; "" where it would.
    """

    most: int
    due: int
    problem: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do now.

    Attributes:
        population: records looked at.
        counts: reason -> group -> stale records.
        due: reason -> those that have been marked long enough.
        marked: records that this run was the first to mark.
        kept: why -> records that are left.
        samples: reason -> ids; hostile text.
        dps_calls: of the run, its listings counted in: each one operation that is billed.
        hub_calls: of the run, at all hubs: query pages and reads.
        minutes: that the run takes at the configured rates, at least.
        price: of the DPS calls, US dollars.
        caps: checked before the first delete.
        notes: what could not be evaluated.
    """

    population: int
    counts: Mapping[str, Mapping[str, int]]
    due: Mapping[str, int]
    kept: Mapping[str, int]
    samples: Mapping[str, tuple[str, ...]]
    dps_calls: int
    hub_calls: int
    minutes: int
    price: float
    caps: Caps
    marked: int = 0
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """JSON, for a job's result and for people."""
        return {
            "population": self.population,
            "stale": {reason: dict(groups) for reason, groups in self.counts.items()},
            "due": dict(self.due),
            "marked": self.marked,
            "kept": dict(self.kept),
            "samples": {reason: list(ids) for reason, ids in self.samples.items()},
            "effects": {reason: EFFECT[Reason(reason)] for reason in self.counts},
            "dpsCalls": self.dps_calls,
            "hubCalls": self.hub_calls,
            "minutes": self.minutes,
            "price": self.price,
            "caps": {"most": self.caps.most, "due": self.caps.due, "problem": self.caps.problem},
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Pace:
    """Calls a minute that purges may make.

    Attributes:
        dps: service operations.
        reads: of one hub's registry, where its units are not told.
        queries: of one hub, likewise.
        hubs: hub, in lower case -> reads and queries of that one.
    """

    dps: int
    reads: int
    queries: int
    hubs: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: str, rates: Rates) -> Self:
        """As fast as the rates let a kind of work go.

        Args:
            kind: of work.
            rates: of the process that does it.

        Raises:
            NoShare: the kind has none of one of these rates.
        """
        dps = rates.per_minute(kind, Rate.DPS)
        named = {hub: _of_hub(kind, rates, hub) for hub in rates.hubs}
        return cls(dps, *_of_hub(kind, rates, ""), named)

    def minutes(self, reads: Mapping[str, int], queries: int) -> tuple[int, int]:
        """How long the slowest hub takes to be read, and all hubs to be queried, at least.

        Args:
            reads: hub -> reads of its registry.
            queries: of these hubs together, spread as their rates are.
        """
        paces = {hub: self.hubs.get(hub.lower(), (self.reads, self.queries)) for hub in reads}
        slowest = max((math.ceil(count / paces[hub][0]) for hub, count in reads.items()), default=0)
        together = sum(pace for _, pace in paces.values()) or self.queries
        return slowest, math.ceil(queries / max(1, together))


def plan_of(tally: Tally, policy: PurgePolicy, pace: Pace, deleted: int = 0) -> Plan:
    """The plan that a pass comes to.

    Args:
        tally: what it counted.
        policy: for caps and price.
        pace: how fast it may go.
        deleted: by earlier passes of the same run.
    """
    due = sum(tally.due.values())
    passes = 2 if due else 1  # a run that deletes ends with a pass that finds nothing to do
    dps = passes * (tally.pages + tally.reads) + 2 * due
    named = {hub: count for hub, count in tally.hubs.items() if hub}
    minutes = max(math.ceil(dps / pace.dps), *pace.minutes(named, passes * tally.queries))
    return Plan(
        population=tally.population,
        counts=tally.found,
        due=tally.due,
        kept=tally.kept,
        samples={reason: tuple(ids) for reason, ids in tally.samples.items()},
        dps_calls=dps,
        hub_calls=passes * tally.queries + due,
        minutes=minutes,
        price=round(dps * policy.price / 1000, 4),
        caps=caps(due, tally.population, policy, deleted),
        marked=tally.marked,
        notes=tuple(tally.notes),
    )


def caps(due: int, population: int, policy: PurgePolicy, deleted: int = 0) -> Caps:
    """Whether so many records may go.

    Args:
        due: records about to be deleted.
        population: of so many.
        policy: with the caps.
        deleted: by earlier passes of the same run, which count too.
    """
    most = policy.most_of(population + deleted)
    if due + deleted <= most:
        return Caps(most, due, "")
    problem = (
        f"{due + deleted:,} of {population + deleted:,} records would go, of at most {most:,}: look at the "
        f"plan; if it is right, raise purge.most ({policy.most:,}) or purge.most_percent "
        f"({policy.most_percent:g}), or exclude groups"
    )
    return Caps(most, due, problem)


def _of_hub(kind: str, rates: Rates, hub: str) -> tuple[int, int]:
    return rates.per_minute(kind, Rate.HUB_REGISTRY, hub), rates.per_minute(kind, Rate.HUB_QUERY, hub)
