"""What checks read: plain values that a run gathers and tests can write down."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from allocation import CompiledPolicy, FleetView
from clients.arm import CaCertificate, DpsPage, LinkedHub, Unknown
from clients.hubs import HubRow, HubStatistics
from lifecycle.audit import webhook_address
from lifecycle.audit.finding import Source
from lifecycle.audit.webhook_address import Address
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment, InitialTwin
from provisioning.hubs import HubKey, hub_key
from provisioning.keys import SymmetricKeys
from provisioning.registrations import Registration, RegistrationKey

NO_HOST = re.compile(r"[,;\s\[\]\"'{}]")
"""What host names never hold, and lists written as one text do."""

Standing = Literal["linked", "unlinked", "unclear"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on something counts. All are settable."""

    certificate_days: int = 30
    """A certificate that expires within so many days is expiring."""
    renewal_days: int = 90
    """From so many days before its end on, a certificate alone in its slots wants a successor."""
    together_days: int = 180
    """From so many days before, two certificates that end within certificate_days of each other count."""
    key_bytes: int = 32
    """Symmetric keys of fewer bytes are short. DPS takes 16 and makes 64."""
    key_age_days: int = 365
    webhook_key_age_days: int = 180
    never_registered_days: int = 90
    assigning_minutes: int = 60
    failed_days: int = 7
    """A registration that failed longer ago matters less: the device has given up."""
    settle_minutes: int = 60
    """Of what changed so shortly before the run, a hub's queries may not tell the truth yet."""
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
        now: when the run started; the same after it was resumed, so that its report does not hang on that.
        page: the DPS at the management plane.
        certificates: its CA certificates.
        policy: the allocation policy in force; None: not known here.
        fleet: hub states and loads; None: not known here.
        webhook: this app's webhook URL without its key; "" if not configured.
        known: the complete sources, less those that the values here show to be unknown.
        linked: the linked hubs; None: not known, which an empty list is too.
        ours: this app's webhook URL taken apart; None: not configured.
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
    known: frozenset[Source] = field(init=False, repr=False, compare=False)
    linked: Mapping[HubKey, LinkedHub] | None = field(init=False, repr=False, compare=False)
    ours: Address | None = field(init=False, repr=False, compare=False)
    _missing: Mapping[Source, str] = field(init=False, repr=False, compare=False)
    _first_names: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        missing = self._not_told()
        linked = None
        if isinstance(self.page, DpsPage) and not isinstance(self.page.linked_hubs, Unknown):
            linked = {hub.key: hub for hub in self.page.linked_hubs} or None
        known = self.complete.sources | ({Source.CONFIGURATION} if self.webhook else set())
        put = object.__setattr__  # derived once: a check is asked a million times
        put(self, "_missing", missing)
        put(self, "linked", linked)
        put(self, "ours", webhook_address.address(self.webhook))
        put(self, "known", frozenset(known - missing.keys()))
        put(self, "_first_names", frozenset(_first_name(hub) for hub in linked or ()))

    def standing(self, hub: HubKey) -> Standing:
        """Whether DPS has the hub linked.

        Unclear where the linked hubs are unknown, and where one of them differs only behind the first dot:
        newer hubs have several host names (seen).
        """
        if self.linked is None:
            return "unclear"
        if hub in self.linked:
            return "linked"
        return "unclear" if _first_name(hub) in self._first_names else "unlinked"

    def is_ours(self, address: Address) -> bool:
        """Whether a webhook is this app's. False where this app's own is not known."""
        return self.ours is not None and webhook_address.is_same(address, self.ours, self.dps)

    def why_not(self, source: Source) -> str:
        """Why a source is not known."""
        return (
            self._missing.get(source)
            or self.complete.reasons.get(source)
            or f"{source} was not read to its end in this run"
        )

    def _not_told(self) -> dict[Source, str]:
        missing: dict[Source, str] = {}
        if isinstance(self.page, Unknown):
            missing[Source.ARM] = self.page.reason
        elif isinstance(self.page.linked_hubs, Unknown):
            missing[Source.ARM] = self.page.linked_hubs.reason
        elif not self.page.linked_hubs:
            missing[Source.ARM] = "the management plane shows no linked hubs of this DPS"
        if isinstance(self.certificates, Unknown):
            missing[Source.CERTIFICATES] = self.certificates.reason
        elif not self.certificates:
            missing[Source.CERTIFICATES] = "the management plane shows no CA certificates of this DPS"
        if self.policy is None:
            missing[Source.POLICY] = "the allocation policy in force is not known here"
        if self.fleet is None:
            missing[Source.FLEET] = "the hubs' states are not known here"
        if not self.webhook:
            missing[Source.CONFIGURATION] = "WEBHOOK_URL is not set, so this app's webhook is not known"
        return missing


@dataclass(frozen=True, slots=True)
class VaultSecret:
    """What the vault says of a secret, without its value.

    Attributes:
        updated: when its current version was made or last changed.
        holds: which slot's key its current version holds: "primary", "secondary", "neither"; "" if its
            value was not read.
    """

    name: str
    expires: datetime | None
    enabled: bool
    updated: datetime | None
    holds: str = ""


@dataclass(frozen=True)  # no slots: what several checks ask is worked out once
class EnrollmentEvidence:
    """One enrollment and what belongs to it.

    Attributes:
        keys: its symmetric keys; None: not read, or it has none. Never part of any finding.
        secret: its secret in the vault; None: it has none there; Unknown: the vault could not be asked.
            Nothing is made of it unless Source.VAULT is known.
        registered: whether any device has a record through it; None: not known. False only if that is
            certain: of a group, its listing ended without one; of an individual enrollment, a read by id
            found none, or it came without a record in a listing that showed those of others.
        webhook_keys_shown: whether an answer to the same kind of call has shown a webhook's key in this run
            (lifecycle.audit.webhook_address.shows_key). Only then is a key that is not shown not there:
            whether reads mask or strip it is unknown.
    """

    enrollment: EnrollmentGroup | IndividualEnrollment
    keys: SymmetricKeys | None = field(default=None, repr=False)
    secret: "VaultSecret | Unknown | None" = None
    registered: bool | None = None
    webhook_keys_shown: bool = False

    @property
    def group(self) -> bool:
        """Whether it is a group's."""
        return isinstance(self.enrollment, EnrollmentGroup)

    @cached_property
    def address(self) -> Address | None:
        """The webhook that chooses its hubs; None where there is none, or none that can be understood.

        Raises:
            MalformedDocument: that part of the document is not as documented. So do `twin` and `hubs`.
        """
        return webhook_address.in_use(self.enrollment)

    @cached_property
    def twin(self) -> InitialTwin:
        """What its devices' twins start with."""
        return self.enrollment.initial_twin

    @cached_property
    def hubs(self) -> tuple[HubKey, ...]:
        """The hubs that it names, each once; several in one text are none."""
        names = self.enrollment.iot_hubs
        return tuple(dict.fromkeys(hub_key(name) for name in names if not NO_HOST.search(name.strip())))

    @property
    def noun(self) -> str:
        """How commands name its kind."""
        return "enrollment-group" if self.group else "enrollment"

    @property
    def resource(self) -> str:
        """How findings name it."""
        return f"{'group' if self.group else 'individual'}:{self.enrollment.key}"


@dataclass(frozen=True, slots=True)
class RecordEvidence:
    """One registration record.

    Attributes:
        group: the group it was listed under; None: of an individual enrollment.
        device: the device at its assigned hub; None: not there; Unknown: that hub was not read completely.
        other_hubs: further linked hubs that have a device of that id.
        would_go: the hub that the policy in force would give it now; None: not known, or it would stay.
        confirmed: whether a missing device, or the one in other hubs, was confirmed by reads of the
            registries themselves, or by a second listing settle_minutes later. Queries may miss a new
            device and still find a deleted one (seen).
    """

    record: Registration
    group: str | None
    device: "HubRow | Unknown | None"
    other_hubs: tuple[HubKey, ...] = ()
    would_go: HubKey | None = None
    confirmed: bool = False

    @property
    def resource(self) -> str:
        """How findings name it."""
        return f"registration:{self.record.key}"


@dataclass(frozen=True, slots=True)
class DeviceEvidence:
    """A device at a hub for which DPS has no record pointing there.

    Attributes:
        confirmed: whether both were read by id after the listings: the hub's registry has the device, and
            DPS has no record of that id. A deleted group's records are in no listing.
    """

    hub: HubKey
    device: HubRow
    confirmed: bool = False

    @property
    def resource(self) -> str:
        """How findings name it. Device ids are case-sensitive at a hub."""
        return f"device:{self.hub}/{self.device.device_id}"


@dataclass(frozen=True, slots=True)
class OrphanEvidence:
    """A record of an enrollment that is gone: in no complete listing of this run.

    Attributes:
        registration: of whom.
        group: it was listed under once; "" if under none that is known.
        record: as read by its id; None: it was not read.
        individual: whether an earlier audit listed an individual enrollment of its id.
    """

    registration: RegistrationKey
    group: str
    record: Registration | None
    individual: bool = False

    @property
    def resource(self) -> str:
        """How findings name it."""
        return f"registration:{self.registration}"


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals of the run. Where a listing did not end, what it gave: at least so many.

    Attributes:
        by_hub: what each hub says of itself; it may lag, and need not fall after deletes.
        listed: devices counted in a hub's own listing, of those hubs whose listing ended.
        key_digests: digest of each group key (lifecycle.audit.key_quality.digest) -> the slots that have it
            ("line-a/primary").
        growth: by quota, what was added per day lately; missing where history does not tell. Names are those
            of the counts, "ca_certificates", "linked_hubs", and "hub:" before a hub.
    """

    registrations: int
    individual_enrollments: int
    symmetric_groups: int
    x509_groups: int
    by_hub: Mapping[HubKey, HubStatistics] = field(default_factory=dict)
    listed: Mapping[HubKey, int] = field(default_factory=dict)
    key_digests: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    growth: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OperationEvidence:
    """How our own app has been doing.

    Attributes:
        ledger_gaps: answers that could not be recorded, since the last run.
        unconfirmed: recorded answers that DPS's records do not confirm, once these had time to.
        policy_active: version that the store says is in force; "" none.
        policy_seen: versions that decided lately, by the ledger: since the last activation and an
            instance's longest age of what it knows.
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
    """What came of calling a webhook as DPS would.

    Attributes:
        resource: whose webhook it is, as findings name it.
        status: of the answer; None: there was none.
        problem: why DPS would not take the answer; "" if it would, or if it is this app's explicit reject.
        seconds: how long it took.
        with_key: whether the key was sent; without it, the call asks whether anybody may call.
        untold: why it could not be called; "" if it was.
    """

    resource: str
    status: int | None
    problem: str
    seconds: float
    with_key: bool = True
    untold: str = ""


def _first_name(hub: HubKey) -> str:
    return hub.partition(".")[0]
