"""`purge run`: writes the job, and works on it here if somebody waits for it."""

from cli import waiting
from cli.connect import Session
from cli.errors import CliError
from cli.waiting import Silent
from clients.arm import Unknown
from clients.pacing import UnpacedShare
from lifecycle.jobs import JobRow, JobStore
from lifecycle.purge.act import pace_of
from lifecycle.purge.job import create, purge_kind
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.work import KIND, Ports
from lifecycle.rates import Rates
from provisioning.hubs import HubKey


class NotPurged(CliError):
    """The run was not begun. Says what is in its way."""


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
        NotEnded: it failed, is blocked or was stopped, or the kill switch is set.
    """
    rates = Rates(session.clock)
    kind = purge_kind(_ports(session, store.dps), pace_of(rates))
    return await waiting.to_its_end(session, store, kind, rates, job)


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
