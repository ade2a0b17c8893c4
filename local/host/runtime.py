"""Puts the parts together: an app's directory becomes something that answers and ticks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.host.admin import AdminApi
from local.host.app_loader import load_functions
from local.host.background import Background
from local.host.clock import Clock, WallClock
from local.host.configuration import read_configuration
from local.host.errors import AppError
from local.host.eventgrid import EventGridWebhook
from local.host.http import Endpoint, HttpHost
from local.host.indexing import EVENT_GRID, HTTP, TIMER, IndexedFunction, index
from local.host.invocation import Invoker
from local.host.keys import EVENT_GRID_KEY, Keys, make_keys, stored_keys
from local.host.routes import Route, RouteError, RouteTable, parse_template
from local.host.timer_status import TimerStatuses
from local.host.timers import Timers, read_timer
from local.host.traces import traced_runs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from local.host.movable import MovableClock

_log = logging.getLogger("host")
THREAD_PREFIX = "function-thread"
"""How the names of the threads begin that run plain ``def`` functions."""
_DEFAULT_BODY_LIMIT = 104_857_600  # documented: 100 MB


@dataclass(frozen=True, slots=True)
class FunctionsHost:
    """An app, ready to serve: ``http`` is an ASGI application, ``timers`` tick once started."""

    functions: tuple[IndexedFunction, ...]
    paths: Mapping[str, str]
    """The path template of each HTTP function, by name, with a leading slash."""
    keys: Keys
    http: HttpHost
    timers: Timers
    background: Background
    threads: ThreadPoolExecutor

    @contextlib.asynccontextmanager
    async def ticking(self) -> AsyncIterator[None]:
        """Run the timers while the context lasts; afterwards no new run starts.

        Raises:
            HostError: a remembered timer status cannot be understood.
        """
        self.timers.start()
        watching = asyncio.create_task(self.timers.watch())
        try:
            yield
        finally:
            self.timers.stop()
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


def load(
    directory: Path,
    *,
    state: Path | None = None,
    clock: Clock | None = None,
    movable: MovableClock | None = None,
    environment: Mapping[str, str] = os.environ,
    module_name: str = "function_app",
) -> FunctionsHost:
    """Load the app in ``directory``.

    Args:
        directory: holds ``function_app.py`` and ``host.json``.
        state: where keys and timer statuses are kept between runs; without it they last as long as the host.
        clock: what the timers go by.
        movable: the process's clock, if the admin endpoints may move it.
        environment: the app's settings, for ``%SETTING%`` and the host's own.
        module_name: what ``function_app.py`` is imported as.

    Raises:
        AppError: the app cannot be served.
        HostError: the state cannot be used.
    """
    configuration = read_configuration(directory)
    functions = tuple(index(load_functions(directory, module_name), environment))
    for function in functions:
        for warning in function.warnings:
            _log.warning("function %s %s", function.name, warning)
        if function.disabled:
            _log.warning("function %s is disabled by a setting", function.name)
    names = [function.name for function in functions]
    keys = make_keys(names) if state is None else stored_keys(state, names)
    threads = ThreadPoolExecutor(_thread_count(environment), thread_name_prefix=THREAD_PREFIX)
    traced = traced_runs(environment)
    invokers = {function.name: Invoker(function, threads, traced=traced) for function in functions}
    background = Background()
    event_grid = EventGridWebhook(
        {function.name: invokers[function.name] for function in functions if function.kind == EVENT_GRID},
        keys.for_webhook(EVENT_GRID_KEY),
    )
    timers = Timers(
        [(invokers[f.name], read_timer(f)) for f in functions if f.kind == TIMER],
        clock=clock or WallClock(),
        statuses=TimerStatuses(state / "timers" if state else None),
        background=background,
    )
    paths = {f.name: _path(f, configuration.route_prefix) for f in functions if f.kind == HTTP}
    admin = AdminApi(
        functions,
        paths=paths,
        lock=keys.for_admin(),
        timers=timers,
        event_grid=event_grid,
        background=background,
        clock=movable,
    )
    http = HttpHost(
        routes=_routes(functions, paths, invokers, keys),
        event_grid=event_grid,
        admin=admin,
        body_limit=_number(environment, "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT") or _DEFAULT_BODY_LIMIT,
    )
    return FunctionsHost(functions, paths, keys, http, timers, background, threads)


def _path(function: IndexedFunction, prefix: str) -> str:
    """The path template of an HTTP function; without a route it is the function's name."""
    route = str(function.trigger.get("route") or "").strip() or function.name
    first = route.strip("/").lower()
    if first.startswith(("admin", "runtime")):
        # The real host compares the beginning of the text, not the first segment.
        raise AppError(
            f"function {function.name!r}: the route {route!r} conflicts with the host's own: a route must "
            "not begin with 'admin' or 'runtime'"
        )
    return f"/{prefix}/{route}" if prefix else f"/{route.lstrip('/')}"


def _routes(
    functions: tuple[IndexedFunction, ...],
    paths: Mapping[str, str],
    invokers: Mapping[str, Invoker],
    keys: Keys,
) -> RouteTable[Endpoint]:
    routes: list[Route[Endpoint]] = []
    taken: list[tuple[str, frozenset[str] | None, str]] = []
    for function in functions:
        if function.kind != HTTP:
            continue
        methods = _methods(function)
        path = paths[function.name].rstrip("/").lower()
        for other_path, other_methods, other in taken:
            overlap = methods is None or other_methods is None or methods & other_methods
            if path == other_path and overlap:
                raise AppError(
                    f"function {function.name!r}: has its route and a method in common with {other!r}"
                )
        taken.append((path, methods, function.name))
        try:
            template = parse_template(paths[function.name].removeprefix("/"))
        except RouteError as error:
            raise AppError(f"function {function.name!r}: bad route: {error}") from error
        level = str(function.trigger.get("authLevel") or "function").lower()
        lock = {
            "anonymous": None,
            "function": keys.for_function(function.name),
            "admin": keys.for_admin(),
        }
        if level not in lock:
            raise AppError(
                f"function {function.name!r}: unknown auth level {level!r}; use func.AuthLevel.ANONYMOUS, "
                "FUNCTION or ADMIN"
            )
        unlock = keys.for_admin() if function.disabled else None
        routes.append(Route(template, methods, Endpoint(invokers[function.name], lock[level], unlock)))
    return RouteTable(routes)


def _methods(function: IndexedFunction) -> frozenset[str] | None:
    methods = function.trigger.get("methods")
    if methods is None:
        return None
    return frozenset(str(method).upper() for method in methods)


def _thread_count(environment: Mapping[str, str]) -> int | None:
    """``PYTHON_THREADPOOL_THREAD_COUNT``, or Python's default (documented for the worker since 3.9)."""
    return _number(environment, "PYTHON_THREADPOOL_THREAD_COUNT")


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    if text and not (text.isdecimal() and int(text) > 0):
        _log.warning("the setting %s is not a positive number and is not used", name)
        return None
    return int(text) if text else None
