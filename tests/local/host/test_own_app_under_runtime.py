"""Our own app, in each role and with few and all settings, under Microsoft's runtime library and our host.

Every function is indexed and invoked by both: where all services answer, and where none does.
"""

import re
from collections.abc import Mapping

import pytest
import pytest_asyncio

from tests.local.host.both_runtimes import EVENTS, Json, assert_same_result
from tests.local.host.own_app import (
    EVENT_FUNCTIONS,
    FEW,
    FULL,
    FUNCTIONS,
    GIVEN,
    HUB,
    ROLES,
    SECRET,
    SPAN,
    TRACES,
    Call,
    Ran,
    run,
)

UNREADABLE = {
    "event time that is none",
    "event time a number",
    "event time with an offset",
    "cloud event with a bad time",
    "cloud event whose extension has a parameter's name",
    "an array",
    "an array of an event",
    "a text",
    "a number",
    "null",
}
"""Of the EVENTS of the conformance test: what the library cannot make an event of."""

TOLD: Mapping[str, list[set[str]]] = {
    "count_devices": [set()],
    "prune": [{"pruned"}],
    "audit_due": [set()],
    "purge_due": [set()],
    "rotate_daily": [set()],
    "device_deleted": [{"device_deleted"}, {"device_deleted"}],
    "jobs": [{"audit_began", "audit_told", "purge_ended", "device_deleted", "job_slice", "job_ended"}],
    "secret_near_expiry": [{"rotation_asked"}, {"rotation_asked"}],
}
"""The events that each run tells of where all services answer."""

UNSERVED: Mapping[str, str] = {
    "count_devices": "TableUnavailable",
    "prune": "TableUnavailable",
    "audit_due": "TableUnavailable",
    "purge_due": "TableUnavailable",
    "rotate_daily": "TableUnavailable",
    "device_deleted": "TableUnavailable",
    "jobs": "TableUnavailable",
    "secret_near_expiry": "TableUnavailable",
}
"""How runs end where nothing answers: timers come again by themselves, failed events are sent again."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ran(azurite: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return await run(azurite, tmp_path_factory.mktemp("own-app"))


def results(ran: Ran, name: str, asked: list[Call], function: str) -> list[tuple[str, Json, Json]]:
    """What was asked of one function, and both results."""
    theirs, ours = (outcome["results"] for outcome in ran.outcomes[name])
    return [
        (call.what, *each)
        for call, *each in zip(asked, theirs, ours, strict=True)
        if call.function == function
    ]


def described(outcome: Json) -> list[tuple[str, Json]]:
    """Each function and its bindings."""
    return [(function["name"], function["bindings"]) for function in outcome["functions"]]


def told(result: Json) -> set[str]:
    """The names of the events that a run told of."""
    return {event["event"] for event in result.get("told", ())}


def assert_alike(theirs: Json, ours: Json) -> None:
    """The same result, whatever the minute that an id tells of."""
    theirs, ours = (
        {
            name: re.sub(r"\d{4}-\d\d-\d\dT\d\d\.\d\d", "MINUTE", value) if name == "failed" else value
            for name, value in result.items()
            if name != "told"
        }
        for result in (theirs, ours)
    )
    assert_same_result(theirs, ours)


@pytest.mark.parametrize("role", ROLES)
def test_every_function_of_a_role_is_indexed_by_both_and_invoked_here(ran: Ran, role: str) -> None:
    for name in (role, f"{role}, few"):
        theirs, ours = ran.outcomes[name]
        indexed = described(theirs)
        if name == "lifecycle, few":
            # Without tables there is nothing to do: the real host runs on with no functions.
            assert indexed == []
            assert "defines no functions" in ours["refused"]
            continue
        assert described(ours) == indexed
        wanted = FUNCTIONS[role] if name == role else ["allocate"]
        assert sorted(function for function, _ in indexed) == sorted(wanted), (
            "a function is new or gone: say in GIVEN what it is given, and in TOLD and UNSERVED how it ends"
        )
    assert set(TOLD) == set(UNSERVED) == set(GIVEN) - {"allocate"}


@pytest.mark.parametrize("name", ["all", "all, few", "allocation", "allocation, few", "all, unserved"])
def test_the_webhook_answers_alike(ran: Ran, name: str) -> None:
    asked = FEW["all"] if "few" in name else FULL[name.partition(",")[0]]
    for what, theirs, ours in results(ran, name, asked, "allocate"):
        assert_alike(theirs, ours)
        refused = what in ("no body", "no JSON", "nothing in it")
        assert theirs["value"]["http"]["status_code"] == ("400" if refused else "200"), what
        for result in (theirs, ours):
            assert {"allocation_refused" if refused else "allocation"} <= told(result)


@pytest.mark.parametrize(
    ("role", "function"), [(role, name) for role in ("all", "lifecycle") for name in TOLD]
)
def test_timers_and_events_run_alike_where_all_services_answer(ran: Ran, role: str, function: str) -> None:
    found = results(ran, role, FULL[role], function)
    golden = found[: len(TOLD[function])]
    for (_, theirs, ours), events in zip(golden, TOLD[function], strict=True):
        assert theirs["value"] is None
        assert_alike(theirs, ours)
        assert told(theirs) == told(ours) == events


@pytest.mark.parametrize("role", ["all", "lifecycle"])
def test_what_they_leave_in_the_tables_is_alike(ran: Ran, role: str) -> None:
    theirs, ours = ran.left[role]
    assert theirs == ours
    assert theirs == {
        # The run over the records, and the look at what the hub said.
        "ended": [("audit", "done", ""), ("purge", "done", ""), ("purge", "done", "")],
        "waiting": [(f"rotate:line-a:{SECRET['data']['Version']}", "line-a", "event")],
        "marks": [("Dev-1", "device-gone", HUB)],
        "audits": 1,
        "answered": [[HUB], [HUB]] if role == "all" else [[], []],
    }


@pytest.mark.parametrize("function", EVENT_FUNCTIONS)
def test_an_event_comes_in_either_schema_and_twice_and_counts_once(ran: Ran, function: str) -> None:
    (_, *firsts), (_, *seconds) = results(ran, "all", FULL["all"], function)
    for first, second in zip(firsts, seconds, strict=True):
        said = [result["told"][0] for result in (first, second)]
        if function == "device_deleted":
            assert [each["noted"] for each in said] == ["heard", "heard"]
        else:
            assert [each["new"] for each in said] == [True, False]


@pytest.mark.parametrize("function", EVENT_FUNCTIONS)
def test_an_odd_event_is_taken_and_passed_over_unless_the_library_cannot_read_it(
    ran: Ran, function: str
) -> None:
    found = results(ran, "lifecycle", FULL["lifecycle"], function)[len(GIVEN[function]) :]
    assert len(found) == len(EVENTS)
    ignored = {"device_deleted": "device_deleted_ignored", "secret_near_expiry": "rotation_event_ignored"}
    assert {what for what, theirs, _ in found if "failed" in theirs} == UNREADABLE
    for what, theirs, ours in found:
        assert_alike(theirs, ours)
        assert told(theirs) == told(ours) == (set() if what in UNREADABLE else {ignored[function]})


@pytest.mark.parametrize("function", UNSERVED)
def test_timers_and_events_fail_alike_where_nothing_answers(ran: Ran, function: str) -> None:
    for _, theirs, ours in results(ran, "all, unserved", FULL["all"], function):
        assert_alike(theirs, ours)
        assert theirs["failed"].startswith(f"{UNSERVED[function]}: ")
        assert told(theirs) == told(ours)


def test_telemetry_leaves_the_worker_in_the_trace_of_its_invocation(ran: Ran) -> None:
    spans = list(ran.insights.rows("AppDependencies"))
    for function, name in (
        ("allocate", "allocation"),
        ("count_devices", "count_devices"),
        ("jobs", "job_slice"),
    ):
        of_function = [span for span in spans if span.operation == TRACES[function]]
        assert {(span.name, span.parent) for span in of_function} == {(name, SPAN)}
    lines = [row for row in ran.insights.rows("AppTraces") if row.operation == TRACES["jobs"]]
    assert any(row.name.startswith('{"event":"job_ended"') for row in lines)


def test_the_worker_says_to_the_host_that_telemetry_is_its_own_where_it_is(ran: Ran) -> None:
    for name, (theirs, _) in ran.outcomes.items():
        assert ("WorkerOpenTelemetryEnabled" in theirs["capabilities"]) == ("few" not in name)
