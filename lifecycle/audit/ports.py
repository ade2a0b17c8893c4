"""What a run of the audit works with: handed in by the composition root, stood in for by tests."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from allocation import Activation, CompiledPolicy, FleetView
from clients.arm import CaCertificate, DpsPage, Unknown
from clients.dps import DpsClient
from clients.hubs import HubClient, HubShares
from clients.ports import Clock, RateShare, Table, Telemetry
from lifecycle.audit.evidence import Thresholds, VaultSecret, WebhookEvidence
from lifecycle.audit.report import Run
from lifecycle.audit.rotations import Rotations
from lifecycle.jobs import JobStore
from provisioning.enrollments import Enrollment, EnrollmentGroup, IndividualEnrollment
from provisioning.hubs import HubKey
from provisioning.keys import SymmetricKeys
from provisioning.registrations import Registration


class Arm(Protocol):
    """The management plane: see clients.arm."""

    async def page(self) -> DpsPage | Unknown:
        """The DPS."""

    async def certificates(self) -> tuple[CaCertificate, ...] | Unknown:
        """Its CA certificates."""


Secrets = Callable[[EnrollmentGroup, SymmetricKeys | None], Awaitable[VaultSecret | Unknown | None]]
"""What the vault has of a group. It compares the value itself and lets nothing of it out."""

Webhooks = Callable[[EnrollmentGroup | IndividualEnrollment], Awaitable[tuple[WebhookEvidence, ...]]]
"""Calls an enrollment's webhook as DPS would."""

WouldGo = Callable[[Registration, Enrollment], HubKey | None]
"""Where the policy in force would place a record's device now, which its enrollment tells with the record.

None: it would stay, or nobody can say.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a run reads and keeps beyond the listings.

    Attributes:
        rows: findings of one check that are kept as rows; the others are counted.
        reads: ids that are read one by one to confirm what listings only suggest, each at DPS and at a hub.
        orphans: ids of deleted groups and individual enrollments that are read one by one; each run goes on
            where the last one ended.
        strangers: devices without a record that are kept for that.
        added: rows added to the ledger.
        webhooks: URLs called for individual enrollments, beside those of the groups.
        restarts: how often a listing begins anew when its continuation is refused.
        failures: slices in a row that may end at one listing without a page before it is given up.
        stays: how often the groups' keys may begin to be read, all within one worker's memory.
        pause: seconds before a listing that a service's fault ended is tried again.
        save: seconds between two checkpoints.
    """

    rows: int = 2_000
    reads: int = 200
    orphans: int = 300
    strangers: int = 10_000
    added: int = 5_000
    webhooks: int = 50
    restarts: int = 2
    failures: int = 5
    stays: int = 5
    pause: float = 60.0
    save: float = 10.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Services and tables. What is None is not there, and the checks that need it say so.

    Attributes:
        dps: makes a client that calls under a share.
        hub: alike, of one hub.
        arm: the management plane.
        table: the audit's own.
        clock: of this worker.
        telemetry: told of what began and ended.
        policy: reads the allocation policy in force.
        active: reads which version the store says is in force.
        fleet: reads hub states and loads.
        ledger: the allocation's ledger.
        jobs: of this app.
        rotations: reads which rotations wait.
        secrets: asks the vault.
        webhooks: calls webhooks; only used where the run was told to.
        would_go: asks the policy, given that, the hubs' states, and the linked hubs (none: not known).
        announce: is told of each run that ended, after its rows are written; it may be told twice.
    """

    dps: Callable[[RateShare], DpsClient]
    hub: Callable[[HubKey, HubShares], HubClient]
    table: Table
    clock: Clock
    telemetry: Telemetry
    arm: Arm | None = None
    policy: Callable[[], Awaitable[CompiledPolicy | None]] | None = None
    active: Callable[[], Awaitable[Activation | None]] | None = None
    fleet: Callable[[], Awaitable[FleetView | None]] | None = None
    ledger: Table | None = None
    jobs: JobStore | None = None
    rotations: Rotations | None = None
    secrets: Secrets | None = None
    webhooks: Webhooks | None = None
    would_go: Callable[[CompiledPolicy, FleetView, Mapping[HubKey, str]], WouldGo] | None = None
    announce: Callable[[Run], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Audited:
    """What is audited.

    Attributes:
        dps: name of the DPS, as its state is kept under.
        called: its name as commands take it, for fixes; "" if that is the same.
        thresholds: from when on something counts, where a run's params do not say it.
        limits: see Limits.
        webhook: this app's webhook URL without its key; "" if not configured.
        hubs: hubs that are listed beside the linked ones.
        schedules: kind of job -> how often one should end well.
        keys: whether groups' keys are read: one call each.
        keep: runs whose findings are kept.
    """

    dps: str
    called: str = ""
    thresholds: Thresholds = field(default_factory=Thresholds)
    limits: Limits = field(default_factory=Limits)
    webhook: str = ""
    hubs: tuple[HubKey, ...] = ()
    schedules: dict[str, timedelta] = field(default_factory=dict)
    keys: bool = True
    keep: int = 30
