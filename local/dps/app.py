"""The ASGI application: routing as tolerant as the real clients need it, errors, the journal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from local.asgi import JsonService, Rendered, Request, Response
from local.dps import errors, policies, wire
from local.dps.behaviour import Behaviour
from local.dps.device_api import DeviceApi
from local.dps.enrollments import KINDS, Kind
from local.dps.errors import DpsError
from local.dps.limits import Throttle
from local.dps.policies import Access, AccessPolicy
from local.dps.service_api import ServiceApi
from local.issuer import TokenJudge
from local.issuer.roles import PROVISIONING
from local.world import World

Handler = Callable[[Request], Response]

API_VERSIONS = ("2018-09-01-preview", "2018-11-01", "2019-03-31", "2021-06-01", "2021-10-01")

_SHOW_KEYS = (f"{PROVISIONING}/attestationmechanism/details/action",)
_READ_STATES = (f"{PROVISIONING}/registrationStates/read",)
_DELETE_STATES = (f"{PROVISIONING}/registrationStates/delete",)


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a request, and what it needs of the service API (nothing: the device API)."""

    handler: Handler
    permission: str | None = None
    """Of the policy of a shared access signature."""
    data_actions: tuple[str, ...] = ()
    """Of the roles of a bearer token."""


class DpsApp(JsonService):
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
        self.body_limit = behaviour.message_limit
        self._name = name
        self._id_scope = id_scope.lower()
        self._access = Access(access, hosts, tokens)
        self._service = service
        self._device = device
        self._operations = operations
        self._world = world

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        try:
            return self._admitted(request)(request)
        except DpsError as error:
            return self._error(error)

    def failed(self, status: int, message: str) -> Response:
        """A body over the limit, or a mistake of the emulator."""
        return self._error(DpsError(errors.TOO_LARGE if status == 413 else errors.INTERNAL, message))

    def record(self, request: Request, response: Response) -> None:
        """Keep the call."""
        given = response.value
        try:
            sent = wire.parse_json(request.body) if request.body.strip() else None
        except DpsError:
            sent = f"{len(request.body)} bytes that are no JSON"
        self._world.journal.record(
            self._world.clock.now(),
            self._name,
            request.method,
            request.path,
            response.status,
            request=sent,
            response=given.excerpt() if isinstance(given, Rendered) else given,
        )

    def _admitted(self, request: Request) -> Handler:
        """What answers the request, once its credentials and its API version are found good."""
        route = self._route(request)
        if route.permission is not None:
            header, now = request.headers.get("authorization"), self._world.clock.now()
            self._access.check(header, route.permission, route.data_actions, now)
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
        named = "enrollmentGroups" if kind.is_group else "enrollments"
        reads, writes, deletes = (f"{PROVISIONING}/{named}/{verb}" for verb in ("read", "write", "delete"))
        match rest:
            case []:
                both = (writes, deletes)
                return {"POST": Route(lambda request: service.bulk(kind, request), write, both)}
            case [name]:
                routes = {
                    "GET": Route(lambda _: service.get(kind, name), read, (reads,)),
                    "PUT": Route(lambda request: service.put(kind, name, request), write, (writes,)),
                    "DELETE": Route(lambda request: service.delete(kind, name, request), write, (deletes,)),
                }
                if name.lower() == "query":
                    routes["POST"] = Route(lambda request: service.query(kind, request), read, (reads,))
                return routes
            case [name, word] if word.lower() == "attestationmechanism":
                # Which permission shows keys is unknown; the one that may replace them is the plain choice.
                return {"POST": Route(lambda _: service.attestation_mechanism(kind, name), write, _SHOW_KEYS)}
            case _:
                return {}

    def _record_routes(self, rest: Sequence[str]) -> dict[str, Route]:
        service, read, write = self._service, policies.REGISTRATION_READ, policies.REGISTRATION_WRITE
        match rest:
            case []:
                raise DpsError(errors.METHOD_NOT_ALLOWED, "The registration id is missing.")
            case [name]:
                return {
                    "GET": Route(lambda _: service.get_registration(name), read, _READ_STATES),
                    "DELETE": Route(
                        lambda request: service.delete_registration(name, request), write, _DELETE_STATES
                    ),
                }
            case [name, word] if word.lower() == "query":
                return {
                    "POST": Route(
                        lambda request: service.query_registrations(name, request), read, _READ_STATES
                    )
                }
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
