"""Which records are stale, and what keeps one in its place: pure.

No record goes on one signal: DPS's record and what the hubs say of its device must agree. A record's age
alone says nothing, since devices are told not to register at every start and telemetry does not move it
(documented). What is not known for certain keeps a record.

A guard is whatever answers Kept; none of them can be switched off.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from lifecycle.purge.policy import PurgePolicy
from provisioning.documents import MalformedDocument
from provisioning.hubs import HubKey
from provisioning.registrations import Registration


class Reason(StrEnum):
    """Why a record is stale."""

    ORPHAN = "orphan"
    """Of a deleted group or individual enrollment, in no listing; its device is gone or silent."""
    DEVICE_GONE = "device-gone"
    """Assigned; its hub has no such device."""
    UNLINKED_HUB = "unlinked-hub"
    """Assigned to a hub that is no longer linked; no linked hub has the device."""
    FAILED = "failed"
    """Failed long ago; the device is gone or silent wherever it could be."""
    DISABLED = "disabled"
    """Disabled long ago; the device is gone or silent wherever it could be."""
    OLD = "old"
    """Assigned long ago; its hub has not heard of the device for as long."""
    DECOMMISSIONED = "decommissioned"
    """Its group was decommissioned (lifecycle.decommission); no rule in here finds that."""


class Why(StrEnum):
    """Why a record is left."""

    SOUND = "sound"
    """No rule finds it stale."""
    EXCLUDED = "excluded"
    TAGGED = "tagged"
    INDIVIDUAL = "individual-enrollment"
    """An individual enrollment has its id; a disabled one may be all that keeps a revoked device out."""
    RECENT = "changed-lately"
    UNDER_WAY = "registering"
    ACTIVE = "active"
    """A hub has the device, connected or heard of lately."""
    ELSEWHERE = "at-another-hub"
    """Another linked hub has a device of that id."""
    EDGE = "iot-edge"
    """Its device is an IoT Edge device or behind one: its hub need not hear of it while it lives."""
    UNREADABLE = "unreadable"
    """Without an ETag, a date that can be read or, assigned, the hub and the device's id there."""
    UNKNOWN = "not-evaluated"
    """Something that a rule needs is not known in this run."""


HEALED = frozenset(
    {Why.SOUND, Why.EXCLUDED, Why.TAGGED, Why.INDIVIDUAL, Why.RECENT, Why.UNDER_WAY, Why.ACTIVE, Why.EDGE}
)
"""What takes a mark off; anything else leaves the mark for a run that knows more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a hub says of a device that it has.

    Attributes:
        tags: of its twin; None: not told.
        edge: whether it is an IoT Edge device or behind one, whose activity the hub need not see (seen:
            Azure/iotedge#1711).
    """

    connected: bool
    last_activity: datetime | None
    tags: Mapping[str, Any] | None = field(default=None, repr=False)
    edge: bool = False


@dataclass(frozen=True, slots=True)
class Unasked:
    """A hub's answer is not known."""

    reason: str


AtHub = Seen | Unasked | None
"""What one hub says of a device; None: that it has no such device."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One record and all that is known of it.

    Attributes:
        record: as DPS gave it.
        group: through which it was listed, now or once; as DPS spells it.
        gone: whether that group is gone.
        listed: whether any existing group of this run lists it.
        individual: whether there is an individual enrollment of its id; None: not known.
        hubs: what each hub that was asked says.
        linked: the linked hubs; None: not known, which an empty list is too.
        device: its device's id at a hub as a listing of before had it, for a record that does not say.
        confirming: whether this is the last look before a delete. Queries of the same pass have asked the
            other linked hubs then, so that of a record whose own hub is linked that one alone is asked
            directly: each hub bounds how fast records may go.
    """

    record: Registration
    group: str
    gone: bool = False
    listed: bool = True
    individual: bool | None = None
    hubs: Mapping[HubKey, AtHub] = field(default_factory=dict)
    linked: frozenset[HubKey] | None = None
    device: str = ""
    confirming: bool = False

    @property
    def device_id(self) -> str:
        """Its device's id at a hub."""
        return self.record.device_id or self.device or self.record.id


@dataclass(frozen=True, slots=True)
class Stale:
    """The record may go."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Kept:
    """The record stays."""

    why: Why


Verdict = Stale | Kept


def judge(evidence: Evidence, policy: PurgePolicy, now: datetime) -> Verdict:
    """Whether a record is stale.

    Args:
        evidence: what is known of it.
        policy: what counts.
        now: the time of day.
    """
    suspected = suspect(evidence, policy, now)
    if not isinstance(suspected, Stale):
        return suspected
    if evidence.individual is not False:
        return Kept(Why.UNKNOWN if evidence.individual is None else Why.INDIVIDUAL)
    return _agreed(suspected.reason, evidence, policy, now)


def suspect(evidence: Evidence, policy: PurgePolicy, now: datetime) -> Verdict:  # noqa: PLR0911 - a guard each
    """What DPS's side alone says: Stale here means that hubs are worth asking."""
    record = evidence.record
    try:
        updated = record.updated
    except MalformedDocument:
        updated = None
    if updated is None or not tells_enough(record):
        return Kept(Why.UNREADABLE)
    if excluded(record.key, evidence.group, policy):
        return Kept(Why.EXCLUDED)
    if record.status == "assigning":
        return Kept(Why.UNDER_WAY)
    age = now - updated
    if age < timedelta(hours=policy.settle_hours):
        return Kept(Why.RECENT)
    if evidence.gone and not evidence.listed:
        return Stale(Reason.ORPHAN) if policy.orphans else Kept(Why.SOUND)
    if not evidence.listed:
        return Kept(Why.UNKNOWN)
    return _by_status(evidence, policy, age)


def _by_status(evidence: Evidence, policy: PurgePolicy, age: timedelta) -> Verdict:  # noqa: PLR0911 - a rule each
    record = evidence.record
    if record.status in ("failed", "disabled"):
        days = policy.failed_days if record.status == "failed" else policy.disabled_days
        if days is None or age < timedelta(days=days):
            return Kept(Why.SOUND)
        return Stale(Reason(record.status))
    if record.status != "assigned" or record.hub is None:
        return Kept(Why.SOUND)
    if unlinked(record.hub, evidence.linked):
        return Stale(Reason.UNLINKED_HUB) if policy.unlinked_hub else Kept(Why.SOUND)
    if record.hub in evidence.hubs and evidence.hubs[record.hub] is None:
        return Stale(Reason.DEVICE_GONE) if policy.device_gone else Kept(Why.SOUND)
    if policy.old_days is not None and age >= timedelta(days=policy.old_days):
        return Stale(Reason.OLD)
    if policy.device_gone and record.hub not in evidence.hubs:
        return Stale(Reason.DEVICE_GONE)
    return Kept(Why.UNKNOWN if isinstance(evidence.hubs.get(record.hub), Unasked) else Why.SOUND)


def tells_enough(record: Registration) -> bool:
    """Whether a record says what its delete hangs on: a version, and where its device is, under which id.

    Ids of registrations know no case and those of devices do: where an assigned record does not name its
    device, the hub may have it under another spelling.
    """
    placed = record.status != "assigned" or (record.hub is not None and bool(record.device_id))
    return record.guardable and placed


def needed(
    reason: Reason, hub: HubKey | None, linked: frozenset[HubKey] | None, *, confirming: bool = False
) -> frozenset[HubKey] | None:
    """The hubs whose word a reason needs; None: they are not known, so it cannot be evaluated.

    Args:
        reason: why the record would go.
        hub: that it names.
        linked: the linked hubs; None: not known.
        confirming: see Evidence.
    """
    if hub is not None and reason in (Reason.DEVICE_GONE, Reason.OLD, Reason.ORPHAN):
        if not unlinked(hub, linked):
            return frozenset({hub}) if confirming else frozenset({hub}) | (linked or frozenset())
        if reason is not Reason.ORPHAN:
            return None
    if not linked:
        return None
    if hub is not None and not unlinked(hub, linked):
        return linked | {hub}
    return linked


def unlinked(hub: HubKey, linked: frozenset[HubKey] | None) -> bool:
    """Whether a hub is linked no longer, for certain.

    Not where one of the linked hubs differs only behind the first dot: newer hubs have several host names
    (seen).
    """
    if not linked or hub in linked:
        return False
    first = hub.partition(".")[0]
    return all(each.partition(".")[0] != first for each in linked)


def excluded(registration: str, group: str, policy: PurgePolicy) -> bool:
    """Whether the policy's lists keep a record."""
    key, name = registration.lower(), group.lower()
    return any(fnmatchcase(key, each) for each in policy.exclude) or any(
        fnmatchcase(name, each) for each in policy.exclude_groups
    )


def _agreed(  # noqa: C901, PLR0911 - a guard each
    reason: Reason, evidence: Evidence, policy: PurgePolicy, now: datetime
) -> Verdict:
    own = evidence.record.hub
    hubs = needed(reason, own, evidence.linked, confirming=evidence.confirming)
    if hubs is None:
        return Kept(Why.UNKNOWN)
    answers = {hub: evidence.hubs.get(hub, Unasked("it was not asked")) for hub in hubs}
    quiet = timedelta(days=policy.quiet_days)
    if reason is Reason.OLD and policy.old_days is not None:
        quiet = max(quiet, timedelta(days=policy.old_days))
    seen = {hub: answer for hub, answer in answers.items() if isinstance(answer, Seen)}
    if any(live(answer, now - quiet) for answer in seen.values()):
        return Kept(Why.ACTIVE)
    if any(answer.edge for answer in seen.values()):
        return Kept(Why.EDGE)
    if any(tagged(answer.tags, policy) for answer in seen.values()):
        return Kept(Why.TAGGED)
    if any(isinstance(answer, Unasked) for answer in answers.values()):
        return Kept(Why.UNKNOWN)
    if any(answer.tags is None for answer in seen.values()) and policy.keep_tags:
        return Kept(Why.UNKNOWN)
    if any(hub != own for hub in seen):
        return Kept(Why.ELSEWHERE)
    if own in seen and reason is Reason.DEVICE_GONE:
        return Kept(Why.SOUND)
    if own not in seen and reason is Reason.OLD:
        return Stale(Reason.DEVICE_GONE) if policy.device_gone else Kept(Why.SOUND)
    return Stale(reason)


def live(seen: Seen, since: datetime) -> bool:
    """Whether a hub has the device connected, or has heard of it since."""
    return seen.connected or (seen.last_activity is not None and seen.last_activity >= since)


def tagged(tags: Mapping[str, Any] | None, policy: PurgePolicy) -> bool:
    """Whether a tag of its twin keeps the device's record."""
    if not tags:
        return False
    wanted = (each.partition("=") for each in policy.keep_tags)
    return any(str(tags.get(name)).lower() == value.lower() for name, _, value in wanted if name in tags)
