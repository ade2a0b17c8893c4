"""The kind of job `purge`: one run of it is a pass over everything, what is due then, and a pass again.

Parameters of a job: `policy`, a PurgePolicy's document; `dry_run`, of which only false deletes anything.
"""

from datetime import datetime

from lifecycle.errors import InvalidOption
from lifecycle.jobs import Created, Failed, JobKind, JobRow, JobStore, More, Slice, SliceResult
from lifecycle.purge import act, survey
from lifecycle.purge.plan import Pace
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.work import KIND, Ports, Work


def purge_kind(ports: Ports, pace: Pace) -> JobKind:
    """The kind, for the job loop.

    Args:
        ports: what it reaches.
        pace: how fast it may go, for plans (act.pace_of).
    """
    called: dict[str, dict[str, int]] = {}

    async def run(slice_: Slice) -> SliceResult:
        try:
            policy = PurgePolicy.read(slice_.params.get("policy"))
        except InvalidOption as error:
            return Failed(str(error))
        work = Work(slice_, ports, policy, await ports.linked())
        # A slice that ended as trouble saved nothing, and what throttled it is worth telling.
        work.state.calls.update(called.pop(work.run, {}))
        try:
            return await _slice(work, pace)
        finally:
            called.clear()
            called[work.run] = work.state.calls

    return JobKind(KIND, run)


async def _slice(work: Work, pace: Pace) -> SliceResult:
    if work.state.outdated(work.ports.clock.now()):
        await act.begin_anew(work)
    while work.slice.time_left() > 0:
        ended = await _step(work, pace)
        if ended is not None:
            await work.forget_listed()  # a run that failed leaves them too
            return ended
        await work.save_sometimes()
    await work.save()
    return More()


async def _step(work: Work, pace: Pace) -> SliceResult | None:
    match work.state.phase:
        case "weigh":
            return await survey.unless_groups_change(work, lambda: act.weigh(work, pace))
        case "act":
            await act.act(work, pace)
            return None
        case "end":
            return act.end(work, pace)
        case _:
            return await survey.unless_groups_change(work, lambda: survey.step(work))


async def create(store: JobStore, job: str, policy: PurgePolicy, *, by: str, dry_run: bool = True) -> Created:
    """Ask for a run. The same id is the same run.

    Args:
        store: of jobs.
        job: its id, which names its archive too.
        policy: what counts; the run keeps it.
        by: who asks.
        dry_run: False: it marks what is stale and deletes what is due.
    """
    params = {"policy": policy.document(), "dry_run": dry_run}
    return await store.create(job, KIND, by=by, params=params)


async def under_way(store: JobStore) -> JobRow | None:
    """A run that has not ended, perhaps by other rules; None: there is none.

    Raises:
        TableUnavailable.
    """
    return next((job for job in (await store.current()).jobs if job.kind == KIND), None)


async def schedule(
    store: JobStore, at: datetime, policy: PurgePolicy, *, dry_run: bool = True
) -> Created | JobRow:
    """Ask for the run of a schedule's moment: the same one, however often its timer fires.

    Args:
        store: of jobs.
        at: the moment.
        policy: what counts.
        dry_run: as for `create`.

    Returns:
        The run; or another that has not ended yet, and then there is no new one.

    Raises:
        TableUnavailable: it may have been created; asking again is safe.
    """
    name = f"{KIND}:{at:%Y-%m-%dT%H.%M}"
    other = await under_way(store)
    if other is not None and other.id != name:
        return other
    return await create(store, name, policy, by="timer", dry_run=dry_run)
