"""The local host and Microsoft's own runtime library are put the same questions and give the same answers.

The tables, here and in bad_apps.py, say where the two differ on purpose, and why. Our own app is asked in
test_own_app_under_runtime.py.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.local.host import bad_apps
from tests.local.host.bad_apps import DIFFERENT, REFUSED, SERVED
from tests.local.host.both_runtimes import (
    EVENTS,
    ROOT,
    TIMERS,
    Json,
    Outcomes,
    answered,
    ask,
    assert_same_result,
    event,
    http,
    job,
    posted,
    timer,
)

if TYPE_CHECKING:
    from .conftest import Loaded

APPS = ROOT / "tests" / "apps"


MULTIPART = (
    '--b\r\ncontent-disposition: form-data; name="field"\r\n\r\nvalue\r\n'
    '--b\r\ncontent-disposition: form-data; name="f"; filename="n"\r\n\r\nin the file\r\n--b--\r\n'
)
KINDS = re.findall(
    r'^    "([a-z0-9-]+)": ', (APPS / "conformance" / "function_app.py").read_text(), re.MULTILINE
)
REQUESTS = {
    "nothing": http(),
    "headers": http(headers={"x-mixed": "A,B", "accept": "*/*", "x-empty": ""}),
    "query": http(url="http://h/api/f?a=1&a=2&b=", query={"a": "1,2"}),
    "route parameter": http(params={"device": "d 1/é"}),
    "json": posted('{"a": [1, "é"]}'.encode().decode("latin-1")),
    "json with a mark": posted("\xef\xbb\xbf{}"),
    "bad json": posted("{"),
    "json that is not utf-8": posted('"\xff"'),
    "empty body": posted(""),
    "binary": posted("\x00\xff\r\n", "application/octet-stream"),
    "text": posted("a=b", "text/plain; charset=utf-8"),
    "form": posted("a=b&a=c&d=%C3%A9", "application/x-www-form-urlencoded"),
    "multipart": posted(MULTIPART, "multipart/form-data; boundary=b"),
}
EVENT_TEXT = event()["json"]
# Functions of tests/apps/conformance, and what each is given.
TABLE: list[tuple[str, dict[str, Json]]] = [
    ("answer answer_async", {kind: http(params={"kind": kind}) for kind in KINDS}),
    ("show show_sync", REQUESTS),
    ("raw_str generic wrapper bound_context in_parts", {"": http()}),
    ("named-by-hand in_context_async", {"": http(), "traced": http() | {"trace": ("00-a-b-01", "s=1")}}),
    ("tick_context", {"": timer()}),
    ("tick tick_sync tick_retried", TIMERS),
    ("tick_quiet tick_returns tick_returns_falsy tick_wrapped tick_raw", {"": TIMERS["in time"]}),
    ("event event_sync event_bare event_undefined", EVENTS),
    ("event_quiet event_returns event_str event_bytes", {"": event()}),
    # As the .NET host hands an event to a trigger with this data type.
    ("event_string event_string_str", {"": {"string": EVENT_TEXT}}),
    ("event_binary event_binary_bytes", {"": {"bytes": EVENT_TEXT.encode().decode("latin-1")}}),
]
CALLS = [
    (f"{function} {what}".strip(), function, given)
    for functions, gifts in TABLE
    for function in functions.split()
    for what, given in gifts.items()
]
FOREIGN_ANSWER = {
    # The worker hands over whatever it was given; the .NET host then fails to make a status of it.
    "answer status-99": "the host refuses statuses that HTTP does not have",
    "answer status-600": "the host refuses statuses that HTTP does not have",
    "answer_async status-99": "the host refuses statuses that HTTP does not have",
    "answer_async status-600": "the host refuses statuses that HTTP does not have",
    "answer status-text": "the host makes a number of the status",
    "answer_async status-text": "the host makes a number of the status",
}
ESCAPES = {
    # The worker catches Exception only: its host hears no more of the invocation and gives up at the function
    # timeout, minutes later. Here the failure is answered at once.
    "answer cancelled",
    "answer_async cancelled",
}
APPS_INDEXED = {
    "conformance": ({}, "tests/apps/conformance"),
    "events": ({}, "tests/apps/events"),
    "http": ({}, "tests/apps/http"),
    "process": ({}, "tests/apps/process"),
    "secured": ({}, "tests/apps/secured"),
    "timers": ({"SCHEDULE": "0 0 * * * *"}, "tests/apps/timers"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcomes]:
    folder = tmp_path_factory.mktemp("conformance")
    calls = {"conformance": CALLS}
    jobs = {
        name: job(ROOT / path, calls.get(name), **environment)
        for name, (environment, path) in APPS_INDEXED.items()
    }
    for number, (name, source) in enumerate(bad_apps.sources()):
        directory = folder / f"app{number}"
        directory.mkdir()
        (directory / "host.json").write_text('{"version": "2.0"}')
        if source is not None:
            (directory / "function_app.py").write_text(source)
        jobs[name] = job(directory)
    return ask(jobs, folder)


def result(outcomes: dict[str, Outcomes], app: str, number: int) -> tuple[Json, Json]:
    theirs, ours = outcomes[app]
    return theirs["results"][number], ours["results"][number]


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, id=name)
        for number, (name, _, _) in enumerate(CALLS)
        if name not in FOREIGN_ANSWER and name not in ESCAPES
    ],
)
def test_call_has_the_same_result(outcomes: dict[str, Outcomes], number: int) -> None:
    assert_same_result(*result(outcomes, "conformance", number))


@pytest.mark.parametrize("name", FOREIGN_ANSWER)
def test_status_that_only_the_host_refuses_fails_here(outcomes: dict[str, Outcomes], name: str) -> None:
    number = [call for call, _, _ in CALLS].index(name)
    theirs, ours = result(outcomes, "conformance", number)
    assert theirs["value"]["http"]["status_code"] in {"99", "600", "many"}
    assert ours["failed"].startswith("ValueError: ")


@pytest.mark.parametrize("name", sorted(ESCAPES))
def test_what_the_worker_never_answers_fails_here(outcomes: dict[str, Outcomes], name: str) -> None:
    number = [call for call, _, _ in CALLS].index(name)
    theirs, ours = result(outcomes, "conformance", number)
    assert theirs == {"escaped": "CancelledError: "}
    assert ours == {"failed": "CancelledError: "}


@pytest.mark.parametrize("app", APPS_INDEXED)
def test_app_has_the_same_functions_with_the_same_bindings(outcomes: dict[str, Outcomes], app: str) -> None:
    theirs, ours = (
        json.dumps([(function["name"], function["bindings"]) for function in outcome["functions"]])
        for outcome in outcomes[app]
    )
    assert theirs != "[]"
    # The .NET host resolves settings, the worker does not.
    assert ours == theirs.replace("%SCHEDULE%", "0 0 * * * *")


def test_every_retry_policy_that_reaches_the_host_is_warned_of(outcomes: dict[str, Outcomes]) -> None:
    theirs, ours = outcomes["conformance"]
    handed_over = [function["name"] for function in theirs["functions"] if function["retries"]]
    assert handed_over == ["tick_retried"]
    assert [function["name"] for function in ours["functions"] if function["warnings"]] == handed_over


def test_worker_asks_for_what_this_host_does_by_itself(outcomes: dict[str, Outcomes]) -> None:
    capabilities = outcomes["conformance"].theirs["capabilities"]
    # Bodies come as bytes, once.
    assert capabilities["RawHttpBodyBytes"] == capabilities["RpcHttpBodyOnly"] == "true"
    # Without it the host drops empty query values; and empty headers only with the other.
    assert not {"UseNullableValueDictionaryForHttp", "IgnoreEmptyValuedRpcHttpHeaders"} & set(capabilities)
    # With it the request would go to a server of the worker's own.
    assert "HttpUri" not in capabilities


def why(reason: str) -> str:
    """A refusal on one line."""
    return " ".join(reason.split())


@pytest.mark.parametrize("name", REFUSED)
def test_bad_app_is_refused_by_both_for_the_same_reason(outcomes: dict[str, Outcomes], name: str) -> None:
    theirs, ours = outcomes[name]
    _, common = REFUSED[name]
    their_reason = str(theirs.get("refused") or theirs.get("died"))
    assert re.search(common, why(their_reason)), theirs
    assert re.search(common, why(str(ours.get("refused")))), ours


@pytest.mark.parametrize("name", SERVED)
def test_odd_app_is_served_by_both(outcomes: dict[str, Outcomes], name: str) -> None:
    theirs, ours = (
        [(function["name"], function["bindings"]) for function in outcome.get("functions", [])]
        for outcome in outcomes[name]
    )
    assert theirs, outcomes[name].theirs
    assert ours == theirs, outcomes[name].ours


@pytest.mark.parametrize("name", DIFFERENT)
def test_app_that_only_this_host_refuses(outcomes: dict[str, Outcomes], name: str) -> None:
    theirs, ours = outcomes[name]
    assert "functions" in theirs
    assert re.search(DIFFERENT[name].reason, why(str(ours.get("refused")))), ours


async def test_request_off_the_wire_looks_the_same_in_both(run_app: Any, tmp_path: Path) -> None:
    """What our front hands its functions is put to the runtime library again, which must show the same."""
    app: Loaded = run_app("http")
    requests: list[Json] = [
        {"method": "GET", "url": "/api/echo?a=1&b=&A=2&c=x%20y+z&a=&d&%C3%A9=%C3%A9"},
        {
            "method": "GET",
            "url": "/api/echo",
            "headers": [("X-Mixed", "A"), ("x-mixed", "B"), ("x-empty", "")],
        },
        {"method": "POST", "url": "/api/echo/a%20b", "content": b"\x00\xff"},
        {"method": "PUT", "url": "/api/echo", "json": {"a": 1}},
        {"method": "POST", "url": "/api/echo", "data": {"a": "1"}},
        {"method": "POST", "url": "/api/echo"},
    ]
    shown, calls = [], []
    for request in requests:
        seen = (await app.client.request(**request)).json()
        shown.append(seen)
        again = http(
            **{name: seen[name] for name in ("method", "url", "headers", "body")},
            query=seen["params"],
            params=seen["route"],
        )
        calls.append(("", "echo", again))
    outcome = ask({"http": job(APPS / "http", calls)}, tmp_path)["http"]
    assert [json.loads(answered(each["value"])["body"]) for each in outcome.theirs["results"]] == shown


def test_missing_runtime_library_is_a_failure_that_says_how_to_install_it(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-S", "-m", "tests.runtime.worker", str(tmp_path / "out")],
        cwd=ROOT,
        input="[]",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "azure-functions-runtime==" in ran.stderr
    assert "`./run test` installs it" in ran.stderr
