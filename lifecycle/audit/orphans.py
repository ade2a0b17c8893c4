"""Records that are left of enrollments that are gone: read by the ids that earlier runs listed.

DPS lists the records of a group that is there, and an individual enrollment with its own. Of what is gone
nothing leads to a record but its id. So a group that is gone keeps its last whole listing; of individual
enrollments, the ids that were listed last and are nowhere now are put aside, in chunks of the run that missed
them. Each run reads some of each. Ids without a record are forgotten, the others stay until theirs is gone.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

from clients.arm import Unknown
from lifecycle.audit import checks, fenced
from lifecycle.audit.digests import digests
from lifecycle.audit.evidence import OrphanEvidence
from lifecycle.audit.finding import Source
from lifecycle.audit.listings import seconds
from lifecycle.audit.snapshot import CHUNK, LOST, Group, Listed, chunk_keys
from lifecycle.audit.state import Kept
from lifecycle.audit.work import Work
from provisioning.registrations import Registration, registration_key

BEYOND = "more devices than this run reads one by one"
READ = (Source.ENROLLMENTS, Source.REGISTRATIONS, Source.HUBS)

MISSED = "v"
"""Name of the listing of individual enrollments that are gone."""


async def vanished(work: Work) -> bool:
    """Put aside the individual enrollments that were listed last and are nowhere now; whether that is over.

    Only where everything that exists was listed, as of orphans.
    """
    run = work.run
    before = None if _in_part(work) else await work.snapshots.individuals()
    if before is None or before.listed_at > work.started:
        return True
    index, _ = await digests(work)
    lost = run.lost = run.lost or Kept(MISSED, f"{LOST}{work.id}", "", [], 0, whole=True)
    (first,) = run.cursor or (0,)
    missed: list[Listed] = []
    async for number, chunk in work.snapshots.chunks(before.run, before.listing, before.spans, first=first):
        missed += [each for each in chunk if each.id not in index]
        due = work.save_is_due()
        if missed and (due or len(missed) >= CHUNK):
            await _put_aside(work, lost, missed)
            missed = []
        if due:
            run.cursor = [number + 1]
            if not await work.saved_if_due():
                return False
    if missed:
        await _put_aside(work, lost, missed)
    return True


async def _put_aside(work: Work, lost: Kept, missed: list[Listed]) -> None:
    await work.snapshots.write(work.id, lost.name, work.mark, fenced.total(lost.spans), missed)
    fenced.add(lost.spans, work.mark)
    lost.ids += len(missed)


def _in_part(work: Work) -> bool:
    """Whether an id that no listing has may be in one that did not end."""
    return work.lacks(Source.ENROLLMENTS, Source.REGISTRATIONS)


async def orphans(work: Work) -> bool:
    """Read the records of what is gone; whether that is over.

    Only where everything that exists was listed: an id that no listing has may else be in one that did not
    end. Each run reads so many ids of each group, and the next one goes on from there.
    """
    run = work.run
    gone = await gone_ids(work)
    if not gone:
        return True
    index, _ = await digests(work)
    around = work.around(*READ)
    most = -(-work.audited.limits.orphans // len(gone))
    while run.at < len(gone):
        group = gone[run.at]
        leg, first, skip = run.cursor or (0, *group.cursor)
        while leg < 2:
            async for at, place, each in _ids(work, group, leg, first, skip):
                if each.id not in index:
                    key = registration_key(each.id)
                    record = await _orphan(work, group, each.id, most, (at, place + 1))
                    if record is None:
                        run.dead.setdefault(group.key, []).append(key)
                    else:
                        told = None if isinstance(record, Unknown) else record
                        work.note(checks.orphan(OrphanEvidence(key, group.group, told, group.lost), around))
                run.cursor = [leg, at, place + 1]
                if not await work.saved_if_due():
                    return False
            leg, first, skip = leg + 1, 0, 0
        run.at, run.cursor = run.at + 1, []
        if not await work.saved_if_due():
            return False
    return True


async def gone_groups(work: Work) -> list[Group]:
    """What was listed once and is not there any more, in order, as the runs before left it."""
    there = {kept.key for kept in work.run.listings}
    return [group for group in await work.snapshots.groups() if group.key not in there]


async def gone_ids(work: Work) -> list[Group]:
    """The same, with what this run missed, in order; nothing where something was listed in part."""
    if _in_part(work):
        return []
    gone, lost = await gone_groups(work), work.run.lost
    if lost is not None and lost.ids and all(group.key != lost.key for group in gone):
        gone.append(Group(lost.key, "", work.id, lost.name, lost.spans, lost.ids, work.started))
    return gone


async def _ids(
    work: Work, group: Group, leg: int, first: int, skip: int
) -> AsyncIterator[tuple[int, int, Listed]]:
    """The ids of a group from a place on: first those behind where the last run ended, then those before."""
    end_chunk, end_place = group.cursor
    stop = None if leg == 0 else end_chunk + 1
    chunks = work.snapshots.chunks(group.run, group.listing, group.spans, first=first, stop=stop)
    async for at, chunk in chunks:
        for place, each in enumerate(chunk):
            if at == first and place < skip:
                continue
            if leg == 1 and (at, place) >= (end_chunk, end_place):
                return
            yield at, place, each


async def _orphan(
    work: Work, group: Group, registration_id: str, most: int, after: tuple[int, int]
) -> Registration | Unknown | None:
    """A record that is left of a group; None: DPS has none of that id."""
    run = work.run
    asked = run.notes.get(f"orphans:{group.key}", 0)
    if asked >= most:
        return Unknown(BEYOND)
    run.notes[f"orphans:{group.key}"] = asked + 1
    run.cursors[group.key] = list(after)
    record = await work.read(work.dps.registrations.get(registration_id))
    if not isinstance(record, Registration):
        return record
    updated = seconds(record)
    if not updated or updated >= int(work.started.timestamp()):
        return Unknown("the device registered anew while the audit ran")
    if group.lost:
        made = await work.read(work.dps.individuals.get(registration_id))
        if made is not None:
            reason = made.reason if isinstance(made, Unknown) else "it was made anew while the audit ran"
            return Unknown(f"its individual enrollment: {reason}")
    return record


async def shrink(work: Work, group: Group) -> None:
    """Take out of a gone group the ids that have no record any more, or are listed elsewhere now.

    Chunks are written anew beside the old ones, and count once the group's row says so.

    Raises:
        LeaseLost: another worker has done it.
    """
    if group.looked == work.id:
        return
    index, _ = await digests(work)
    dead = set(work.run.dead.get(group.key, ()))
    cursor_chunk, cursor_place = work.run.cursors.get(group.key, list(group.cursor))
    moved_place, left = 0, 0
    by = f"{work.id}.{work.mark}"
    changed: list[int] = []
    async for number, chunk in work.snapshots.chunks(group.run, group.listing, group.spans, etags=True):
        stay = [registration_key(each.id) not in dead and each.id not in index for each in chunk]
        survivors = [each for each, stays in zip(chunk, stay, strict=True) if stays]
        if number == cursor_chunk:
            moved_place = sum(stay[:cursor_place])
        left += len(survivors)
        if len(survivors) < len(chunk):
            changed.append(number)
            if survivors:
                await work.snapshots.write(group.run, group.listing, by, number, survivors)
    if left:
        since = group.gone_since or work.started
        spans = fenced.rewritten(group.spans, changed, by)
        cursor = (cursor_chunk, moved_place)
        await work.snapshots.put(
            replace(group, spans=spans, ids=left, cursor=cursor, gone_since=since, looked=work.id)
        )
    elif group.etag is not None:
        await work.snapshots.forget(group)
    old = chunk_keys(group.listing, group.spans)
    await work.snapshots.drop_rows(group.run, [old[number] for number in changed])
