"""The ledger beside DPS's records: confirms its rows, adds what it lacks, counts what does not agree.

A row means answered, a record means assigned. Rows are confirmed where the record names the same hub, and
written only then; a row that was confirmed so before costs nothing. Only devices whose enrollment asks a
webhook belong in the ledger, so only theirs are added. What is added has a key made of the record's own
time: doing it again writes the same row.
"""

from datetime import UTC, datetime, timedelta

from allocation import Entry, Ledger, Overtaken
from lifecycle.audit.digests import digests
from lifecycle.audit.finding import Source
from lifecycle.audit.join import ASSIGNED, DISAGREES, IN_LEDGER
from lifecycle.audit.join import Entry as Known
from lifecycle.audit.snapshot import Listed
from lifecycle.audit.work import WRITES, Work
from lifecycle.enrollments.webhook import CHECK_ID
from provisioning.hubs import HubKey

ROWS = 500
"""Ledger rows between two looks at the clock."""

AFTER_DEVICE = "}"
"""What follows "|": behind all rows of one device."""

PROPAGATION = timedelta(minutes=5)
"""An instance may decide by the policy of before for so long after an activation."""

ADDED = "the audit found DPS's record and no row of it"


async def ledger(work: Work) -> bool:
    """Go through the ledger, then through the records; whether that is over."""
    run = work.run
    books = work.books
    if books is None:
        work.lacking(Source.LEDGER, "there is no ledger here")
        return True
    if work.lacks(Source.ENROLLMENTS, Source.REGISTRATIONS):
        # A row whose record was not listed must not be taken for one without a record.
        work.lacking(Source.LEDGER, "DPS's records were not read to their end")
        return True
    if run.at == 0:
        if not await _rows(work, books):
            return False
        run.at, run.cursor = 1, []
        await work.save()
    return await _records(work, books)


async def _rows(work: Work, books: Ledger) -> bool:
    """Each device's latest row, against its record."""
    run, dps = work.run, work.audited.dps
    index, _ = await digests(work)
    active = await work.ports.active() if work.ports.active is not None else None
    since = None if active is None or active.at is None else active.at + PROPAGATION
    before, start = run.cursor or ("", "")
    partitions = sorted([each async for each in books.partitions(dps)])
    read = 0
    for partition in partitions:
        if partition < before:
            continue
        entries = books.of_partition(dps, partition, start=start if partition == before else "", latest=True)
        async for entry in entries:
            await _row(work, books, entry, index.find(entry.registration_id), since)
            read += 1
            if read % ROWS == 0 or work.writes >= WRITES:
                assert entry.row is not None, "an entry that was read has its row"
                run.cursor = [partition, entry.row.key.partition("|")[0] + AFTER_DEVICE]
                if not await work.saved_if_due():
                    return False
        run.cursor = [partition, AFTER_DEVICE * 2]
    return True


async def _row(work: Work, books: Ledger, entry: Entry, known: Known | None, since: datetime | None) -> None:
    run = work.run
    if entry.registration_id == CHECK_ID:
        return  # a call of the webhook to see whether it answers: no device asked
    if since is not None and entry.at >= since and entry.policy and entry.policy not in run.policies:
        run.policies.append(entry.policy)
    settled = work.started - timedelta(minutes=work.audited.thresholds.settle_minutes)
    waits = entry.outcome == "placed" and entry.confirmed_at is None and entry.at < settled
    if known is None:
        # Its record is gone, or was never made. Whether it was confirmed once is all that tells.
        run.unconfirmed += waits and entry.source == "webhook"
        return
    hub = _hub(work, known)
    if entry.outcome == "placed" and entry.hub is not None and entry.hub == hub and known.flags & ASSIGNED:
        known.mark(IN_LEDGER)
        work.marked = True
        if entry.confirmed_hub != hub:
            try:
                await books.confirm(entry, hub, work.started)
            except Overtaken:
                run.count("ledger_overtaken")  # somebody wrote it just now; the next run confirms it
            else:
                run.count("ledger_confirmed")
            work.writes += 1
        return
    if entry.at.timestamp() > known.updated:
        known.mark(DISAGREES)
        work.marked = True
    run.unconfirmed += waits and (bool(known.flags & DISAGREES) or not known.flags & ASSIGNED)


async def _records(work: Work, books: Ledger) -> bool:
    """Assigned records of custom enrollments of which the ledger has no row that agrees."""
    run = work.run
    index, _ = await digests(work)
    number, first, skip = run.cursor or (0, 0, 0)
    before = datetime.fromisoformat(run.before).timestamp() if run.before else None
    while number < len(run.listings):
        kept = run.listings[number]
        if not kept.custom:  # DPS's own policies decide: nobody asked the webhook
            number, first, skip = number + 1, 0, 0
            run.cursor = [number, 0, 0]
            continue
        async for at, chunk in work.snapshots.chunks(work.id, kept.name, kept.spans, first=first):
            for place, each in enumerate(chunk):
                if (at == first and place < skip) or not (each.assigned and each.custom):
                    continue
                known = index.find(each.id)
                if known is None or known.flags & (IN_LEDGER | DISAGREES):
                    continue
                run.gaps += before is not None and each.updated >= before
                if run.notes.get("ledger_added", 0) >= work.audited.limits.added:
                    run.count("ledger_not_added")
                    continue
                await _add(work, books, each, kept.group)
                run.count("ledger_added")
                work.writes += 1
                run.cursor = [number, at, place + 1]
                if not await work.saved_if_due():
                    return False
            run.cursor = [number, at + 1, 0]
            if not await work.saved_if_due():
                return False
        number, first, skip = number + 1, 0, 0
        run.cursor = [number, 0, 0]
    return True


async def _add(work: Work, books: Ledger, each: Listed, group: str) -> None:
    at = datetime.fromtimestamp(each.updated, UTC) if each.updated else work.started
    assert each.hub is not None, "an assigned record names its hub"
    await books.write(
        Entry(
            dps=work.audited.dps,
            registration_id=each.id,
            enrollment_kind="group" if group else "individual",
            enrollment_id=group or each.id,
            at=at,
            status=0,
            outcome="placed",
            hub=each.hub,
            why=ADDED,
            source="audit",
            confirmed_at=work.started,
            confirmed_hub=each.hub,
        )
    )


def _hub(work: Work, known: Known) -> HubKey | None:
    return HubKey(work.run.hubs[known.hub]) if known.hub < len(work.run.hubs) else None
