"""A report as JSON, JSON lines, SARIF, Markdown or one HTML file.

The first three stream: a million findings need no more memory than a hundred. Markdown and HTML are for
people: they show the worst of each check up to a number, and say how many there are.
"""

from collections.abc import AsyncIterator, Callable, Mapping

from lifecycle.audit.formats.as_json import JsonDocument, JsonLines
from lifecycle.audit.formats.markdown import Markdown
from lifecycle.audit.formats.page import Page
from lifecycle.audit.formats.sarif import Sarif
from lifecycle.audit.formats.shape import Format
from lifecycle.audit.report import Judged, Report

FORMATS: Mapping[str, Callable[[Report], Format]] = {
    "json": JsonDocument,
    "jsonl": JsonLines,
    "sarif": Sarif,
    "markdown": Markdown,
    "html": Page,
}
"""By the name that `audit export --format` takes."""


async def rendered(form: str, report: Report, findings: AsyncIterator[Judged]) -> AsyncIterator[str]:
    """The report in a format, piece by piece.

    Args:
        form: a name in FORMATS.
        report: all but the findings.
        findings: in the order of `Comparison.findings`.
    """
    written = FORMATS[form](report)
    yield written.begin()
    async for each in findings:
        piece = written.add(each)
        if piece:
            yield piece
    yield written.end()


__all__ = ["FORMATS", "Format", "rendered"]
