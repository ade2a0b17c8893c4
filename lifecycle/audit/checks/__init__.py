"""The checks of the audit: one table, and pure functions that put evidence to them.

Each function looks at one piece of evidence and gives what its checks say of it; none raises, whatever is in
a document that could be adopted. A check whose needs are not met says nothing of single resources; once for
the run, `not_evaluated` names it with the reason. A run has at most one finding of a check about a resource.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lifecycle.audit.checks import allocation, certificates, keys, quotas, records
from lifecycle.audit.checks import operation as operations
from lifecycle.audit.checks.certificates import Held
from lifecycle.audit.checks.outcomes import Asked, ask
from lifecycle.audit.evidence import (
    Around,
    Counts,
    DeviceEvidence,
    EnrollmentEvidence,
    OperationEvidence,
    OrphanEvidence,
    RecordEvidence,
    WebhookEvidence,
)
from lifecycle.audit.finding import Check, NotEvaluated, Outcome, Source
from provisioning.documents import MalformedDocument

__all__ = [
    "CHECKS",
    "check_of",
    "device",
    "enrollment",
    "listed_record",
    "not_evaluated",
    "operation",
    "orphan",
    "record",
    "service",
    "webhook",
]

_ENROLLMENT = allocation.ENROLLMENT + certificates.ENROLLMENT + keys.ENROLLMENT + records.ENROLLMENT
_SERVICE = keys.SERVICE + quotas.SERVICE
_HELD = certificates.HELD + certificates.READ
_BEFORE_HUBS = {
    status: tuple(each for each in asked if Source.HUBS not in each.check.needs | each.check.reads)
    for status, asked in records.RECORD.items()
}
_FAMILIES = ("ALLOC", "CRED", "REC", "QUOTA", "OPS")


def _order(check: Check) -> tuple[int, str]:
    return _FAMILIES.index(check.id.split("-")[1]), check.id


_ALL: tuple[tuple[Asked[Any], ...], ...] = (
    _ENROLLMENT,
    _SERVICE,
    _HELD,
    allocation.WEBHOOK,
    certificates.AUTHORITY,
    *records.RECORD.values(),
    records.DEVICE,
    records.ORPHANED,
    operations.OPERATION,
)

CHECKS: tuple[Check, ...] = tuple(sorted((asked.check for table in _ALL for asked in table), key=_order))
"""Every check, by family and number."""

_BY_ID: Mapping[str, Check] = {check.id: check for check in CHECKS}


def check_of(check_id: str) -> Check | None:
    """The check of an id, in any case; None if there is none."""
    return _BY_ID.get(check_id.upper())


def enrollment(evidence: EnrollmentEvidence, around: Around) -> Iterator[Outcome]:
    """An enrollment group or an individual enrollment. Of a disabled one nothing is said: nobody uses it."""
    try:
        if not evidence.enrollment.enabled:
            return
        held = tuple(certificates.of_enrollment(evidence, around))
    except MalformedDocument as error:
        held = ()
        for asked in _HELD:
            yield NotEvaluated(asked.check.id, f"the document is not understood: {error}", evidence.resource)
    yield from ask(_ENROLLMENT, evidence, around, evidence.resource)
    for each in held:
        yield from _certificates(each, around)


def record(evidence: RecordEvidence, around: Around) -> Iterable[Outcome]:
    """A registration record, with what its hub and others say of the device."""
    asked = records.RECORD.get(evidence.record.status)
    return () if asked is None else ask(asked, evidence, around, evidence.resource)


def listed_record(evidence: RecordEvidence, around: Around) -> Iterable[Outcome]:
    """The same before any hub is read: by the checks that look at none."""
    asked = _BEFORE_HUBS.get(evidence.record.status)
    return () if asked is None else ask(asked, evidence, around, evidence.resource)


def device(evidence: DeviceEvidence, around: Around) -> Iterable[Outcome]:
    """A device at a hub without a record at DPS."""
    return ask(records.DEVICE, evidence, around, evidence.resource)


def orphan(evidence: OrphanEvidence, around: Around) -> Iterable[Outcome]:
    """A record of an enrollment that is gone."""
    return ask(records.ORPHANED, evidence, around, evidence.resource)


def service(counts: Counts, around: Around) -> Iterator[Outcome]:
    """The service as a whole: quotas, keys that groups share, and its CA certificates."""
    yield from ask(_SERVICE, counts, around, "service")
    if isinstance(around.certificates, tuple):
        for certificate in around.certificates:
            held = certificates.of_authority(certificate)
            yield from ask(certificates.AUTHORITY, certificate, around, held.resource)
            yield from _certificates(held, around)


def operation(evidence: OperationEvidence, around: Around) -> Iterable[Outcome]:
    """This app itself."""
    return ask(operations.OPERATION, evidence, around, "service")


def webhook(evidence: WebhookEvidence, around: Around) -> Iterable[Outcome]:
    """A webhook that was called."""
    return ask(allocation.WEBHOOK, evidence, around, evidence.resource)


def not_evaluated(around: Around) -> Iterator[NotEvaluated]:
    """The checks that could not look at everything, each once, with what was missing.

    Args:
        around: as it stands at the end of the run.
    """
    for check in CHECKS:
        for source in sorted((check.needs | check.reads) - around.known):
            nothing = source in check.needs
            reason = around.why_not(source)
            yield NotEvaluated(check.id, reason if nothing else f"in part only: {reason}")
            break


def _certificates(held: Held, around: Around) -> Iterable[Outcome]:
    asked = certificates.HELD if held.holder == "reference" else _HELD
    return ask(asked, held, around, held.resource)
