"""One invocation: a raw request becomes the library's objects, the function runs, a raw response comes out.

Nothing here knows of sockets, routes, keys or schedules, so that the same requests can be put to
Microsoft's runtime library and the outcomes compared. Values are converted by the library's own converters,
fed with the Datum objects the worker would feed them.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import json
import logging
import random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from azure.functions import HttpResponse, get_binding_registry
from azure.functions.meta import Datum

from local.host.context import CURRENT, THREAD, Context, Invocation
from local.host.cookies import set_cookie
from local.host.indexing import EVENT_GRID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from local.host.indexing import IndexedFunction
    from local.host.traces import Traced

Outcome = TypeVar("Outcome")
_log = logging.getLogger("host.invocation")


class RawRequest(NamedTuple):
    """An HTTP request as the host hands it to a worker."""

    method: str
    url: str
    """With its query, as the real host passes it."""
    headers: Mapping[str, str]
    """Names in lower case; repeated headers joined by a comma."""
    query: Mapping[str, str]
    """Repeated values joined by a comma, empty ones dropped."""
    params: Mapping[str, str]
    """Route parameters, as text."""
    body: bytes


class RawResponse(NamedTuple):
    """An HTTP response as the host sends it."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class FunctionFailed(Exception):
    """The function raised, or returned what its binding cannot take; the text is that exception's."""


_NO_HEADERS: Mapping[str, str] = {}
_NO_METADATA: Mapping[str, Any] = {}
_TEXT = (("content-type", "text/plain; charset=utf-8"),)


class Invoker:
    """Runs one function; everything that does not change between runs is looked up here, once."""

    def __init__(
        self, function: IndexedFunction, executor: Executor, *, traced: Traced | None = None
    ) -> None:
        """Look up what the function needs; `traced` puts each run into a trace, as a worker does if told."""
        self._traced = traced or contextlib.nullcontext
        registry = get_binding_registry()  # type: ignore[no-untyped-call]
        self.function = function
        self._executor = executor
        self._name = function.name
        self._call = function.call
        self._parameter = function.parameter
        self._is_async = function.is_async
        self._wants_context = function.wants_context
        self._decode = _raw if function.takes_raw else registry.get(function.kind).decode
        data_type = str(function.trigger.get("dataType")) if function.kind == EVENT_GRID else ""
        self._json = _JSON_AS.get(data_type.upper(), _json)
        self._encode = registry.get("http").encode

    async def http(self, request: RawRequest) -> RawResponse:
        """Run an HTTP function. A failure is logged and answered 500 with an empty body."""
        try:
            return await self._run(
                Datum(
                    {
                        "method": Datum(request.method, "string"),
                        "url": Datum(request.url, "string"),
                        "headers": _strings(request.headers),
                        "query": _strings(request.query),
                        "params": _strings(request.params),
                        # Always bytes: the Python worker asks the host for raw bodies.
                        "body": Datum(request.body, "bytes"),
                    },
                    "http",
                ),
                request.headers,
                self._response,
            )
        except FunctionFailed:
            return RawResponse(500)

    async def json(self, value: object) -> None:
        """Run a timer or Event Grid function with a JSON value.

        Raises:
            FunctionFailed: it failed; that is logged already.
        """
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        await self._run(self._json(text), _NO_HEADERS, self._nothing)

    async def _run(
        self, datum: Datum, headers: Mapping[str, str], finish: Callable[[Any], Outcome]
    ) -> Outcome:
        invocation = Invocation(self._name, _new_id())
        token = CURRENT.set(invocation)
        THREAD.invocation_id = invocation.id
        try:
            with self._traced(headers):
                arguments = {self._parameter: self._argument(datum)}
                if self._wants_context:
                    arguments["context"] = Context(invocation, self.function.directory, headers)
                if self._is_async:
                    result = await self._call(**arguments)
                else:
                    result = await self._in_thread(invocation, arguments)
                return finish(result)
        except Exception as error:
            _log.exception("function %s failed", self._name)
            raise FunctionFailed(_text(error)) from error
        except asyncio.CancelledError as error:
            # The function's own doing (it awaited something cancelled) is a failure; the host's is not.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            _log.exception("function %s failed", self._name)
            raise FunctionFailed("the function was cancelled") from error
        finally:
            CURRENT.reset(token)

    def _argument(self, datum: Datum) -> Any:
        try:
            return self._decode(datum, trigger_metadata=_NO_METADATA)
        except NotImplementedError:
            raise TypeError(
                f"the trigger of function {self._name!r} hands over {datum.type}, which cannot be converted: "
                "remove its data_type"
            ) from None

    def _nothing(self, result: object) -> None:
        """The worker's own rule: a function without a ``$return`` binding must return nothing."""
        if result is not None:
            _discard(result)
            raise RuntimeError(f"function {self._name!r} without a $return binding returned a non-None value")

    async def _in_thread(self, invocation: Invocation, arguments: dict[str, Any]) -> Any:
        """Run a plain ``def`` in the worker's thread pool, with the log's context."""

        def call() -> Any:
            THREAD.invocation_id = invocation.id
            try:
                return self._call(**arguments)
            finally:
                THREAD.invocation_id = None

        run = functools.partial(contextvars.copy_context().run, call)
        return await asyncio.get_running_loop().run_in_executor(self._executor, run)

    def _response(self, result: Any) -> RawResponse:
        if type(result) is HttpResponse and not len(result.headers):
            # What the library's encoder makes of a response without headers of its own, at a tenth of the
            # cost; a test holds the two together.
            text = f"; charset={result.charset}" if result.mimetype.startswith("text/") else ""
            content_type = (("content-type", f"{result.mimetype}{text}"),)
            return RawResponse(_status(self._name, result.status_code), content_type, result.get_body())
        try:
            datum = self._encode(result, expected_type=None)
        except NotImplementedError:
            _discard(result)
            raise TypeError(
                f"function {self._name!r} returned {type(result).__name__}; an HTTP function must return str "
                "or func.HttpResponse"
            ) from None
        if datum.type != "http":
            return RawResponse(200, _TEXT, datum.value.encode())
        value = datum.value
        status = _status(self._name, value["status_code"].value)
        headers = [(name.lower(), text.value) for name, text in value["headers"].items()]
        headers.extend(
            ("set-cookie", set_cookie(morsel)) for jar in value["cookies"] or () for morsel in jar.values()
        )
        return RawResponse(status, tuple(headers), value["body"].value)


def _new_id() -> str:
    """An id in the form of a UUID. It names a run in the log and guards nothing, so speed decides."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def _status(function: str, value: Any) -> int:
    status = int(value)
    if not 100 <= status <= 599:
        raise ValueError(f"function {function!r} returned the status {status}, which HTTP does not have")
    return status


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  the app's own class, with a __str__ that fails
        return "Unhandled exception in function. Could not serialize original exception message."


def _json(text: str) -> Datum:
    return Datum(text, "json")


# What the data_type of an Event Grid trigger makes of an event [source: the host's message conversion]. What
# it makes of a timer is not known, and not done.
_JSON_AS: Mapping[str, Callable[[str], Datum]] = {
    "STRING": lambda text: Datum(text, "string"),
    "BINARY": lambda text: Datum(text.encode(), "bytes"),
}


def _raw(datum: Datum, *, trigger_metadata: Mapping[str, Any]) -> Any:
    """The worker's own converter for a parameter annotated ``str`` or ``bytes``: it converts nothing."""
    del trigger_metadata
    if datum.type == "http":
        raise ValueError("an HTTP request cannot be taken as str or bytes: use func.HttpRequest")
    return datum.value


def _strings(values: Mapping[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


def _discard(result: object) -> None:
    # A plain def around a coroutine function returns a coroutine; unclosed it would warn much later.
    if inspect.iscoroutine(result):
        result.close()
