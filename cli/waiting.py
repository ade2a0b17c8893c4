"""A job that somebody waits for: worked on here, with a progress bar, until it has ended."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

from cli.connect import Session
from cli.errors import CliError
from cli.progress import Advance, progress
from cli.state import whoever
from lifecycle.audit.formats.shape import span
from lifecycle.jobs import Created, JobKind, JobRow, JobStore, State, tick
from lifecycle.jobs import show as show_job
from lifecycle.rates import Rates

T = TypeVar("T")

LOOK_SECONDS = 2.0
"""Between two looks at a job that is waited for."""


class NotEnded(CliError):
    """The job did not come to its end. Says what stopped it."""


class Silent:
    """Telemetry of a command: people read its output, and nobody its log."""

    def event(self, name: str, **fields: object) -> None:
        """Nothing."""

    def measure(self, name: str, value: float, **dimensions: str) -> None:
        """Nothing."""

    def span(self, name: str, seconds: float, **attributes: object) -> None:
        """Nothing."""


async def new_run(ask: Callable[[datetime], Awaitable[Created | T]], at: datetime) -> JobRow | T:
    """A run that this command made, or what is in its way.

    Runs are named by their second, and one that was planned in the same second is there, and may have ended:
    to join that one would do nothing and look like success.

    Args:
        ask: creates the run that is named by a moment, or finds it; anything else is in its way.
        at: now.

    Raises:
        NotEnded: others took each name.
    """
    for late in range(10):
        created = await ask(at + timedelta(seconds=late))
        if not isinstance(created, Created):
            return created
        if created.new:
            return created.job
    raise NotEnded("ten runs were begun in these seconds: nothing was begun; see `job list`")


async def to_its_end(session: Session, store: JobStore, kind: JobKind, rates: Rates, job: str) -> JobRow:
    """Run slices here until the job has ended, wherever it is worked on beside.

    One worker at a time has the job, so its shares of the rates are those of a run of the app.

    Raises:
        NotEnded: it failed, is blocked or was stopped, or the kill switch is set.
    """
    worker = f"{whoever(None)}@{socket.gethostname()}"
    with progress(session.terminal, kind.name, 1.0) as advance:
        watching = asyncio.create_task(_watch(session, store, job, advance))
        try:
            while (ended := await _ended(store, kind.name, job)) is None:
                if not await tick([kind], store, rates, Silent(), worker=worker):
                    await session.clock.sleep(LOOK_SECONDS)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    return ended


async def _ended(store: JobStore, kind: str, job: str) -> JobRow | None:
    row = await show_job(store, job)
    match row.state:
        case State.DONE:
            return row
        case State.FAILED | State.BLOCKED | State.STOPPED:
            raise NotEnded(f"{job} is {row.state}{f': {row.problem}' if row.problem else ''}")
        case _:
            switch = (await store.current()).switch
            off = switch.everything or switch.kinds.get(kind)
            if off is not None:
                raise NotEnded(
                    f"the kill switch is set by {off.by} ({off.why}): nothing runs until it is taken back"
                )
            return None


async def _watch(session: Session, store: JobStore, job: str, advance: Advance) -> None:
    """Show how far it is, as the row says."""
    while True:
        advance(*how_far(await show_job(store, job)))
        await session.clock.sleep(LOOK_SECONDS)


def how_far(row: JobRow) -> tuple[float, str]:
    """How much of a job is done, from 0 to 1; and in words, with the time left once anybody knows."""
    done, total = row.progress.done, row.progress.total
    left = "" if row.remaining is None else f", about {span(row.remaining)} left"
    return done / total if total else 0.0, f"{row.progress}{left}"
