"""The report as one HTML file: no script, nothing loaded, and a policy that forbids both.

The policy allows one thing, the style sheet of this package, by its digest; so whatever a text from a device
might smuggle in would neither run nor load. All such texts are escaped by markup.py.
"""

import base64
import hashlib
from collections.abc import Sequence

from lifecycle.audit.finding import Check, Severity
from lifecycle.audit.formats import charts
from lifecycle.audit.formats.kept import Kept
from lifecycle.audit.formats.markup import Child, Markup, join, raw, tag, void
from lifecycle.audit.formats.shape import last_day, plural, severity_words, span, told, unkept_words
from lifecycle.audit.formats.style import CSS
from lifecycle.audit.report import Count, Judged, Novelty, Report, Tally

MOST_NOT_EVALUATED = 200

DIGEST = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{DIGEST}'; base-uri 'none'; form-action 'none'"
"""What the page may load and run."""


class Page:
    """The page, which is written at the end; of each check at most kept.MOST_OF_A_CHECK findings."""

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
        name = self._report.run.dps or "DPS"
        body = tag(
            "body",
            tag("a", "To the findings", href="#findings", class_="skip"),
            self._head(name),
            tag(
                "main",
                self._glance(),
                self._overview(),
                self._findings(),
                self._gone(),
                self._not_evaluated(),
                self._expired(),
            ),
            self._foot(),
        )
        page = tag("html", _head(f"Audit of {name}"), body, lang="en")
        return join(raw("<!DOCTYPE html>\n"), page, raw("\n"))

    def _head(self, name: str) -> Markup:
        run = self._report.run
        facts: list[Child] = ["run ", tag("code", run.id), f", started {run.started:%Y-%m-%d %H:%M} UTC"]
        if run.took is not None:
            facts.append(f", took {span(run.took)}")
        if run.calls is not None:
            facts.append(f", {plural(run.calls, 'call')}")
        if run.by:
            facts += [", by ", tag("code", run.by)]
        worst = self._tally.at_least(Severity.CRITICAL), self._tally.at_least(Severity.HIGH)
        unkept = unkept_words(self._tally.whole.unkept)
        mood = "bad" if worst[0] else "warn" if worst[1] else "good"
        return tag(
            "header",
            tag("p", "Audit of a Device Provisioning Service", class_="eyebrow"),
            tag("h1", name),
            tag("p", *facts, class_="facts"),
            tag("p", self._verdict(), class_=f"verdict {mood}"),
            self._tiles(),
            tag("p", f"{unkept}.", class_="note") if unkept else None,
            class_="top",
        )

    def _verdict(self) -> str:
        whole = self._tally.whole
        unread = len(self._report.run.reasons)
        rest = f" {plural(unread, 'source')} could not be read to the end." if unread else ""
        if not whole.open:
            return f"Nothing is open.{rest}"
        return f"{plural(whole.open, 'open finding')}: {severity_words(self._tally)}.{rest}"

    def _tiles(self) -> Markup:
        whole = self._tally.whole
        unread = max(len(self._report.run.not_evaluated), self._report.run.not_evaluated_count)
        named = (
            ("open", whole.open),
            ("new", whole.new),
            ("recurring", whole.recurring),
            ("resolved", whole.resolved),
            ("suppressed", whole.suppressed),
            ("not evaluated", unread),
        )
        tiles = [tag("li", tag("b", f"{count:,}"), tag("span", name)) for name, count in named]
        return tag("ul", *tiles, class_="tiles")

    def _glance(self) -> Markup:
        run = self._report.run
        panels = (
            charts.severities(self._tally),
            charts.certificates(run.certificates, run.started),
            charts.hubs(run.hubs),
            charts.quotas(run.quotas),
        )
        return join(tag("h2", "At a glance"), tag("div", *panels, class_="panels"))

    def _overview(self) -> Markup | None:
        counted = self._counted()
        if not counted:
            return None
        heads = ("severity", "check", "open", "new", "recurring", "resolved", "suppressed")
        rows = [
            _overview_row(check, count, shown=bool(self._kept.found(check.id))) for check, count in counted
        ]
        return join(tag("h2", "Checks that found something"), _table(heads, rows, numbers=heads[2:]))

    def _findings(self) -> Markup:
        sections = [
            self._section(check, count, self._kept.found(check.id))
            for check, count in self._counted()
            if self._kept.found(check.id)
        ]
        none = tag("p", "This run found nothing.", class_="note") if not sections else None
        return join(tag("h2", "Findings", id="findings"), none, *sections)

    def _section(self, check: Check, count: Count, shown: Sequence[Judged]) -> Markup:
        total = count.open + count.suppressed
        heads = ("resource", "status", "seen", "fix")
        return tag(
            "section",
            tag(
                "header",
                charts.badge(check.severity),
                " ",
                tag("code", check.id),
                tag("h3", check.title),
                tag("p", _sentence(check.why), class_="why"),
                tag("p", f"Source: {check.source}", class_="note") if check.source else None,
            ),
            _table(heads, [_finding_row(each, check) for each in shown], more=_more(len(shown), total)),
            class_="check",
            id=_anchor(check),
        )

    def _gone(self) -> Markup | None:
        gone = self._kept.gone
        if not gone:
            return None
        total = max(len(gone), self._tally.whole.resolved)
        rows = [
            tag(
                "tr",
                tag("th", tag("code", each.finding.resource), scope="row", role="rowheader"),
                _cell("check", tag("code", each.finding.check)),
                _cell("status", _status(each)),
                role="row",
            )
            for each in gone
        ]
        table = _table(("resource", "check", "status"), rows, more=_more(len(gone), total))
        return join(tag("h2", "Not found any more"), table)

    def _not_evaluated(self) -> Markup | None:
        run = self._report.run
        every = run.not_evaluated
        if not every:
            return None
        rows = [
            tag(
                "tr",
                tag("th", tag("code", each.check), scope="row", role="rowheader"),
                _cell("resource", tag("code", each.resource) if each.resource else "everything"),
                _cell("why", each.reason, wide=True),
                role="row",
            )
            for each in every[:MOST_NOT_EVALUATED]
        ]
        more = _more(len(rows), max(len(every), run.not_evaluated_count))
        intro = tag("p", "Nothing is concluded from what could not be read.", class_="note")
        return join(tag("h2", "Not evaluated"), intro, _table(("check", "resource", "why"), rows, more=more))

    def _expired(self) -> Markup | None:
        if not self._report.expired:
            return None
        rows = [
            tag(
                "tr",
                tag("th", tag("code", each.check), scope="row", role="rowheader"),
                _cell("resource", tag("code", each.resource)),
                _cell("expired", last_day(each)),
                _cell("by", each.by),
                _cell("reason", each.reason, wide=True),
                role="row",
            )
            for each in self._report.expired
        ]
        heads = ("check", "resource", "expired", "by", "reason")
        return join(tag("h2", "Suppressions that have expired"), _table(heads, rows))

    def _foot(self) -> Markup:
        run = self._report.run
        read = ", ".join(sorted(run.sources)) or "nothing"
        unread = [tag("p", f"Not read: {source}: {reason}") for source, reason in sorted(run.reasons.items())]
        return tag("footer", tag("p", f"Read to the end: {read}."), *unread)

    def _counted(self) -> list[tuple[Check, Count]]:
        """The checks that have something open, then the others."""
        counts = self._tally.checks
        told = [(check, counts[name]) for name, check in self._report.checks.items() if name in counts]
        return sorted(told, key=lambda each: each[1].open == 0)


def _head(title: str) -> Markup:
    return tag(
        "head",
        void("meta", charset="utf-8"),
        void("meta", http_equiv="Content-Security-Policy", content=POLICY),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="referrer", content="no-referrer"),
        void("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", raw(CSS)),
    )


def _overview_row(check: Check, count: Count, *, shown: bool) -> Markup:
    name = tag("a", check.title, href=f"#{_anchor(check)}") if shown else check.title
    numbers = (
        ("open", count.open),
        ("new", count.new),
        ("recurring", count.recurring),
        ("resolved", count.resolved),
        ("suppressed", count.suppressed),
    )
    return tag(
        "tr",
        _cell("", charts.badge(check.severity)),
        tag("th", name, " ", tag("small", check.id), scope="row", role="rowheader"),
        *(_cell(label, f"{number:,}", kind=_kind(label, number)) for label, number in numbers),
        role="row",
    )


def _kind(label: str, number: int) -> str:
    if not number:
        return "number zero"
    return "number fresh" if label == "new" else "number"


def _finding_row(judged: Judged, check: Check) -> Markup:
    finding = judged.finding
    worse = charts.badge(finding.severity) if finding.severity is not check.severity else None
    seen = [
        tag("div", tag("dt", name.replace("_", " ")), tag("dd", tag("code", told(value))))
        for name, value in finding.evidence.items()
    ]
    return tag(
        "tr",
        tag("th", tag("code", finding.resource), scope="row", role="rowheader"),
        _cell("", join(worse, " " if worse else None, _status(judged))),
        _cell("seen", tag("dl", *seen, class_="seen") if seen else "", wide=True),
        _cell("fix", tag("code", finding.fix, class_="fix") if finding.fix else "", wide=True),
        role="row",
        class_="quiet" if judged.suppression else None,
    )


def _status(judged: Judged) -> Markup:
    kind = "chip new" if judged.novelty is Novelty.NEW else "chip"
    suppression = judged.suppression
    chip = tag("span", judged.novelty.value, class_=kind)
    if suppression is None:
        return chip
    word = tag("small", f"suppressed until {last_day(suppression)} by {suppression.by}: {suppression.reason}")
    return join(chip, " ", word)


def _table(
    heads: Sequence[str], rows: Sequence[Markup], *, numbers: Sequence[str] = (), more: str = ""
) -> Markup:
    """Rows with explicit roles: on a phone the cells are blocks, and would lose them."""
    head = [
        tag("th", each, scope="col", role="columnheader", class_="number" if each in numbers else None)
        for each in heads
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", *head, role="row"), role="rowgroup"),
            tag("tbody", *rows, role="rowgroup"),
            role="table",
        ),
        tag("p", more, class_="more") if more else None,
        class_="rows",
    )


def _cell(label: str, content: Child, *, kind: str = "", wide: bool = False) -> Markup:
    return tag(
        "td",
        content,
        role="cell",
        data_label=label or None,
        class_=kind or ("wide" if wide else None),
    )


def _more(shown: int, total: int) -> str:
    if total <= shown:
        return ""
    return f"{shown:,} of {total:,} are shown, the worst and newest of them."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _anchor(check: Check) -> str:
    return "check-" + "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in check.id)
