"""What follows a whole pass: marks that healed come off, the caps are checked, and what is due goes.

Each delete: the hubs' registries are read, then the record; it is archived; it is deleted under the ETag that
was read. 404 and 412 are outcomes. A death in the middle of a chunk leaves it in the archive without
outcomes: the next slice looks at each of its records again, and writes no record down twice.
"""

from collections.abc import Sequence
from datetime import datetime

from clients.errors import OutcomeUnknown
from clients.outcomes import Deleted, Gone
from lifecycle.jobs import Done, Failed, Progress
from lifecycle.purge.archive import CHUNK, Archived, Outcome, archived
from lifecycle.purge.marks import Mark
from lifecycle.purge.plan import Pace, caps, plan_of
from lifecycle.purge.rules import HEALED, Stale
from lifecycle.purge.state import Tally
from lifecycle.purge.survey import check_groups
from lifecycle.purge.work import KIND, Work
from lifecycle.rates import Rate, Rates
from provisioning.registrations import Registration

ATTEMPTS = 5
"""Deletes of one record whose outcome stayed unknown, before the slice ends as trouble."""

PASSES = 10
"""Passes of one run, at most."""

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
        state.tally.due, state.tally.hubs = {}, {}
    async for key, mark in work.marks.all(state.cursor):
        if mark.seen != work.token:
            _, verdict = await work.confirm(mark)
            if verdict in _CLEARS:
                await work.marks.clear(mark.id)
        elif work.due(mark):
            state.tally.may_go(mark.reason, mark.hub or "")
        state.cursor = key
        if work.slice.time_left() <= 0:
            return None
        await work.save_sometimes()
    found = caps(sum(state.tally.due.values()), state.tally.population, work.policy, state.deleted)
    state.plan = state.plan or state.tally
    if found.problem:
        return Failed(found.problem, result=result(work, pace))
    state.phase, state.cursor = "act", ""
    await work.save()
    return None


async def act(work: Work, pace: Pace) -> None:
    """One chunk of what is due: as many as can be looked at and deleted before the slice ends."""
    state = work.state
    number = state.archived
    chunk = await work.archive.chunk(work.run, number)
    if chunk is not None:
        await _finish(work, number, chunk, confirmed=False)
        await work.save()
        return
    chunk, exhausted = await _confirmed(work, 60 / pace.dps)
    if chunk:
        await work.archive.begin(work.run, datetime.fromisoformat(state.started))
        written = await work.archive.add(work.run, number, chunk)
        await _finish(work, number, written, confirmed=written is chunk)
    if exhausted:
        if state.this_pass and state.passed < PASSES:
            state.passed += 1
            state.again()
            work.fresh()
        else:
            state.phase = "end"
    await work.save()


def end(work: Work, pace: Pace) -> Done:
    """Say what was done."""
    state = work.state
    plan = plan_of(state.plan or Tally(), work.policy, pace)
    telemetry = work.ports.telemetry
    telemetry.event(
        "purge",
        run=work.run,
        dry_run=work.dry_run,
        population=plan.population,
        stale=sum(sum(groups.values()) for groups in plan.counts.values()),
        deleted=state.deleted,
        left=sum(state.left.values()),
        passes=state.passed,
    )
    telemetry.measure("purge.deleted", state.deleted, dps=work.ports.name)
    total = state.deleted + sum(state.left.values())
    return Done(result(work, pace), Progress(total, total, "deletes"))


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


def pace_of(rates: Rates, units: int = 1) -> Pace:
    """How fast purges may go, for plans.

    Args:
        rates: of the process that runs them.
        units: of the smallest hub.
    """
    return Pace(
        dps=rates.per_minute(KIND, Rate.DPS),
        reads=rates.per_minute(KIND, Rate.HUB_REGISTRY) * units,
        queries=rates.per_minute(KIND, Rate.HUB_QUERY) * units,
    )


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


async def _finish(work: Work, number: int, chunk: Sequence[Archived], *, confirmed: bool) -> None:
    outcomes = await work.archive.settled(work.run, number) if not confirmed else None
    if outcomes is None:
        outcomes = [await _one(work, each, confirmed=confirmed) for each in chunk]
        await work.archive.settle(work.run, number, outcomes)
    for each, outcome in zip(chunk, outcomes, strict=True):
        if outcome == "left":
            _left(work, "moved")
        else:
            work.state.deleted += 1
            work.state.this_pass += 1
            await work.marks.clear(each.id)
    work.state.archived = number + 1


async def _one(work: Work, entry: Archived, *, confirmed: bool) -> Outcome:
    record = Registration.read(entry.document)
    if not confirmed:
        there, verdict = await work.confirm(_marked(work, entry, record))
        if there is None:
            return "gone"  # in all likelihood by this run, before it died
        if not isinstance(verdict, Stale):
            return "left"
    for _ in range(ATTEMPTS):
        try:
            outcome = await work.dps.registrations.delete(record.id, record.etag)
        except OutcomeUnknown:
            now = await work.dps.registrations.get(record.id)
            if now is None:
                return "deleted"
            if now.etag != record.etag:
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
