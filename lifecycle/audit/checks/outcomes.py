"""How checks are asked, and how they answer."""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from lifecycle.audit.evidence import Around, EnrollmentEvidence
from lifecycle.audit.finding import JSON, Check, Finding, NotEvaluated, Outcome, Severity, Source
from provisioning.documents import MalformedDocument

E = TypeVar("E")

NOTHING: tuple[Outcome, ...] = ()
_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Asked(Generic[E]):
    """A check, and the pure function that looks at one piece of evidence for it."""

    check: Check
    look: Callable[[E, Around], Iterable[Outcome]]


def sources(*names: Source) -> frozenset[Source]:
    """What a check needs or reads."""
    return frozenset(names)


def ask(asked: tuple[Asked[E], ...], evidence: E, around: Around, resource: str) -> Iterable[Outcome]:
    """Put one piece of evidence to every check whose needs are met.

    A part of a document that is not as documented is not evaluated, by that check alone.
    """
    known = around.known
    outcomes: list[Outcome] = []  # no generator: it is asked of each of a million records
    for each in asked:
        if each.check.needs <= known:
            try:
                outcomes += each.look(evidence, around)
            except MalformedDocument as error:
                reason = f"the document is not understood: {error}"
                outcomes.append(NotEvaluated(each.check.id, reason, resource))
            except RecursionError:
                reason = "the document nests too deep to be copied"
                outcomes.append(NotEvaluated(each.check.id, reason, resource))
    return outcomes


def found(
    check: Check,
    resource: str,
    evidence: Mapping[str, JSON],
    *,
    severity: Severity | None = None,
    fix: str | None = None,
    **names: str | Sequence[str],
) -> tuple[Finding]:
    """The finding of a check.

    Args:
        check: which.
        resource: what it is about.
        evidence: what was seen.
        severity: where it is not the check's.
        fix: the template of the command where it is not the check's.
        names: fill the template, each quoted for a shell.
    """
    exact = command(check.fix if fix is None else fix, names)
    return (Finding(check.id, resource, severity or check.severity, evidence, exact),)


def on(
    check: Check,
    evidence: EnrollmentEvidence,
    told: Mapping[str, JSON],
    *,
    severity: Severity | None = None,
    fix: str | None = None,
) -> tuple[Finding]:
    """The finding of a check about an enrollment, whose fix names it."""
    return found(
        check,
        evidence.resource,
        told,
        severity=severity,
        fix=fix,
        noun=evidence.noun,
        id=evidence.enrollment.id,
    )


def unknown(check: Check, resource: str, reason: str) -> tuple[NotEvaluated]:
    """That a check can conclude nothing of a resource."""
    return (NotEvaluated(check.id, reason, resource),)


def command(template: str, names: Mapping[str, str | Sequence[str]]) -> str:
    """A fix with its names; a name that is not given, or is empty, stays in braces."""

    def filled(place: re.Match[str]) -> str:
        value = names.get(place[1])
        if not value:
            return place[0]
        return shlex.quote(value) if isinstance(value, str) else shlex.join(value)

    return _NAME.sub(filled, template)


def days(since: datetime, until: datetime) -> int:
    """Whole days from one moment to another; negative where the other is before."""
    return (until - since).days


def date(moment: datetime | None) -> str | None:
    """A day, as findings show it."""
    return None if moment is None else f"{moment:%Y-%m-%d}"
