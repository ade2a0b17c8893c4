"""What follows a whole pass: marks that healed come off, the caps are checked, and what is due goes.

Each delete: the hubs' registries are read, then the record; it is archived; it is deleted under the ETag that
was read. 404 and 412 are outcomes. A death in the middle of a chunk leaves it in the archive without
outcomes: the next slice looks at each of its records again, and writes no record down twice.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial

from clients.dps import DpsClient
from clients.errors import OutcomeUnknown
from clients.outcomes import Deleted, Gone
from lifecycle.jobs import Done, Failed, Progress
from lifecycle.purge.archive import CHUNK, Archived, Outcome, archived
from lifecycle.purge.calls import KIND, THROTTLED
from lifecycle.purge.marks import Mark
from lifecycle.purge.plan import Pace, caps, plan_of
from lifecycle.purge.rules import HEALED, Stale
from lifecycle.purge.state import Tally
from lifecycle.purge.survey import check_groups
from lifecycle.purge.work import Work
from lifecycle.rates import Rates
from provisioning.registrations import Registration, same_version

ATTEMPTS = 5
"""Deletes of one record whose outcome stayed unknown, before the slice ends as trouble."""

_CLEARS = frozenset({"gone", "moved", "another-reason", *HEALED})


async def weigh(work: Work, pace: Pace) -> Failed | None:
    """Look again at marks that this pass did not meet, count those that are due, hold the caps against them.

    Raises:
        GroupsChange: a group came or went since the pass began.
    """
    state = work.state
    if not state.cursor:
        await check_groups(work)
        if work.dry_run:
            state.plan, state.phase = state.tally, "end"
            await work.save()
            return None
        state.tally.due, state.tally.hubs, state.tally.marked, state.looked = {}, {}, 0, 0
    async for key, mark in work.marks.all(state.cursor):
        if mark.seen != work.token:
            _, verdict = await work.confirm(mark)
            if verdict in _CLEARS:
                await work.marks.clear(mark.id)
        elif work.due(mark):
            state.tally.may_go(mark.reason, mark.hub or "")
        elif mark.run == work.run:
            state.tally.marked += 1
        state.cursor, state.looked = key, state.looked + 1
        if work.slice.time_left() <= 0:
            return None
        await work.save_sometimes()
    found = caps(sum(state.tally.due.values()), state.tally.population, work.policy, state.deleted)
    state.plan = state.plan or state.tally
    if found.problem:
        _tell(work, pace, found.problem)
        return Failed(found.problem, result=result(work, pace))
    state.phase, state.cursor, state.weighed = "act", "", work.ports.clock.now().isoformat()
    state.before_act = state.deleted + sum(state.left.values())
    await work.save()
    return None


async def act(work: Work, pace: Pace) -> None:
    """One chunk of what is due: as many as can be looked at and deleted before the slice ends."""
    state = work.state
    number = state.archived
    chunk = await work.archive.chunk(work.run, number)
    if chunk is not None:
        await _finish(work, number, chunk, partial(_looked_at_again, work))
        await work.save()
        return
    chunk, exhausted = await _confirmed(work, 60 / pace.dps)
    if chunk:
        await work.archive.begin(work.run, datetime.fromisoformat(state.started))
        written = await work.archive.add(work.run, number, chunk)
        await _finish(work, number, written, partial(_delete if written is chunk else _looked_at_again, work))
    if exhausted:
        if state.this_pass:
            _next_pass(work)
        else:
            state.phase = "end"
    await work.save()


async def begin_anew(work: Work) -> None:
    """List everything again: what the pass under way found is too old to act on.

    A chunk that a death broke off is closed first: what is gone of it went; the rest is left, for now.
    """
    number = work.state.archived
    chunk = await work.archive.chunk(work.run, number)
    if chunk is not None:
        await _finish(work, number, chunk, partial(_gone_or_left, work))
    _next_pass(work)
    await work.save()


def _next_pass(work: Work) -> None:
    work.state.passed += 1
    work.state.again()
    work.fresh()


def end(work: Work, pace: Pace) -> Done:
    """Say what was done."""
    state = work.state
    _tell(work, pace, "")
    total = state.deleted + sum(state.left.values())
    return Done(result(work, pace), Progress(total, total, "deletes"))


def _tell(work: Work, pace: Pace, problem: str) -> None:
    """One event, and a measure of each of its figures."""
    state = work.state
    plan = plan_of(state.plan or Tally(), work.policy, pace)
    figures = {
        "population": plan.population,
        "planned": sum(sum(groups.values()) for groups in plan.counts.values()),
        "due": sum(plan.due.values()),
        "marked": plan.marked,
        "deleted": state.deleted,
        "left": sum(state.left.values()),
        "archived": state.recorded,
        "dps_calls": state.calls.get("dps", 0),
        "hub_calls": state.calls.get("hubs", 0),
        "throttled": state.calls.get(THROTTLED, 0),
        "passes": state.passed,
    }
    telemetry = work.ports.telemetry
    telemetry.event(
        "purge_ended",
        dps=work.ports.name,
        run=work.run,
        dry_run=work.dry_run,
        problem=problem,
        kept=dict(plan.kept),
        left_why=dict(state.left),
        **figures,
    )
    for name, value in figures.items():
        telemetry.measure(f"purge.{name}", value, dps=work.ports.name)


def result(work: Work, pace: Pace) -> dict[str, object]:
    """What a run came to: JSON."""
    state = work.state
    return {
        "dryRun": work.dry_run,
        "plan": plan_of(state.plan or Tally(), work.policy, pace).document(),
        "deleted": state.deleted,
        "left": dict(state.left),
        "passes": state.passed,
    }


def pace_of(rates: Rates) -> Pace:
    """How fast purges may go, for plans.

    Args:
        rates: of the process that runs them.
    """
    return Pace.of(KIND, rates)


async def _confirmed(work: Work, seconds: float) -> tuple[Sequence[Archived], bool]:
    """The next records that may go, and whether there are no further ones.

    Args:
        work: of the slice.
        seconds: that one delete waits for its turn.
    """
    state = work.state
    found: list[Archived] = []
    async for key, mark in work.marks.all(state.cursor):
        if work.due(mark):
            record, verdict = await work.confirm(mark)
            if isinstance(verdict, Stale) and record is not None:
                found.append(archived(record, mark.group, mark.reason, work.ports.clock.now()))
            else:
                _left(work, str(verdict))
                if verdict in _CLEARS:
                    await work.marks.clear(mark.id)
        state.cursor = key
        if len(found) == CHUNK or work.slice.time_left() <= len(found) * seconds:
            return found, False
    return found, True


async def _finish(
    work: Work, number: int, chunk: Sequence[Archived], settle: Callable[[Archived], Awaitable[Outcome]]
) -> None:
    """Find out what becomes of each record of a chunk, unless that is known, and write it down."""
    outcomes = await work.archive.settled(work.run, number)
    if outcomes is None:
        outcomes = [await settle(each) for each in chunk]
        await work.archive.settle(work.run, number, outcomes)
    for each, outcome in zip(chunk, outcomes, strict=True):
        if outcome == "left":
            _left(work, "moved")
        else:
            work.state.deleted += 1
            work.state.this_pass += 1
            await work.marks.clear(each.id)
    work.state.recorded += len(chunk)
    work.state.archived = number + 1


async def _looked_at_again(work: Work, entry: Archived) -> Outcome:
    """Of a chunk that was broken off: who knows how long ago it was confirmed."""
    there, verdict = await work.confirm(_marked(work, entry, Registration.read(entry.document)))
    if there is None:
        return "gone"  # in all likelihood by this run, before it died
    return await _delete(work, entry) if isinstance(verdict, Stale) else "left"


async def _gone_or_left(work: Work, entry: Archived) -> Outcome:
    return "gone" if await work.dps.registrations.get(entry.id) is None else "left"


async def _delete(work: Work, entry: Archived) -> Outcome:
    return await deleted(work.dps, Registration.read(entry.document))


async def deleted(dps: DpsClient, record: Registration) -> Outcome:
    """Delete a record as it was read; where the answer is lost, DPS is asked what became of it.

    Raises:
        OutcomeUnknown: it stayed unknown.
        ServiceError, NoCredential: what a call may raise.
    """
    for _ in range(ATTEMPTS):
        try:
            outcome = await dps.registrations.delete(record.id, record.etag)
        except OutcomeUnknown:
            now = await dps.registrations.get(record.id)
            if now is None:
                return "deleted"
            if not same_version(now.etag, record.etag):
                return "left"
            continue
        return "deleted" if isinstance(outcome, Deleted) else "gone" if isinstance(outcome, Gone) else "left"
    raise OutcomeUnknown("whether a record was deleted stayed unknown", service="DPS")


def _marked(work: Work, entry: Archived, record: Registration) -> Mark:
    return Mark(
        id=record.id,
        device=record.device_id or record.id,
        group=entry.group,
        reason=entry.reason,
        etag=record.etag,
        hub=record.hub,
        at=entry.at,
        run=work.run,
        seen=work.token,
    )


def _left(work: Work, why: str) -> None:
    work.state.left[why] = work.state.left.get(why, 0) + 1
