"""Checks of registration records, of the devices behind them, and of enrollments that nobody uses."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from clients.arm import Unknown
from clients.wording import plain
from lifecycle.audit import twins
from lifecycle.audit.checks.outcomes import NOTHING, Asked, date, days, found, on, sources, unknown
from lifecycle.audit.evidence import (
    Around,
    DeviceEvidence,
    EnrollmentEvidence,
    OrphanEvidence,
    RecordEvidence,
)
from lifecycle.audit.finding import JSON, Check, Outcome, Severity, Source
from provisioning.error_codes import error_code

Outcomes = Iterable[Outcome]

_DELETE = "./run dps {noun} registration delete --registration-id {id}"
_SHOW = "./run dps device show {id}"

FAILED = Check(
    id="DPS-REC-001",
    title="A registration has failed",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.REGISTRATIONS),
    why="the device has no hub, or an outdated one; it may be trying again and again",
    fix=_SHOW,
    source="azure-docs iot-dps/how-to-troubleshoot-dps; DPS service API: DeviceRegistrationState",
)
STUCK = Check(
    id="DPS-REC-002",
    title="A registration has been assigning for too long",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.REGISTRATIONS),
    why="DPS gives up after about seven minutes: the device is waiting for what does not come",
    fix=_SHOW,
    source="azure-docs iot-dps/tutorial-custom-allocation-policies (retries)",
)
DISABLED = Check(
    id="DPS-REC-003",
    title="A device of a disabled enrollment has tried to register",
    severity=Severity.INFO,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.REGISTRATIONS),
    why="a revoked device is still out there, or an enrollment is disabled that should not be",
    fix=_SHOW,
    source="azure-docs iot-dps/how-to-unprovision-devices",
)
UNLINKED_HUB = Check(
    id="DPS-REC-004",
    title="A device is assigned to a hub that is not linked",
    severity=Severity.MEDIUM,
    needs=sources(Source.ARM),
    reads=sources(Source.ENROLLMENTS, Source.REGISTRATIONS),
    why="DPS can neither move it nor renew it there; it has to register again to get another hub",
    fix=_SHOW,
    source="azure-docs iot-dps/how-to-manage-linked-iot-hubs",
)
NOT_IN_HUB = Check(
    id="DPS-REC-005",
    title="A device is assigned at DPS, but its hub does not have it",
    severity=Severity.HIGH,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.REGISTRATIONS, Source.HUBS),
    why="it cannot connect until it registers again, which devices do not do by themselves if they cache "
    "their hub",
    fix=_DELETE,
    source="Azure/azure-iot-cli-extension#707; Azure/iotedge#5639",
)
NOT_IN_DPS = Check(
    id="DPS-REC-006",
    title="A device is at a hub, but DPS has no record of it",
    severity=Severity.LOW,
    needs=sources(Source.ENROLLMENTS, Source.REGISTRATIONS),
    reads=sources(Source.HUBS),
    why="it was made by hand, or its record was deleted: no policy, drain or purge will see it",
    fix="az iot hub device-identity show --hub-name {hub} --device-id {id}",
    source="Azure/azure-iot-cli-extension#707",
)
TWO_HUBS = Check(
    id="DPS-REC-007",
    title="A device is at two hubs",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.REGISTRATIONS, Source.HUBS),
    why="it may be connected to the one while operators talk to the other; it counts in both",
    fix="./run dps device show {id}, then az iot hub device-identity delete --hub-name {hub} "
    "--device-id {device} where it is not connected",
    source="Azure/iotedge#6697, #7422",
)
ORPHAN = Check(
    id="DPS-REC-008",
    title="A registration record is left of a deleted enrollment",
    severity=Severity.LOW,
    needs=sources(Source.ENROLLMENTS, Source.REGISTRATIONS),
    reads=sources(),
    why="it counts against the million records, and no listing shows it any more",
    fix="./run dps purge plan",
    source="azure-docs iot-dps/how-to-unprovision-devices",
)
NEVER_REGISTERED = Check(
    id="DPS-REC-009",
    title="Nothing has ever registered through an enrollment",
    severity=Severity.LOW,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.REGISTRATIONS),
    why="a credential that nobody uses is one that nobody misses; it counts against a quota",
    fix="./run dps {noun} update --enrollment-id {id} --provisioning-status disabled",
    source="azure-docs iot-dps/how-to-manage-enrollments",
)
NESTED_TWIN = Check(
    id="DPS-REC-010",
    title="The initial twin is wrapped in additional_properties",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="the Azure CLI 0.25 wraps it once more at each update: devices start with members nobody reads",
    fix="./run dps {noun} update --enrollment-id {id} --initial-twin-tags @FILE "
    "--initial-twin-properties @FILE",
    source="Azure/azure-cli#31673",
)
ELSEWHERE = Check(
    id="DPS-REC-011",
    title="A device would be placed elsewhere now",
    severity=Severity.INFO,
    needs=sources(Source.POLICY, Source.FLEET),
    reads=sources(Source.ENROLLMENTS, Source.REGISTRATIONS),
    why="it stays where it is until it registers again; then the policy in force moves it",
    fix="./run dps explain {id}",
    source="azure-docs iot-dps/how-to-use-allocation-policies",
)


def failed(evidence: RecordEvidence, around: Around) -> Outcomes:
    """Of late: the device is trying. Long ago: it has given up, and the record is for a purge."""
    record = evidence.record
    updated = record.updated
    old = updated is not None and around.now - updated > timedelta(days=around.thresholds.failed_days)
    row = None if record.error_code is None else error_code(record.error_code)
    told: dict[str, JSON] = {
        "error_code": record.error_code,
        "message": plain(record.error_message or ""),
        "advice": None if row is None else row.advice,
        "since": date(updated),
        **_where(evidence),
    }
    severity = Severity.LOW if old else None
    return found(FAILED, evidence.resource, told, severity=severity, id=record.id)


def stuck(evidence: RecordEvidence, around: Around) -> Outcomes:
    """By the record's last change."""
    record = evidence.record
    updated = record.updated
    if updated is None:
        return unknown(STUCK, evidence.resource, "the record does not tell since when")
    minutes = (around.now - updated) // timedelta(minutes=1)
    if minutes < around.thresholds.assigning_minutes:
        return NOTHING
    return found(STUCK, evidence.resource, {"minutes": minutes, **_where(evidence)}, id=record.id)


def disabled(evidence: RecordEvidence, _: Around) -> Outcomes:
    """The record says so; the enrollment may have been enabled since."""
    record = evidence.record
    told: dict[str, JSON] = {"since": date(record.updated), **_where(evidence)}
    return found(DISABLED, evidence.resource, told, id=record.id)


def unlinked_hub(evidence: RecordEvidence, around: Around) -> Outcomes:
    """Only where it is certain; hubs have several names."""
    hub = evidence.record.hub
    if hub is None:
        return NOTHING
    standing = around.standing(hub)
    if standing == "unclear":
        reason = f"{hub}: a linked hub differs only behind the first dot"
        return unknown(UNLINKED_HUB, evidence.resource, reason)
    if standing == "linked":
        return NOTHING
    told: dict[str, JSON] = {"hub": hub, **_where(evidence)}
    return found(UNLINKED_HUB, evidence.resource, told, id=evidence.record.id)


def not_in_hub(evidence: RecordEvidence, around: Around) -> Outcomes:
    """Of hubs that were listed to their end, and of devices that had time to appear in a listing."""
    record = evidence.record
    if evidence.device is not None or record.hub is None:
        return NOTHING
    if doubt := _unsettled(evidence, around):
        return unknown(NOT_IN_HUB, evidence.resource, doubt)
    told: dict[str, JSON] = {
        "hub": record.hub,
        "device": record.device_id or record.id,
        "registered": date(record.updated),
        **_where(evidence),
    }
    noun = "enrollment" if evidence.group is None else "enrollment-group"
    return found(NOT_IN_HUB, evidence.resource, told, noun=noun, id=record.id)


def two_hubs(evidence: RecordEvidence, around: Around) -> Outcomes:
    """A device that DPS has just moved may still be found where it was."""
    if not evidence.other_hubs:
        return NOTHING
    record = evidence.record
    others = tuple(sorted(hub for hub in evidence.other_hubs if hub != record.hub))
    if not others:
        return NOTHING
    if doubt := _unsettled(evidence, around):
        return unknown(TWO_HUBS, evidence.resource, doubt)
    told: dict[str, JSON] = {"hub": record.hub, "others": others, **_where(evidence)}
    device = record.device_id or record.id
    return found(
        TWO_HUBS, evidence.resource, told, hub=others[0].partition(".")[0], device=device, id=record.id
    )


def elsewhere(evidence: RecordEvidence, _: Around) -> Outcomes:
    """What the policy in force would do, were it asked."""
    record, would_go = evidence.record, evidence.would_go
    if would_go is None or would_go == record.hub:
        return NOTHING
    told: dict[str, JSON] = {"hub": record.hub, "would_go": would_go, **_where(evidence)}
    return found(ELSEWHERE, evidence.resource, told, id=record.id)


def not_in_dps(evidence: DeviceEvidence, _: Around) -> Outcomes:
    """Listings alone do not tell: a deleted group's records are in none, and queries find deleted devices."""
    if not evidence.confirmed:
        return unknown(NOT_IN_DPS, evidence.resource, "not confirmed by reads of the registry and of DPS")
    told: dict[str, JSON] = {
        "hub": evidence.hub,
        "status": evidence.device.status,
        "last_activity": date(evidence.device.last_activity),
    }
    hub = evidence.hub.partition(".")[0]
    return found(NOT_IN_DPS, evidence.resource, told, hub=hub, id=evidence.device.device_id)


def orphaned(evidence: OrphanEvidence, _: Around) -> Outcomes:
    """Only a record that was read by its id is there."""
    if evidence.record is None:
        return unknown(ORPHAN, evidence.resource, "the record was not read by its id")
    told: dict[str, JSON] = {"status": evidence.record.status, "hub": evidence.record.hub}
    if evidence.group:
        return found(ORPHAN, evidence.resource, {"group": evidence.group, **told})
    if evidence.individual:
        return found(ORPHAN, evidence.resource, {"enrollment": "individual", **told})
    # A purge knows what an audit once listed; of this record it does not know whence it is.
    return found(ORPHAN, evidence.resource, told, fix=_DELETE, noun="enrollment", id=evidence.record.id)


def never_registered(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Since it was made, by its own date."""
    if evidence.registered is not False:
        return NOTHING
    created = evidence.enrollment.created
    if created is None:
        return unknown(NEVER_REGISTERED, evidence.resource, "when it was made is not told")
    age = days(created, around.now)
    if age < around.thresholds.never_registered_days:
        return NOTHING
    return on(NEVER_REGISTERED, evidence, {"created": date(created), "days": age})


def nested_twin(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """At the top of a section, where the Azure CLI puts it; deeper down it is somebody's own name."""
    depth: dict[str, JSON] = dict(twins.nested(evidence.twin))
    return on(NESTED_TWIN, evidence, {"depth": depth}) if depth else NOTHING


RECORD: Mapping[str, tuple[Asked[RecordEvidence], ...]] = {
    "failed": (Asked(FAILED, failed),),
    "assigning": (Asked(STUCK, stuck),),
    "disabled": (Asked(DISABLED, disabled),),
    "assigned": (
        Asked(UNLINKED_HUB, unlinked_hub),
        Asked(NOT_IN_HUB, not_in_hub),
        Asked(TWO_HUBS, two_hubs),
        Asked(ELSEWHERE, elsewhere),
    ),
}
"""By a record's status: of others than assigned ones it is unknown what their hub means."""
DEVICE: tuple[Asked[DeviceEvidence], ...] = (Asked(NOT_IN_DPS, not_in_dps),)
ORPHANED: tuple[Asked[OrphanEvidence], ...] = (Asked(ORPHAN, orphaned),)
ENROLLMENT: tuple[Asked[EnrollmentEvidence], ...] = (
    Asked(NEVER_REGISTERED, never_registered),
    Asked(NESTED_TWIN, nested_twin),
)


def _where(evidence: RecordEvidence) -> dict[str, JSON]:
    return {} if evidence.group is None else {"group": evidence.group}


def _unsettled(evidence: RecordEvidence, around: Around) -> str:
    """Why what hubs' listings say of the device is no proof; "" if it is."""
    updated: datetime | None = evidence.record.updated
    hub = evidence.record.hub
    if isinstance(evidence.device, Unknown):
        return evidence.device.reason
    if hub is not None and around.linked is not None and around.standing(hub) != "linked":
        return f"{hub} is not linked, so its devices are not listed"
    if updated is None:
        return "the record does not tell when the device registered"
    if around.now - updated < timedelta(minutes=around.thresholds.settle_minutes):
        return "the device registered so lately that a hub's listing may be behind"
    return "" if evidence.confirmed else "not confirmed by a read of the registry, or by a second listing"
