"""The hubs' devices, streamed past DPS's ids: who is at home, who is elsewhere, whom DPS does not know."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from clients.arm import Unknown
from clients.hubs import HubPage, HubRow
from lifecycle.audit.finding import Source
from lifecycle.audit.join import ALIASED, ASSIGNED, AT_HOME, ELSEWHERE, NO_HUB, Index
from lifecycle.audit.snapshot import Listed
from lifecycle.audit.work import Work
from lifecycle.errors import RunLost
from provisioning.hubs import HubKey

UNLISTED = NO_HUB - 1
"""The number of a hub that is not listed in this run."""

STRANGER, OTHER_HUB = "stranger", "other"
"""Kinds of candidates: no record names the device; its record names another hub."""


async def hubs(work: Work) -> bool:
    """List the devices of every linked hub; whether that is over."""
    run = work.run
    if not run.hubs:
        work.lacking(Source.HUBS, work.around().why_not(Source.ARM))
        return True
    index, aliases = await digests(work)
    while run.at < len(run.hubs):
        number, hub = run.at, HubKey(run.hubs[run.at])
        if run.place is None and hub not in run.statistics:
            says = await work.read(work.hub(hub).statistics())
            if not isinstance(says, Unknown):
                run.statistics[hub] = [says.total, says.enabled, says.disabled]

        async def take(page: HubPage, number: int = number) -> None:
            for row in page.rows:
                seen = match(index, aliases, row.device_id, number)
                if seen:
                    _candidate(work, seen, number, row)
                work.list(Listed(row.device_id))

        kept = await work.listing(
            f"h{number:03}",
            Source.HUBS,
            lambda start, hub=hub: work.hub(hub).pages(start),  # type: ignore[misc]  # a default's type
            take,
        )
        if kept is None:
            return False
        run.hub_listings.append(kept)
        run.at += 1
        if not await work.saved_if_due():
            return False
    return True


def match(index: Index, aliases: Index, device_id: str, hub: int) -> str:
    """Mark the entries of a device that a hub has; which kind of candidate it is, or "".

    A registration whose device has another id at its hub is in both indexes. What a hub's device of the
    registration's own id is then marked with means nothing, and nobody looks at it.
    """
    found = [entry for each in (index, aliases) if (entry := each.find(device_id)) is not None]
    if not found:
        return STRANGER
    seen = ""
    for entry in found:
        if entry.hub == hub:
            entry.mark(AT_HOME)
        else:
            entry.mark(ELSEWHERE)
            if entry.flags & ASSIGNED:
                seen = OTHER_HUB
    return seen


async def digests(work: Work) -> tuple[Index, Index]:
    """DPS's ids of this run, by registration and by device where that differs, marked by the hubs' devices.

    Made of the rows of the run where this worker does not have them in memory.
    """
    memory, run = work.memory, work.run
    if memory.index is not None and memory.aliases is not None:
        return memory.index, memory.aliases
    salt = work.id.encode()[-16:]
    index, aliases = Index(salt), Index(salt)
    numbers = {HubKey(hub): number for number, hub in enumerate(run.hubs[:UNLISTED])}
    for kept in run.listings:
        async for chunk in _all(work, kept.name, kept.chunks, kept.ids):
            for each in chunk:
                hub = NO_HUB if each.hub is None else numbers.get(each.hub, UNLISTED)
                flags = ASSIGNED if each.assigned else 0
                index.add(each.id, hub, flags | (ALIASED if each.device else 0), each.updated)
                if each.device:
                    aliases.add(each.device, hub, flags, each.updated)
    listings = [(kept.name, kept.chunks, kept.ids) for kept in run.hub_listings]
    if run.place is not None:  # a hub's, under way
        listings.append((run.place.name, run.place.chunks, run.place.ids))
    for name, chunks, ids in listings:
        async for chunk in _all(work, name, chunks, ids):
            for each in chunk:
                match(index, aliases, each.id, int(name[1:]))
    memory.index, memory.aliases = index, aliases
    return index, aliases


async def _all(work: Work, name: str, chunks: int, ids: int) -> AsyncIterator[list[Listed]]:
    """Every chunk of a listing of this run.

    Raises:
        RunLost: some are gone: whatever is not in the digests would look like a stranger, or an orphan.
    """
    read = 0
    async for _, chunk in work.snapshots.chunks(work.id, name, chunks):
        read += len(chunk)
        yield chunk
    if read != ids:
        raise RunLost(
            f"{read:,} of {ids:,} ids that this run listed are left in the audit's table: somebody deleted "
            "rows; begin a new run"
        )


def _candidate(work: Work, kind: str, hub: int, row: HubRow) -> None:
    if work.run.strangers_kept >= work.audited.limits.strangers:
        work.run.count("candidates_beyond")
        return
    work.run.strangers_kept += 1
    seen = None if row.last_activity is None else row.last_activity.isoformat()
    work.candidates.append([kind, hub, row.device_id, row.status, row.connection_state, seen])


def row_of(candidate: list[Any]) -> HubRow:
    """The device of a candidate, as it was listed."""
    _, _, device_id, status, connection, seen = candidate
    at = None if seen is None else datetime.fromisoformat(seen)
    return HubRow(device_id, status, connection, at, None, None, {})
