"""What a format is, and the texts and documents that several of them share."""

import json
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from lifecycle.audit.finding import JSON, Check, NotEvaluated
from lifecycle.audit.report import RANK, Count, Judged, Report, Run, Suppression, Tally

LONGEST_TEXT = 500
"""Characters of one text in what people read. JSON and SARIF have all of it."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode that move, hide or turn text, or are no characters."""


class Format(Protocol):
    """Writes one report, in pieces that are put one behind the other."""

    def begin(self) -> str:
        """What stands before the findings."""

    def add(self, judged: Judged) -> str:
        """One more finding."""

    def end(self) -> str:
        """What stands behind them."""


def visible(text: str) -> str:
    r"""The text on one line, not endless; what would move, hide or turn it as \x1b, \u202e or \n."""
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(sign) if unicodedata.category(sign) in _UNSEEN else sign for sign in text)


def _escaped(sign: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(sign)
    code = ord(sign)
    return short or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def told(value: JSON) -> str:
    """A value of the evidence for people, not escaped yet."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, int | float):
        return f"{value}"  # without commas: it may be a code
    if isinstance(value, tuple | list):
        return ", ".join(told(each) for each in value) or "none"
    return ", ".join(f"{name}: {told(each)}" for name, each in value.items()) or "none"


def ascii_json(value: Any) -> str:
    """JSON in printable ASCII: nothing in it is obeyed by a terminal, whatever it reads back as.

    Numbers that JSON does not know become null.
    """
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), separators=(",", ":"))
    return text.replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, tuple | list) else value


def moment(at: datetime | None) -> str | None:
    """In UTC, to the second, as ISO 8601."""
    return None if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")


def day(at: datetime) -> str:
    """The day alone, ISO 8601."""
    return at.strftime("%Y-%m-%d")


def last_day(suppression: Suppression) -> str:
    """The last day on which it counts, ISO 8601."""
    return day(suppression.until - timedelta(microseconds=1))


def span(time: timedelta) -> str:
    """How long, for people: "3 h 12 min"."""
    seconds = int(time.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours = seconds // 60 % 60, seconds // 3600
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"


def unkept_words(count: int) -> str:
    """What is said of findings that were counted and are in no row; "" where there are none."""
    if not count:
        return ""
    more = "1 more finding was" if count == 1 else f"{count:,} more findings were"
    return f"{more} counted and not kept: a run keeps so many of one check"


def plural(count: int, one: str, many: str = "") -> str:
    """A count and its noun: "1 finding", "2 findings"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def finding_document(judged: Judged, check: Check | None) -> dict[str, Any]:
    """A finding as JSON has it."""
    finding, suppression = judged.finding, judged.suppression
    return {
        "check": finding.check,
        "title": check.title if check else "",
        "severity": finding.severity.value,
        "resource": finding.resource,
        "status": judged.novelty.value,
        "found": judged.found,
        "suppressed": None if suppression is None else suppression_document(suppression),
        "evidence": plain_value(finding.evidence),
        "fix": finding.fix,
    }


def plain_value(value: JSON) -> Any:
    """Mappings and tuples of any kind as those that json knows."""
    if isinstance(value, Mapping):
        return {name: plain_value(each) for name, each in value.items()}
    return [plain_value(each) for each in value] if isinstance(value, tuple | list) else value


def suppression_document(suppression: Suppression) -> dict[str, Any]:
    """A suppression as JSON has it."""
    return {
        "check": suppression.check,
        "resource": suppression.resource,
        "reason": suppression.reason,
        "by": suppression.by,
        "created": moment(suppression.created),
        "until": moment(suppression.until),
    }


def run_document(run: Run) -> dict[str, Any]:
    """A run as JSON has it."""
    return {
        "id": run.id,
        "dps": run.dps,
        "by": run.by,
        "started": moment(run.started),
        "ended": moment(run.ended),
        "sources": sorted(run.sources),
        "incomplete": {source.value: reason for source, reason in sorted(run.reasons.items())},
        "calls": run.calls,
    }


def not_evaluated_document(each: NotEvaluated) -> dict[str, Any]:
    """A check that concluded nothing, as JSON has it."""
    return {"check": each.check, "resource": each.resource, "reason": each.reason}


def head_document(report: Report) -> dict[str, Any]:
    """What is known before the findings."""
    run = report.run
    return {
        "run": run_document(run),
        "quotas": [
            {
                "name": each.name,
                "used": each.used,
                "limit": each.limit,
                "per_day": each.per_day,
                "days_left": each.days_left,
            }
            for each in run.quotas
        ],
        "hubs": [
            {"hub": each.hub, "devices": each.devices, "limit": each.limit, "listed": each.listed}
            for each in run.hubs
        ],
        "certificates": [{"resource": each.resource, "ends": moment(each.ends)} for each in run.certificates],
        "not_evaluated": [not_evaluated_document(each) for each in run.not_evaluated],
        "expired_suppressions": [suppression_document(each) for each in report.expired],
    }


def summary_document(report: Report, tally: Tally) -> dict[str, Any]:
    """Counts, known behind the findings."""
    return {
        **_count_document(tally.whole),
        "severities": {severity.value: count for severity, count in tally.severities.items()},
        "checks": {
            check: {**_count_document(count), "compared_with": report.compared.get(check)}
            for check, count in tally.checks.items()
        },
    }


def _count_document(count: Count) -> dict[str, int]:
    return {name: getattr(count, name) for name in Count.__slots__}


def severity_words(tally: Tally) -> str:
    """Open findings by severity, worst first: "2 critical, 1 low"; "" where nothing is open."""
    return ", ".join(f"{tally.severities[each]:,} {each}" for each in RANK if tally.severities[each])
