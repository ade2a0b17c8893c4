"""One pass over every record: DPS's listings to their end, and what the audit kept of groups that are gone.

A pass concludes nothing of a listing that did not end. A fault of DPS ends the slice, and the listing goes on
from the last checkpoint; a continuation that is refused begins that listing anew; groups that came or went
meanwhile begin the pass anew.
"""

from collections.abc import Awaitable, Callable

from clients.errors import ContinuationExpired, NotFound
from lifecycle.audit.snapshot import group_key
from lifecycle.jobs import Failed
from lifecycle.purge.rules import Evidence
from lifecycle.purge.work import INDIVIDUALS, RECORDS, Work
from provisioning.enrollments import EnrollmentGroup

RECORDS_PAGE = 1_000
"""Records asked for at once; each page is one billed operation, however many DPS gives."""

ENROLLMENTS_PAGE = 250
"""Enrollments asked for at once: one may have 96 KB (documented)."""

READS = 25
"""Records of a gone group that are read before the next look at the time."""

RESTARTS = 20
"""How often a pass may begin anew."""


class GroupsChange(Exception):
    """A group came or went during the pass."""


async def unless_groups_change(work: Work, go: Callable[[], Awaitable[Failed | None]]) -> Failed | None:
    """Do it; where groups came or went during the pass, begin the pass anew."""
    state = work.state
    try:
        return await go()
    except GroupsChange:
        if state.restarts >= RESTARTS:
            return Failed(f"groups came and went during {RESTARTS} passes: run it when they are left alone")
        state.restarts += 1
        state.again()
        await work.save()
        return None


async def step(work: Work) -> None:
    """One page, or some records of a gone group.

    Raises:
        GroupsChange: a group went away while it was listed.
    """
    state = work.state
    if state.groups is None:
        state.groups = await _groups(work)
        state.gone = await _gone(work)
    match state.phase:
        case "individuals":
            await _individuals(work)
        case "groups":
            await _records(work)
        case _:
            await _orphans(work)


async def check_groups(work: Work) -> None:
    """The groups are still those that were listed.

    Raises:
        GroupsChange: they are not.
    """
    if await _groups(work) != work.state.groups:
        raise GroupsChange


async def _groups(work: Work) -> list[list[str]]:
    found: list[list[str]] = []
    async for page in work.dps.groups.pages(size=ENROLLMENTS_PAGE):
        work.state.tally.pages += 1
        found += [[each.id, group_key(each.id, _made(each))] for each in page.items]
    return sorted(found)


def _made(group: EnrollmentGroup) -> str:
    """As the audit's snapshots have it."""
    return str(group.document().get("createdDateTimeUtc") or "")


async def _gone(work: Work) -> list[list[object]]:
    there = {key for _, key in work.state.groups or ()}
    return [
        [each.group, each.run, each.listing, each.chunks]
        for each in await work.snapshots.groups()
        if each.key not in there
    ]


async def _individuals(work: Work) -> None:
    state = work.state
    try:
        async for page in work.dps.individuals.pages(start=state.start, size=ENROLLMENTS_PAGE):
            state.tally.pages += 1
            await work.note_listed(INDIVIDUALS, (each.id for each in page.items))
            state.start = page.continuation
            if state.start is None:
                state.phase, state.at = "groups", 0
            break
    except ContinuationExpired:
        if state.start is None:
            raise
        state.start = None
    if state.phase == "groups":
        await work.save()


async def _records(work: Work) -> None:
    state = work.state
    assert state.groups is not None
    if state.at >= len(state.groups):
        state.phase, state.at, state.chunk, state.place = "orphans", 0, 0, 0
        await work.save()
        return
    group = state.groups[state.at][0]
    before = state.before = state.before or state.tally.copied()
    individuals = await work.listed(INDIVIDUALS)
    try:
        async for page in work.dps.registrations.pages(group, start=state.start, size=RECORDS_PAGE):
            state.tally.pages += 1
            await work.note_listed(RECORDS, (each.id for each in page.items))
            await work.weigh(
                [
                    Evidence(each, group, individual=each.key in individuals, linked=work.linked)
                    for each in page.items
                ]
            )
            state.start = page.continuation
            if state.start is None:
                state.at, state.before = state.at + 1, None
            break
    except ContinuationExpired:
        if state.start is None:
            raise
        pages = state.tally.pages
        state.tally, state.start = before.copied(), None
        state.tally.pages = pages
    except NotFound:
        raise GroupsChange from None


async def _orphans(work: Work) -> None:
    state = work.state
    if state.at >= len(state.gone) or not work.policy.orphans:
        state.phase, state.cursor = "weigh", ""
        await work.save()
        return
    group, run, listing, chunks = state.gone[state.at]
    async for number, listed in work.snapshots.chunks(run, listing, chunks, first=state.chunk):
        if number != state.chunk:
            state.chunk, state.place = number, 0
        await _read(work, group, [each.id for each in listed[state.place : state.place + READS]])
        state.place += READS
        if state.place >= len(listed):
            state.chunk, state.place = number + 1, 0
        return
    state.at, state.chunk, state.place = state.at + 1, 0, 0


async def _read(work: Work, group: str, ids: list[str]) -> None:
    """Read those of a gone group's ids that nothing lists any more."""
    records, individuals = await work.listed(RECORDS), await work.listed(INDIVIDUALS)
    found = []
    for each in ids:
        if each in records:
            continue
        record = await work.dps.registrations.get(each)
        work.state.tally.reads += 1
        records.add(each)  # another gone group may have had it too
        if record is not None:
            found.append(
                Evidence(
                    record, group, gone=True, listed=False, individual=each in individuals, linked=work.linked
                )
            )
    await work.weigh(found)
