"""What checks read: plain values that a run gathers and tests can write down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from allocation import CompiledPolicy, FleetView
from clients.arm import CaCertificate, DpsPage, Unknown
from clients.hubs import HubRow, HubStatistics
from lifecycle.audit.finding import Source
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment
from provisioning.hubs import HubKey
from provisioning.keys import SymmetricKeys
from provisioning.registrations import Registration, RegistrationKey


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on something counts. All are settable."""

    certificate_days: int = 30
    """A certificate that expires within so many days is expiring."""
    key_age_days: int = 365
    webhook_key_age_days: int = 180
    never_registered_days: int = 90
    assigning_minutes: int = 60
    failed_days: int = 7
    quota_share: float = 0.8
    quota_days: int = 30
    sample_keys: int = 0
    """Individual enrollments whose keys are read, one call each."""


@dataclass(frozen=True, slots=True)
class Complete:
    """Which sources were read to their end in this run; of the others nothing may be concluded."""

    sources: frozenset[Source]
    reasons: Mapping[Source, str] = field(default_factory=dict)
    """Why one of the others was not."""


@dataclass(frozen=True, slots=True)
class Around:
    """What is the same for every check of a run.

    Attributes:
        dps: name of the DPS, as commands take it.
        page: the DPS at the management plane.
        certificates: its CA certificates.
        policy: the allocation policy in force; None: not known here.
        fleet: hub states and loads; None: not known here.
        webhook: this app's webhook URL without its key; "" if not configured.
    """

    dps: str
    now: datetime
    thresholds: Thresholds
    complete: Complete
    page: DpsPage | Unknown
    certificates: tuple[CaCertificate, ...] | Unknown
    policy: CompiledPolicy | None
    fleet: FleetView | None
    webhook: str


@dataclass(frozen=True, slots=True)
class VaultSecret:
    """What the vault says of a secret, without its value.

    Attributes:
        holds: which slot's key its current version holds: "primary", "secondary", "neither"; "" if its
            value was not read.
    """

    name: str
    expires: datetime | None
    enabled: bool
    updated: datetime | None
    holds: str = ""


@dataclass(frozen=True, slots=True)
class EnrollmentEvidence:
    """One enrollment and what belongs to it.

    Attributes:
        keys: its symmetric keys; None: not read, or it has none. Never part of any finding.
        secret: its secret in the vault; None: it has none there; Unknown: the vault could not be asked.
        registered: whether any device has a record through it; None: not known.
    """

    enrollment: EnrollmentGroup | IndividualEnrollment
    keys: SymmetricKeys | None = field(default=None, repr=False)
    secret: "VaultSecret | Unknown | None" = None
    registered: bool | None = None


@dataclass(frozen=True, slots=True)
class RecordEvidence:
    """One registration record.

    Attributes:
        group: the group it was listed under; None: of an individual enrollment.
        device: the device at its assigned hub; None: not there; Unknown: that hub was not read completely.
        other_hubs: further linked hubs that have a device of that id.
        would_go: the hub that the policy in force would give it now; None: not known, or it would stay.
    """

    record: Registration
    group: str | None
    device: "HubRow | Unknown | None"
    other_hubs: tuple[HubKey, ...] = ()
    would_go: HubKey | None = None


@dataclass(frozen=True, slots=True)
class DeviceEvidence:
    """A device at a hub for which DPS has no record pointing there."""

    hub: HubKey
    device: HubRow


@dataclass(frozen=True, slots=True)
class OrphanEvidence:
    """A record of a group that is gone: listed under it once, in no complete listing of this run."""

    registration: RegistrationKey
    group: str
    record: Registration | None
    """As read by its id; None: it was not read."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of the run.

    Attributes:
        key_digests: digest of each group key -> the groups that have it ("line-a/primary").
        growth: by quota, what was added per day lately; missing where history does not tell.
    """

    registrations: int
    individual_enrollments: int
    symmetric_groups: int
    x509_groups: int
    by_hub: Mapping[HubKey, HubStatistics] = field(default_factory=dict)
    key_digests: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    growth: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OperationEvidence:
    """How our own app has been doing.

    Attributes:
        ledger_gaps: answers that could not be recorded, since the last run.
        unconfirmed: recorded answers that DPS's records do not confirm.
        policy_active: version that the store says is in force; "" none.
        policy_seen: versions that decided lately, by the ledger.
        jobs_late: kind of job -> how long its last end is past what its schedule promises.
        jobs_blocked: id of a job -> what stopped it.
        rotations_waiting: group -> what its rotation waits for.
        poisoned: events and jobs that were given up.
    """

    ledger_gaps: int = 0
    unconfirmed: int = 0
    policy_active: str = ""
    policy_seen: frozenset[str] = frozenset()
    jobs_late: Mapping[str, timedelta] = field(default_factory=dict)
    jobs_blocked: Mapping[str, str] = field(default_factory=dict)
    rotations_waiting: Mapping[str, str] = field(default_factory=dict)
    poisoned: int = 0


@dataclass(frozen=True, slots=True)
class WebhookEvidence:
    """What came of calling a webhook as DPS would. `resource` is whose webhook it is."""

    resource: str
    status: int | None
    problem: str
    seconds: float
