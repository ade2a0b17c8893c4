"""`audit run`: writes the job, and works on it here if somebody waits for it."""

from collections.abc import Mapping
from functools import partial

from allocation import CompiledPolicy, FleetView
from cli import waiting
from cli.connect import Session
from cli.state import State, linked_hubs, view_of
from cli.waiting import Silent
from clients.arm import Unknown
from clients.pacing import UnpacedShare
from lifecycle.audit.checks import CHECKS
from lifecycle.audit.group_secrets import group_secrets, rotation_names
from lifecycle.audit.job import KIND, Audit
from lifecycle.audit.notify import Notifier, announce
from lifecycle.audit.ports import Audited, Ports
from lifecycle.audit.runs import RunStore
from lifecycle.audit.suppressions import Suppressions
from lifecycle.audit.webhook_calls import webhook_calls
from lifecycle.audit.would_go import would_go
from lifecycle.jobs import JobRow, JobStore
from lifecycle.rates import Rates
from lifecycle.rotation.store import RotationStore
from provisioning.hubs import HubKey


async def start(session: Session, store: JobStore, *, by: str, webhook: bool) -> JobRow:
    """The run that is under way, else a new one."""
    current = await store.current()
    for job in current.jobs:
        if job.kind == KIND:
            session.terminal.note(f"{job.id} is {job.state} already; no other is started beside it")
            return job
    params = {"webhook": True} if webhook else {}
    name = f"{KIND}:{session.now:%Y-%m-%dT%H.%M.%S}"
    return (await store.create(name, KIND, by=by, subject=store.dps, params=params)).job


async def to_its_end(session: Session, state: State, store: JobStore, job: str) -> None:
    """Run slices here until the job has ended, wherever it is worked on beside.

    Raises:
        NotEnded: it failed, is blocked or was stopped, or the kill switch is set.
    """
    audit = Audit(
        _ports(session, state, store),
        Audited(state.dps, called=session.dps.host.partition(".")[0], webhook=session.settings.webhook_url),
    )
    await waiting.to_its_end(session, store, audit.kind, Rates(session.clock), job)


def _ports(session: Session, state: State, store: JobStore) -> Ports:
    """What a run reaches from here; the vault only where VAULT_URL is set."""
    wiring, clock, table = session.wiring, session.clock, session.wiring.table("audit")
    settings, url = session.settings, session.settings.audit_notify_url
    vault = wiring.vault(UnpacedShare())
    rotations = RotationStore(wiring.table("rotations"), state.dps, clock)
    offered: dict[HubKey, str] = {}

    async def policy() -> CompiledPolicy | None:
        return (await state.active()).policy

    async def fleet() -> FleetView | None:
        return view_of(await state.rows(), session)

    async def linked() -> Mapping[HubKey, str] | Unknown:
        if not offered:
            found = await linked_hubs(session)
            if isinstance(found, Unknown):
                return found
            offered.update(found)  # asked once: they seldom change within a run
        return offered

    return Ports(
        dps=session.dps_under,
        hub=wiring.hub,
        arm=wiring.arm(UnpacedShare()),
        table=table,
        clock=clock,
        telemetry=Silent(),
        policy=policy,
        active=state.policies.active,
        fleet=fleet,
        ledger=wiring.table("ledger"),
        jobs=store,
        secrets=None if vault is None else group_secrets(vault, rotation_names(rotations)),
        webhooks=webhook_calls(
            session.connections,
            clock,
            base=settings.webhook_url,
            key=settings.webhook_key,
            dps=state.dps,
            linked=linked,
        ),
        would_go=partial(would_go, state.dps),
        announce=partial(
            announce,
            archive=RunStore(table, state.dps),
            checks=CHECKS,
            suppressions=Suppressions(table, state.dps, clock),
            telemetry=Silent(),
            clock=clock,
            notifier=Notifier(url, session.connections, clock) if url else None,
        ),
    )
