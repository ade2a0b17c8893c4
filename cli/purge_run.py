"""`purge run`: writes the job, and works on it here if somebody waits for it."""

from cli import runs, waiting
from cli.connect import Session
from cli.waiting import Silent
from job_ports import purge_ports
from lifecycle.jobs import JobRow, JobStore
from lifecycle.purge.act import pace_of
from lifecycle.purge.calls import KIND
from lifecycle.purge.holds import Holds
from lifecycle.purge.job import ask, purge_kind
from lifecycle.purge.policy import PurgePolicy
from lifecycle.rates import Rates


async def start(
    session: Session, store: JobStore, holds: Holds, policy: PurgePolicy, *, by: str, dry_run: bool
) -> JobRow:
    """A new run.

    Raises:
        NotBegun: another is under way, perhaps by other rules.
    """
    return await runs.begin(
        session,
        lambda at: ask(store, holds, f"{KIND}:{at:%Y-%m-%dT%H.%M.%S}", policy, by=by, dry_run=dry_run),
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
