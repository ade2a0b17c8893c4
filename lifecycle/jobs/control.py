"""What operators do with jobs: list, show, stop, resume, switch off and on, and the history. Values out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from clients.errors import TableUnavailable
from lifecycle.errors import NoSuchJob, NotPossible, TooContended
from lifecycle.jobs.columns import PAST, Entry, Off, Switch, past_key
from lifecycle.jobs.lease import entry
from lifecycle.jobs.row import ENDED, JobRow, State, check_kind, let_go
from lifecycle.jobs.store import TRIES, Current, JobStore

MOST_MOVES = 20
"""How often a row may move under a command."""


@dataclass(frozen=True, slots=True)
class Overview:
    """`job list`: what has not ended, the kill switch, and what happened last."""

    current: Current
    history: tuple[Entry, ...]


async def overview(store: JobStore, *, history: int = 20) -> Overview:
    """`job list`.

    Raises:
        TableUnavailable.
    """
    current = await store.current()
    return Overview(current, tuple(await store.entries(most=history)))


async def show(store: JobStore, job: str) -> JobRow:
    """`job show`: a job, ended or not.

    Raises:
        NoSuchJob, UnreadableJob, TableUnavailable.
    """
    found = await store.find(job)
    if found is None:
        raise NoSuchJob(f"there is no job {job!a}; `job list` shows which there are")
    return found


async def stop(store: JobStore, job: str, *, by: str) -> JobRow:
    """`job stop`: let it make no further call until `resume`.

    A running one stops within `Terms.watch_seconds`, between two calls.

    Raises:
        NoSuchJob, NotPossible: it has ended. TooContended, UnreadableJob, TableUnavailable: stop it again.
    """

    def change(row: JobRow) -> JobRow | None:
        match row.state:
            case State.RUNNING:
                return replace(row, state=State.STOPPING, updated=store.clock.now())
            case State.WAITING | State.BLOCKED:
                return let_go(row, state=State.STOPPED, now=store.clock.now())
            case _:
                return None

    return await _change(store, job, change, "stopped", by)


async def resume(store: JobStore, job: str, *, by: str) -> JobRow:
    """`job resume`: let a stopped or blocked job go on, its attempts forgotten.

    Raises:
        NoSuchJob, NotPossible: it has ended. TooContended, UnreadableJob, TableUnavailable: resume it again.
    """

    def change(row: JobRow) -> JobRow | None:
        now = store.clock.now()
        fresh = replace(row, attempts=0, troubles=0, updated=now)
        match row.state:
            case State.STOPPING:
                return replace(fresh, state=State.RUNNING)
            case State.STOPPED | State.BLOCKED:
                return replace(let_go(fresh, state=State.WAITING, now=now), problem="")
            case _:
                return None

    return await _change(store, job, change, "resumed", by)


async def _change(
    store: JobStore, job: str, change: Callable[[JobRow], JobRow | None], what: str, by: str
) -> JobRow:
    """Change a job that has not ended; None from `change`: it is as wanted."""
    unanswered = 0
    for _ in range(MOST_MOVES):
        try:
            row = await show(store, job)
            if row.state in ENDED:
                raise NotPossible(f"job {job} is {row.state} and stays so; create another")
            changed = change(row)
            if changed is None:
                return row
            changed = replace(changed, stamp=store.unique())
            told = entry(row, what, store.clock.now(), by=by)
            if (await store.replace(changed, told)).outcome == "written":
                return changed
        except TableUnavailable:
            # What may have happened shows in the row, which is read again.
            unanswered += 1
            if unanswered == TRIES:
                raise
            await store.pause(unanswered - 1)
    raise TooContended(f"job {job} kept changing; try again")


async def switch_off(store: JobStore, *, by: str, why: str, kind: str = "") -> Switch:
    """Set the kill switch, for one kind or for all jobs. It takes effect between two calls.

    Raises:
        NotAJob: no kind can be called that. TooContended, TableUnavailable: do it again.
    """
    if kind:
        check_kind(kind)
    off = Off(by, why, store.clock.now())

    def change(switch: Switch) -> Switch:
        if not kind:
            return replace(switch, everything=off)
        return replace(switch, kinds={**switch.kinds, kind: off})

    return await _switch(store, change, Entry(off.at, "switched off", kind=kind, by=by, detail=why))


async def switch_on(store: JobStore, *, by: str, kind: str = "") -> Switch:
    """Take the kill switch back, for one kind or for all jobs; what was set for one kind stays set.

    Raises:
        TooContended, TableUnavailable: do it again.
    """

    def change(switch: Switch) -> Switch:
        if not kind:
            return replace(switch, everything=None)
        return replace(switch, kinds={name: off for name, off in switch.kinds.items() if name != kind})

    return await _switch(store, change, Entry(store.clock.now(), "switched on", kind=kind, by=by))


async def _switch(store: JobStore, change: Callable[[Switch], Switch], told: Entry) -> Switch:
    stamps: set[str] = set()
    unanswered = 0
    for _ in range(MOST_MOVES):
        try:
            switch = await store.switch()
            if switch.stamp in stamps:
                return switch
            changed = replace(change(switch), stamp=store.unique())
            stamps.add(changed.stamp)
            if (await store.put_switch(changed, told)).outcome == "written":
                return changed
        except TableUnavailable:
            unanswered += 1
            if unanswered == TRIES:
                raise
            await store.pause(unanswered - 1)
    raise TooContended("the kill switch kept changing; try again")


async def history(store: JobStore, *, after: Entry | None = None, most: int = 100) -> list[Entry]:
    """What happened, newest first; `after` the last entry of the page before.

    Raises:
        TableUnavailable.
    """
    # The smallest key beyond the last: keys hold no character below "!".
    return await store.entries(start=after.key + "!" if after else PAST, most=most)


async def trim(store: JobStore, before: datetime, *, most: int = 1000) -> int:
    """Forget what ended or happened before a time, at most so many entries; how many were forgotten.

    A forgotten job's id may be used anew, so keep longer than anything repeats a request: Event Grid, a day.

    Raises:
        TableUnavailable: some are left; doing it again is safe.
    """
    old = await store.entries(start=past_key(before), most=most)
    for each in old:
        await store.forget(each)
    return len(old)
