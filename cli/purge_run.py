"""`purge run`: writes the job, and works on it here if somebody waits for it."""

from cli import waiting
from cli.connect import Session
from cli.errors import CliError
from cli.waiting import Silent
from job_ports import purge_ports
from lifecycle.jobs import JobRow, JobStore
from lifecycle.purge.act import pace_of
from lifecycle.purge.job import create, purge_kind, under_way
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.work import KIND
from lifecycle.rates import Rates


class NotPurged(CliError):
    """The run was not begun. Says what is in its way."""


async def start(session: Session, store: JobStore, policy: PurgePolicy, *, by: str, dry_run: bool) -> JobRow:
    """A new run.

    Raises:
        NotPurged: another is under way, perhaps by other rules.
    """
    other = await under_way(store)
    if other is not None:
        raise NotPurged(
            f"{other.id} is {other.state} already; wait for its end, or stop it with `job stop {other.id}`"
        )
    return await waiting.new_run(
        lambda at: create(store, f"{KIND}:{at:%Y-%m-%dT%H.%M.%S}", policy, by=by, dry_run=dry_run),
        session.now,
    )


async def to_its_end(session: Session, store: JobStore, job: str) -> JobRow:
    """Run slices here until the job has ended, wherever it is worked on beside.

    Raises:
        NotEnded: it failed, is blocked or was stopped, or the kill switch is set.
    """
    rates = Rates(session.clock, units=session.settings.hub_units)
    ports = purge_ports(session.wiring, store.dps, session.dps_under, telemetry=Silent())
    kind = purge_kind(ports, pace_of(rates))
    return await waiting.to_its_end(session, store, kind, rates, job)
