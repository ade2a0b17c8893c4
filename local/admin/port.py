"""The port itself: its token, its routes, and what each shows or does."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from local.admin.events import EventDesk
from local.admin.reading import Wrong, digits, number, only, read_object
from local.admin.rules import rule_of
from local.asgi import Message, Receive, Send
from local.faults import Fault, Faults, Rule
from local.switches import AlreadyConsulted, Switches, UnknownSwitch
from local.topics import SystemTopics
from local.world import Call, ShiftedClock, World

TOKEN_HEADER = "x-local-admin-token"  # noqa: S105  the name of a header
_MOST_ADVANCE = 10 * 366 * 86_400.0
_SETTLE = 0.005
"""Real seconds for what an advance wakes to use its sockets before the next is woken."""
_PATHS = (
    "/journal, /faults, /faults/{id}, /switches, /switches/{name}, /clock, /events, /events/disorder and "
    "/events/subscriptions/{name}"
)

Moved = Callable[[float], Awaitable[None]]
"""Is told how many seconds the world is ahead of the machine after each advance."""
Settle = Callable[[], Awaitable[None]]
"""Waits until what an advance has woken is through with its sockets."""


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
        settle: Settle | None = None,
        topics: SystemTopics | None = None,
        token: str | None = None,
    ) -> None:
        """Make it.

        Args:
            world: whose journal is shown.
            faults: where rules come and go.
            switches: what is set.
            clock: what is advanced; None: the world's time cannot be moved.
            moved: moves the clocks of other processes along.
            settle: waits for what an advance wakes before the next is woken; None: five milliseconds.
            topics: whose events are delivered; None: this world has none.
            token: what opens it; None: a new random one.
        """
        self.token = token or secrets.token_urlsafe(32)
        self._world = world
        self._faults = faults
        self._switches = switches
        self._clock = clock
        self._moved = moved
        self._settle = settle
        events = EventDesk(topics)
        self._app = Starlette(
            routes=[
                Route("/journal", self._asked(self._journal), methods=["GET"]),
                Route("/faults", self._asked(self._rules), methods=["GET", "POST", "DELETE"]),
                Route("/faults/{id}", self._asked(self._rule), methods=["DELETE"]),
                Route("/switches", self._asked(self._all_switches), methods=["GET"]),
                Route("/switches/{name}", self._asked(self._switch), methods=["PUT"]),
                Route("/clock", self._asked(self._time), methods=["GET", "POST"]),
                Route("/events", self._asked(events.show), methods=["GET"]),
                Route("/events/disorder", self._asked(events.disorder), methods=["PUT"]),
                Route(
                    "/events/subscriptions/{name}",
                    self._asked(events.subscription),
                    methods=["PUT", "DELETE"],
                ),
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
            except Wrong as wrong:
                return JSONResponse({"error": str(wrong)}, wrong.status)

        return answer

    async def _journal(self, request: Request) -> Any:
        query = request.query_params
        for name in query:
            if name not in (names := ("service", "method", "path", "status", "last")):
                raise Wrong(f"{name} is no filter; use {', '.join(names)}")
        last, status = digits(query, "last"), digits(query, "status")
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
            rule = rule_of(await read_object(request))
            try:
                return {"id": self._faults.add(rule)}
            except ValueError as error:
                raise Wrong(str(error), 409) from error
        if request.method == "DELETE":
            self._faults.clear()
        return [armed.told() for armed in self._faults.armed()]

    async def _rule(self, request: Request) -> Any:
        text = request.path_params["id"]
        if not (text.isascii() and text.isdigit() and self._faults.remove(int(text[:18]))):
            raise Wrong(f"there is no rule {text[:40]!r}; GET /faults lists them", 404)
        return [armed.told() for armed in self._faults.armed()]

    async def _all_switches(self, _: Request) -> Any:
        return self._switches.told()

    async def _switch(self, request: Request) -> Any:
        body = await read_object(request)
        only(body, ("position",))
        if "position" not in body:
            raise Wrong('position is missing; send {"position": VALUE}')
        try:
            self._switches.set(request.path_params["name"], body["position"])
        except UnknownSwitch as error:
            raise Wrong(str(error)) from error
        except AlreadyConsulted as error:
            raise Wrong(str(error), 409) from error
        return self._switches.told()

    async def _time(self, request: Request) -> Any:
        if request.method == "POST":
            body = await read_object(request)
            only(body, ("advance",))
            seconds = number(body, "advance", float("nan"))
            if not 0 <= seconds <= _MOST_ADVANCE:
                raise Wrong(f"advance must be 0 to {_MOST_ADVANCE:g} seconds; time does not go back")
            if self._clock is None:
                raise Wrong("this world's clock cannot be moved: make it with a ShiftedClock", 409)
            await self._clock.advance(seconds, settle=self._settle or _SETTLE)
            if self._moved is not None:
                await self._moved(self._clock.ahead)
        ahead = 0.0 if self._clock is None else self._clock.ahead
        return {"now": self._world.clock.now().isoformat(), "ahead": ahead}


async def _no_such(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": f"{error.detail}: there are {_PATHS}"}, error.status_code)


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
