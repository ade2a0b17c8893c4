"""The host's own API under ``/admin``: its state, its functions, and starting one by hand.

[source: the host's FunctionsController and HostController] Everything here needs the master key except
``/admin/host/ping``. ``POST /admin/functions/{name}`` takes ``{"input": TEXT}``, answers 202 at once and
runs the function behind it: a timer ignores the text, an Event Grid function takes it as the JSON of one
event. The input must be text: the real host cannot read an object there and answers 400. An HTTP function
cannot be started this way: the real host answers 202 and the run fails, so here too it is only logged.

``POST /admin/local/clock`` is not Azure's: it exists only if the host was started with a clock that can be
moved. It takes ``{"ahead": SECONDS}``, moves the date of the process to so many seconds ahead of the
machine's, and answers 200 when that is done and every timer that has become due was started.

Not known, and done plainly: what the status holds beyond ``state``; the content type is not looked at.
"""

from __future__ import annotations

import json
import logging
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from local.host.indexing import EVENT_GRID, HTTP, TIMER
from local.host.invocation import RawResponse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from local.host.background import Background
    from local.host.eventgrid import EventGridWebhook
    from local.host.indexing import IndexedFunction
    from local.host.keys import Lock
    from local.host.movable import MovableClock
    from local.host.timers import Timers

_log = logging.getLogger("host.admin")
_JSON = (("content-type", "application/json; charset=utf-8"),)


class AdminApi:
    """Answers requests under ``/admin``."""

    def __init__(
        self,
        functions: Iterable[IndexedFunction],
        *,
        paths: Mapping[str, str],
        lock: Lock,
        timers: Timers,
        event_grid: EventGridWebhook,
        background: Background,
        clock: MovableClock | None = None,
    ) -> None:
        """Make it.

        Args:
            functions: all functions of the app.
            paths: the path template of each HTTP function, by name.
            lock: the master key.
            timers: runs timer functions.
            event_grid: runs Event Grid functions.
            background: where those runs live.
            clock: the process's, if it can be moved.
        """
        self._functions = {function.name.lower(): function for function in functions}
        self._paths = paths
        self._lock = lock
        self._timers = timers
        self._event_grid = event_grid
        self._background = background
        self._clock = clock
        self._started = time.monotonic()

    async def handle(
        self, method: str, path: str, *, key: str | None, base_url: str, body: bytes
    ) -> RawResponse:
        """Answer one request; ``path`` is in the case it came in."""
        place = path.lower().rstrip("/")
        if place == "/admin/host/ping" and method in {"GET", "POST"}:
            return RawResponse(200)
        if not self._lock.opens(key):
            return RawResponse(401)
        if place == "/admin/local/clock" and method == "POST" and self._clock is not None:
            return self._move(self._clock, body)
        named = re.fullmatch(r"/admin/functions/([^/]+)", place)
        function = self._functions.get(unquote(named.group(1))) if named else None
        if method == "POST" and named is not None:
            return self._start(function, body)
        return self._read(place, function, base_url) if method == "GET" else RawResponse(404)

    def _read(self, place: str, function: IndexedFunction | None, base_url: str) -> RawResponse:
        if place == "/admin/host/status":
            uptime = int((time.monotonic() - self._started) * 1000)
            return _json({"id": "local", "state": "Running", "processUptime": uptime})
        if place == "/admin/functions":
            return _json([self._describe(listed, base_url) for listed in self._functions.values()])
        return RawResponse(404) if function is None else _json(self._describe(function, base_url))

    def _move(self, clock: MovableClock, body: bytes) -> RawResponse:
        try:
            clock.move(float(json.loads(body)["ahead"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            _log.warning('the clock is moved with a body like {"ahead": 3600}: %s', error)
            return RawResponse(400)
        self._timers.check()
        return _json({"ahead": clock.ahead, "now": datetime.now(UTC).isoformat()})

    def _start(self, function: IndexedFunction | None, body: bytes) -> RawResponse:
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        # Members match without regard to case, as .NET's reader does.
        text = (
            {str(name).lower(): value for name, value in document.items()}.get("input")
            if isinstance(document, dict)
            else None
        )
        if not isinstance(document, dict) or not isinstance(text, str | int | float | None):
            _log.warning('a function is started by hand with a body like {"input": "text"}')
            return RawResponse(400)
        if function is None:
            return RawResponse(404)
        if function.kind == TIMER:
            self._background.start(self._timers.run_by_hand(function.name))
        elif function.kind == EVENT_GRID:
            self._background.start(self._event_grid.run_by_hand(function.name, str(text or "")))
        else:
            _log.error("function %s: an HTTP function cannot be started by hand; call it", function.name)
        return RawResponse(202)

    def _describe(self, function: IndexedFunction, base_url: str) -> dict[str, Any]:
        described: dict[str, Any] = {
            "name": function.name,
            "href": f"{base_url}/admin/functions/{function.name}",
            "language": "python",
            "isDisabled": function.disabled,
            "config": {"bindings": list(function.bindings)},
        }
        if function.kind == HTTP:
            described["invoke_url_template"] = base_url + self._paths[function.name]
        return described


def _json(value: Any) -> RawResponse:
    return RawResponse(200, _JSON, json.dumps(value).encode())
