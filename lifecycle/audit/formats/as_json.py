"""JSON as one document, and as one line each."""

from typing import Any

from lifecycle.audit.formats.shape import (
    ascii_json,
    finding_document,
    head_document,
    not_evaluated_document,
    run_document,
    summary_document,
    suppression_document,
)
from lifecycle.audit.report import Judged, Report, Tally

VERSION = "dps-fleet-audit/1"
"""The shape of both. Members may be added to it."""


class JsonDocument:
    """One object: `run`, `quotas`, `hubs`, `certificates`, `not_evaluated`, `findings`, `summary`."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._tally = Tally()

    def begin(self) -> str:
        """All up to the findings."""
        head = ascii_json({"format": VERSION, **head_document(self._report)})
        return f'{head[:-1]},"findings":['

    def add(self, judged: Judged) -> str:
        """On a line of its own."""
        comma = "," if self._tally.checks else ""
        self._tally.add(judged)
        document = finding_document(judged, self._report.checks.get(judged.finding.check))
        return f"{comma}\n{ascii_json(document)}"

    def end(self) -> str:
        """The counts."""
        self._tally.close(self._report.run, self._report.checks)
        return f'\n],"summary":{ascii_json(summary_document(self._report, self._tally))}}}\n'


class JsonLines:
    """One object a line, each with its `type`: the run, what was not evaluated, findings, the summary."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._tally = Tally()

    def begin(self) -> str:
        """The run, and what was not evaluated."""
        head = head_document(self._report)
        charts = {name: head[name] for name in ("quotas", "hubs", "certificates")}
        lines = [_line("run", {"format": VERSION, **run_document(self._report.run), **charts})]
        run = self._report.run
        lines += [_line("not_evaluated", not_evaluated_document(each)) for each in run.not_evaluated]
        lines += [_line("expired_suppression", suppression_document(each)) for each in self._report.expired]
        return "".join(lines)

    def add(self, judged: Judged) -> str:
        """A line."""
        self._tally.add(judged)
        return _line("finding", finding_document(judged, self._report.checks.get(judged.finding.check)))

    def end(self) -> str:
        """The counts."""
        self._tally.close(self._report.run, self._report.checks)
        return _line("summary", summary_document(self._report, self._tally))


def _line(kind: str, document: dict[str, Any]) -> str:
    return ascii_json({"type": kind, **document}) + "\n"
