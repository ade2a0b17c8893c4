"""One invocation, without a server around it."""

import dataclasses
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from local.host.context import THREAD
from local.host.indexing import IndexedFunction
from local.host.invocation import FunctionFailed, Invoker, RawRequest, RawResponse

REQUEST = RawRequest("POST", "http://h/api/f?a=1", {"host": "h"}, {"a": "1"}, {}, b"{}")


class Subclassed(func.HttpResponse):
    """Takes the library's own encoder, whatever headers it has."""


def invoker(call: Callable[..., Any], *, kind: str = "httpTrigger", wants_context: bool = False) -> Invoker:
    function = IndexedFunction(
        name="f",
        kind=kind,
        trigger={},
        bindings=(),
        parameter="value",
        call=call,
        is_async=True,
        wants_context=wants_context,
        directory=str(Path.cwd()),
    )
    return Invoker(function, ThreadPoolExecutor(1))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"status_code": 503},
        {"body": "é", "charset": "latin-1"},
        {"body": b"{}", "mimetype": "application/json"},
        {"body": "x", "mimetype": "text/html", "charset": "utf-16"},
    ],
)
async def test_short_way_of_a_plain_response_is_the_librarys(options: dict[str, Any]) -> None:
    async def plain(value: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse(**options)

    async def encoded(value: func.HttpRequest) -> func.HttpResponse:
        return Subclassed(**options)

    assert await invoker(plain).http(REQUEST) == await invoker(encoded).http(REQUEST)


async def test_response_that_is_returned_twice_is_the_same_twice() -> None:
    kept = func.HttpResponse("again")

    async def call(value: func.HttpRequest) -> func.HttpResponse:
        return kept

    again = invoker(call)
    assert await again.http(REQUEST) == await again.http(REQUEST)


@pytest.mark.parametrize("status", [99, 600])
@pytest.mark.parametrize("kind", [func.HttpResponse, Subclassed])
async def test_status_that_http_does_not_have_is_a_failure(
    kind: type[func.HttpResponse], status: int
) -> None:
    async def call(value: func.HttpRequest) -> func.HttpResponse:
        return kind(status_code=status)

    assert await invoker(call).http(REQUEST) == RawResponse(500)


async def test_every_invocation_has_an_id_of_its_own() -> None:
    seen = []

    async def call(value: func.HttpRequest, context: func.Context) -> str:
        seen.append(context.invocation_id)
        return ""

    runner = invoker(call, wants_context=True)
    for _ in range(3):
        await runner.http(REQUEST)
    assert len({uuid.UUID(identifier) for identifier in seen}) == 3
    assert all(str(uuid.UUID(identifier)) == identifier for identifier in seen)


async def test_failure_of_a_json_function_carries_its_text() -> None:
    async def call(value: func.TimerRequest) -> None:
        raise LookupError("what went wrong")

    with pytest.raises(FunctionFailed, match="what went wrong"):
        await invoker(call, kind="timerTrigger").json({"IsPastDue": False})


async def test_thread_of_a_plain_function_is_left_without_its_invocation() -> None:
    with ThreadPoolExecutor(1) as executor:
        function = invoker(lambda value: str(THREAD.invocation_id)).function
        runner = Invoker(dataclasses.replace(function, is_async=False), executor)
        assert len((await runner.http(REQUEST)).body) == 36
        assert executor.submit(lambda: THREAD.invocation_id).result() is None
