"""SARIF 2.1.0, as code-scanning services take it.

A DPS has no source files, so each resource is a location of its own: a relative URI below `dps/` for tools
that want a file, and a logical location with the resource's name. GitHub's code scanning takes up to 25,000
results of a run (documented); nothing is cut here.
"""

from typing import Any
from urllib.parse import quote

from lifecycle.audit.finding import Check, Severity
from lifecycle.audit.formats.shape import ascii_json, finding_document, moment, told
from lifecycle.audit.report import Judged, Novelty, Report, identity

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
VERSION = "2.1.0"
NAME = "dps-fleet audit"

_LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
_SCORES = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.0",
    Severity.LOW: "2.0",
    Severity.INFO: "0.0",
}
"""GitHub's security-severity: over 9 critical, from 7 high, from 4 medium (documented)."""

_BASELINE = {
    Novelty.NEW: "new",
    Novelty.RECURRING: "unchanged",
    Novelty.RESOLVED: "absent",
    Novelty.UNCLEAR: "unchanged",
}
"""Unclear ones count as still there, since nothing says otherwise; `properties.status` tells them apart."""


class Sarif:
    """One log with one run. Rules are all checks there are; results come as they are read."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._indexes = {check: index for index, check in enumerate(report.checks)}
        self._any = False

    def begin(self) -> str:
        """All up to the results."""
        run = self._report.run
        document = {
            "tool": {
                "driver": {
                    "name": NAME,
                    "informationUri": "https://learn.microsoft.com/azure/iot-dps/",
                    "rules": [_rule(check) for check in self._report.checks.values()],
                }
            },
            "invocations": [_invocation(self._report)],
            "automationDetails": {"id": f"dps-audit/{_segment(run.dps)}/{_segment(run.id)}"},
            "columnKind": "utf16CodeUnits",
            "properties": {"dps": run.dps, "sources": sorted(run.sources), "calls": run.calls},
        }
        head = ascii_json(document)[:-1]
        return f'{{"$schema":"{SCHEMA}","version":"{VERSION}","runs":[{head},"results":['

    def add(self, judged: Judged) -> str:
        """One result."""
        comma, self._any = "," if self._any else "", True
        return f"{comma}\n{ascii_json(self._result(judged))}"

    def end(self) -> str:
        """The closing brackets."""
        return "\n]}]}\n"

    def _result(self, judged: Judged) -> dict[str, Any]:
        finding, suppression = judged.finding, judged.suppression
        check = self._report.checks.get(finding.check)
        document = finding_document(judged, check)
        result: dict[str, Any] = {
            "ruleId": finding.check,
            "level": _LEVELS[finding.severity],
            "message": {"text": _message(judged, check)},
            "locations": [_location(self._report.run.dps, finding.resource)],
            "partialFingerprints": {"finding/v1": identity(finding)},
            "baselineState": _BASELINE[judged.novelty],
            "properties": {
                name: document[name] for name in ("severity", "status", "found", "evidence", "fix")
            },
        }
        if finding.check in self._indexes:
            result["ruleIndex"] = self._indexes[finding.check]
        if suppression is not None:
            result["suppressions"] = [
                {
                    "kind": "external",
                    "status": "accepted",
                    "justification": suppression.reason,
                    "properties": {"by": suppression.by, "until": moment(suppression.until)},
                }
            ]
        return result


def _rule(check: Check) -> dict[str, Any]:
    texts = {
        "shortDescription": {"text": _literal(check.title)},
        "fullDescription": {"text": _literal(f"{check.title}: {check.why}")},
        "help": {"text": _literal("\n\n".join(filter(None, (check.why, check.fix, check.source))))},
    }
    return {
        "id": check.id,
        **texts,
        "defaultConfiguration": {"level": _LEVELS[check.severity]},
        "properties": {
            "security-severity": _SCORES[check.severity],
            "severity": check.severity.value,
            "tags": ["dps", check.id.split("-")[1].lower() if check.id.count("-") > 1 else "other"],
        },
    }


def _invocation(report: Report) -> dict[str, Any]:
    run = report.run
    invocation: dict[str, Any] = {
        "executionSuccessful": True,
        "startTimeUtc": moment(run.started),
        "toolExecutionNotifications": [
            *(
                {
                    "level": "warning",
                    "message": {
                        "text": f"{run.found[check]:,} findings were counted; of one check a run keeps so "
                        "many, and those are the results"
                    },
                    "associatedRule": {"id": check},
                }
                for check in sorted(run.capped & run.found.keys())
            ),
        ]
        + [
            {
                "level": "note",
                "message": {
                    "text": _literal(
                        f"not evaluated{f' ({each.resource})' * bool(each.resource)}: {each.reason}"
                    )
                },
                "associatedRule": {"id": each.check},
            }
            for each in run.not_evaluated
        ],
    }
    if run.ended is not None:
        invocation["endTimeUtc"] = moment(run.ended)
    return invocation


def _message(judged: Judged, check: Check | None) -> str:
    finding = judged.finding
    seen = "; ".join(f"{name}: {told(value)}" for name, value in finding.evidence.items())
    title = check.title if check else finding.check
    return _literal(f"{title}: {finding.resource}" + (f" ({seen})" if seen else ""))


def _literal(text: str) -> str:
    r"""The text in a message, where [ ] \ { } mean links and placeholders (SARIF 2.1.0, 3.11.5, 3.11.6)."""
    for sign, written in (("\\", "\\\\"), ("[", "\\["), ("]", "\\]"), ("{", "{{"), ("}", "}}")):
        text = text.replace(sign, written)
    return text


def _location(dps: str, resource: str) -> dict[str, Any]:
    kind, _, name = resource.partition(":")
    parts = (dps or "dps", kind, name)
    path = "/".join(_segment(part) for part in parts if part)
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": f"dps/{path}"},
            "region": {"startLine": 1},
        },
        "logicalLocations": [{"fullyQualifiedName": resource, "kind": "resource"}],
    }


def _segment(part: str) -> str:
    """A segment of a path that no reader takes for the folder above."""
    return quote((part if part.strip(".") else f"~{part}").encode("utf-8", "replace"), safe="")
