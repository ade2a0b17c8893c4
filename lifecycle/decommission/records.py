"""The group's records, passed over until none is left that may go."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from clients.errors import ContinuationExpired, NotFound
from lifecycle.decommission import group
from lifecycle.decommission.plan import OVER, grown, more, refused
from lifecycle.decommission.rules import REFUSING
from lifecycle.decommission.state import Tally
from lifecycle.decommission.work import RECORDS_PAGE, Work
from lifecycle.jobs import Blocked, Failed, More, SliceResult
from lifecycle.purge.act import deleted
from lifecycle.purge.archive import CHUNK, Archived, Outcome, archived
from lifecycle.purge.rules import Reason, Why
from provisioning.registrations import Registration, same_version

RESTARTS = 20
"""How often one listing may be begun anew."""

PASSES = 50
"""Passes of one phase, at most: devices that try to register for ever leave records for ever."""

UNSURE = 10
"""How often a phase may wait for hubs that do not answer."""

PAUSE_SECONDS = 60.0
"""Before they are asked again, and before a record of a registration under way is looked at again."""

MOVED = "moved"
"""Why a record stays for now: it is not as it was listed."""


class GroupGone(Exception):
    """DPS has no such group."""


async def count(work: Work) -> SliceResult | None:
    """Count the records again, now that no device gets a place by the group: the caps hold, or none goes.

    The survey may have taken hours, and the group may have grown meanwhile.
    """
    state = work.state
    failed = await _page_of_group(work)
    if failed is not None or work.rest is None:
        return failed
    verdicts = await work.dps_look(work.rest)
    for record, why in zip(work.rest, verdicts, strict=True):
        state.left.add(record.status, record.hub or "")
        if why is not None:
            state.left.keep(why, record.id)
    if next_page(work):
        return None
    kept = state.left.kept
    for why in (Why.EXCLUDED, Why.ACTIVE):
        if kept.get(why):
            return Failed(
                f"{refused(why, kept[why], state.left.samples[why])}; none was deleted, and the group is "
                "disabled: run it again, or enable the group again with `enrollment-group update`"
            )
    counted = state.left.records - sum(kept.values()) + kept.get(Why.UNDER_WAY, 0)
    if counted > work.told.policy.most:
        return Failed(grown(state, work.told, counted))
    state.counted = counted
    state.to("purge")
    await work.save()
    return None


async def purge(work: Work) -> SliceResult | None:
    """Delete some records of the group, which is disabled; go on once a pass finds nothing."""
    if await unfinished(work):
        return None
    failed = await _page_of_group(work)
    if failed is not None or work.rest is None:
        return failed
    ended = await _some(work, stop=True)
    return ended or (None if work.rest else await _page_over(work))


async def _page_of_group(work: Work) -> Failed | None:
    """Have a page of the group's records at hand; none, where somebody else deleted the group."""
    if work.rest is not None:
        return None
    try:
        if not await group.still(work):
            work.state.others = True
            work.state.to("after")
            await work.save()
            return None
    except group.NotThatGroup as error:
        return Failed(str(error))
    try:
        return await fetch(work)
    except GroupGone:
        work.rest, work.following = [], None  # it was there a moment ago: it has none
        return None


async def after(work: Work) -> SliceResult | None:
    """Delete what DPS still lists under the group, now that it is gone."""
    state = work.state
    if await unfinished(work):
        return None
    if work.rest is None:
        try:
            failed = await fetch(work)
            # Looked at after the page: whatever a new group of this id has been given is not on it.
            state.remade = not await group.gone(work)
        except GroupGone:
            failed = None
        if failed is not None or state.remade or work.rest is None:
            await _to_ids(work)  # a listing that comes to no end need not be had: every id is read
            return None
    await _some(work, stop=False)
    if work.rest:
        return None
    if next_page(work):
        await work.save()
        return None
    under_way = Why.UNDER_WAY in state.left.kept
    if not (state.deleted_now or MOVED in state.left.kept or under_way) or state.passed >= PASSES:
        await _to_ids(work)
        return None
    state.again()
    await work.save()
    return More(PAUSE_SECONDS) if under_way else None


async def _to_ids(work: Work) -> None:
    work.rest = None
    work.state.to("by-id")
    await work.save()


async def unfinished(work: Work) -> bool:
    """Finish a chunk that was archived before a death; False: there is none."""
    chunk = await work.archive.chunk(work.run, work.state.archived)
    if chunk is None:
        return False
    await finish(work, chunk, confirmed=False)
    return True


async def finish(work: Work, chunk: Sequence[Archived], *, confirmed: bool) -> None:
    """Delete a chunk's records, write down what came of each, and save.

    Args:
        work: of the slice.
        chunk: as it is archived under the next number.
        confirmed: whether each was looked at just now.
    """
    state = work.state
    outcomes = await work.archive.settled(work.run, state.archived) if not confirmed else None
    if outcomes is None:
        outcomes = [await _one(work, each, confirmed=confirmed) for each in chunk]
        await work.archive.settle(work.run, state.archived, outcomes)
    for each, outcome in zip(chunk, outcomes, strict=True):
        if outcome == "left":
            state.left.keep(MOVED, each.id)
        else:
            state.deleted += 1
            state.deleted_now += 1
            # It gets on, however often a listing begins anew or a hub does not answer.
            state.restarts, state.unsure = 0, 0
    went = [each.id for each, outcome in zip(chunk, outcomes, strict=True) if outcome != "left"]
    await work.note_went(state.archived, went)
    state.archived += 1
    await work.save()


async def _one(work: Work, entry: Archived, *, confirmed: bool) -> Outcome:
    record = Registration.read(entry.document)
    if not confirmed:
        there = await work.dps.registrations.get(record.id)
        if there is None:
            return "gone"  # in all likelihood by this run, before it died
        if not same_version(there.etag, record.etag) or await work.last_look(there) is not None:
            return "left"
    return await deleted(work.dps, record)


async def archive(work: Work, records: list[Registration]) -> None:
    """Archive records that were looked at just now, and delete them."""
    entries = [archived(each, work.told.group, Reason.DECOMMISSIONED, work.now) for each in records]
    await work.archive.begin(work.run, datetime.fromisoformat(work.state.started))
    written = await work.archive.add(work.run, work.state.archived, entries)
    await finish(work, written, confirmed=written is entries)


async def _some(work: Work, *, stop: bool) -> SliceResult | None:
    """As many of the page as can be looked at and deleted before the slice ends.

    Args:
        work: of the slice.
        stop: whether a device that must not go ends the run; else its record is left.
    """
    state, rest = work.state, work.rest
    assert rest is not None
    # Each delete waits for its turn.
    seconds = 60 / work.pace.dps
    found: list[Registration] = []
    ended: SliceResult | None = None
    while rest and len(found) < CHUNK and work.slice.time_left() > len(found) * seconds:
        record = rest.pop(0)
        why = await work.last_look(record)
        state.left.records += 1
        if why is None and await work.room(record, found):
            found.append(record)
            continue
        if why is None:
            state.left.keep(OVER, record.id)
            if stop:
                break
            continue
        if why in REFUSING and stop:
            ended = _stopped(work, record, why)
            break
        state.left.keep(why, record.id)
    if found:
        await archive(work, found)
    if stop and state.left.kept.get(OVER):
        gone = len(await work.registrations_gone())
        there = max(1, await work.ids() - gone)
        ended = Failed(more(state, work.told, gone=gone, there=there))
    if ended is not None:
        await work.save()
    return ended


def _stopped(work: Work, record: Registration, why: Why) -> SliceResult:
    state = work.state
    if why is Why.UNKNOWN and may_wait(work):
        return More(PAUSE_SECONDS)
    return Failed(
        f"{refused(why, 1, [record.id])}. Records deleted so far: {state.deleted:,}; the group is "
        "disabled and was not deleted: run it again, or enable the group again with `enrollment-group update`"
    )


def may_wait(work: Work) -> bool:
    """Whether a hub did not answer that may do so in a while; counted."""
    work.state.unsure += bool(work.hubs.down)
    return bool(work.hubs.down) and work.state.unsure <= UNSURE


async def fetch(work: Work) -> Failed | None:
    """The page that the checkpoint is at, unless it is at hand; it is written down which ids it has.

    Raises:
        GroupGone: DPS knows no such group, or none of its records.
    """
    state = work.state
    if work.rest is not None:
        return None
    state.began = state.began or work.now.isoformat()
    try:
        async for page in work.dps.registrations.pages(work.told.group, start=state.start, size=RECORDS_PAGE):
            work.rest, work.following = list(page.items), page.continuation
            break
    except ContinuationExpired:
        if state.start is None:
            raise
        state.restarts += 1
        if state.restarts > RESTARTS:
            return Failed(
                f"the listing of group {work.told.group!a} was refused and begun anew {RESTARTS} times: DPS "
                "forgets continuations faster than this run asks for pages"
            )
        state.start, state.left_before = None, Tally()
        if state.phase == "survey":
            state.attempt, state.pages = state.attempt + 1, 0
        return await fetch(work)
    except NotFound:
        raise GroupGone from None
    assert work.rest is not None
    state.left = state.left_before.copied()
    if not work.told.dry_run:
        await work.note(each.id for each in work.rest)
    return None


def next_page(work: Work) -> bool:
    """Go on to the page behind; False: there is none."""
    state = work.state
    state.start = work.following
    state.left_before = state.left.copied()
    work.rest = None
    return state.start is not None


async def _page_over(work: Work) -> SliceResult | None:
    state = work.state
    if next_page(work):
        await work.save()
        return None
    settled = datetime.fromisoformat(state.disabled_at) + work.ports.settle
    waits = 0.0
    if state.left.kept.get(Why.UNDER_WAY):
        if state.passed >= PASSES:
            return await _under_way_for_ever(work)
        waits = PAUSE_SECONDS
    elif not (state.deleted_now or state.left.kept.get(MOVED)) or state.passed >= PASSES:
        if datetime.fromisoformat(state.began) >= settled:
            state.to("delete")
            await work.save()
            return None
        waits = max(0.0, (settled - work.now) / timedelta(seconds=1)) + 1
    state.again()
    await work.save()
    return More(waits) if waits else None


async def _under_way_for_ever(work: Work) -> Blocked:
    """A device that begins anew all the time: the group must not go while it may get a place through it."""
    state = work.state
    ids = ", ".join(ascii(each[:128]) for each in state.left.samples[Why.UNDER_WAY])
    count = state.left.kept[Why.UNDER_WAY]
    state.again()
    state.passed = 0
    await work.save()
    return Blocked(
        f"{count:,} record{'s' if count != 1 else ''} ({ids}) had a registration under way after {PASSES} "
        "looks: see to what these devices do; the group is disabled and was not deleted"
    )
