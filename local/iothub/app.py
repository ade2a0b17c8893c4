"""The ASGI application of one hub: routing, credentials, throttles, errors, the journal."""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from local.asgi import JsonService, Request, Response
from local.dps import wire
from local.dps.errors import DpsError
from local.hub import IotHub
from local.iothub import auth, errors, throttles
from local.iothub.auth import Access
from local.iothub.behaviour import HubBehaviour
from local.iothub.bulk import BulkApi
from local.iothub.errors import HubError
from local.iothub.index import index_of
from local.iothub.query_api import QueryApi
from local.iothub.registry import RegistryApi
from local.iothub.statistics import Statistics
from local.iothub.throttles import Budget, Throttles
from local.iothub.twins import TwinApi
from local.issuer.roles import IOT_HUBS
from local.world import World

Handler = Callable[[Request], Response]

API_VERSIONS = (
    "2018-06-30",
    "2019-10-01",
    "2020-03-13",
    "2020-05-31-preview",
    "2020-09-30",
    "2021-04-12",
    "2024-03-31",
)
"""What published clients of the service API send."""
_READ_DEVICES = (f"{IOT_HUBS}/devices/read",)
_WRITE_DEVICES = (f"{IOT_HUBS}/devices/write",)
_DELETE_DEVICES = (f"{IOT_HUBS}/devices/delete",)
_READ_TWINS = (f"{IOT_HUBS}/twins/read",)
_WRITE_TWINS = (f"{IOT_HUBS}/twins/write",)
_READ_STATISTICS = (f"{IOT_HUBS}/statistics/read",)
_READ = (auth.REGISTRY_READ,)
_WRITE = (auth.REGISTRY_WRITE,)
_SERVICE = (auth.SERVICE_CONNECT,)
_IDENTITY = "CRUD"


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a request, and what it costs."""

    handler: Handler
    any_of: Collection[str]
    """The permissions of which a policy needs one."""
    data_actions: Collection[str]
    """What the roles of a bearer token must allow."""
    budget: Budget | None
    """None: nothing, or the handler takes from it itself."""
    operation: str = _IDENTITY


class HubApp(JsonService):
    """The service API of one hub. The Host header is not looked at; a slash at the end does not count."""

    def __init__(
        self, hub: IotHub, *, access: Access, limits: Throttles, world: World, behaviour: HubBehaviour
    ) -> None:
        clock = world.clock
        self.body_limit = behaviour.message_limit
        self._name = hub.host_name.partition(".")[0]
        self._access = access
        self._limits = limits
        self._world = world
        self._behaviour = behaviour
        self._registry = RegistryApi(hub, clock, behaviour)
        self._bulk = BulkApi(hub, clock, behaviour, self._spend_identity)
        self._twins = TwinApi(hub, clock, behaviour)
        self._queries = QueryApi(index_of(hub, clock, behaviour), clock, behaviour)
        self._statistics = Statistics(hub, clock, behaviour)

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        try:
            response = self._admitted(request)(request)
        except HubError as error:
            response = self._error(error)
        except DpsError as error:  # the readers of JSON are shared with DPS: all they refuse is a 400
            response = self._error(HubError(errors.ARGUMENT_INVALID, error.message))
        return replace(response, headers={"x-ms-request-id": self._request_id(), **response.headers})

    def failed(self, status: int, message: str) -> Response:
        """A body over the limit, or a mistake of the emulator."""
        return self._error(HubError(errors.TOO_LARGE if status == 413 else errors.SERVER_ERROR, message))

    def record(self, request: Request, response: Response) -> None:
        """Keep the call."""
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
            response=response.value,
        )

    def _admitted(self, request: Request) -> Handler:
        """What answers the request, once credentials, API version and throttle have let it pass."""
        route = self._route(request)
        header, now = request.headers.get("authorization"), self._world.clock.now()
        self._access.check(header, route.any_of, route.data_actions, request, now)
        if request.query.get("api-version") not in API_VERSIONS:
            message = f"api-version must be one of {', '.join(API_VERSIONS)}."
            raise HubError(errors.INVALID_PROTOCOL_VERSION, message)
        if route.budget is not None:
            throttles.spend(route.budget, route.operation, retry_after=self._tells_when)
        return route.handler

    def _spend_identity(self, count: int) -> None:
        throttles.spend(self._limits.identity, _IDENTITY, count=count, retry_after=self._tells_when)

    def _tells_when(self) -> bool:
        return self._behaviour.retry_after

    def _error(self, error: HubError) -> Response:
        numbered = self._behaviour.numbered_errors
        return errors.response(error, self._world.random, self._world.clock.now(), numbered=numbered)

    def _route(self, request: Request) -> Route:
        match [request.segments[0].lower() if request.segments else "", *request.segments[1:]]:
            case ["devices", *rest]:
                methods = self._device_routes(rest)
            case ["twins", device_id]:
                methods = self._twin_routes(device_id)
            case ["statistics", what]:
                methods = self._statistics_routes(what.lower())
            case _:
                methods = {}
        if not methods:
            raise HubError(errors.NOT_FOUND, "There is nothing at this path.")
        if request.method not in methods:
            allowed = {"Allow": ", ".join(methods)}
            raise HubError(errors.METHOD_NOT_ALLOWED, "This path does not take that method.", headers=allowed)
        return methods[request.method]

    def _device_routes(self, rest: Sequence[str]) -> dict[str, Route]:
        registry, budget = self._registry, self._limits.identity
        match rest:
            case []:
                return {
                    "GET": Route(registry.list, _READ, _READ_DEVICES, budget),
                    "POST": Route(self._bulk.run, _WRITE, (*_WRITE_DEVICES, *_DELETE_DEVICES), None),
                }
            case [device_id]:
                routes = {
                    "GET": Route(lambda _: registry.get(device_id), _READ, _READ_DEVICES, budget),
                    "PUT": Route(
                        lambda request: registry.put(device_id, request), _WRITE, _WRITE_DEVICES, budget
                    ),
                    "DELETE": Route(
                        lambda request: registry.delete(device_id, request), _WRITE, _DELETE_DEVICES, budget
                    ),
                }
                if device_id.lower() == "query":
                    routes["POST"] = Route(
                        self._queries.run,
                        _READ,
                        (*_READ_DEVICES, *_READ_TWINS),
                        self._limits.queries,
                        "Query",
                    )
                return routes
            case _:
                return {}

    def _twin_routes(self, device_id: str) -> dict[str, Route]:
        twins, reads, updates = self._twins, self._limits.twin_reads, self._limits.twin_updates
        return {
            "GET": Route(lambda _: twins.get(device_id), _SERVICE, _READ_TWINS, reads, "TwinRead"),
            "PATCH": Route(
                lambda request: twins.patch(device_id, request),
                _SERVICE,
                _WRITE_TWINS,
                updates,
                "TwinUpdate",
            ),
            "PUT": Route(
                lambda request: twins.put(device_id, request), _SERVICE, _WRITE_TWINS, updates, "TwinUpdate"
            ),
        }

    def _statistics_routes(self, what: str) -> dict[str, Route]:
        statistics = self._statistics
        budget = self._limits.identity if self._behaviour.statistics_count_as_identity else None
        if what == "devices":
            return {
                "GET": Route(lambda _: Response(200, statistics.devices()), _READ, _READ_STATISTICS, budget)
            }
        if what == "service":
            # Which permission this needs is unknown; either that fits it opens it.
            any_of = (*_READ, *_SERVICE)
            service = Route(lambda _: Response(200, statistics.service()), any_of, _READ_STATISTICS, budget)
            return {"GET": service}
        return {}

    def _request_id(self) -> str:
        return str(uuid.UUID(int=self._world.random.getrandbits(128), version=4))
