"""The ASGI application: routing as tolerant as the real clients need it, errors, the journal."""

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote

from local.dps import errors, policies, wire
from local.dps.behaviour import Behaviour
from local.dps.device_api import DeviceApi
from local.dps.enrollments import KINDS, Kind
from local.dps.errors import DpsError
from local.dps.limits import Throttle
from local.dps.policies import Access, AccessPolicy
from local.dps.service_api import ServiceApi
from local.dps.wire import Request, Response
from local.issuer import TokenJudge
from local.world import World

Message = MutableMapping[str, Any]
Handler = Callable[[Request], Response]

API_VERSIONS = ("2018-09-01-preview", "2018-11-01", "2019-03-31", "2021-06-01", "2021-10-01")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a request, and which permission of the service API it needs (None: the device API)."""

    handler: Handler
    permission: str | None = None


class DpsApp:
    """Both APIs of one provisioning service on one port.

    The first path segment tells them apart; it and the fixed words of a path count without case, a
    slash at the end does not count, and the Host header is not looked at.
    """

    def __init__(
        self,
        *,
        name: str,
        id_scope: str,
        hosts: Sequence[str],
        access: Sequence[AccessPolicy],
        tokens: TokenJudge | None,
        service: ServiceApi,
        device: DeviceApi,
        operations: Throttle,
        world: World,
        behaviour: Behaviour,
    ) -> None:
        self._name = name
        self._id_scope = id_scope.lower()
        self._access = Access(access, hosts, tokens)
        self._service = service
        self._device = device
        self._operations = operations
        self._world = world
        self._behaviour = behaviour

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one ASGI connection; lifespan events are acknowledged, nothing hangs on them."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        try:
            body = await _read_body(receive, self._behaviour.message_limit)
        except _GoneError:
            return
        request = _request(scope, body or b"")
        response = self._answer(request, too_large=body is None)
        self._journal(request, response)
        content = b"" if response.value is None else wire.dump(response.value)
        headers = [(b"content-length", b"%d" % len(content))] if response.status != 204 else []
        if content:
            headers.append((b"content-type", wire.JSON_TYPE.encode()))
        headers += [
            (name.lower().encode(), value.encode("latin-1")) for name, value in response.headers.items()
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def answer(self, request: Request, *, keep: bool = True) -> Response:
        """Answer a request that came by another way than HTTP; `keep`: tell the journal of it."""
        response = self._answer(request, too_large=len(request.body) > self._behaviour.message_limit)
        if keep:
            self._journal(request, response)
        return response

    def _answer(self, request: Request, *, too_large: bool) -> Response:
        limit = self._behaviour.message_limit
        try:
            if too_large:
                return self._error(DpsError(errors.TOO_LARGE, f"The body is larger than {limit} bytes."))
            return self._admitted(request)(request)
        except DpsError as error:
            return self._error(error)
        except Exception:  # noqa: BLE001 - a mistake of the emulator must not drop the connection
            _log.exception("the emulator failed on %s %s", request.method, "/".join(request.segments))
            return self._error(DpsError(errors.INTERNAL, "The emulator failed; its log says why."))

    def _admitted(self, request: Request) -> Handler:
        """What answers the request, once its credentials and its API version are found good."""
        route = self._route(request)
        if route.permission is not None:
            header, now = request.headers.get("authorization"), self._world.clock.now()
            self._access.check(header, route.permission, now)
        if request.query.get("api-version") not in API_VERSIONS:
            raise DpsError(errors.BAD_REQUEST, f"api-version must be one of {', '.join(API_VERSIONS)}.")
        if route.permission is not None:
            self._operations.take()
        return route.handler

    def _error(self, error: DpsError) -> Response:
        return wire.error_response(error, self._world.random, self._world.clock.now())

    def _route(self, request: Request) -> Route:
        first = request.segments[0].lower() if request.segments else ""
        rest = request.segments[1:]
        kind = next((each for each in KINDS if each.path == first), None)
        if kind is not None:
            methods = self._enrollment_routes(kind, rest)
        elif first == "registrations":
            methods = self._record_routes(rest)
        elif first == self._id_scope and rest and rest[0].lower() == "registrations":
            methods = self._device_routes(rest[1:])
        else:
            methods = {}
        if not methods:
            raise DpsError(errors.NOT_FOUND, "There is nothing at this path.")
        if request.method not in methods:
            allowed = {"Allow": ", ".join(methods)}
            raise DpsError(errors.METHOD_NOT_ALLOWED, "This path does not take that method.", headers=allowed)
        return methods[request.method]

    def _enrollment_routes(self, kind: Kind, rest: Sequence[str]) -> dict[str, Route]:
        service, read, write = self._service, policies.ENROLLMENT_READ, policies.ENROLLMENT_WRITE
        match rest:
            case []:
                return {"POST": Route(lambda request: service.bulk(kind, request), write)}
            case [name]:
                routes = {
                    "GET": Route(lambda _: service.get(kind, name), read),
                    "PUT": Route(lambda request: service.put(kind, name, request), write),
                    "DELETE": Route(lambda request: service.delete(kind, name, request), write),
                }
                if name.lower() == "query":
                    routes["POST"] = Route(lambda request: service.query(kind, request), read)
                return routes
            case [name, word] if word.lower() == "attestationmechanism":
                # Which permission shows keys is unknown; the one that may replace them is the plain choice.
                return {"POST": Route(lambda _: service.attestation_mechanism(kind, name), write)}
            case _:
                return {}

    def _record_routes(self, rest: Sequence[str]) -> dict[str, Route]:
        service, read, write = self._service, policies.REGISTRATION_READ, policies.REGISTRATION_WRITE
        match rest:
            case []:
                raise DpsError(errors.METHOD_NOT_ALLOWED, "The registration id is missing.")
            case [name]:
                return {
                    "GET": Route(lambda _: service.get_registration(name), read),
                    "DELETE": Route(lambda request: service.delete_registration(name, request), write),
                }
            case [name, word] if word.lower() == "query":
                return {"POST": Route(lambda request: service.query_registrations(name, request), read)}
            case _:
                return {}

    def _device_routes(self, rest: Sequence[str]) -> dict[str, Route]:
        device = self._device
        match rest:
            case [name]:
                return {"POST": Route(lambda request: device.look_up(name, request))}
            case [name, word] if word.lower() == "register":
                return {"PUT": Route(lambda request: device.register(name, request))}
            case [name, word, operation] if word.lower() == "operations":
                return {"GET": Route(lambda request: device.poll(name, operation, request))}
            case _:
                return {}

    def _journal(self, request: Request, response: Response) -> None:
        given = response.value
        try:
            sent = wire.parse_json(request.body) if request.body.strip() else None
        except DpsError:
            sent = f"{len(request.body)} bytes that are no JSON"
        self._world.journal.record(
            self._world.clock.now(),
            self._name,
            request.method,
            "/" + "/".join(request.segments),
            response.status,
            request=sent,
            response=given.excerpt() if isinstance(given, wire.Rendered) else given,
        )


class _GoneError(Exception):
    """The client left before it had sent its whole request."""


async def _read_body(receive: Callable[[], Awaitable[Message]], limit: int) -> bytes | None:
    """The whole body; None if it is over the limit (it is read on, so that the client gets its answer)."""
    parts, size = bytearray(), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts += part
        if not message.get("more_body", False):
            return bytes(parts) if size <= limit else None


def _request(scope: Message, body: bytes) -> Request:
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0]
    segments = tuple(unquote(part) for part in path.split("/") if part)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    certificates = tuple(scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", ()))
    return Request(
        scope["method"], segments, _query(scope.get("query_string", b"")), headers, body, certificates
    )


@lru_cache(maxsize=64)  # of one client all are alike
def _query(raw: bytes) -> Mapping[str, str]:
    return MappingProxyType(dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)))
