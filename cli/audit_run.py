"""`audit run`: writes the job, and works on it here if somebody waits for it."""

from cli import waiting
from cli.connect import Session
from cli.state import State, packaged
from cli.waiting import Silent
from job_ports import audit_ports, audited, thresholds_of
from lifecycle.audit import asked
from lifecycle.audit.job import KIND, Audit
from lifecycle.jobs import JobRow, JobStore
from lifecycle.rates import Rates
from settings import Settings  # noqa: TID251 - of the session, with this run's options


async def start(session: Session, store: JobStore, settings: Settings, *, by: str, webhook: bool) -> JobRow:
    """The run that is under way, else a new one by these settings, whoever works on it."""
    current = await store.current()
    for job in current.jobs:
        if job.kind == KIND:
            session.terminal.note(f"{job.id} is {job.state} already; no other is started beside it")
            return job
    params = asked.params(thresholds_of(settings), webhook=webhook)
    return await waiting.new_run(
        lambda at: store.create(
            f"{KIND}:{at:%Y-%m-%dT%H.%M.%S}", KIND, by=by, subject=store.dps, params=params
        ),
        session.now,
    )


async def to_its_end(session: Session, state: State, store: JobStore, job: str) -> None:
    """Run slices here until the job has ended, wherever it is worked on beside.

    Raises:
        NotEnded: it failed, is blocked or was stopped, or the kill switch is set.
    """
    ports = audit_ports(
        session.wiring,
        state.dps,
        session.dps_under,
        store,
        lambda: packaged(session)[0],
        telemetry=Silent(),
    )
    # What AUDIT_SCHEDULE is in the app is not known here: whether its timer is late, the app's own runs tell.
    here = audited(session.settings, state.dps, host=session.dps.host, scheduled=False)
    rates = Rates(session.clock, units=session.settings.hub_units)
    await waiting.to_its_end(session, store, Audit(ports, here).kind, rates, job)
