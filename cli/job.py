"""`job`: what runs in the background, how far it is, and how it is held."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from cyclopts import App, Parameter

from cli.confirm import Confirmation
from cli.connect import Session
from cli.errors import Usage
from cli.options import DryRun, Injected, Yes
from cli.output import member
from cli.state import By, Route, State, whoever
from lifecycle.enrollments.diff import Difference
from lifecycle.jobs import JobRow, JobStore, history, overview, resume, show, stop, switch_off, switch_on
from lifecycle.jobs.columns import Entry, Off, Switch
from lifecycle.rates import SHARES

JobId = Annotated[str, Parameter(help="A job's id, as `job list` shows it.")]
Kind = Annotated[str, Parameter(name="--kind", help="Only jobs of this kind; without it, all.")]
Why = Annotated[str, Parameter(name="--why", help="Kept beside the switch.")]
Most = Annotated[int, Parameter(name="--top", help="How many entries, newest first.")]

_COLUMNS = tuple(
    map(member, ("id", "kind", "state", "subject", "progress", "remaining", "notBefore", "problem", "by"))
)
_PAST = tuple(map(member, ("at", "what", "kind", "job", "subject", "by", "detail")))


async def list_jobs(*, route: Route = None, session: Injected[Session]) -> None:
    """List the jobs that have not ended: progress, time left, and what holds them up."""
    found = await overview(_store(session, route), history=0)
    for problem in found.current.unreadable:
        session.terminal.note(problem)
    _tell(session, found.current.switch)

    async def each() -> AsyncIterator[Mapping[str, Any]]:
        for job in found.current.jobs:
            yield _document(job)

    await session.output.many(each(), _COLUMNS)


async def show_job(job: JobId, *, route: Route = None, session: Injected[Session]) -> None:
    """Show one job whole, ended or not."""
    session.output.one(_document(await show(_store(session, route), job), whole=True))


async def job_history(*, top: Most = 50, route: Route = None, session: Injected[Session]) -> None:
    """List what happened to jobs and to the kill switch, newest first."""
    if top < 1:
        raise Usage("--top: give a number from 1 on")
    entries = await history(_store(session, route), most=top)

    async def each() -> AsyncIterator[Mapping[str, Any]]:
        for entry in entries:
            yield _past(entry)

    await session.output.many(each(), _PAST)


async def stop_job(
    job: JobId,
    *,
    route: Route = None,
    by: By = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Let a job make no further call until it is resumed. A running one stops between two calls."""
    store = _store(session, route)
    before = await show(store, job)
    await Confirmation(session.terminal, yes=yes, dry_run=dry_run).ask(
        f"stop job {job}", [Difference("state", str(before.state), "stopped")]
    )
    session.output.one(_document(await stop(store, job, by=whoever(by))))


async def resume_job(
    job: JobId,
    *,
    route: Route = None,
    by: By = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Let a stopped or blocked job go on from where it is."""
    store = _store(session, route)
    before = await show(store, job)
    if before.problem:
        session.terminal.note(f"it stood still because: {before.problem}")
    await Confirmation(session.terminal, yes=yes, dry_run=dry_run).ask(
        f"resume job {job}", [Difference("state", str(before.state), "waiting")]
    )
    session.output.one(_document(await resume(store, job, by=whoever(by))))


async def off(
    *,
    kind: Kind = "",
    why: Why = "",
    route: Route = None,
    by: By = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Set the kill switch: no job, or none of a kind, makes another call."""
    _check_kind(kind)
    await Confirmation(session.terminal, yes=yes, dry_run=dry_run).ask(
        f"switch off {f'jobs of kind {kind}' if kind else 'all jobs'}", [Difference("switch", "on", "off")]
    )
    switch = await switch_off(_store(session, route), by=whoever(by), why=why, kind=kind)
    session.output.one(_switched(switch))


async def on(
    *,
    kind: Kind = "",
    route: Route = None,
    by: By = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Take the kill switch back."""
    _check_kind(kind)
    await Confirmation(session.terminal, yes=yes, dry_run=dry_run).ask(
        f"switch on {f'jobs of kind {kind}' if kind else 'jobs'}", [Difference("switch", "off", "on")]
    )
    session.output.one(_switched(await switch_on(_store(session, route), by=whoever(by), kind=kind)))


def _store(session: Session, route: str | None) -> JobStore:
    dps = State(session, route).dps  # first: it says what is missing
    return JobStore(session.wiring.table("jobs"), dps, session.clock)


def _check_kind(kind: str) -> None:
    if kind and kind not in SHARES:
        raise Usage(f"--kind: there is no kind of job {kind!a}; there are {', '.join(sorted(SHARES))}")


def _tell(session: Session, switch: Switch) -> None:
    held = {"all jobs": switch.everything} if switch.everything else {}
    held |= {f"jobs of kind {kind}": each for kind, each in switch.kinds.items()}
    for what, each in held.items():
        assert each is not None
        session.terminal.note(
            f"{what} are switched off since {each.at.isoformat(timespec='seconds')} by {each.by}"
            + (f": {each.why}" if each.why else "")
        )


def _document(job: JobRow, *, whole: bool = False) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": job.id,
        "kind": job.kind,
        "state": str(job.state),
        "subject": job.subject,
        "progress": str(job.progress),
        "remaining": None if job.remaining is None else str(job.remaining).partition(".")[0],
        "notBefore": job.not_before.isoformat(timespec="seconds"),
        "problem": job.problem,
        "by": job.by,
    }
    if whole:
        told |= {
            "created": job.created.isoformat(timespec="seconds"),
            "updated": job.updated.isoformat(timespec="seconds"),
            "attempts": job.attempts,
            "troubles": job.troubles,
            "params": dict(job.params),
            "result": dict(job.result),
        }
    return told


def _past(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at.isoformat(timespec="seconds"),
        "what": entry.what,
        "kind": entry.kind,
        "job": entry.job,
        "subject": entry.subject,
        "by": entry.by,
        "detail": entry.detail,
    }


def _switched(switch: Switch) -> dict[str, Any]:
    def told(each: Off) -> dict[str, str]:
        return {"by": each.by, "why": each.why, "at": each.at.isoformat(timespec="seconds")}

    return {
        "allJobs": told(switch.everything) if switch.everything else None,
        "kinds": {kind: told(each) for kind, each in switch.kinds.items()},
    }


def app() -> App:
    """The noun with its commands."""
    noun = App(name="job", help="What runs in the background: how far it is, and how it is held.")
    for name, command in (
        ("list", list_jobs),
        ("show", show_job),
        ("history", job_history),
        ("stop", stop_job),
        ("resume", resume_job),
        ("off", off),
        ("on", on),
    ):
        noun.command(command, name=name)
    return noun
