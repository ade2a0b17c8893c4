r"""Markdown for a wiki, an issue or a chat.

Whatever a device or an operator chose stands in code spans, where nothing is a link, a mention or markup.
Within them the two signs that could end the span or the table's cell are written as \x60 and \x7c.
"""

import re

from lifecycle.audit.finding import JSON, Check
from lifecycle.audit.formats.kept import Kept
from lifecycle.audit.formats.shape import (
    last_day,
    moment,
    plural,
    severity_words,
    span,
    told,
    unkept_words,
    visible,
)
from lifecycle.audit.report import Count, Judged, Report, Tally

_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@^=-])")
MOST_NOT_EVALUATED = 200


class Markdown:
    """Tables, at most kept.MOST_OF_A_CHECK findings of each check. It is written at the end."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._tally = Tally()
        self._kept = Kept()

    def begin(self) -> str:
        """Nothing: the counts stand first."""
        return ""

    def add(self, judged: Judged) -> str:
        """Nothing yet."""
        self._tally.add(judged)
        self._kept.add(judged)
        return ""

    def end(self) -> str:
        """All of it."""
        self._tally.close(self._report.run, self._report.checks)
        return "\n".join(
            [
                *self._head(),
                *self._checks(),
                *self._findings(),
                *self._gone(),
                *self._quotas(),
                *self._not_evaluated(),
                *self._expired(),
            ]
        )

    def _head(self) -> list[str]:
        run, whole = self._report.run, self._tally.whole
        took = f", took {span(run.took)}" if run.took is not None else ""
        counts = f"{whole.new:,} new, {whole.recurring:,} recurring, {whole.resolved:,} resolved"
        more = f"{whole.suppressed:,} suppressed, {len(run.not_evaluated):,} not evaluated"
        return [
            f"# Audit of {code(run.dps or 'the DPS')}",
            "",
            f"Run {code(run.id)}, started {moment(run.started)}{took}.",
            "",
            f"**{plural(whole.open, 'open finding')}**: {severity_words(self._tally) or 'none'}.",
            "",
            f"{counts}, {more}.",
            "",
            *([f"{unkept}.", ""] if (unkept := unkept_words(whole.unkept)) else []),
        ]

    def _checks(self) -> list[str]:
        rows = [
            f"| {check.severity} | {code(check.id)} | {words(check.title)} | {_counts(count)} |"
            for check, count in self._counted()
        ]
        if not rows:
            return []
        head = "| severity | check | what | open | new | recurring | resolved | suppressed |"
        return ["## Checks", "", head, "|---|---|---|--:|--:|--:|--:|--:|", *rows, ""]

    def _findings(self) -> list[str]:
        lines: list[str] = []
        for check, count in self._counted():
            shown = self._kept.found(check.id)
            if not shown:
                continue
            lines += [f"## {words(check.title)} ({code(check.id)})", "", f"{words(check.why)}.", ""]
            lines += ["| resource | severity | status | seen | fix |", "|---|---|---|---|---|"]
            lines += [self._row(each) for each in shown]
            lines += [*_of_more(len(shown), count.open + count.suppressed), ""]
        return lines

    def _row(self, judged: Judged) -> str:
        finding = judged.finding
        seen = "<br>".join(f"{words(name)}: {_seen(value)}" for name, value in finding.evidence.items())
        cells = (code(finding.resource), finding.severity.value, status(judged), seen, code(finding.fix))
        return f"| {' | '.join(cells)} |"

    def _gone(self) -> list[str]:
        gone = self._kept.gone
        if not gone:
            return []
        whole = self._tally.whole
        lines = [
            f"| {code(each.finding.check)} | {code(each.finding.resource)} | {status(each)} |"
            for each in gone
        ]
        more = max(len(gone), whole.resolved)
        return [
            "## Not found any more",
            "",
            "| check | resource | status |",
            "|---|---|---|",
            *lines,
            *_of_more(len(gone), more),
            "",
        ]

    def _quotas(self) -> list[str]:
        run = self._report.run
        if not run.quotas:
            return []
        rows = [
            f"| {words(each.name)} | {each.used:,} | {each.limit:,} | {each.share:.0%} | "
            f"{'' if each.days_left is None else f'{each.days_left:,.0f}'} |"
            for each in run.quotas
        ]
        return [
            "## Quotas",
            "",
            "| quota | used | limit | share | days left |",
            "|---|--:|--:|--:|--:|",
            *rows,
            "",
        ]

    def _not_evaluated(self) -> list[str]:
        every = self._report.run.not_evaluated
        if not every:
            return []
        rows = [
            f"| {code(each.check)} | {code(each.resource)} | {code(each.reason)} |"
            for each in every[:MOST_NOT_EVALUATED]
        ]
        total = max(len(every), self._report.run.not_evaluated_count)
        return [
            "## Not evaluated",
            "",
            "Nothing is concluded from what could not be read.",
            "",
            "| check | resource | why |",
            "|---|---|---|",
            *rows,
            *_of_more(len(rows), total),
            "",
        ]

    def _expired(self) -> list[str]:
        if not self._report.expired:
            return []
        rows = [
            f"| {code(each.check)} | {code(each.resource)} | {last_day(each)} | {code(each.by)} | "
            f"{code(each.reason)} |"
            for each in self._report.expired
        ]
        head = ["| check | resource | expired | by | reason |", "|---|---|---|---|---|"]
        return ["## Suppressions that have expired", "", *head, *rows, ""]

    def _counted(self) -> list[tuple[Check, Count]]:
        checks = self._report.checks
        return [
            (check, self._tally.checks[name]) for name, check in checks.items() if name in self._tally.checks
        ]


def _counts(count: Count) -> str:
    numbers = (count.open, count.new, count.recurring, count.resolved, count.suppressed)
    return " | ".join(f"{number:,}" for number in numbers)


def _of_more(shown: int, total: int) -> list[str]:
    if total <= shown:
        return []
    return ["", f"{shown:,} of {total:,} are shown, the worst and newest of them."]


def status(judged: Judged) -> str:
    """New or not, and who suppressed it; fit for a table's cell."""
    suppression = judged.suppression
    if suppression is None:
        return judged.novelty.value
    by, reason = code(suppression.by), code(suppression.reason)
    return f"{judged.novelty.value}; suppressed until {last_day(suppression)} by {by}: {reason}"


def _seen(value: JSON) -> str:
    return code(told(value))


def code(text: str) -> str:
    """A text from outside, as a code span."""
    clean = visible(text).replace("`", "\\x60").replace("|", "\\x7c").strip()
    return f"`{clean}`" if clean else ""


def words(text: str) -> str:
    """A text of ours, of which nothing is markup."""
    return _MARKUP.sub(r"\\\1", visible(text))
