"""Holds every answer of an emulated DPS to the published descriptions."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import pytest

from tests.openapi import published
from tests.openapi.published import Answer, Operation

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

OPERATIONS = published.operations()
JUDGED: Counter[tuple[str, int]] = Counter()
"""Answers judged in this run of the tests, by operation ("" outside the description) and status."""
_OUTSIDE = next(each for each in OPERATIONS if each.id == "EnrollmentGroup_Get").answers["default"]


class Judge:
    """An ASGI application around an emulator's: it passes all on and remembers what should not have been.

    `check` fails the test. It raises nothing while the answer is under way: a server would only log that.
    """

    def __init__(self, app: App, tally: Counter[tuple[str, int]] = JUDGED) -> None:
        self._app = app
        self._tally = tally
        self.judged: Counter[tuple[str, int]] = Counter()
        self.violations: list[str] = []

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def listen(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, listen)
        if start:  # none: the client left before its request was whole
            self._judge(scope, start, bytes(body))

    def check(self) -> None:
        """Fail unless every answer so far was as published."""
        if self.violations:
            pytest.fail("not as published:\n" + "\n".join(self.violations[:10]), pytrace=False)

    def _judge(self, scope: Message, start: Message, body: bytes) -> None:
        method, path = scope["method"], (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        segments = [unquote(part) for part in path.partition("?")[0].split("/") if part]
        operation = next((each for each in OPERATIONS if each.matches(method, segments)), None)
        status = int(start["status"])
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
        seen = (operation.id if operation else "", status)
        self.judged[seen] += 1
        self._tally[seen] += 1
        for fault in _faults(operation, method, status, headers, body):
            shown = body[:300].decode(errors="replace")
            self.violations.append(f"{method} {path} -> {status}: {fault}\n    {shown}")


def _faults(
    operation: Operation | None, method: str, status: int, headers: dict[str, str], body: bytes
) -> list[str]:
    answers = operation.answers if operation else {"default": _OUTSIDE}
    answer = answers.get(str(status), answers["default"])
    found = []
    if str(status) not in answers and not 400 <= status < 500:
        found.append("this status is not published, and no error of the caller's")
    if len(body) != int(headers.get("content-length", 0)):
        found.append("content-length is not the body's")
    found += _header_faults(answer, headers)
    if method == "HEAD":
        return found
    if answer.schema is None:
        return [*found, *(["a body where none is published"] if body else [])]
    return [*found, *_body_faults(answer.schema, answers["default"] is answer, status, headers, body)]


def _header_faults(answer: Answer, headers: dict[str, str]) -> list[str]:
    found = []
    for name, schema in answer.headers.items():
        if name in headers:
            text = headers[name]
            value = int(text) if text.removeprefix("-").isdecimal() and not schema.is_valid(text) else text
            found += [f"header {name}: {error.message}" for error in schema.iter_errors(value)]
    return found


def _body_faults(
    schema: jsonschema_rs.Validator, is_error: bool, status: int, headers: dict[str, str], body: bytes
) -> list[str]:
    found = []
    if headers.get("content-type", "").partition(";")[0] != "application/json":
        found.append("the content-type is not application/json")
    try:
        value = json.loads(body, parse_constant=_no_constant)
        text = json.dumps(value)
    except ValueError:
        return [*found, "the body is not JSON"]
    if "\\ud" not in text:  # the validator reads Unicode only; a lone surrogate is JSON all the same
        found += [f"{error.instance_path}: {error.message[:200]}" for error in schema.iter_errors(value)]
    if is_error and isinstance(value, dict):
        code = value.get("errorCode")
        if headers.get("x-ms-error-code") != str(code):
            found.append("x-ms-error-code is not the body's errorCode")
        if not isinstance(code, int) or code // 1000 != status:
            found.append(f"errorCode {code} does not go with status {status}")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)
