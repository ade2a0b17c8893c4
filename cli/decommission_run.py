"""`decommission run`: writes the job, and works on it here if somebody waits for it."""

from cli import waiting
from cli.connect import Session
from cli.errors import CliError
from cli.waiting import Silent
from job_ports import decommission_ports
from lifecycle.decommission.job import create, decommission_kind, name_of, pace_of, under_way
from lifecycle.decommission.told import Told
from lifecycle.jobs import JobRow, JobStore
from lifecycle.rates import Rates


class NotDecommissioned(CliError):
    """The run was not begun. Says what is in its way."""


async def start(session: Session, store: JobStore, told: Told, *, by: str) -> JobRow:
    """A new run.

    Raises:
        NotDecommissioned: another is under way over the same group.
    """
    other = await under_way(store, told.group)
    if other is not None:
        raise NotDecommissioned(
            f"{other.id} is {other.state} already; wait for its end, or stop it with `job stop {other.id}`"
        )
    return await waiting.new_run(lambda at: create(store, name_of(told.group, at), told, by=by), session.now)


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
