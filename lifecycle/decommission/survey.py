"""The group's records counted, and what the hubs say of their devices. Nothing is changed.

Hubs allow few queries a minute, and a continuation may not wait for them: records are put aside first.
"""

from lifecycle.decommission import group
from lifecycle.decommission.records import PAUSE_SECONDS, GroupGone, fetch, may_wait, next_page
from lifecycle.decommission.work import Work
from lifecycle.jobs import Failed, More, SliceResult
from lifecycle.purge.rules import Why
from lifecycle.purge.survey import one_query_each


async def listed(work: Work) -> Failed | None:
    """Put one page of the group's records aside; behind the last, go on."""
    state = work.state
    try:
        failed = await fetch(work)
    except GroupGone:
        if await group.gone(work):
            return Failed(f"group {work.told.group!a} was deleted by somebody else while it was listed")
        work.rest, work.following, failed = [], None, None
    if failed is not None:
        return failed
    assert work.rest is not None
    await work.put_aside(work.rest)
    state.pages += 1
    state.left.records += len(work.rest)
    if not next_page(work):
        state.listed = state.left.records
        state.to("weigh")
        await work.save()
    return None


async def weighed(work: Work) -> SliceResult | None:
    """Some of the records that were put aside, as many as one query of each hub can ask for."""
    state = work.state
    if work.aside is None:
        work.aside = await work.next_aside(state.cursor)
    if work.aside is None:
        state.to("end" if work.told.dry_run else "disable")
        await work.save()
        return None
    key, every = work.aside
    records = one_query_each(every[state.place :])
    verdicts = await work.first_look(records)
    if Why.UNKNOWN in verdicts and may_wait(work):
        await work.save()
        return More(PAUSE_SECONDS)
    for record, why in zip(records, verdicts, strict=True):
        state.survey.add(record.status, record.hub or "")
        if why is not None:
            state.survey.keep(why, record.id)
    if Why.UNKNOWN not in state.survey.kept:
        state.unsure = 0  # it gets on, however often a hub does not answer
    state.place += len(records)
    if state.place >= len(every):
        state.cursor, state.place, work.aside = key, 0, None
    return None
