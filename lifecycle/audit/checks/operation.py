"""Checks of how this app itself has been doing."""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from clients.wording import plain
from lifecycle.audit.checks.outcomes import NOTHING, Asked, found, sources, unknown
from lifecycle.audit.evidence import Around, OperationEvidence
from lifecycle.audit.finding import Check, Outcome, Severity, Source
from provisioning.registrations import registration_key

Outcomes = Iterable[Outcome]

_MOST_NAMED = 20

GAPS = Check(
    id="DPS-OPS-001",
    title="Answers are missing from the ledger",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.LEDGER),
    why="devices were placed while Table storage was slow or down: explanations and simulations lack them",
    fix="./run dps audit run, then look at the throttling of Table storage",
    source="this app's ledger",
)
UNCONFIRMED = Check(
    id="DPS-OPS-002",
    title="DPS's records do not confirm answers of the ledger",
    severity=Severity.MEDIUM,
    needs=sources(Source.ENROLLMENTS, Source.REGISTRATIONS),
    reads=sources(Source.LEDGER),
    why="DPS did not take those answers, or somebody else calls the webhook: rotate its key in that case",
    fix="./run dps rotate webhook-key start",
    source="this app's ledger; azure-docs iot-dps/concepts-custom-allocation",
)
DRIFT = Check(
    id="DPS-OPS-003",
    title="Devices were placed by another policy than the active one",
    severity=Severity.HIGH,
    needs=sources(Source.POLICY),
    reads=sources(Source.LEDGER),
    why="an instance cannot read the policy store, or another deployment answers: changes reach some devices",
    fix="./run dps policy history",
    source="this app's policy store",
)
LATE = Check(
    id="DPS-OPS-004",
    title="A job has not run when it should have",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.JOBS),
    why="timers of the lifecycle app do not fire, or the job is switched off: what it guards is unguarded",
    fix="./run dps job list",
    source="Azure/azure-functions-host#2968",
)
BLOCKED = Check(
    id="DPS-OPS-005",
    title="A job is stuck",
    severity=Severity.HIGH,
    needs=sources(),
    reads=sources(Source.JOBS),
    why="it failed too often and waits for somebody to look",
    fix="./run dps job show {id}, then ./run dps job resume {id}",
    source="this app's job loop",
)
WAITING = Check(
    id="DPS-OPS-006",
    title="A rotation is blocked",
    severity=Severity.HIGH,
    needs=sources(),
    reads=sources(Source.ROTATIONS),
    why="the key's end comes nearer, and no new one can be staged until somebody consents",
    fix="./run dps rotate status {id}",
    source="this app's rotation; HashiCorp Vault: orphaned rotations",
)
POISONED = Check(
    id="DPS-OPS-007",
    title="Events or jobs were given up",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.JOBS),
    why="what they were about was not done, and nobody will try again",
    fix="./run dps job list",
    source="azure-docs event-grid/delivery-and-retry",
)


def gaps(evidence: OperationEvidence, _: Around) -> Outcomes:
    """Since the last run."""
    if evidence.ledger_gaps <= 0:
        return NOTHING
    return found(GAPS, "service", {"answers": evidence.ledger_gaps})


def unconfirmed(evidence: OperationEvidence, _: Around) -> Outcomes:
    """Only where DPS's records were read to their end."""
    if evidence.unconfirmed <= 0:
        return NOTHING
    return found(UNCONFIRMED, "service", {"answers": evidence.unconfirmed})


def drift(evidence: OperationEvidence, _: Around) -> Outcomes:
    """By what the ledger says of those who decided lately."""
    others = sorted(evidence.policy_seen - {evidence.policy_active, ""})
    if not others:
        return NOTHING
    if not evidence.policy_active:
        return unknown(DRIFT, "service", "which policy is active is not known")
    return found(DRIFT, "service", {"active": evidence.policy_active, "seen": tuple(others[:_MOST_NAMED])})


def late(evidence: OperationEvidence, _: Around) -> Iterator[Outcome]:
    """One finding for each kind."""
    for kind, by in sorted(evidence.jobs_late.items()):
        if by > timedelta():
            yield from found(LATE, f"job:{kind}", {"minutes_late": by // timedelta(minutes=1)})


def blocked(evidence: OperationEvidence, _: Around) -> Iterator[Outcome]:
    """One finding for each job."""
    for job, problem in sorted(evidence.jobs_blocked.items()):
        yield from found(BLOCKED, f"job:{job}", {"problem": plain(problem)}, id=job)


def waiting(evidence: OperationEvidence, _: Around) -> Iterator[Outcome]:
    """One finding for each group."""
    for group, reason in sorted(evidence.rotations_waiting.items()):
        resource = f"group:{registration_key(group)}"
        yield from found(WAITING, resource, {"waits_for": plain(reason)}, id=group)


def poisoned(evidence: OperationEvidence, _: Around) -> Outcomes:
    """Their number."""
    return found(POISONED, "service", {"number": evidence.poisoned}) if evidence.poisoned > 0 else NOTHING


OPERATION: tuple[Asked[OperationEvidence], ...] = (
    Asked(GAPS, gaps),
    Asked(UNCONFIRMED, unconfirmed),
    Asked(DRIFT, drift),
    Asked(LATE, late),
    Asked(BLOCKED, blocked),
    Asked(WAITING, waiting),
    Asked(POISONED, poisoned),
)
