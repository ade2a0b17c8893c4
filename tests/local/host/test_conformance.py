"""The local host and Microsoft's own runtime library are put the same questions and give the same answers.

tests/runtime holds the two programs that are asked. What a worker hands its host is turned into a response
here as the .NET host does it. The tables, here and in bad_apps.py, say where the two differ on purpose, and
why.
"""

import json
import re
import subprocess
import sys
from datetime import datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.local.host import bad_apps
from tests.local.host.bad_apps import DIFFERENT, REFUSED, SERVED

if TYPE_CHECKING:
    from .conftest import Loaded

ROOT = Path(__file__).parents[3]
APPS = ROOT / "tests" / "apps"
Json = dict[str, Any]


def http(**given: Any) -> Json:
    request = {"method": "GET", "url": "http://h/api/f", "headers": {}, "query": {}, "params": {}, "body": ""}
    return {"http": request | given}


def posted(body: str, content_type: str = "application/json", **given: Any) -> Json:
    return http(method="POST", headers={"content-type": content_type}, body=body, **given)


def compact(value: Any) -> str:
    """JSON as the .NET host writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def timer(**given: Any) -> Json:
    return {"json": compact(given)}


EVENT = {
    "id": "1",
    "topic": "/subscriptions/s",
    "subject": "é",
    "eventType": "Microsoft.Devices.DeviceCreated",
    "eventTime": "2026-11-22T03:00:00.1234567Z",
    "data": {"deviceId": "d", "none": None, "numbers": [1, 2.5]},
    "dataVersion": "1",
}


def event(**changed: Any) -> Json:
    """An event in Event Grid's own schema; a member changed to ``...`` is left out."""
    return {"json": compact({name: value for name, value in (EVENT | changed).items() if value is not ...})}


def cloud_event(**changed: Any) -> Json:
    document = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "time": "2026-11-22T03:00:00Z"}
    return {"json": compact(document | changed)}


STATUS = {"Last": "2026-11-22T03:00:00+00:00", "Next": "2026-11-22T03:05:00+00:00", "LastUpdated": "x"}
MULTIPART = (
    '--b\r\ncontent-disposition: form-data; name="field"\r\n\r\nvalue\r\n'
    '--b\r\ncontent-disposition: form-data; name="f"; filename="n"\r\n\r\nin the file\r\n--b--\r\n'
)
EVENTS = {
    "event grid schema": event(),
    "no event time": event(eventTime=...),
    "event time null": event(eventTime=None),
    "event time with seconds only": event(eventTime="2026-11-22T03:00:00Z"),
    "event time with an offset": event(eventTime="2026-11-22T03:00:00+02:00"),
    "event time that is none": event(eventTime="soon"),
    "event time a number": event(eventTime=1),
    "data a text": event(data="text"),
    "data missing": event(data=...),
    "all missing": {"json": "{}"},
    "an unknown member": event(own="x"),
    "specversion in event grid schema": event(specversion="1.0"),
    "cloud event": cloud_event(
        subject="x", datacontenttype="application/json", dataschema="/d", data={"a": 1}
    ),
    "cloud event with extensions": cloud_event(own="e", traceparent="00-a-b-01", number=1),
    "cloud event whose extension has a parameter's name": cloud_event(self="x"),
    "cloud event without data": cloud_event(),
    "cloud event with base64": cloud_event(data_base64="AAEC"),
    "cloud event with a bad time": cloud_event(time="2026-11-22"),
    "cloud event of an unknown version": cloud_event(specversion="9"),
    "an array": {"json": "[]"},
    "an array of an event": {"json": f"[{event()['json']}]"},
    "a text": {"json": '"specversion"'},
    "a number": {"json": "7"},
    "null": {"json": "null"},
}
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
TIMERS = {
    "in time": timer(Schedule={"AdjustForDST": True}, ScheduleStatus=STATUS, IsPastDue=False),
    "past due": timer(Schedule={"AdjustForDST": True}, ScheduleStatus=STATUS, IsPastDue=True),
    "unmonitored": timer(Schedule={"AdjustForDST": True}, ScheduleStatus=None, IsPastDue=False),
    "bare": timer(),
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
OWN_CALLS = [
    (f"{golden.stem} {params}", "allocate", posted(golden.read_bytes().decode("latin-1"), params=params))
    for golden in sorted((ROOT / "tests" / "events").glob("allocation_*.json"))
    for params in ({}, {"dps": "second"})
] + [("no body", "allocate", posted(""))]
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
    "our own as all": ({"APP_ROLE": "all"}, "."),
    "our own as allocation": ({"APP_ROLE": "allocation"}, "."),
}


class Outcomes(NamedTuple):
    """What Microsoft's library said, and what ours did."""

    theirs: Json
    ours: Json


def ask(jobs: dict[str, Json], folder: Path) -> dict[str, Outcomes]:
    """Put the same jobs to both."""
    answers = [answers_of(program, list(jobs.values()), folder / program) for program in ("worker", "ours")]
    return {name: Outcomes(*both) for name, *both in zip(jobs, *answers, strict=True)}


def answers_of(program: str, jobs: list[Json], out: Path) -> list[Json]:
    ran = subprocess.run(
        [sys.executable, "-m", f"tests.runtime.{program}", str(out)],
        cwd=ROOT,
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if ran.returncode:
        pytest.fail(f"tests/runtime/{program}.py: {ran.stderr.strip()[-2000:]}", pytrace=False)
    answers: list[Json] = json.loads(out.read_text())
    return answers


def job(directory: Path, calls: list[tuple[str, str, Json]] | None = None, **environment: str) -> Json:
    asked = [{"function": function} | given for _, function, given in calls or []]
    return {"directory": str(directory), "environment": environment, "calls": asked}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcomes]:
    folder = tmp_path_factory.mktemp("conformance")
    calls = {"conformance": CALLS, "our own as all": OWN_CALLS}
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


def answered(value: Json) -> Json:
    """What the .NET host sends for what the worker handed over."""
    if "string" in value:
        body = value["string"].encode().decode("latin-1")
        return {
            "status": 200,
            "headers": [("content-type", "text/plain; charset=utf-8")],
            "cookies": [],
            "body": body,
        }
    answer = value["http"]
    assert not answer["enable_content_negotiation"]
    return {
        "status": int(answer["status_code"]),
        "headers": sorted((name.lower(), text) for name, text in answer["headers"].items()),
        "cookies": [
            {name: field["value"] if isinstance(field, dict) else field for name, field in cookie.items()}
            | {"expires": cookie["expires"] and cookie["expires"]["value"]["seconds"]}
            for cookie in answer["cookies"] or []
        ],
        "body": answer["body"]["bytes"],
    }


def sent(response: Json) -> Json:
    """Our response, its cookies read as the worker describes them."""
    cookies = [
        cookie_sent(morsel)
        for name, text in response["headers"]
        if name == "set-cookie"
        for morsel in SimpleCookie(text).values()
    ]
    headers = sorted((name, text) for name, text in response["headers"] if name != "set-cookie")
    return {"status": response["status"], "headers": headers, "cookies": cookies, "body": response["body"]}


def cookie_sent(morsel: Any) -> Json:
    assert not morsel["comment"]
    assert not morsel["version"]  # the worker has no place for these two
    same_site = {"lax": "Lax", "strict": "Strict", "none": "ExplicitNone"}
    expires = morsel["expires"] and int(
        datetime.strptime(morsel["expires"], "%a, %d %b %Y %H:%M:%S GMT").timestamp()  # noqa: DTZ007
    )
    return {
        "name": morsel.key,
        "value": morsel.value,
        "domain": morsel["domain"],
        "path": morsel["path"],
        "expires": expires or None,
        "secure": bool(morsel["secure"]),
        "http_only": bool(morsel["httponly"]),
        "same_site": same_site.get(morsel["samesite"].lower(), morsel["samesite"] or "None"),
        "max_age": float(morsel["max-age"]) if morsel["max-age"] else None,
    }


# Where the worker words a failure itself, ours names the function and the way out. Theirs, then ours.
WORDINGS = [
    (
        r'TypeError: unable to encode outgoing TypedData: unsupported type "http" for Python type "(\w+)"',
        r"TypeError: function '.+' returned (\w+); an HTTP function must return str or func.HttpResponse",
    ),
    (
        # The library leaves its own text unformatted.
        r"RuntimeError: \('function %s without a \$return bindingreturned a non-None value', \"('\w+')\"\)",
        r"RuntimeError: function ('\w+') without a \$return binding returned a non-None value",
    ),
    (
        r"TypeError: unable to decode incoming TypedData: .* of TypedData field '(\w+)' .*",
        r"TypeError: the trigger of function '\w+' hands over (\w+), which cannot be converted: .*",
    ),
    (
        r"ValueError: \('unexpected type of data received for the \"generic\" binding ', \"'(http)'\"\)",
        r"ValueError: an (HTTP) request cannot be taken as str or bytes: use func.HttpRequest",
    ),
    (
        r"(TypeError): Cannot parse value .* of 'cookie.maxAge' to float.",
        r"(TypeError): the cookie 'a' has a max-age that is not a number",
    ),
]


def same_failure(theirs: str, ours: str) -> bool:
    for their_words, our_words in WORDINGS:
        found = re.fullmatch(their_words, theirs)
        if found:
            match = re.fullmatch(our_words, ours)
            return match is not None and match.group(1).lower() == found.group(1).lower()
    return theirs == ours


def assert_same_result(theirs: Json, ours: Json) -> None:
    if "failed" in theirs:
        assert "failed" in ours
        assert same_failure(theirs["failed"], ours["failed"]), (theirs["failed"], ours["failed"])
    elif theirs["value"] is None:
        assert ours == {"value": None}
    else:
        assert sent(ours["value"]) == answered(theirs["value"])


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


@pytest.mark.parametrize("number", [pytest.param(n, id=name) for n, (name, _, _) in enumerate(OWN_CALLS)])
def test_call_of_our_own_app_has_the_same_result(outcomes: dict[str, Outcomes], number: int) -> None:
    theirs, ours = result(outcomes, "our own as all", number)
    assert "value" in theirs
    assert_same_result(theirs, ours)


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
