"""Puts the same invocations to Microsoft's runtime library and to our host, and compares what they say.

tests/runtime holds the two programs that are asked. What a worker hands its host is turned into a response
here as the .NET host does it.
"""

import json
import re
import subprocess
import sys
from datetime import datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
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
TIMERS = {
    "in time": timer(Schedule={"AdjustForDST": True}, ScheduleStatus=STATUS, IsPastDue=False),
    "past due": timer(Schedule={"AdjustForDST": True}, ScheduleStatus=STATUS, IsPastDue=True),
    "unmonitored": timer(Schedule={"AdjustForDST": True}, ScheduleStatus=None, IsPastDue=False),
    "bare": timer(),
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
