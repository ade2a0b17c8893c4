"""The kind of job `decommission`: one group, from the survey to what came while it went."""

from datetime import datetime

from lifecycle.decommission import group, leftovers, records, survey
from lifecycle.decommission.plan import OVER, Plan, left_over
from lifecycle.decommission.told import Told
from lifecycle.decommission.work import KIND, Ports, Work
from lifecycle.errors import InvalidOption
from lifecycle.jobs import (
    Created,
    Done,
    Failed,
    JobKind,
    JobStore,
    More,
    Progress,
    Slice,
    SliceResult,
)
from lifecycle.purge.holds import Held, Holds
from lifecycle.purge.plan import Pace
from lifecycle.rates import Rates


def decommission_kind(ports: Ports, pace: Pace) -> JobKind:
    """The kind, for the job loop.

    Args:
        ports: what it reaches.
        pace: how fast it may go (`pace_of`).
    """

    async def run(slice_: Slice) -> SliceResult:
        try:
            told = Told.read(slice_.params)
        except InvalidOption as error:
            return Failed(str(error))
        holds = Holds(ports.table, ports.name)
        if slice_.checkpoint is None:
            other = await holds.begin(_held(told), slice_.job.id, ports.clock.now())
            if other:
                return Failed(f"nothing was changed: {other} has group {told.group!a}; wait for its end")
        work = Work(slice_, ports, told, await ports.linked(), pace)
        if work.state.failed:
            return await _over(work, Failed(work.state.failed))
        while slice_.time_left() > 0:
            ended = await _step(work)
            if isinstance(ended, Failed):
                # Before any row goes: a death now must not go on with rows that are not there any more.
                work.state.failed = ended.problem
                await work.save()
            if isinstance(ended, Failed | Done):
                return await _over(work, ended)
            if ended is not None:
                return ended
            await work.save_sometimes()
        await work.save()
        return More()

    return JobKind(KIND, run)


async def _over(work: Work, ended: Failed | Done) -> SliceResult:
    await work.forget_noted()  # a run that failed leaves them too
    await Holds(work.ports.table, work.ports.name).let_go(_held(work.told), work.run)
    return Failed(ended.problem, ended.result or result(work)) if isinstance(ended, Failed) else ended


async def _step(work: Work) -> SliceResult | None:  # noqa: C901, PLR0911, PLR0912 - a phase each
    match work.state.phase:
        case "look":
            return await group.look(work)
        case "survey":
            return await survey.listed(work)
        case "weigh":
            return await survey.weighed(work)
        case "disable":
            problem = _plan(work).problem()
            return Failed(f"nothing was changed: {problem}") if problem else await group.disable(work)
        case "escrow":
            return await group.keep_keys(work)
        case "count":
            return await records.count(work)
        case "purge":
            return await records.purge(work)
        case "delete":
            return await group.delete(work)
        case "after":
            return await records.after(work)
        case "by-id":
            return await leftovers.by_id(work)
        case "elsewhere":
            await leftovers.elsewhere(work)
            return None
        case "orphans":
            await leftovers.orphans(work)
            return None
        case _:
            await group.end_rotation(work)
            return _end(work)


def result(work: Work) -> dict[str, object]:
    """What a run came to: JSON."""
    state, told = work.state, work.told
    done = not told.dry_run and state.phase in ("after", "by-id", "elsewhere", "orphans", "end")
    return {
        "dryRun": told.dry_run,
        "group": told.group,
        "plan": _plan(work).document(),
        "disabledAt": state.disabled_at or None,
        "keys": None if state.kept is None else {"secret": state.kept[0], "version": state.kept[1]},
        "groupDeleted": done,
        "rotation": state.rotation or None,
        "byOthers": state.others,
        "madeAnew": state.remade,
        "deleted": state.deleted,
        "left": dict(state.ended.kept),
        "leftSamples": {why: list(ids) for why, ids in state.ended.samples.items()},
    }


def pace_of(rates: Rates) -> Pace:
    """How fast decommissionings may go.

    Args:
        rates: of the process that runs them.
    """
    return Pace.of(KIND, rates)


async def create(store: JobStore, job: str, told: Told, *, by: str) -> Created:
    """Ask for a run. The same id is the same run.

    Args:
        store: of jobs.
        job: its id, which names its archive too.
        told: what to do.
        by: who asks.
    """
    return await store.create(job, KIND, by=by, subject=told.group, params=told.params())


async def ask(store: JobStore, holds: Holds, job: str, told: Told, *, by: str) -> Created | Held:
    """Ask for a run, of which a group has one at a time.

    Args:
        store: of jobs.
        holds: of the same DPS.
        job: its id, as for `create`.
        told: what to do.
        by: who asks.

    Returns:
        The run of that id; or another one over the group that has not ended, and then there is no new one.

    Raises:
        TableUnavailable: it may have been created; asking again is safe.
    """
    group = told.group.lower()
    for other in (await store.current()).jobs:
        if other.kind == KIND and other.subject.lower() == group and other.id != job:
            return Held(other.id, str(other.state), other.problem)
    held = await holds.take(_held(told), job, store)
    return held or await create(store, job, told, by=by)


def name_of(group: str, at: datetime) -> str:
    """The id of a run that begins at a moment."""
    return f"{KIND}:{group}:{at:%Y-%m-%dT%H.%M.%S}"


def _held(told: Told) -> str:
    return f"group:{told.group}"


def _plan(work: Work) -> Plan:
    return Plan(work.state, work.told, work.pace, work.ports.settle, vault=work.vault is not None)


def _end(work: Work) -> Done | Failed:
    state, told = work.state, work.told
    telemetry = work.ports.telemetry
    telemetry.event(
        "decommission_ended",
        run=work.run,
        group=told.group,
        dry_run=told.dry_run,
        records=state.survey.records,
        deleted=state.deleted,
        left=sum(state.ended.kept.values()),
        keys=bool(state.kept),
    )
    telemetry.measure("decommission.deleted", state.deleted, dps=work.ports.name)
    if state.ended.kept.get(OVER):
        return Failed(left_over(state, told))
    if told.dry_run:
        count = state.survey.records
        return Done(result(work), Progress(count, count, "records"))
    return Done(result(work), Progress(state.deleted, state.deleted, "deletes"))
