"""The kinds of background jobs, made of the wiring: what the minute's tick runs, and what sets jobs going."""

import random
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlsplit

from allocation import CompiledPolicy, FleetView, PolicyStore, read_fleet
from allocation.policy.store import PACKAGED
from clients.arm import Unknown
from clients.device import DeviceClient
from clients.hubs import HubClient, HubShares
from clients.pacing import UnpacedShare
from clients.ports import Telemetry
from lifecycle.audit.checks import CHECKS
from lifecycle.audit.group_secrets import group_secrets, rotation_names
from lifecycle.audit.job import Audit, schedule
from lifecycle.audit.notify import Notifier, announce
from lifecycle.audit.ports import Audited
from lifecycle.audit.ports import Ports as AuditPorts
from lifecycle.audit.runs import RunStore
from lifecycle.audit.suppressions import Suppressions
from lifecycle.audit.webhook_calls import webhook_calls
from lifecycle.audit.would_go import would_go
from lifecycle.errors import NotAnEvent
from lifecycle.events import device_deleted, read
from lifecycle.jobs import JobKind, JobStore, Slice, tick
from lifecycle.purge.act import pace_of
from lifecycle.purge.gone import note_deleted
from lifecycle.purge.hubs import Hubs
from lifecycle.purge.job import purge_kind
from lifecycle.purge.marks import Marks
from lifecycle.purge.work import KIND as PURGE
from lifecycle.purge.work import Ports as PurgePorts
from lifecycle.rates import Rate, Rates
from lifecycle.rotation.canary import CanaryPlaces
from lifecycle.rotation.identities import Fleet
from lifecycle.rotation.run import Ports as RotationPorts
from lifecycle.rotation.run import rotation_kind
from lifecycle.rotation.store import RotationStore
from lifecycle.rotation.triggers import VaultIdentity, daily, receive
from provisioning.hubs import HubKey
from wiring import Wiring


class Background:
    """Background work of one DPS. One per process: the shares of the rates live in it."""

    def __init__(
        self,
        wiring: Wiring,
        telemetry: Telemetry,
        rates: Rates,
        packaged: CompiledPolicy | None,
        worker: str,
    ) -> None:
        """Make nothing yet.

        Args:
            wiring: clients and tables of the settings.
            telemetry: told of every slice.
            rates: of the process.
            packaged: the policy in force while none is activated.
            worker: names this process in a job's row.
        """
        self._packaged = packaged
        self._wiring = wiring
        self._telemetry = telemetry
        self._rates = rates
        self._worker = worker
        self._settings = wiring.settings
        self._dps = wiring.settings.dps_name

    @cached_property
    def jobs(self) -> JobStore:
        """The jobs' rows."""
        return JobStore(self._wiring.table("jobs"), self._dps, self._wiring.clock)

    @cached_property
    def rotations(self) -> RotationStore:
        """The groups' rotations."""
        return RotationStore(self._wiring.table("rotations"), self._dps, self._wiring.clock)

    @cached_property
    def kinds(self) -> tuple[JobKind, ...]:
        """What can run with these settings: rotation needs the vault."""
        audited = Audited(
            self._dps,
            called=self._settings.dps_host.partition(".")[0],
            webhook=self._settings.webhook_url,
            hubs=tuple(self._settings.hubs),
            schedules={"audit": timedelta(days=1)},
        )
        audit = Audit(self._audit_ports(), audited).kind
        purge = purge_kind(self._purge_ports(), pace_of(self._rates))
        if not self._settings.vault_url:
            return (audit, purge)
        return (audit, purge, rotation_kind(self.rotations, self._rotation_ports, self._telemetry))

    async def work(self) -> None:
        """Run a slice of what is due."""
        await tick(self.kinds, self.jobs, self._rates, self._telemetry, worker=self._worker)

    async def audit(self) -> None:
        """Ask for an audit."""
        await schedule(self.jobs, self._wiring.clock.now())

    async def rotate(self) -> None:
        """Look at every group's rotation: what an event should have begun, what is stuck, what waits."""
        vault = self._wiring.vault(UnpacedShare())
        if vault is not None:
            await daily(self.rotations, vault, self.jobs, self._telemetry)

    async def vault_event(self, raw: Mapping[str, Any]) -> None:
        """Take one event of the vault.

        Raises:
            TableUnavailable: nothing may have been recorded; it must be delivered again.
        """
        await receive(raw, self._vault_identity(), self.rotations, self.jobs, self._telemetry)

    async def hub_event(self, raw: Mapping[str, Any]) -> None:
        """Take one event of a hub: a registration whose device is gone is marked for a later purge.

        Raises:
            ServiceError, TableUnavailable: nothing may have been recorded; it must be delivered again.
        """
        wiring = self._wiring
        try:
            event = read(raw)
            deleted = device_deleted(event)
        except NotAnEvent as error:
            self._telemetry.event("device_deleted_ignored", problem=str(error))
            return

        def hub(name: HubKey) -> HubClient:
            share = self._rates.share(PURGE, Rate.HUB_REGISTRY, name)
            return wiring.hub(name, HubShares(identities=share, queries=share, twins=share))

        noted = await note_deleted(
            deleted,
            event.id,
            wiring.dps(self._rates.share(PURGE, Rate.DPS)).registrations,
            Hubs(hub),
            Marks(wiring.table("purge"), self._dps),
            wiring.clock.now(),
        )
        self._telemetry.event("device_deleted", hub=deleted.hub, device=deleted.device, noted=noted)

    def _vault_identity(self) -> VaultIdentity:
        resource = self._settings.vault_resource_id
        host = urlsplit(self._settings.vault_url).hostname or ""
        return VaultIdentity((resource.rsplit("/", 1)[-1] or host.partition(".")[0]).lower(), resource)

    def _audit_ports(self) -> AuditPorts:
        wiring, settings = self._wiring, self._settings
        table = wiring.table("audit")
        policies = PolicyStore(wiring.table("policies"), self._dps, wiring.clock)

        async def policy() -> CompiledPolicy | None:
            active = await policies.active()
            if active is None or active.version == PACKAGED:
                return self._packaged
            return await policies.load(active.version)

        async def fleet() -> FleetView | None:
            return (await read_fleet(wiring.table("fleet"), self._dps)).view(wiring.clock.now())

        url, vault = settings.audit_notify_url, wiring.vault(UnpacedShare())
        return AuditPorts(
            dps=wiring.dps,
            hub=wiring.hub,
            arm=wiring.arm(UnpacedShare()),
            table=table,
            clock=wiring.clock,
            telemetry=self._telemetry,
            policy=policy,
            active=policies.active,
            fleet=fleet,
            ledger=wiring.table("ledger"),
            jobs=self.jobs,
            secrets=None if vault is None else group_secrets(vault, rotation_names(self.rotations)),
            webhooks=webhook_calls(
                wiring.connections,
                wiring.clock,
                base=settings.webhook_url,
                key="",  # the app has none of its own: only URLs that DPS shows whole are called
                dps=self._dps,
                linked=self._linked,
            ),
            would_go=partial(would_go, self._dps),
            announce=partial(
                announce,
                archive=RunStore(table, self._dps),
                checks=CHECKS,
                suppressions=Suppressions(table, self._dps, wiring.clock),
                telemetry=self._telemetry,
                clock=wiring.clock,
                notifier=Notifier(url, wiring.connections, wiring.clock) if url else None,
            ),
        )

    async def _linked(self) -> Mapping[HubKey, str] | Unknown:
        """By the management plane alone: HUBS says where hubs are served, and need not name all of them."""
        arm = self._wiring.arm(UnpacedShare())
        page = Unknown("DPS_RESOURCE_ID is not set") if arm is None else await arm.page()
        found = page if isinstance(page, Unknown) else page.linked_hubs
        return found if isinstance(found, Unknown) else {hub.key: hub.host_name for hub in found}

    async def _linked_keys(self) -> frozenset[HubKey] | Unknown:
        found = await self._linked()
        return found if isinstance(found, Unknown) else frozenset(found)

    def _purge_ports(self) -> PurgePorts:
        wiring = self._wiring
        return PurgePorts(
            name=self._dps,
            table=wiring.table("purge"),
            audits=wiring.table("audit"),
            clock=wiring.clock,
            dps=wiring.dps,
            hub=wiring.hub,
            linked=self._linked_keys,
            telemetry=self._telemetry,
        )

    def _rotation_ports(self, slice_: Slice) -> RotationPorts:
        wiring, settings = self._wiring, self._settings
        share = slice_.share(Rate.DPS)
        dps, vault = wiring.dps(share), wiring.vault(share)
        assert vault is not None

        def hub(name: HubKey) -> HubClient:
            of_hub = slice_.share(Rate.HUB_REGISTRY, name)
            return wiring.hub(name, HubShares(identities=of_hub, queries=of_hub, twins=of_hub))

        places = None
        if settings.dps_id_scope:
            devices = DeviceClient(
                f"https://{settings.dps_host}",
                settings.dps_id_scope,
                connections=wiring.connections,
                share=share,
                clock=wiring.clock,
                jitter=random.random,
            )
            places = CanaryPlaces(devices, dps.registrations, dps.individuals, hub)
        return RotationPorts(
            groups=dps.groups,
            vault=vault,
            places=places,
            identities=Fleet(dps.registrations, hub),
            provider=settings.dps_resource_id or settings.dps_host,
        )
