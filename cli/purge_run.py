"""`purge run`: writes the job, and works on it here if somebody waits for it."""

import asyncio
import socket
from contextlib import suppress

from cli.audit_run import LOOK_SECONDS, Silent
from cli.connect import Session
from cli.errors import CliError
from cli.progress import Advance, progress
from cli.state import whoever
from clients.arm import Unknown
from clients.pacing import UnpacedShare
from lifecycle.audit.formats.shape import span
from lifecycle.jobs import JobRow, JobStore, State, tick
from lifecycle.jobs import show as show_job
from lifecycle.purge.act import pace_of
from lifecycle.purge.job import create, purge_kind
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.work import KIND, Ports
from lifecycle.rates import Rates
from provisioning.hubs import HubKey


class NotPurged(CliError):
    """The run did not come to its end. Says what stopped it."""


async def start(session: Session, store: JobStore, policy: PurgePolicy, *, by: str, dry_run: bool) -> JobRow:
    """A new run.

    Raises:
        NotPurged: another is under way, perhaps by other rules.
    """
    for job in (await store.current()).jobs:
        if job.kind == KIND:
            raise NotPurged(
                f"{job.id} is {job.state} already; wait for its end, or stop it with `job stop {job.id}`"
            )
    name = f"{KIND}:{session.now:%Y-%m-%dT%H.%M.%S}"
    return (await create(store, name, policy, by=by, dry_run=dry_run)).job


async def to_its_end(session: Session, store: JobStore, job: str) -> JobRow:
    """Run slices here until the job has ended, wherever it is worked on beside.

    Raises:
        NotPurged: it failed, is blocked or was stopped, or the kill switch is set.
    """
    rates, telemetry = Rates(session.clock), Silent()
    kind = purge_kind(_ports(session, store.dps), pace_of(rates))
    worker = f"{whoever(None)}@{socket.gethostname()}"
    with progress(session.terminal, "purge", 1.0) as advance:
        watching = asyncio.create_task(_watch(session, store, job, advance))
        try:
            while (ended := await _ended(store, job)) is None:
                if not await tick([kind], store, rates, telemetry, worker=worker):
                    await session.clock.sleep(LOOK_SECONDS)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    return ended


async def _ended(store: JobStore, job: str) -> JobRow | None:
    row = await show_job(store, job)
    match row.state:
        case State.DONE:
            return row
        case State.FAILED | State.BLOCKED | State.STOPPED:
            raise NotPurged(f"{job} is {row.state}{f': {row.problem}' if row.problem else ''}")
        case _:
            switch = (await store.current()).switch
            off = switch.everything or switch.kinds.get(KIND)
            if off is not None:
                raise NotPurged(
                    f"the kill switch is set by {off.by} ({off.why}): nothing runs until it is taken back"
                )
            return None


async def _watch(session: Session, store: JobStore, job: str, advance: Advance) -> None:
    """Show how far it is, as the row says."""
    while True:
        row = await show_job(store, job)
        done, total, unit = row.progress.done, row.progress.total, row.progress.unit
        left = "" if row.remaining is None else f", about {span(row.remaining)} left"
        of = f"{done:,} {unit}" if total is None else f"{done:,} of {total:,} {unit}"
        advance(done / total if total else 0.0, f"{of}{left}")
        await session.clock.sleep(LOOK_SECONDS)


def _ports(session: Session, dps: str) -> Ports:
    async def linked() -> frozenset[HubKey] | Unknown:
        """By the management plane alone: HUBS says where hubs are served, and need not name all of them."""
        arm = session.wiring.arm(UnpacedShare())
        page = Unknown("DPS_RESOURCE_ID is not set") if arm is None else await arm.page()
        found = page if isinstance(page, Unknown) else page.linked_hubs
        return found if isinstance(found, Unknown) else frozenset(hub.key for hub in found)

    return Ports(
        name=dps,
        table=session.wiring.table("purge"),
        audits=session.wiring.table("audit"),
        clock=session.clock,
        dps=session.dps_under,
        hub=session.wiring.hub,
        linked=linked,
        telemetry=Silent(),
    )
