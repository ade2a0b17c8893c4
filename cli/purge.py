"""`purge`: what is stale, what a purge would do, doing it, and the archive of what it did."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import runs
from cli.confirm import Confirmation
from cli.connect import Session
from cli.errors import Missing, Usage
from cli.filters import Top
from cli.options import CHANGES, Injected, Yes
from cli.output import first, member
from cli.report_file import report_file
from cli.runs import Wait
from cli.state import By, Route, State, text_of, whoever
from cli.text import json_text
from lifecycle.enrollments.diff import Difference
from lifecycle.errors import InvalidOption
from lifecycle.purge.archive import Archive
from lifecycle.purge.marks import Marks
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.rules_file import read_rules

KIND = "purge"
TABLE = "purge"
"""The table of marks and of the archive."""

Rules = Annotated[
    Path | None,
    Parameter(
        name="--rules",
        help="File of the rules, YAML or JSON: the settings, or a document with a section `purge`. Without "
        "it: the defaults, which `purge rules` shows.",
        allow_leading_hyphen=True,
    ),
]
RunId = Annotated[str, Parameter(help="A run's id; without it, the latest that archived something.")]

_RECORDS = tuple(
    map(member, ("registration.registrationId", "group", "reason", "outcome", "registration.assignedHub"))
)
_RUNS = tuple(map(member, ("run", "started")))
_MARKS = tuple(map(member, ("registration", "group", "reason", "hub", "since", "by")))


async def rules(*, rules: Rules = None, session: Injected[Session]) -> None:
    """Show the rules that a run would go by, defaults filled in."""
    session.output.one(rules_of(rules).document())


async def plan(
    *,
    rules: Rules = None,
    wait: Wait = False,
    by: By = None,
    route: Route = None,
    session: Injected[Session],
) -> None:
    """Look at every record and tell what a run would do: counts, calls, minutes, price. Nothing changes."""
    await _start(session, route, rules_of(rules), by=whoever(by), dry_run=True, wait=wait)


async def run(
    *,
    rules: Rules = None,
    execute: Annotated[
        bool,
        Parameter(
            negative=(),
            group=CHANGES,
            help="Mark what is stale, and delete what an earlier run marked long enough ago. Without it, "
            "`run` is `plan`.",
        ),
    ] = False,
    wait: Wait = False,
    yes: Yes = False,
    by: By = None,
    route: Route = None,
    session: Injected[Session],
) -> None:
    """Start a run: a dry one, unless --execute is said."""
    policy = rules_of(rules)
    if execute:
        marks = Marks(session.wiring.table(TABLE), State(session, route).dps)
        until = session.now
        due = 0
        async for _, mark in marks.all():
            due += mark.due("", policy.quarantine_days, until)
        session.terminal.note(
            f"records marked for {policy.quarantine_days} days or more, which go if they are still stale: "
            f"{due:,}; at most {policy.most:,} and {policy.most_percent:g} % of all go. Others are marked"
        )
        await Confirmation(session.terminal, yes=yes).ask(
            "purge registration records, which cannot be written back", [Difference("due", due, 0)]
        )
    await _start(session, route, policy, by=whoever(by), dry_run=not execute, wait=wait)


async def status(run: runs.Run = "", *, route: Route = None, session: Injected[Session]) -> None:
    """Show how far runs are, or what one came to."""
    await runs.show_status(session, route, KIND, run)


async def marked(*, top: Top = None, route: Route = None, session: Injected[Session]) -> None:
    """List the records that are marked, and since when."""
    marks = Marks(session.wiring.table(TABLE), State(session, route).dps)

    async def each() -> AsyncIterator[Mapping[str, Any]]:
        async for _, mark in marks.all():
            yield {
                "registration": mark.id,
                "group": mark.group,
                "reason": str(mark.reason),
                "hub": mark.hub,
                "since": mark.at.isoformat(),
                "by": mark.run,
            }

    await session.output.many(first(each(), top), _MARKS)


async def list_runs(*, route: Route = None, session: Injected[Session]) -> None:
    """List the runs that archived records, newest first."""
    archive = _archive(session, route)

    async def each() -> AsyncIterator[Mapping[str, Any]]:
        for found in await archive.runs():
            yield {"run": found.run, "started": found.started.isoformat()}

    await session.output.many(each(), _RUNS)


async def show(run: RunId = "", *, top: Top = None, route: Route = None, session: Injected[Session]) -> None:
    """Show the records that a run archived, and what came of each."""
    await session.output.many(first(_records(session, route, run), top), _RECORDS)


async def export(
    run: RunId = "",
    *,
    to: Annotated[
        Path | None,
        Parameter(help="The file, which only you may read. Without it: stdout.", allow_leading_hyphen=True),
    ] = None,
    route: Route = None,
    session: Injected[Session],
) -> None:
    """Write the records that a run archived, one JSON object a line."""
    records = _records(session, route, run)
    if to is None:
        async for each in records:
            session.terminal.stdout.write(json_text(each) + "\n")
        return
    count = 0
    with report_file(to) as write:
        async for each in records:
            write(json_text(each) + "\n")
            count += 1
    session.terminal.note(f"{count:,} records are in {to}")


async def _start(
    session: Session, route: str | None, policy: PurgePolicy, *, by: str, dry_run: bool, wait: bool
) -> None:
    from cli import purge_run  # noqa: PLC0415 - the engine takes a while to load

    store = runs.jobs(session, route)
    job = await purge_run.start(session, store, runs.holds(session, store), policy, by=by, dry_run=dry_run)
    if not wait:
        runs.begun(session, job, "purge")
        return
    row = await purge_run.to_its_end(session, store, job.id)
    session.output.one(dict(row.result or {}))


async def _records(session: Session, route: str | None, run: str) -> AsyncIterator[Mapping[str, Any]]:
    archive = _archive(session, route)
    runs = [each.run for each in await archive.runs()]
    if (run and run not in runs) or not runs:
        raise Missing(f"no run {run} archived a record" if run else "no run has archived a record yet")
    async for each in archive.records(run or runs[0]):
        yield each.written()


def _archive(session: Session, route: str | None) -> Archive:
    state = State(session, route)
    return Archive(session.wiring.table(TABLE), state.dps)


def rules_of(file: Path | None) -> PurgePolicy:
    """The rules of --rules; without it, the defaults.

    Raises:
        Usage: they cannot be read or used.
    """
    if file is None:
        return PurgePolicy()
    try:
        return read_rules(text_of(file, "rules"))
    except InvalidOption as error:
        raise Usage(f"--rules: {str(file)!a}: {error}") from None


def app() -> App:
    """The noun with its commands."""
    noun = App(name="purge", help="Stale registration records, removed without hurting a live device.")
    for command in (plan, run, status, marked, rules):
        noun.command(command)
    archive = App(name="archive", help="Every record that a purge deleted.")
    archive.command(list_runs, name="list")
    archive.command(show)
    archive.command(export)
    noun.command(archive)
    return noun
