"""Runs of one kind of job: begun by a command, and shown by `status`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

from cyclopts import Parameter

from cli import waiting
from cli.connect import Session
from cli.errors import CliError
from cli.output import member
from cli.state import State
from lifecycle.jobs import Created, JobRow, JobStore, overview
from lifecycle.jobs import show as show_job
from lifecycle.purge.holds import Held, Holds

Run = Annotated[str, Parameter(help="A run's id; without it, the runs that have not ended.")]
Wait = Annotated[
    bool, Parameter(negative=(), help="Work on it here, with a progress bar, and show what it came to.")
]

_COLUMNS = ("run", "state", "progress", "by", "problem")
_COLUMNS_OF_GROUPS = ("run", "group", *_COLUMNS[1:])


def jobs(session: Session, route: str | None) -> JobStore:
    """The jobs of the DPS that is meant."""
    state = State(session, route)
    return JobStore(session.wiring.table("jobs"), state.dps, session.clock)


def holds(session: Session, store: JobStore) -> Holds:
    """Which run has what, of the same DPS."""
    return Holds(session.wiring.table("purge"), store.dps)


async def show_status(session: Session, route: str | None, kind: str, run: str) -> None:
    """Show how far the runs of a kind are, or what one came to.

    Raises:
        NoSuchJob: there is none of that id.
    """
    store = jobs(session, route)
    if run:
        row = await show_job(store, run)
        session.output.one(shown(row) | {"result": dict(row.result or {})})
        return
    found = [job for job in (await overview(store, history=0)).current.jobs if job.kind == kind]

    async def each() -> AsyncIterator[Mapping[str, Any]]:
        for job in found:
            yield shown(job)

    columns = _COLUMNS_OF_GROUPS if any(job.subject for job in found) else _COLUMNS
    await session.output.many(each(), tuple(map(member, columns)))


def shown(row: JobRow) -> dict[str, Any]:
    """A run, for people."""
    return {
        "run": row.id,
        **({"group": row.subject} if row.subject else {}),
        "state": row.state.value,
        "progress": str(row.progress),
        **({"dryRun": row.params["dry_run"] is not False} if "dry_run" in row.params else {}),
        "by": row.by,
        "problem": row.problem,
    }


class NotBegun(CliError):
    """The run was not begun. Says what is in its way."""


async def begin(session: Session, ask: Callable[[datetime], Awaitable[Created | Held]]) -> JobRow:
    """A run that this command made.

    Args:
        session: of the command.
        ask: for the run that is named by a moment.

    Raises:
        NotBegun: another one is under way.
    """
    made = await waiting.new_run(ask, session.now)
    if isinstance(made, Held):
        raise NotBegun(str(made))
    return made


def begun(session: Session, row: JobRow, command: str) -> None:
    """Show a run that the app will work on, and how to hear of it."""
    session.output.one(shown(row))
    session.terminal.note(f"the app's timer works on it; `{command} status {row.id}` tells how far it is")
