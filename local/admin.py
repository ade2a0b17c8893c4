"""The admin port: faults, switches, clock and journal of a running world, for people and for tests outside.

It is this project's own and no Azure service has it. Every request needs the port's token in the header
`x-local-admin-token`. Answers are JSON; an error is `{"error": TEXT}`, whose text names the member and the
fix. Nothing secret comes out: the journal is masked as it is written.

- `GET /journal?service=&method=&path=&status=&last=`: the latest calls that match, oldest first
- `GET /faults`, `POST /faults` (a rule), `DELETE /faults`, `DELETE /faults/{id}`
- `GET /switches`, `PUT /switches/{name}` with `{"position": VALUE}`; 409 once it was consulted
- `GET /clock`, `POST /clock` with `{"advance": SECONDS}`
"""

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from local.asgi import Message, Receive, Send
from local.faults import Fault, Faults, Rule
from local.switches import AlreadyConsulted, Switches, UnknownSwitch
from local.world import Call, ShiftedClock, World

TOKEN_HEADER = "x-local-admin-token"  # noqa: S105  the name of a header
_MOST_BODY = 64 * 1024
_MOST_ADVANCE = 10 * 366 * 86_400.0
_SETTLE = 0.005
"""Real seconds for what an advance wakes to use its sockets before the next is woken."""

Moved = Callable[[float], Awaitable[None]]
"""Is told how many seconds the world is ahead of the machine after each advance."""


class _Wrong(Exception):
    """A request that cannot be carried out; the text names what is wrong and the fix."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class AdminPort:
    """An ASGI application over one world, for a loopback port of its own."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        switches: Switches,
        clock: ShiftedClock | None = None,
        *,
        moved: Moved | None = None,
        token: str | None = None,
    ) -> None:
        """Make it.

        Args:
            world: whose journal is shown.
            faults: where rules come and go.
            switches: what is set.
            clock: what is advanced; None: the world's time cannot be moved.
            moved: moves the clocks of other processes along.
            token: what opens it; None: a new random one.
        """
        self.token = token or secrets.token_urlsafe(32)
        self._world = world
        self._faults = faults
        self._switches = switches
        self._clock = clock
        self._moved = moved
        self._app = Starlette(
            routes=[
                Route("/journal", self._asked(self._journal), methods=["GET"]),
                Route("/faults", self._asked(self._rules), methods=["GET", "POST", "DELETE"]),
                Route("/faults/{id}", self._asked(self._rule), methods=["DELETE"]),
                Route("/switches", self._asked(self._all_switches), methods=["GET"]),
                Route("/switches/{name}", self._asked(self._switch), methods=["PUT"]),
                Route("/clock", self._asked(self._time), methods=["GET", "POST"]),
            ],
            exception_handlers={HTTPException: _no_such},
        )

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "http" and not self._opens(scope):
            text = f"the header {TOKEN_HEADER} must hold the admin token, which the state file has"
            await JSONResponse({"error": text}, 401)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _opens(self, scope: Message) -> bool:
        given = dict(scope["headers"]).get(TOKEN_HEADER.encode(), b"")
        return secrets.compare_digest(given, self.token.encode())

    def _asked(
        self, handler: Callable[[Request], Awaitable[Any]]
    ) -> Callable[[Request], Awaitable[JSONResponse]]:
        async def answer(request: Request) -> JSONResponse:
            try:
                return JSONResponse(await handler(request))
            except _Wrong as wrong:
                return JSONResponse({"error": str(wrong)}, wrong.status)

        return answer

    async def _journal(self, request: Request) -> Any:
        query = request.query_params
        for name in query:
            if name not in (names := ("service", "method", "path", "status", "last")):
                raise _Wrong(f"{name} is no filter; use {', '.join(names)}")
        last, status = _digits(query, "last"), _digits(query, "status")
        called = Rule(
            _ANY,
            service=query.get("service", "*"),
            method=query.get("method", "*"),
            path=query.get("path", "*"),
        )
        calls = [
            call
            for call in self._world.journal
            if called.matches(call.service, call.method, call.path) and status in (None, call.status)
        ]
        return [_told(call) for call in calls[-(100 if last is None else last) or len(calls) :]]

    async def _rules(self, request: Request) -> Any:
        if request.method == "POST":
            rule = _rule(await _object(request))
            try:
                return {"id": self._faults.add(rule)}
            except ValueError as error:
                raise _Wrong(str(error), 409) from error
        if request.method == "DELETE":
            self._faults.clear()
        return [armed.told() for armed in self._faults.armed()]

    async def _rule(self, request: Request) -> Any:
        text = request.path_params["id"]
        if not (text.isascii() and text.isdigit() and self._faults.remove(int(text[:18]))):
            raise _Wrong(f"there is no rule {text[:40]!r}; GET /faults lists them", 404)
        return [armed.told() for armed in self._faults.armed()]

    async def _all_switches(self, _: Request) -> Any:
        return self._switches.told()

    async def _switch(self, request: Request) -> Any:
        body = await _object(request)
        _only(body, ("position",))
        if "position" not in body:
            raise _Wrong('position is missing; send {"position": VALUE}')
        try:
            self._switches.set(request.path_params["name"], body["position"])
        except UnknownSwitch as error:
            raise _Wrong(str(error)) from error
        except AlreadyConsulted as error:
            raise _Wrong(str(error), 409) from error
        return self._switches.told()

    async def _time(self, request: Request) -> Any:
        if request.method == "POST":
            body = await _object(request)
            _only(body, ("advance",))
            seconds = _number(body, "advance", float("nan"))
            if not 0 <= seconds <= _MOST_ADVANCE:
                raise _Wrong(f"advance must be 0 to {_MOST_ADVANCE:g} seconds; time does not go back")
            if self._clock is None:
                raise _Wrong("this world's clock cannot be moved: make it with a ShiftedClock", 409)
            await self._clock.advance(seconds, settle=_SETTLE)
            if self._moved is not None:
                await self._moved(self._clock.ahead)
        ahead = 0.0 if self._clock is None else self._clock.ahead
        return {"now": self._world.clock.now().isoformat(), "ahead": ahead}


async def _no_such(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    text = "there are /journal, /faults, /faults/{id}, /switches, /switches/{name} and /clock"
    return JSONResponse({"error": f"{error.detail}: {text}"}, error.status_code)


_ANY = Fault(kind="drop")
"""Never happens: a rule is borrowed for its patterns."""


def _told(call: Call) -> dict[str, Any]:
    return {
        "at": call.at.isoformat(),
        "service": call.service,
        "method": call.method,
        "path": call.path,
        "status": call.status,
        "request": call.request,
        "response": call.response,
    }


_RULE = ("service", "method", "path", "nth", "count", "probability", "fault")
_FAULT = ("kind", "after", "status", "retry_after", "seconds", "octets")


def _rule(body: Mapping[str, Any]) -> Rule:
    """The rule of a body.

    Raises:
        _Wrong: it is none.
    """
    _only(body, _RULE)
    given = body.get("fault")
    if not isinstance(given, dict):
        raise _Wrong('fault must be an object like {"kind": "drop", "after": true}')
    _only(given, _FAULT)
    after = given.get("after", False)
    if not isinstance(after, bool):
        raise _Wrong("after must be true or false")
    try:
        fault = Fault(
            kind=_text(given, "kind", ""),  # type: ignore[arg-type]  # it says so itself
            after=after,
            status=_whole(given, "status", 503),
            retry_after=_whole_or_null(given, "retry_after", None),
            seconds=_number(given, "seconds", 0.0),
            octets=_whole_or_null(given, "octets", None),
        )
        return Rule(
            fault,
            service=_text(body, "service", "*"),
            method=_text(body, "method", "*"),
            path=_text(body, "path", "*"),
            nth=_whole(body, "nth", 1),
            count=_whole_or_null(body, "count", 1),
            probability=_number(body, "probability", 1.0),
        )
    except ValueError as error:
        raise _Wrong(str(error)) from error


async def _object(request: Request) -> dict[str, Any]:
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > _MOST_BODY:
            raise _Wrong(f"the body is larger than {_MOST_BODY} bytes", 413)
    try:
        body = json.loads(bytes(parts))
    except (ValueError, RecursionError):
        raise _Wrong("the body must be JSON in UTF-8") from None
    if not isinstance(body, dict):
        raise _Wrong("the body must be a JSON object")
    return body


def _only(body: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in body:
        if name not in names:
            raise _Wrong(f"{name[:40]!r} is not known here; there are {', '.join(names)}")


def _text(body: Mapping[str, Any], name: str, default: str) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise _Wrong(f"{name} must be a text")
    return value


def _number(body: Mapping[str, Any], name: str, default: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Wrong(f"{name} must be a number")
    try:
        return float(value)
    except OverflowError:
        raise _Wrong(f"{name} is too large") from None


def _whole(body: Mapping[str, Any], name: str, default: int) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Wrong(f"{name} must be a whole number")
    return value


def _whole_or_null(body: Mapping[str, Any], name: str, default: int | None) -> int | None:
    return None if body.get(name, default) is None else _whole(body, name, default or 0)


def _digits(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise _Wrong(f"{name} must be a whole number")
    return int(text)
