"""What a run of the audit came to, as it is told: small values, and the order of findings."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from lifecycle.audit.finding import Check, Finding, NotEvaluated, Severity, Source

RANK: Mapping[Severity, int] = {severity: rank for rank, severity in enumerate(Severity)}
"""Worst first."""


class Novelty(StrEnum):
    """How a finding compares with the last run that could have seen it."""

    NEW = "new"
    RECURRING = "recurring"
    RESOLVED = "resolved"
    """It was found then, and is not any more."""
    UNCLEAR = "unclear"
    """What the check reads was not read to its end this time, so it is neither new nor resolved."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """Somebody's word that a finding is known and may wait.

    Attributes:
        check: id of the check.
        resource: as findings name it; * stands for any text and ? for any one character.
        reason: why; an operator's text.
        by: who said so.
        created: when.
        until: from then on the finding counts again.
    """

    check: str
    resource: str
    reason: str
    by: str
    created: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding, whether it is new, and whether somebody suppressed it.

    Attributes:
        found: whether this run found it; else an earlier one did, and this one did not.
    """

    finding: Finding
    novelty: Novelty
    suppression: Suppression | None = None
    found: bool = True

    @property
    def open(self) -> bool:
        """Whether it wants somebody's attention: found in this run, and not suppressed."""
        return self.found and self.suppression is None


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit of the service, and how far it is used up.

    Attributes:
        name: "registrations", "ca_certificates", …
        used: at least so many.
        limit: documented, or as the service says.
        per_day: what was added per day lately; None: history does not tell.
    """

    name: str
    used: int
    limit: int
    per_day: float | None = None

    @property
    def share(self) -> float:
        """Of the limit, 0 to 1 and beyond."""
        return self.used / self.limit if self.limit > 0 else 1.0

    @property
    def days_left(self) -> float | None:
        """Days to full at the recent rate; None: nobody can say, or it does not grow."""
        if self.per_day is None or self.per_day <= 0:
            return None
        return max(0, self.limit - self.used) / self.per_day


@dataclass(frozen=True, slots=True)
class HubLoad:
    """A linked hub and its devices.

    Attributes:
        hub: host name.
        devices: so many; None: not known.
        limit: the most it may have; None: none is known.
        listed: whether its listing came to the end, or the count is the hub's own word.
    """

    hub: str
    devices: int | None
    limit: int | None = None
    listed: bool = True


@dataclass(frozen=True, slots=True)
class CertificateEnd:
    """When a certificate ends, of a CA or of an enrollment's slot."""

    resource: str
    ends: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """One run, without its findings.

    Attributes:
        id: of its job.
        dps: name of the DPS.
        by: who or what started it.
        started: when; checks took this for now.
        ended: when; None: it is not over.
        sources: what was read to its end.
        reasons: of the others, why not.
        found: id of a check -> findings of this run, suppressed ones included.
        capped: checks that found more than is kept: their findings are a part of `found`.
        not_evaluated: checks that concluded nothing, of everything or of one resource.
        not_evaluated_count: how many of these there were; `not_evaluated` may be the first of them.
        calls: what it cost, in calls of all services.
    """

    id: str
    dps: str
    started: datetime
    ended: datetime | None = None
    by: str = ""
    sources: frozenset[Source] = frozenset()
    reasons: Mapping[Source, str] = field(default_factory=dict)
    found: Mapping[str, int] = field(default_factory=dict)
    capped: frozenset[str] = frozenset()
    not_evaluated: tuple[NotEvaluated, ...] = ()
    not_evaluated_count: int = 0
    quotas: tuple[Quota, ...] = ()
    hubs: tuple[HubLoad, ...] = ()
    certificates: tuple[CertificateEnd, ...] = ()
    calls: int | None = None

    @property
    def took(self) -> timedelta | None:
        """How long, breaks between slices included."""
        return None if self.ended is None else self.ended - self.started


@dataclass(frozen=True, slots=True)
class Report:
    """All of a run but its findings, which are as many as there are and come as a stream.

    Attributes:
        run: the run.
        checks: every check there is, by id, and those of the run that this version does not know.
        compared: id of a check -> the run that its findings are compared with; missing: there is none.
        expired: suppressions that do not count any more.
    """

    run: Run
    checks: Mapping[str, Check]
    compared: Mapping[str, str] = field(default_factory=dict)
    expired: tuple[Suppression, ...] = ()


class Archive(Protocol):
    """Where runs and their findings are kept."""

    async def runs(self, most: int = 50) -> Sequence[Run]:
        """Ended runs, newest first."""

    async def run(self, run: str = "") -> Run | None:
        """One run; "" for the latest that ended."""

    def findings(self, run: str, check: str) -> AsyncIterator[Finding]:
        """What a check found in a run, in the order of `identity`, nothing twice."""


def identity(finding: Finding) -> str:
    """What tells findings of different runs apart or together; fit for a table's row key.

    A resource's text may be long and hostile, so its digest stands for it.
    """
    return identity_of(finding.check, finding.resource)


def identity_of(check: str, resource: str) -> str:
    """The same of a finding's parts."""
    digest = hashlib.sha256(resource.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{check}!{digest[:32]}"


def catalogue(checks: Sequence[Check], run: Run) -> Mapping[str, Check]:
    """The checks by id, worst first; for what only the run knows of (of another version), a stand-in."""
    known = {check.id: check for check in checks}
    strange = sorted({*run.found, *(each.check for each in run.not_evaluated)} - known.keys())
    whole = [*known.values(), *(_stranger(name) for name in strange)]
    return {check.id: check for check in sorted(whole, key=lambda check: (RANK[check.severity], check.id))}


def _stranger(name: str) -> Check:
    return Check(
        id=name,
        title="A check that this version does not know",
        severity=Severity.INFO,
        needs=frozenset(),
        reads=frozenset(),
        why="the run was made by another version of this app",
        fix="",
        source="",
    )


@dataclass(slots=True)
class Count:
    """Of the findings of one check."""

    open: int = 0
    suppressed: int = 0
    new: int = 0
    recurring: int = 0
    resolved: int = 0
    unclear: int = 0
    """Found this time or before, and not comparable."""
    unkept: int = 0
    """Of the open or suppressed ones: found, counted and not kept."""


class Tally:
    """Counts findings as they go by."""

    def __init__(self) -> None:
        self.checks: dict[str, Count] = {}
        self.severities: Counter[Severity] = Counter()
        """Open findings by their severity."""

    def add(self, judged: Judged) -> None:
        """One more. New, recurring and unclear ones count suppressed ones too."""
        count = self.checks.setdefault(judged.finding.check, Count())
        match judged.novelty:
            case Novelty.NEW:
                count.new += 1
            case Novelty.RECURRING:
                count.recurring += 1
            case Novelty.RESOLVED:
                count.resolved += 1
            case Novelty.UNCLEAR:
                count.unclear += 1
        if judged.open:
            count.open += 1
            self.severities[judged.finding.severity] += 1
        elif judged.found:
            count.suppressed += 1

    def close(self, run: Run, checks: Mapping[str, Check]) -> None:
        """After the last one: add what the run found and did not keep.

        It counts as open, with its check's severity, unless all that was kept of it is suppressed.
        """
        for name in run.capped & run.found.keys():
            count = self.checks.setdefault(name, Count())
            count.unkept = max(0, run.found[name] - count.open - count.suppressed)
            if count.suppressed and not count.open:
                count.suppressed += count.unkept
            else:
                count.open += count.unkept
                self.severities[checks[name].severity] += count.unkept

    @property
    def whole(self) -> Count:
        """All checks together."""
        total = Count()
        for each in self.checks.values():
            for name in Count.__slots__:
                setattr(total, name, getattr(total, name) + getattr(each, name))
        return total

    def at_least(self, severity: Severity) -> int:
        """Open findings that are as bad, or worse."""
        return sum(count for each, count in self.severities.items() if RANK[each] <= RANK[severity])
