"""The kinds of background jobs, made of the wiring: what the minute's tick runs, and what sets jobs going."""

import asyncio
import random
from collections.abc import Awaitable, Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from allocation import CompiledPolicy
from clients.device import DeviceClient
from clients.hubs import HubClient, HubShares
from clients.pacing import UnpacedShare
from clients.ports import Telemetry
from job_ports import audit_ports, audited, decommission_ports, purge_ports, thresholds_of
from lifecycle.audit.job import Audit, schedule
from lifecycle.decommission.job import decommission_kind
from lifecycle.decommission.job import pace_of as decommission_pace
from lifecycle.enrollments.at_dps import groups, individuals
from lifecycle.errors import InvalidOption, NotAnEvent
from lifecycle.events import device_deleted, read
from lifecycle.jobs import JobKind, JobStore, Slice, tick, trim
from lifecycle.purge.act import pace_of
from lifecycle.purge.heard import Heard, HeardStore
from lifecycle.purge.heard import ask as ask_to_look
from lifecycle.purge.holds import Held, Holds
from lifecycle.purge.job import purge_kind
from lifecycle.purge.job import schedule as schedule_purge
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.rules_file import load_rules
from lifecycle.rates import Rate, Rates
from lifecycle.rotation.canary import CanaryPlaces
from lifecycle.rotation.identities import Fleet
from lifecycle.rotation.ports import Ports as RotationPorts
from lifecycle.rotation.run import KIND as ROTATION
from lifecycle.rotation.run import rotation_kind
from lifecycle.rotation.store import RotationStore
from lifecycle.rotation.triggers import VaultIdentity, daily, receive
from lifecycle.rotation.webhook_key.age import own_webhook, tell_age
from lifecycle.rotation.webhook_key.rewrite import RewritePorts, rewrite_kind
from lifecycle.rotation.webhook_key.store import RollStore
from provisioning.hubs import HubKey
from wiring import Wiring

EVENT_SECONDS = 25.0
"""How long one event may take: Event Grid waits 30 s for an answer, then delivers it again (documented)."""

JOBS_KEPT = timedelta(days=400)
"""How long ended jobs and their history are kept: a year can be compared with the one before."""

JOBS_AT_ONCE = 200
"""Entries of the history forgotten in one go."""


class Background:
    """Background work of one DPS. One per process: the shares of the rates live in it."""

    def __init__(
        self,
        wiring: Wiring,
        telemetry: Telemetry,
        rates: Rates,
        packaged: CompiledPolicy | None,
        worker: str,
        *,
        purge_rules: Path | None = None,
        event_seconds: float = EVENT_SECONDS,
    ) -> None:
        """Make nothing yet; rules of the purge that cannot be used are told of at once.

        Args:
            wiring: clients and tables of the settings.
            telemetry: told of every slice.
            rates: of the process.
            packaged: the policy in force while none is activated.
            worker: names this process in a job's row.
            purge_rules: file of the rules of the schedule's purge; None: the defaults.
            event_seconds: how long one event may take.
        """
        self._event_seconds = event_seconds
        self._packaged = packaged
        self._wiring = wiring
        self._telemetry = telemetry
        self._rates = rates
        self._worker = worker
        self._settings = wiring.settings
        self._dps = wiring.settings.dps_name
        self._purge_rules_file = purge_rules
        self._purge_rules()

    @cached_property
    def jobs(self) -> JobStore:
        """The jobs' rows."""
        return JobStore(self._wiring.table("jobs"), self._dps, self._wiring.clock)

    @cached_property
    def rotations(self) -> RotationStore:
        """The groups' rotations."""
        return RotationStore(self._wiring.table("rotations"), self._dps, self._wiring.clock)

    @cached_property
    def rolls(self) -> RollStore:
        """The roll of the webhook's key."""
        return RollStore(self._wiring.table("rotations"), self._dps, self._wiring.clock)

    @cached_property
    def kinds(self) -> tuple[JobKind, ...]:
        """What can run with these settings: rotation needs the vault."""
        wiring, told = self._wiring, self._telemetry
        ports = audit_ports(wiring, self._dps, wiring.dps, self.jobs, lambda: self._packaged, telemetry=told)
        host = self._settings.dps_host
        audit = Audit(ports, audited(self._settings, self._dps, host=host, scheduled=True)).kind
        purge = purge_kind(purge_ports(wiring, self._dps, wiring.dps, telemetry=told), pace_of(self._rates))
        webhook = own_webhook(
            wiring.vault(UnpacedShare()), self._settings.webhook_key_secret, self._settings.webhook_url
        )
        decommission = decommission_kind(
            decommission_ports(wiring, self._dps, wiring.dps, webhook, telemetry=told),
            decommission_pace(self._rates),
        )
        if not self._settings.vault_url:
            return (audit, purge, decommission)
        rotation = rotation_kind(self.rotations, self._rotation_ports, self._telemetry)
        rewrite = rewrite_kind(self.rolls, self._rewrite_ports, self._telemetry)
        return (audit, purge, decommission, rotation, rewrite)

    async def work(self) -> None:
        """Run a slice of what is due."""
        await ask_to_look(self.jobs, self._heard)
        await tick(self.kinds, self.jobs, self._rates, self._telemetry, worker=self._worker)

    async def audit(self) -> None:
        """Ask for an audit."""
        await schedule(self.jobs, self._wiring.clock.now(), thresholds=thresholds_of(self._settings))

    async def purge(self) -> None:
        """Ask for a purge: a dry run, unless the settings say otherwise. None with rules that are none."""
        rules = self._purge_rules()
        if rules is None:
            return
        asked = await schedule_purge(
            self.jobs,
            Holds(self._wiring.table("purge"), self._dps),
            self._wiring.clock.now(),
            rules,
            dry_run=self._settings.purge_dry_run,
        )
        if isinstance(asked, Held):
            self._telemetry.event("purge_not_begun", run=asked.run, state=asked.state, problem=asked.problem)

    async def forget_old_jobs(self) -> None:
        """Forget what ended or happened to jobs long ago, some of it at a time.

        Raises:
            TableUnavailable: the next time goes on.
        """
        await trim(self.jobs, self._wiring.clock.now() - JOBS_KEPT, most=JOBS_AT_ONCE)

    def _purge_rules(self) -> PurgePolicy | None:
        """The rules as the package has them; None where they cannot be used, which is told."""
        if self._purge_rules_file is None:
            return PurgePolicy()
        try:
            return load_rules(self._purge_rules_file)
        except InvalidOption as error:
            self._telemetry.event("purge_rules_unusable", problem=str(error))
            return None

    async def rotate(self) -> None:
        """Look at every group's rotation: what an event should have begun, what is stuck, what waits."""
        vault = self._wiring.vault(UnpacedShare())
        if vault is not None:
            settings = self._settings
            if settings.webhook_key_secret and settings.webhook_key_max_age_days:
                most = timedelta(days=settings.webhook_key_max_age_days)
                name, clock = settings.webhook_key_secret, self._wiring.clock
                await tell_age(vault, name, most, clock, self._telemetry, dps=self._dps)
            groups = self._wiring.dps(self._rates.share(ROTATION, Rate.DPS)).groups
            await daily(self.rotations, vault, groups, self.jobs, self._telemetry)

    async def vault_event(self, raw: Mapping[str, Any]) -> None:
        """Take one event of the vault.

        Raises:
            TableUnavailable: nothing may have been recorded; it must be delivered again.
        """
        vault = self._vault_identity()
        await self._in_time(receive(raw, vault, self.rotations, self.jobs, self._telemetry))

    async def hub_event(self, raw: Mapping[str, Any]) -> None:
        """Write one event of a hub down: a job looks at the registration of the device that is gone.

        Raises:
            TableUnavailable, TimeoutError: it may not be written down; it must be delivered again.
        """
        try:
            event = read(raw)
            deleted = device_deleted(event)
        except NotAnEvent as error:
            self._telemetry.event("device_deleted_ignored", problem=str(error))
            return
        await self._in_time(self._heard.put(Heard(deleted, event.id, self._wiring.clock.now())))
        self._telemetry.event("device_deleted", hub=deleted.hub, device=deleted.device, noted="heard")

    async def _in_time(self, work: Awaitable[object]) -> None:
        """Take an event while Event Grid waits for it.

        Raises:
            TimeoutError: it took too long.
        """
        try:
            async with asyncio.timeout(self._event_seconds):
                await work
        except TimeoutError:
            raise TimeoutError(
                f"the event was not dealt with in {self._event_seconds:g} s: deliver it again"
            ) from None

    @property
    def _heard(self) -> HeardStore:
        return HeardStore(self._wiring.table("purge"), self._dps)

    def _vault_identity(self) -> VaultIdentity:
        resource = self._settings.vault_resource_id
        host = urlsplit(self._settings.vault_url).hostname or ""
        return VaultIdentity((resource.rsplit("/", 1)[-1] or host.partition(".")[0]).lower(), resource)

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
            places = CanaryPlaces(devices, dps.registrations, dps.individuals, hub, settings.canary_prefix)
        return RotationPorts(
            groups=dps.groups,
            vault=vault,
            places=places,
            identities=Fleet(dps.registrations, hub),
            provider=settings.dps_resource_id or settings.dps_host,
            webhook=own_webhook(vault, settings.webhook_key_secret, settings.webhook_url),
        )

    def _rewrite_ports(self, slice_: Slice) -> RewritePorts:
        share = slice_.share(Rate.DPS)
        dps, vault = self._wiring.dps(share), self._wiring.vault(share)
        assert vault is not None
        return RewritePorts(
            listings={"group": dps.groups, "individual": dps.individuals},
            enrollments={"group": groups(dps), "individual": individuals(dps)},
            vault=vault,
        )
