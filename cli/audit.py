"""`audit`: runs of the audit, started, shown and exported, and the findings that somebody suppressed."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from cli.audit_options import AS_SET, ThresholdOptions
from cli.confirm import Confirmation
from cli.connect import Session
from cli.errors import CliError, Missing, Usage
from cli.filters import Top
from cli.options import CHANGES, FILTERS, DryRun, Injected, Yes
from cli.output import first, member
from cli.report_file import report_file
from cli.state import By, Route, State, whoever
from lifecycle.audit.checks import CHECKS, check_of
from lifecycle.audit.compare import Comparison, compared
from lifecycle.audit.finding import Check, Severity
from lifecycle.audit.formats import rendered
from lifecycle.audit.formats.shape import (
    finding_document,
    last_day,
    moment,
    plural,
    severity_words,
    suppression_document,
    unkept_words,
)
from lifecycle.audit.report import RANK, Judged, Run, Suppression, Tally
from lifecycle.audit.runs import RunStore
from lifecycle.audit.suppressions import Suppressing, Suppressions
from lifecycle.enrollments.diff import differences
from lifecycle.jobs import JobStore

TABLE = "audit"
"""The table of runs, findings and suppressions."""

Severities = Literal["critical", "high", "medium", "low", "info"]
Statuses = Literal["new", "recurring", "resolved", "unclear", "suppressed"]

RunId = Annotated[str, Parameter(help="A run's id; without it, the latest that ended.")]
FailOn = Annotated[
    Severities | None,
    Parameter(name="--fail-on", help="Exit code 1 where an open finding is as bad, or worse: for CI."),
]
CheckId = Annotated[str, Parameter(help="A check's id, like DPS-CRED-001.")]

_COLUMNS = (
    member("severity"),
    member("check"),
    member("resource"),
    member("status"),
    member("suppressed.until", "suppressed until"),
    member("title"),
    member("fix"),
)
_CHECK_COLUMNS = tuple(map(member, ("id", "severity", "title", "needs", "reads", "fix")))
_SUPPRESSION_COLUMNS = tuple(map(member, ("check", "resource", "until", "expired", "covers", "by", "reason")))


class Found(CliError):
    """Open findings as bad as --fail-on says, or worse."""


class Audits:
    """The audit's runs and suppressions of one DPS, as a session reaches them."""

    def __init__(self, session: Session, route: str | None) -> None:
        """Open nothing yet.

        Raises:
            Usage: STATE_TABLES is not set.
        """
        self.dps = State(session, route).dps
        self._session = session
        table = session.wiring.table(TABLE)
        self.archive = RunStore(table, self.dps)
        self.suppressions = Suppressions(table, self.dps, session.clock)

    async def compared(self, run: str) -> Comparison:
        """A run beside earlier ones.

        Raises:
            Missing: there is no such run, or none at all.
        """
        found = await self.archive.run(run)
        if found is None:
            raise Missing(
                f"there is no run {run} that ended; `audit show` has the latest"
                if run
                else "no run of the audit has ended yet; `audit run` starts one"
            )
        suppressing = Suppressing(await self.suppressions.all(), self._session.now)
        for each in suppressing.expired:
            self._session.terminal.note(
                f"{each.check} on {each.resource} was suppressed until {last_day(each)} and counts again"
            )
        return await compared(self.archive, found, CHECKS, suppressing)


async def run(
    *,
    wait: Annotated[
        bool, Parameter(negative=(), help="Work on it here, with a progress bar, and show what it found.")
    ] = False,
    webhooks: Annotated[
        bool, Parameter(negative=(), help="Call the enrollments' webhooks as DPS would. The app does that.")
    ] = False,
    thresholds: ThresholdOptions = AS_SET,
    fail_on: FailOn = None,
    by: By = None,
    route: Route = None,
    session: Injected[Session],
) -> None:
    """Start a run, or join the one under way. It changes nothing at DPS and at the hubs."""
    from cli import audit_run  # noqa: PLC0415 - the engine takes a while to load

    if fail_on is not None and not wait:
        raise Usage("--fail-on: nothing is known before the run has ended; add --wait")
    audits, state = Audits(session, route), State(session, route)
    store = JobStore(session.wiring.table("jobs"), state.dps, session.clock)
    settings = thresholds.over(session.settings)
    job = await audit_run.start(session, store, settings, by=whoever(by), webhook=webhooks)
    if not wait:
        session.output.one({"run": job.id, "state": job.state.value, "by": job.by})
        session.terminal.note("the app's timer works on it; `audit show` has what it found once it has ended")
        return
    await audit_run.to_its_end(session, state, store, job.id)
    await _show(session, await audits.compared(job.id), _filter(None, None, None, None), fail_on, None)


async def show(
    run: RunId = "",
    *,
    severity: Annotated[
        Severities | None, Parameter(group=FILTERS, help="Those as bad as this, or worse.")
    ] = None,
    check: Annotated[
        list[str] | None,
        Parameter(group=FILTERS, consume_multiple=(1, None), negative=(), help="Those of these checks."),
    ] = None,
    resource: Annotated[
        str | None, Parameter(group=FILTERS, help="Those whose resource has this text.")
    ] = None,
    status: Annotated[
        list[Statuses] | None,
        Parameter(
            group=FILTERS,
            consume_multiple=(1, None),
            negative=(),
            help="Those that are so. Without it: all that the run found.",
        ),
    ] = None,
    fail_on: FailOn = None,
    top: Top = None,
    route: Route = None,
    session: Injected[Session],
) -> None:
    """Show what a run found, the worst first, and what of it is new."""
    wanted = _filter(severity, check, resource, status)
    await _show(session, await Audits(session, route).compared(run), wanted, fail_on, top)


async def export(
    run: RunId = "",
    *,
    form: Annotated[
        Literal["html", "json", "jsonl", "markdown", "sarif"],
        Parameter(
            name="--format", help="html is one file to open in a browser; json, jsonl and sarif stream."
        ),
    ] = "html",
    to: Annotated[
        Path | None,
        Parameter(help="The file, which only you may read. Without it: stdout.", allow_leading_hyphen=True),
    ] = None,
    fail_on: FailOn = None,
    route: Route = None,
    session: Injected[Session],
) -> None:
    """Write a run's report, resolved and suppressed findings among it."""
    comparison = await Audits(session, route).compared(run)
    tally = Tally()

    async def counted() -> AsyncIterator[Judged]:
        async for each in comparison.findings():
            tally.add(each)
            yield each

    pieces = rendered(form, comparison.report, counted())
    if to is None:
        async for piece in pieces:
            session.terminal.stdout.write(piece)
    else:
        with report_file(to) as write:
            async for piece in pieces:
                write(piece)
        session.terminal.note(f"the report of {comparison.report.run.id} is in {to}")
    tally.close(comparison.report.run, comparison.report.checks)
    _fail(tally, fail_on)


async def suppress(
    check: Annotated[str, Parameter(help="The check's id, like DPS-CRED-001.")] = "",
    resource: Annotated[
        str,
        Parameter(
            help="As `audit show` has it, like group:line-a; * stands for any text, ? for a character."
        ),
    ] = "",
    *,
    reason: Annotated[str | None, Parameter(group=CHANGES, help="Why it may wait.")] = None,
    until: Annotated[
        str | None, Parameter(group=CHANGES, help="The last day it may: 2026-12-31. At most a year ahead.")
    ] = None,
    remove: Annotated[bool, Parameter(negative=(), group=CHANGES, help="Take the suppression back.")] = False,
    list_: Annotated[
        bool, Parameter(name="--list", negative=(), help="List the suppressions, expired ones too.")
    ] = False,
    by: By = None,
    route: Route = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Let a finding wait until a day: it stays in every report, as suppressed, and then counts again."""
    audits = Audits(session, route)
    if list_:
        if check or resource or remove or reason or until:
            raise Usage("--list: it stands alone")
        await _list_suppressions(session, audits)
        return
    if not check or not resource:
        raise Usage("name the CHECK and the RESOURCE, or say --list")
    known = _check(check)
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    before = next(
        (
            each
            for each in await audits.suppressions.all()
            if (each.check, each.resource) == (known.id, resource)
        ),
        None,
    )
    if remove:
        await _remove(session, audits, known, resource, before, confirmation)
        return
    if reason is None or until is None:
        raise Usage("--reason and --until: say why it may wait, and until which day")
    after = audits.suppressions.made(known.id, resource, reason=reason, by=whoever(by), until=_end_of(until))
    covered = await _covered(audits, after)
    if covered is not None:
        session.terminal.note(f"it covers {plural(covered, 'finding')} of the latest run")
    shown = suppression_document(before) if before else None
    await confirmation.ask(
        f"suppress {known.id} on {resource}", differences(shown, suppression_document(after))
    )
    await audits.suppressions.put(after)
    session.output.one(suppression_document(after))


async def checks(
    *,
    severity: Annotated[
        Severities | None, Parameter(group=FILTERS, help="Those as bad as this, or worse.")
    ] = None,
    session: Injected[Session],
) -> None:
    """List every check: what it finds, what it reads, why it matters and what mends it."""
    most = len(RANK) if severity is None else RANK[Severity(severity)]

    async def each() -> AsyncIterator[Mapping[str, Any]]:
        for check in CHECKS:
            if RANK[check.severity] <= most:
                yield _check_document(check)

    await session.output.many(each(), _CHECK_COLUMNS)


async def _show(
    session: Session,
    comparison: Comparison,
    wanted: Callable[[Judged], bool],
    fail_on: Severities | None,
    top: int | None,
) -> None:
    report, tally = comparison.report, Tally()

    async def rows() -> AsyncIterator[Mapping[str, Any]]:
        async for each in comparison.findings():
            tally.add(each)
            if wanted(each):
                yield finding_document(each, report.checks.get(each.finding.check))

    if session.output.form == "table":  # a person reads it, so the worst stand first whatever their check
        shown = sorted([each async for each in rows()], key=lambda each: RANK[Severity(each["severity"])])
        await session.output.many(first(_each(shown), top), _COLUMNS)
    else:
        every = rows()
        await session.output.many(first(every, top), _COLUMNS)
        async for _ in every:  # what is not written is counted all the same
            pass
    tally.close(report.run, report.checks)
    for line in _summary(report.run, tally):
        session.terminal.note(line)
    _fail(tally, fail_on)


def _summary(run: Run, tally: Tally) -> Sequence[str]:
    whole = tally.whole
    head = f"{run.id} of {moment(run.started)}: {plural(whole.open, 'open finding')}"
    worst = f" ({severity_words(tally)})" if whole.open else ""
    changed = f"{whole.new:,} new, {whole.recurring:,} recurring, {whole.resolved:,} resolved"
    lines = [f"{head}{worst}; {changed}, {whole.unclear:,} unclear, {whole.suppressed:,} suppressed"]
    if unkept := unkept_words(whole.unkept):
        lines.append(unkept)
    if run.not_evaluated:
        lines.append(
            f"{max(len(run.not_evaluated), run.not_evaluated_count):,} times a check was not evaluated"
        )
    lines += [f"not read to its end: {source} ({reason})" for source, reason in sorted(run.reasons.items())]
    return lines


def _fail(tally: Tally, fail_on: Severities | None) -> None:
    if fail_on is None:
        return
    count = tally.at_least(Severity(fail_on))
    if count:
        raise Found(f"--fail-on {fail_on}: {plural(count, 'open finding')} as bad as that, or worse")


def _filter(
    severity: Severities | None,
    names: list[str] | None,
    resource: str | None,
    statuses: list[Statuses] | None,
) -> Callable[[Judged], bool]:
    most = len(RANK) if severity is None else RANK[Severity(severity)]
    wanted = {_check(name).id for name in names or ()}

    def passes(judged: Judged) -> bool:
        finding = judged.finding
        if RANK[finding.severity] > most or (wanted and finding.check not in wanted):
            return False
        if resource is not None and resource.lower() not in finding.resource.lower():
            return False
        if statuses is None:
            return judged.found
        if "suppressed" in statuses and judged.found and judged.suppression is not None:
            return True
        return judged.novelty.value in statuses

    return passes


async def _list_suppressions(session: Session, audits: Audits) -> None:
    every = await audits.suppressions.all()
    latest = await audits.archive.run()
    counts = {} if latest is None else await _counts(audits, latest, every)

    async def rows() -> AsyncIterator[Mapping[str, Any]]:
        for each in every:
            yield suppression_document(each) | {
                "expired": each.until <= session.now,
                "covers": counts.get((each.check, each.resource)),
            }

    await session.output.many(rows(), _SUPPRESSION_COLUMNS)


async def _remove(
    session: Session,
    audits: Audits,
    check: Check,
    resource: str,
    before: Suppression | None,
    confirmation: Confirmation,
) -> None:
    if before is None:
        raise Missing(f"{check.id} is not suppressed on {resource}; --list has all that is")
    await confirmation.ask(
        f"let {check.id} on {resource} count again", differences(suppression_document(before), None)
    )
    await audits.suppressions.remove(check.id, resource)
    session.terminal.note(f"{check.id} on {resource} counts again")


async def _covered(audits: Audits, suppression: Suppression) -> int | None:
    latest = await audits.archive.run()
    if latest is None:
        return None
    counts = await _counts(audits, latest, (suppression,))
    return counts[suppression.check, suppression.resource]


async def _counts(
    audits: Audits, run: Run, suppressions: Sequence[Suppression]
) -> Mapping[tuple[str, str], int]:
    """How many findings of a run each covers, whether it has expired or not."""
    counts = {(each.check, each.resource): 0 for each in suppressions}
    alone = [
        ((each.check, each.resource), Suppressing([each], each.until - timedelta(microseconds=1)))
        for each in suppressions
    ]
    for check in {each.check for each in suppressions}:
        async for finding in audits.archive.findings(run.id, check):
            for name, suppressing in alone:
                counts[name] += suppressing.of(finding) is not None
    return counts


def _check(name: str) -> Check:
    found = check_of(name)
    if found is None:
        raise Usage(f"there is no check {name!a}; `audit checks` lists them")
    return found


def _end_of(text: str) -> datetime:
    """The end of a day, in UTC.

    Raises:
        Usage: it is no day.
    """
    try:
        named = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return named + timedelta(days=1)
    except (ValueError, OverflowError):
        raise Usage(f"--until: {text!a} is no day; write it like 2026-12-31") from None


def _check_document(check: Check) -> dict[str, Any]:
    return {
        "id": check.id,
        "severity": check.severity.value,
        "title": check.title,
        "needs": sorted(check.needs),
        "reads": sorted(check.reads),
        "why": check.why,
        "fix": check.fix,
        "source": check.source,
    }


async def _each(rows: Sequence[Mapping[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
    for row in rows:
        yield row


def app() -> App:
    """The command."""
    group = App(name="audit", help="What is wrong with the DPS's enrollments, devices, keys and quotas.")
    group.command(run)
    group.command(show)
    group.command(export)
    group.command(suppress)
    group.command(checks)
    return group
