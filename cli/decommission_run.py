"""`decommission run`: writes the job, and works on it here if somebody waits for it."""

from cli import runs, waiting
from cli.connect import Session
from cli.waiting import Silent
from job_ports import decommission_ports
from lifecycle.decommission.job import ask, decommission_kind, name_of, pace_of
from lifecycle.decommission.told import Told
from lifecycle.jobs import JobRow, JobStore
from lifecycle.purge.holds import Holds
from lifecycle.rates import Rates


async def start(session: Session, store: JobStore, holds: Holds, told: Told, *, by: str) -> JobRow:
    """A new run.

    Raises:
        NotBegun: another is under way over the same group.
    """
    return await runs.begin(session, lambda at: ask(store, holds, name_of(told.group, at), told, by=by))


async def to_its_end(session: Session, store: JobStore, job: str) -> JobRow:
    """Run slices here until the job has ended, wherever it is worked on beside.

    Raises:
        NotEnded: it failed, is blocked or was stopped, or the kill switch is set.
    """
    rates = Rates(session.clock, units=session.settings.hub_units)
    ports = decommission_ports(
        session.wiring, store.dps, session.dps_under, session.own_webhook, telemetry=Silent()
    )
    return await waiting.to_its_end(session, store, decommission_kind(ports, pace_of(rates)), rates, job)
