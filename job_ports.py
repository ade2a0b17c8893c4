"""What audits, purges and decommissionings reach, made of the wiring: alike for app and commands."""

from collections.abc import Callable, Mapping
from functools import partial

from allocation import CompiledPolicy, FleetView, PolicyStore, read_fleet
from allocation.policy.store import PACKAGED
from clients.arm import Unknown
from clients.dps import DpsClient
from clients.pacing import UnpacedShare
from clients.ports import RateShare, Telemetry
from lifecycle.audit.checks import CHECKS
from lifecycle.audit.evidence import Thresholds
from lifecycle.audit.group_secrets import group_secrets, rotation_names
from lifecycle.audit.notify import Notifier, announce
from lifecycle.audit.ports import Audited
from lifecycle.audit.ports import Ports as AuditPorts
from lifecycle.audit.rotations import waiting_rotations
from lifecycle.audit.runs import RunStore
from lifecycle.audit.suppressions import Suppressions
from lifecycle.audit.webhook_calls import webhook_calls
from lifecycle.audit.would_go import would_go
from lifecycle.decommission.work import Ports as DecommissionPorts
from lifecycle.decommission.work import Webhook
from lifecycle.enrollments.escrow import Vault
from lifecycle.jobs import JobStore
from lifecycle.purge.work import Ports as PurgePorts
from lifecycle.rotation.store import RotationStore
from lifecycle.rotation.webhook_key.age import own_webhook
from lifecycle.schedules import longest_gap
from provisioning.hubs import HubKey
from settings import Settings  # noqa: TID251 - a composition root's part
from wiring import Wiring

Dps = Callable[[RateShare], DpsClient]
"""Makes a client that calls under a share."""

Packaged = Callable[[], CompiledPolicy | None]
"""The policy in force while none is activated; None: it cannot be told."""

LINKED_SECONDS = 300.0
"""For so long the linked hubs are not read again to call the next webhook."""


def thresholds_of(settings: Settings) -> Thresholds:
    """From when on something counts. What belongs to certificates keeps its proportions."""
    days = settings.audit_certificate_days
    return Thresholds(
        certificate_days=days,
        renewal_days=3 * days,
        together_days=6 * days,
        key_age_days=settings.audit_key_age_days,
        webhook_key_age_days=settings.audit_webhook_key_age_days,
        never_registered_days=settings.audit_never_registered_days,
        quota_share=settings.audit_quota_percent / 100,
        sample_keys=settings.audit_sample_keys,
    )


def audited(settings: Settings, dps: str, *, host: str, scheduled: bool) -> Audited:
    """What is audited.

    Args:
        settings: of this process.
        dps: the name that its state is kept under.
        host: of the DPS.
        scheduled: whether AUDIT_SCHEDULE here is the one by which the app runs.
    """
    gap = longest_gap(settings.audit_schedule) if scheduled else None
    return Audited(
        dps,
        called=host.partition(".")[0],
        thresholds=thresholds_of(settings),
        webhook=settings.webhook_url,
        hubs=tuple(settings.hubs),
        schedules={} if gap is None else {"audit": gap},
        keep=settings.audit_keep_runs,
    )


def audit_ports(
    wiring: Wiring, dps: str, clients: Dps, jobs: JobStore, packaged: Packaged, *, telemetry: Telemetry
) -> AuditPorts:
    """What a run of the audit works with; of the vault nothing where VAULT_URL is not set.

    Args:
        wiring: clients and tables.
        dps: the name that the DPS's state is kept under.
        clients: of that DPS.
        jobs: its jobs.
        packaged: see Packaged.
        telemetry: told of the run and of each finding.
    """
    settings, clock, table = wiring.settings, wiring.clock, wiring.table("audit")
    policies = PolicyStore(wiring.table("policies"), dps, clock)
    rotations = RotationStore(wiring.table("rotations"), dps, clock)
    url, vault = settings.audit_notify_url, wiring.vault(UnpacedShare())

    async def policy() -> CompiledPolicy | None:
        active = await policies.active()
        if active is None or active.version == PACKAGED:
            return packaged()
        return await policies.load(active.version)

    async def fleet() -> FleetView | None:
        return (await read_fleet(wiring.table("fleet"), dps)).view(clock.now())

    return AuditPorts(
        dps=clients,
        hub=wiring.hub,
        arm=wiring.arm(UnpacedShare()),
        table=table,
        clock=clock,
        telemetry=telemetry,
        policy=policy,
        active=policies.active,
        fleet=fleet,
        ledger=wiring.table("ledger"),
        jobs=jobs,
        rotations=waiting_rotations(rotations),
        secrets=None if vault is None else group_secrets(vault, rotation_names(rotations)),
        webhooks=webhook_calls(
            wiring.connections,
            clock,
            base=settings.webhook_url,
            key=settings.webhook_key,
            stored=own_webhook(vault, settings.webhook_key_secret, settings.webhook_url),
            dps=dps,
            linked=_Lately(wiring),
        ),
        would_go=partial(would_go, dps),
        announce=partial(
            announce,
            archive=RunStore(table, dps),
            checks=CHECKS,
            suppressions=Suppressions(table, dps, clock),
            telemetry=telemetry,
            clock=clock,
            notifier=Notifier(url, wiring.connections, clock) if url else None,
        ),
    )


def purge_ports(wiring: Wiring, dps: str, clients: Dps, *, telemetry: Telemetry) -> PurgePorts:
    """What a run of the purge works with.

    Args:
        wiring: clients and tables.
        dps: the name that the DPS's state is kept under.
        clients: of that DPS.
        telemetry: told of the run.
    """

    async def linked() -> frozenset[HubKey] | Unknown:
        found = await linked_hubs(wiring)
        return found if isinstance(found, Unknown) else frozenset(found)

    return PurgePorts(
        name=dps,
        table=wiring.table("purge"),
        audits=wiring.table("audit"),
        clock=wiring.clock,
        dps=clients,
        hub=wiring.hub,
        linked=linked,
        telemetry=telemetry,
    )


def decommission_ports(
    wiring: Wiring, dps: str, clients: Dps, webhook: Webhook, *, telemetry: Telemetry
) -> DecommissionPorts:
    """What the decommissioning of a group works with; no vault where VAULT_URL is not set.

    Args:
        wiring: clients and tables.
        dps: the name that the DPS's state is kept under.
        clients: of that DPS.
        webhook: reads this app's webhook with its key; None: not known.
        telemetry: told of the run.
    """

    async def linked() -> frozenset[HubKey] | Unknown:
        found = await linked_hubs(wiring)
        return found if isinstance(found, Unknown) else frozenset(found)

    def vault(share: RateShare) -> Vault:
        made = wiring.vault(share)
        assert made is not None
        return made

    return DecommissionPorts(
        name=dps,
        table=wiring.table("purge"),
        clock=wiring.clock,
        dps=clients,
        hub=wiring.hub,
        linked=linked,
        vault=vault if wiring.settings.vault_url else None,
        telemetry=telemetry,
        webhook=webhook,
        forget=RotationStore(wiring.table("rotations"), dps, wiring.clock).forget,
    )


async def linked_hubs(wiring: Wiring) -> Mapping[HubKey, str] | Unknown:
    """The hubs linked to the DPS, as DPS spells them.

    By the management plane alone: HUBS says where hubs are served, and need not name all of them.
    """
    arm = wiring.arm(UnpacedShare())
    page = Unknown("DPS_RESOURCE_ID is not set") if arm is None else await arm.page()
    found = page if isinstance(page, Unknown) else page.linked_hubs
    return found if isinstance(found, Unknown) else {hub.key: hub.host_name for hub in found}


class _Lately:
    """The linked hubs as they were read within the last minutes: they seldom change within a run."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._known: Mapping[HubKey, str] | None = None
        self._until = 0.0

    async def __call__(self) -> Mapping[HubKey, str] | Unknown:
        now = self._wiring.clock.monotonic()
        if self._known is not None and now < self._until:
            return self._known
        found = await linked_hubs(self._wiring)
        if not isinstance(found, Unknown):
            self._known, self._until = found, now + LINKED_SECONDS
        return found
