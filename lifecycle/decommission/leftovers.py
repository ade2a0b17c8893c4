"""What came while the group went, read by its id: no listing need tell of it any more.

DPS may list a deleted group's records or not (unknown), and an empty answer may mean either. So every id that
the run ever listed is read. A record that is there by then may have come through another enrollment: it goes
only if it was read before a listing of every group that there is, is in none of these, and is still the same.
"""

from clients.errors import ContinuationExpired, NotFound
from lifecycle.decommission import group
from lifecycle.decommission.plan import OVER
from lifecycle.decommission.records import (
    PASSES,
    PAUSE_SECONDS,
    RESTARTS,
    archive,
    may_wait,
    unfinished,
)
from lifecycle.decommission.state import Tally
from lifecycle.decommission.work import ENROLLMENTS_PAGE, RECORDS_PAGE, Work
from lifecycle.jobs import More, SliceResult
from lifecycle.purge.archive import CHUNK
from lifecycle.purge.rules import Why
from provisioning.registrations import Registration, same_version

OPEN = 5_000
"""Records whose group is not proven, at most: a checkpoint holds them. More are left to a purge."""

ELSEWHERE = "another-group"
NOT_PROVEN = "not-proven"
MOVED_ON = "moved"


async def by_id(work: Work) -> SliceResult | None:
    """Read the ids of one row."""
    state = work.state
    state.ids = state.ids or await work.ids()
    found = await work.noted(state.cursor)
    if found is None:
        return await _read_all(work)
    key, ids = found
    for at, each in enumerate(ids[state.place :], state.place):
        if work.slice.time_left() <= 0:
            _through(work, at)
            await work.save()
            return None
        record = await work.dps.registrations.get(each)
        if record is None:
            continue
        why = await work.last_look(record)
        if why is Why.UNKNOWN and may_wait(work):
            _through(work, at)
            await work.save()
            return More(PAUSE_SECONDS)
        if why is Why.UNDER_WAY and state.passed < PASSES:
            state.under_way = True
        elif why is not None:
            state.ended.keep(why, record.id)
        elif len(state.open) < OPEN:
            state.open[record.key] = [record.id, record.etag]
        else:
            state.ended.keep(NOT_PROVEN, record.id)
    _through(work, len(ids))
    state.cursor, state.place = key, 0
    await work.save_sometimes()
    return None


def _through(work: Work, at: int) -> None:
    work.state.left.records += at - work.state.place
    work.state.place = at


async def _read_all(work: Work) -> SliceResult | None:
    state = work.state
    if state.under_way:
        state.under_way = False
        state.again()
        state.open.clear()
        state.ended = Tally()
        await work.save()
        return More(PAUSE_SECONDS)
    state.to("elsewhere" if state.open else "end")
    state.proven = len(state.open)
    await work.save()
    return None


async def elsewhere(work: Work) -> None:
    """One page of the groups that there are: what is in it is another group's."""
    state = work.state
    if state.groups is None:
        state.groups = await _groups(work)
    if state.at >= len(state.groups):
        if await _groups(work) == state.groups:
            state.to("orphans")
            state.proven = len(state.open)
        elif _may_restart(work):
            state.groups, state.at, state.start = None, 0, None
        await work.save()
        return
    await _page_of(work, state.groups[state.at][0])


async def _page_of(work: Work, other: str) -> None:
    state = work.state
    try:
        async for page in work.dps.registrations.pages(other, start=state.start, size=RECORDS_PAGE):
            for each in page.items:
                if state.open.pop(each.key, None) is not None:
                    state.ended.keep(ELSEWHERE, each.id)
            state.start = page.continuation
            break
    except ContinuationExpired:
        if state.start is None:
            raise
        state.start = None
        _may_restart(work)
        await work.save()
        return
    except NotFound:
        # The group is gone, or something else said so: what it has is not known. An empty one has a listing.
        if _may_restart(work):
            state.groups, state.at, state.start = None, 0, None
        await work.save()
        return
    if state.start is None:
        state.at += 1
    await work.save_sometimes()


async def orphans(work: Work) -> None:
    """Delete those that are in no listing, and as they were read before it."""
    state = work.state
    if await unfinished(work):
        return
    found = await _as_read(work)
    if found:
        await archive(work, found)
    if not state.open:
        for left, count in state.left.kept.items():
            state.ended.kept[left] = state.ended.kept.get(left, 0) + count
        state.to("end")
    await work.save()


async def _as_read(work: Work) -> list[Registration]:
    """Some of the open records that are as they were, and that nothing keeps."""
    state = work.state
    found: list[Registration] = []
    while state.open and len(found) < CHUNK and work.slice.time_left() > len(found) * 60 / work.pace.dps:
        name, etag = state.open.pop(next(iter(state.open)))
        record = await work.dps.registrations.get(name)
        if record is None:
            continue
        moved = not same_version(record.etag, etag)
        why: str | None = MOVED_ON if moved else await work.last_look(record)
        if why is None and not await work.room(record, found):
            why = OVER
        if why is None:
            found.append(record)
        else:
            state.ended.keep(why, name)
    return found


def _may_restart(work: Work) -> bool:
    """Count a listing that begins anew; too many, and what is not proven stays."""
    state = work.state
    state.restarts += 1
    if state.restarts <= RESTARTS:
        return True
    for name, _ in state.open.values():
        state.ended.keep(NOT_PROVEN, name)
    state.open.clear()
    state.to("end")
    return False


async def _groups(work: Work) -> list[list[str]]:
    found: list[list[str]] = []
    async for page in work.dps.groups.pages(size=ENROLLMENTS_PAGE):
        found += [[each.id, group.made(each.document())] for each in page.items]
    return sorted(found)
