"""One pass over every record: DPS's listings to their end, and what the audit kept of groups that are gone.

A pass concludes nothing of a listing that did not end. A fault of DPS ends the slice, and the listing goes on
from the last checkpoint; a continuation that is refused begins that listing anew; groups that came or went
meanwhile begin the pass anew.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from clients.errors import ContinuationExpired, NotFound
from clients.hub_queries import QUERY_CHARACTERS, QUERY_IDS
from lifecycle.audit.snapshot import Listed, group_key
from lifecycle.jobs import Failed
from lifecycle.purge.rules import Evidence
from lifecycle.purge.work import INDIVIDUALS, RECORDS, Work
from provisioning.enrollments import EnrollmentGroup
from provisioning.registrations import Registration

RECORDS_PAGE = 1_000
"""Records asked for at once; each page is one billed operation, however many DPS gives."""

ENROLLMENTS_PAGE = 250
"""Enrollments asked for at once: one may have 96 KB (documented)."""

READS = 100
"""Records of a gone group that are read before the next look at the time."""

RESTARTS = 20
"""How often a pass may begin anew."""


class GroupsChange(Exception):
    """A group came or went during the pass."""


class ListingsExpire(Exception):
    """Continuations of a group's listing are refused before its next page is asked for."""

    def __init__(self, group: str) -> None:
        super().__init__(
            f"the listing of group {group[:128]!a} was refused and begun anew {RESTARTS} times: DPS forgets "
            "continuations faster than this run asks for pages; give purge a larger share of DPS's rate"
        )


async def unless_groups_change(work: Work, go: Callable[[], Awaitable[Failed | None]]) -> Failed | None:
    """Do it; where groups came or went during the pass, begin the pass anew."""
    state = work.state
    try:
        return await go()
    except ListingsExpire as error:
        return Failed(str(error))
    except GroupsChange:
        if state.restarts >= RESTARTS:
            return Failed(f"groups came and went during {RESTARTS} passes: run it when they are left alone")
        state.restarts += 1
        state.again()
        work.fresh()
        await work.save()
        return None


async def step(work: Work) -> None:
    """One page, or what hubs say of some records.

    Raises:
        GroupsChange: a group went away while it was listed.
        ListingsExpire: a listing comes to no end.
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
        case "evidence":
            await _evidence(work)
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
        [each.group, each.run, each.listing, each.spans]
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
    """One page of a group's records.

    What hubs are to be asked of is put aside: they allow few queries a minute, and a continuation may not
    wait for them.
    """
    state = work.state
    assert state.groups is not None
    if state.at >= len(state.groups):
        state.phase, state.at, state.cursor, state.place = "evidence", 0, "", 0
        await work.save()
        return
    group = state.groups[state.at][0]
    before = state.before = state.before or state.tally.copied()
    if len(state.attempts) == state.at:
        state.attempts.append(0)
    try:
        async for page in work.dps.registrations.pages(group, start=state.start, size=RECORDS_PAGE):
            state.tally.pages += 1
            await work.note_listed(RECORDS, (each.id for each in page.items))
            await work.put_aside(state.at, group, page.items)
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
        state.attempts[state.at] += 1
        if state.attempts[state.at] > RESTARTS:
            raise ListingsExpire(group) from None
    except NotFound:
        raise GroupsChange from None


async def _evidence(work: Work) -> None:
    """Some of the records that were put aside, as many as one query of each hub can ask for."""
    state = work.state
    assert state.groups is not None
    if state.at >= len(state.attempts):
        state.phase, state.at, state.chunk, state.place = "orphans", 0, 0, 0
        await work.save()
        return
    if work.aside is None:
        work.aside = await work.next_aside(state.at, state.cursor)
    if work.aside is None:
        state.at, state.cursor, state.place = state.at + 1, "", 0
        return
    key, records = work.aside
    group = state.groups[state.at][0]
    individuals = await work.listed(INDIVIDUALS)
    batch = one_query_each(records[state.place :])
    await work.weigh(
        [Evidence(each, group, individual=each.key in individuals, linked=work.linked) for each in batch]
    )
    state.tally.aside -= len(batch)
    state.place += len(batch)
    if state.place >= len(records):
        state.cursor, state.place, work.aside = key, 0, None


def one_query_each(records: Sequence[Registration]) -> Sequence[Registration]:
    """The first records, as many as one query of each hub can ask for.

    A query waits its turn, and no more of them are begun than a slice has time for.
    """
    ids: Counter[str] = Counter()
    letters: Counter[str] = Counter()
    for at, each in enumerate(records):
        hub, size = each.hub or "", 2 * len(each.device_id or each.id) + 3
        if ids[hub] == QUERY_IDS or letters[hub] + size > QUERY_CHARACTERS - 100:
            return records[: max(1, at)]
        ids[hub] += 1
        letters[hub] += size
    return records


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
        await _read(work, group, listed[state.place : state.place + READS])
        state.place += READS
        if state.place >= len(listed):
            state.chunk, state.place = number + 1, 0
        return
    state.at, state.chunk, state.place = state.at + 1, 0, 0


async def _read(work: Work, group: str, listed: Sequence[Listed]) -> None:
    """Read those of a gone group's records that nothing lists any more."""
    records, individuals = await work.listed(RECORDS), await work.listed(INDIVIDUALS)
    found = []
    for each in listed:
        if each.id in records or each.id.lower() in work.read:
            continue
        record = await work.dps.registrations.get(each.id)
        work.state.tally.reads += 1
        work.read.add(each.id.lower())
        if record is not None:
            individual = each.id in individuals
            found.append(
                Evidence(
                    record,
                    group,
                    gone=True,
                    listed=False,
                    individual=individual,
                    linked=work.linked,
                    device=each.device,
                )
            )
    await work.weigh(found)
