"""The hubs' devices, streamed past DPS's ids: who is at home, who is elsewhere, whom DPS does not know.

Of a device that is at home a mark is all that is kept.
"""

from datetime import datetime
from typing import Any

from clients.arm import Unknown
from clients.hubs import HubPage, HubRow
from lifecycle.audit.digests import digests
from lifecycle.audit.finding import Source
from lifecycle.audit.join import AWAY, HOME, UNKNOWN, Index
from lifecycle.audit.work import Work
from provisioning.hubs import HubKey

STRANGER, OTHER_HUB = "stranger", "other"
"""Kinds of candidates: no record names the device; its record names another hub."""

_KINDS = {UNKNOWN: STRANGER, HOME: "", AWAY: OTHER_HUB}


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
            work.marked = True
            work.passed(len(page.rows))

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
    return _KINDS[index.see(device_id, hub, aliases if len(aliases) else None)]


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
