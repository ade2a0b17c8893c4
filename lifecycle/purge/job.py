"""The kind of job `purge`: one run of it is a pass over everything, what is due then, and a pass again.

Parameters of a job: `policy`, a PurgePolicy's document; `dry_run`, of which only false deletes anything. Or
`do`: "heard" looks at what hubs said of deleted devices (lifecycle.purge.gone) instead.
"""

from datetime import datetime

from lifecycle.errors import InvalidOption
from lifecycle.jobs import Created, Failed, JobKind, JobStore, More, Slice, SliceResult
from lifecycle.purge import act, survey
from lifecycle.purge.calls import KIND
from lifecycle.purge.gone import look_at_heard
from lifecycle.purge.heard import is_run
from lifecycle.purge.holds import EVERYTHING, Held, Holds
from lifecycle.purge.plan import Pace
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.work import Ports, Work


def purge_kind(ports: Ports, pace: Pace) -> JobKind:
    """The kind, for the job loop.

    Args:
        ports: what it reaches.
        pace: how fast it may go, for plans (act.pace_of).
    """
    called: dict[str, dict[str, int]] = {}

    async def run(slice_: Slice) -> SliceResult:
        if not is_run(slice_.params):
            return await look_at_heard(slice_, ports)
        try:
            policy = PurgePolicy.read(slice_.params.get("policy"))
        except InvalidOption as error:
            return Failed(str(error))
        if slice_.checkpoint is None:
            other = await Holds(ports.table, ports.name).begin(EVERYTHING, slice_.job.id, ports.clock.now())
            if other:
                return Failed(f"{other} is at it: two runs would archive records twice; wait for its end")
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
    if work.state.failed:
        return await _over(work, Failed(work.state.failed, act.result(work, pace)))
    if work.state.outdated(work.ports.clock.now()):
        await act.begin_anew(work)
    while work.slice.time_left() > 0:
        ended = await _step(work, pace)
        if isinstance(ended, Failed):
            # Before any row goes: a death now must not go on with listings that have lost some.
            work.state.failed = ended.problem
            await work.save()
        if ended is not None:
            return await _over(work, ended)
        await work.save_sometimes()
    await work.save()
    return More()


async def _over(work: Work, ended: SliceResult) -> SliceResult:
    await work.forget_listed()  # a run that failed leaves them too
    await Holds(work.ports.table, work.ports.name).let_go(EVERYTHING, work.run)
    return ended


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


async def under_way(store: JobStore) -> Held | None:
    """A run that has not ended, perhaps by other rules; None: there is none.

    Raises:
        TableUnavailable.
    """
    jobs = (await store.current()).jobs
    found = next((job for job in jobs if job.kind == KIND and is_run(job.params)), None)
    return None if found is None else Held(found.id, str(found.state), found.problem)


async def ask(
    store: JobStore, holds: Holds, job: str, policy: PurgePolicy, *, by: str, dry_run: bool = True
) -> Created | Held:
    """Ask for a run, of which there is one at a time.

    Args:
        store: of jobs.
        holds: of the same DPS.
        job: its id.
        policy: as for `create`.
        by: as for `create`.
        dry_run: as for `create`.

    Returns:
        The run of that id; or another one that has not ended, and then there is no new one.

    Raises:
        TableUnavailable: it may have been created; asking again is safe.
    """
    other = await under_way(store)
    if other is not None and other.run != job:
        return other
    held = await holds.take(EVERYTHING, job, store)
    return held or await create(store, job, policy, by=by, dry_run=dry_run)


async def schedule(
    store: JobStore, holds: Holds, at: datetime, policy: PurgePolicy, *, dry_run: bool = True
) -> Created | Held:
    """Ask for the run of a schedule's moment: the same one, however often its timer fires.

    Args:
        store: of jobs.
        holds: of the same DPS.
        at: the moment.
        policy: what counts.
        dry_run: as for `create`.

    Returns:
        As `ask`.

    Raises:
        TableUnavailable: it may have been created; asking again is safe.
    """
    return await ask(store, holds, f"{KIND}:{at:%Y-%m-%dT%H.%M}", policy, by="timer", dry_run=dry_run)
