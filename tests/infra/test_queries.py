"""Alerts and the workbook ask for events, fields and metrics that the app writes."""

import ast
import json
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import clients.telemetry
from clients.telemetry import EVENTS, SPANS
from clients.telemetry import METRICS as METRICS_TOLD
from lifecycle.jobs.row import State as JobState
from tests.allocation.instance import Instance, State
from tests.infra.reading import INFRA, template

ROOT = INFRA.parent
QUERIES = {file.stem: file.read_text() for file in sorted((INFRA / "queries").glob("*.kql"))}
WORKBOOK = json.loads((INFRA / "modules" / "workbook.json").read_text())
PARTS = {item["name"]: item["content"]["query"] for item in WORKBOOK["items"] if item["type"] == 3}
EVERY = {**QUERIES, **{f"workbook: {name}": query for name, query in PARTS.items()}}
RULES = re.findall(
    r"\{ name: '([a-z-]+)', severity: (\d), every: '(\w+)', window: '(\w+)'",
    template(INFRA / "modules" / "alerts.bicep").text,
)

each_query = pytest.mark.parametrize("query", EVERY.values(), ids=EVERY)


def events_of(query: str) -> set[str]:
    return set(re.findall(r'startswith \'\{"event":"(\w+)"', query)) | set(
        re.findall(r'told\.event [!=]= "(\w+)"', query)
    )


def code() -> list[ast.Call]:
    """Every call in the deployed code."""
    files = chain.from_iterable(
        (ROOT / name).rglob("*.py") for name in ("allocation", "clients", "lifecycle")
    )
    return [
        node
        for file in (*files, ROOT / "function_app.py")
        for node in ast.walk(ast.parse(Path(file).read_text()))
        if isinstance(node, ast.Call)
    ]


CALLS = code()


@each_query
def test_each_event_that_is_asked_for_is_one_that_the_app_writes(query: str) -> None:
    assert events_of(query) <= set(EVENTS)


def test_each_event_that_tells_of_an_error_raises_an_alert() -> None:
    errors = {name for name, level in clients.telemetry._LEVELS.items() if level >= 40}
    asked = set().union(*(events_of(query) for query in QUERIES.values()))
    assert errors - asked == set(), "infra/queries: somebody must hear of these"


@each_query
def test_each_line_of_json_is_known_by_how_it_begins(query: str) -> None:
    # A line is parsed only once it is known to be one: parse_json of all traces would cost time and money.
    if "parse_json(Message)" in query:
        assert query.index("startswith") < query.index("parse_json(Message)")
    for begins in re.findall(r"startswith '([^']*)'", query):
        # To the closing quote, or it would find events whose names go on.
        assert re.fullmatch(r'\{"event":"\w+",?', begins)


def test_a_line_begins_as_the_queries_expect(caplog: pytest.LogCaptureFixture) -> None:
    from logging import getLogger

    from clients.clock import SystemClock
    from clients.telemetry import LogTelemetry
    from clients.telemetry_ids import IdMode, Ids

    with caplog.at_level("INFO"):
        LogTelemetry(SystemClock(), getLogger("told"), Ids(IdMode.NONE)).event("allocation", dps="factory")
    [line] = caplog.messages
    assert line.startswith('{"event":"allocation",')


def test_whatever_the_app_answers_says_that_its_telemetry_arrives() -> None:
    # Somebody who sends what is no request, or a fault of ours at each one, is another alert's matter.
    heard = events_of(QUERIES["telemetry-silent"])
    assert heard == {"allocation", "allocation_refused", "allocation_broken", "telemetry_unavailable"}


TABLES = {"AppTraces", "AppRequests", "AppDependencies", "AppMetrics", "AzureDiagnostics"}
"""What the host's and the app's OpenTelemetry, and DPS's diagnostics, are found in."""


@each_query
def test_each_table_is_one_that_something_is_written_to(query: str) -> None:
    read = re.findall(r"^\s*\(?(App\w+|AzureDiagnostics)\b", query, re.MULTILINE)
    assert read
    assert set(read) <= TABLES
    if "AppDependencies" in read:
        named = set(re.findall(r'Name == "(\w+)"', query))
        assert named
        assert named <= set(SPANS)
    if "AppMetrics" in read:
        named = set(re.findall(r'Name == "(\w+)"', query))
        assert named
        assert named <= set(METRICS_TOLD)


def test_each_metric_that_is_measured_is_in_the_table_of_metrics() -> None:
    assert METRICS - set(METRICS_TOLD) == set()


def test_each_span_is_in_the_table_of_spans() -> None:
    spans = {
        argument.value
        for call in CALLS
        if getattr(call.func, "attr", "") == "span"
        for argument in call.args[:1]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }
    assert spans == set(SPANS)


METRICS = {
    argument.value
    for call in CALLS
    if getattr(call.func, "attr", "") == "measure"
    for argument in call.args[:1]
    if isinstance(argument, ast.Constant)
}


@each_query
def test_each_metric_that_is_asked_for_is_measured(query: str) -> None:
    named = re.findall(r'each\.metric == "(\w+)"', query)
    named += chain.from_iterable(
        re.findall(r'"(\w+)"', names) for names in re.findall(r"each\.metric in \((.*?)\)", query)
    )
    assert set(named) <= METRICS
    assert set(re.findall(r"\beach\.(\w+)", query)) <= {
        "metric", "sum", "most", "least", "count", *DIMENSIONS
    }  # fmt: skip


DIMENSIONS = {
    keyword.arg for call in CALLS if getattr(call.func, "attr", "") == "measure" for keyword in call.keywords
}


def fields_of(event: str) -> set[str]:
    """What the code gives an event, by keyword."""
    return {
        str(keyword.arg)
        for call in CALLS
        if getattr(call.func, "attr", "") == "event"
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and call.args[0].value == event
        for keyword in call.keywords
    }


async def written() -> dict[str, Any]:
    """The fields of an allocation, as an instance tells of one."""
    instance = Instance.of(State())
    await instance.ask("dev-1")
    [told] = instance.heard.of("allocation")
    return told


@each_query
async def test_each_field_that_is_asked_for_is_told(query: str) -> None:
    asked = set(re.findall(r"\btold\.(\w+)", query)) - {"event"}
    known: set[str] = set()
    for event in events_of(query):
        if event == "allocation":
            known |= set(await written())
        elif event == "audit_finding":
            known |= FINDING
        else:
            known |= fields_of(event)
    assert asked <= known


FINDING = {"check", "severity", "resource", "suppressed", "evidence", "fix"}


def test_a_finding_is_told_with_what_the_alerts_read() -> None:
    from lifecycle.audit.finding import Finding, Severity
    from lifecycle.audit.formats.shape import finding_document
    from lifecycle.audit.report import Judged, Novelty

    finding = Finding("DPS-QUOTA-001", "service", Severity.CRITICAL, {"days_to_full": 3})
    told = finding_document(Judged(finding, Novelty.NEW), None)
    assert set(told) >= FINDING
    assert (told["severity"], told["suppressed"], told["evidence"]["days_to_full"]) == ("critical", None, 3)


def test_states_of_jobs_that_are_asked_for_are_states() -> None:
    listed = QUERIES["jobs-stalled"].partition("state) in (")[2].partition(")")[0]
    unended = {JobState.WAITING, JobState.RUNNING, JobState.STOPPING}
    assert set(re.findall(r'"(\w+)"', listed)) == {*unended, "lost"}  # "lost": the event's own word
    assert str(JobState.FAILED) == "failed"


def test_each_query_is_of_one_alert_that_looks_at_least_as_far_back_as_it_is_asked() -> None:
    assert sorted(name for name, *_ in RULES) == sorted(QUERIES)
    minutes = {"PT5M": 5, "PT15M": 15, "PT30M": 30, "PT1H": 60, "PT2H": 120, "P1D": 1440}
    for name, severity, every, window in RULES:
        assert minutes[every] <= minutes[window], name
        assert severity in "123"


def test_the_workbook_shows_what_operators_ask_first() -> None:
    assert {"hubs", "rules", "degraded", "jobs", "quotas"} <= set(PARTS)
    assert WORKBOOK["version"] == "Notebook/1.0"
    assert "\r" not in json.dumps(WORKBOOK)
