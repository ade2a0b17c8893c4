"""The secrets API: routing, the bearer challenge, roles, the throttle, the journal."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local.asgi import JsonService, NotAnObject, Request, Response, parse_object
from local.issuer import VAULT, Granted, Refusal, TokenJudge, TokenRefused
from local.issuer.roles import SECRETS
from local.vault import errors, shapes
from local.vault.behaviour import VaultBehaviour
from local.vault.errors import VaultError
from local.vault.paging import page
from local.vault.store import Secret, Secrets, Version
from local.world import MASK, World

API_VERSIONS = ("7.4", "7.5", "7.6", "2025-07-01", "2026-04-01")

_Answer = Callable[[Request], Response]
_GET, _SET, _UPDATE = "getSecret/action", "setSecret/action", "update/action"
_METADATA, _DELETE, _RECOVER, _PURGE = "readMetadata/action", "delete", "recover/action", "purge/action"
_JOURNALED = ("contentType", "tags", "attributes")


@dataclass(frozen=True, slots=True)
class _Route:
    """What answers a request, and the data action of secrets it needs."""

    handler: _Answer
    action: str


class VaultApp(JsonService):
    """The secrets of one vault over HTTP.

    Fixed words of a path count without case, a slash at its end does not count, and the Host header only
    goes into the links to next pages.
    """

    body_limit = 256 * 1024

    def __init__(
        self,
        *,
        name: str,
        secrets: Secrets,
        shown: shapes.Shown,
        changed: Callable[[Secret], None],
        created: Callable[[Secret, Version], None],
        judge: TokenJudge,
        authority: str,
        resource: str,
        location: str,
        world: World,
        behaviour: VaultBehaviour,
    ) -> None:
        self._name = name
        self._resource = resource
        self._location = location
        self._secrets = secrets
        self._shown = shown
        self._changed = changed
        self._created = created
        self._judge = judge
        self._challenge = f'Bearer authorization="{authority}", resource="{VAULT[0]}"'
        self._world = world
        self._behaviour = behaviour
        self._transactions: deque[float] = deque()

    def answer(self, request: Request) -> Response:
        """Answer one request; its token is looked at first (seen: a set without a body gets a 401)."""
        try:
            who = self._admit(request)
            self._throttle()
            if request.query.get("api-version") not in API_VERSIONS:
                raise errors.bad(f"api-version must be one of {', '.join(API_VERSIONS)}.")
            route = self._route(request)
            self._authorize(who, route.action, request.segments)
            return route.handler(request)
        except VaultError as error:
            return Response(error.status, error.body, error.headers)

    def failed(self, status: int, message: str) -> Response:
        """An error in Key Vault's shape."""
        code = "InternalServerError" if status == 500 else "BadParameter"
        return Response(status, VaultError(status, code, message).body)

    def record(self, request: Request, response: Response) -> None:
        """Journal a call; of bodies only what cannot be a value is taken."""
        self._world.journal.record(
            self._world.clock.now(),
            self._name,
            request.method,
            request.path,
            response.status,
            request=_without_value(request),
            response=_without_values(response.value),
        )

    def _admit(self, request: Request) -> Granted:
        token = request.bearer
        if token is None:
            message = "AKV10000: Request is missing a Bearer or PoP token."
            raise errors.unauthorized(message, self._challenge)
        try:
            return self._judge.accept(token, VAULT)
        except TokenRefused as refused:
            raise errors.unauthorized(_said(refused), self._challenge) from None

    def _authorize(self, who: Granted, action: str, segments: tuple[str, ...]) -> None:
        needed = f"{SECRETS}/{action}"
        if who.may(needed):
            return
        caller = f"appid={who.client_id};oid={who.object_id};iss=https://sts.windows.net/{who.tenant}/"
        secret = f"/secrets/{segments[1]}" if len(segments) > 1 else ""
        raise errors.forbidden(
            caller, needed, self._resource + secret, f"{self._name};location={self._location}"
        )

    def _throttle(self) -> None:
        limit = self._behaviour.transactions
        if limit is None:
            return
        now, latest = self._world.clock.monotonic(), self._transactions
        while latest and latest[0] <= now - self._behaviour.throttle_window:
            latest.popleft()
        if len(latest) >= limit:
            raise errors.throttled(self._behaviour.retry_after)
        latest.append(now)

    def _route(self, request: Request) -> _Route:
        match [request.segments[0].lower() if request.segments else "", *request.segments[1:]]:
            case ["secrets"]:
                routes = {"GET": _Route(self._list, _METADATA)}
            case ["secrets", name]:
                routes = {
                    "GET": _Route(lambda _: self._get(name, None), _GET),
                    "PUT": _Route(lambda request: self._set(name, request), _SET),
                    "PATCH": _Route(lambda request: self._update(name, None, request), _UPDATE),
                    "DELETE": _Route(lambda _: self._delete(name), _DELETE),
                }
            case ["secrets", name, word] if word.lower() == "versions":
                routes = {"GET": _Route(lambda request: self._versions(name, request), _METADATA)}
            case ["secrets", name, version]:
                routes = {
                    "GET": _Route(lambda _: self._get(name, version), _GET),
                    "PATCH": _Route(lambda request: self._update(name, version, request), _UPDATE),
                }
            case ["deletedsecrets"]:
                routes = {"GET": _Route(self._list_deleted, _METADATA)}
            case ["deletedsecrets", name]:
                routes = {
                    "GET": _Route(lambda _: self._get_deleted(name), _METADATA),
                    "DELETE": _Route(lambda _: self._purge(name), _PURGE),
                }
            case ["deletedsecrets", name, word] if word.lower() == "recover":
                routes = {"POST": _Route(lambda _: self._recover(name), _RECOVER)}
            case _:
                raise VaultError(404, "NotFound", "There is nothing at this path.")
        if request.method not in routes:
            raise errors.no_method(", ".join(routes))
        return routes[request.method]

    def _set(self, name: str, request: Request) -> Response:
        value, given = shapes.read_set(request.body)
        secret, version = self._secrets.add(shapes.checked_name(name), value, given)
        self._created(secret, version)
        return Response(200, self._shown.bundle(secret, version, value=True))

    def _get(self, name: str, version: str | None) -> Response:
        secret = self._secrets.get(shapes.checked_name(name))
        found = self._secrets.version(secret, version)
        if not found.enabled:
            raise errors.disabled()
        return Response(200, self._shown.bundle(secret, found, value=True))

    def _update(self, name: str, version: str | None, request: Request) -> Response:
        given = shapes.read_update(request.body)
        secret, changed = self._secrets.update(shapes.checked_name(name), version, given)
        self._changed(secret)
        return Response(200, self._shown.bundle(secret, changed))

    def _delete(self, name: str) -> Response:
        return Response(200, self._shown.deleted_bundle(self._secrets.delete(shapes.checked_name(name))))

    def _get_deleted(self, name: str) -> Response:
        return Response(200, self._shown.deleted_bundle(self._secrets.get_deleted(shapes.checked_name(name))))

    def _recover(self, name: str) -> Response:
        secret = self._secrets.recover(shapes.checked_name(name))
        self._changed(secret)
        return Response(200, self._shown.bundle(secret, secret.current))

    def _purge(self, name: str) -> Response:
        self._secrets.purge(shapes.checked_name(name))
        return Response(204)

    def _list(self, request: Request) -> Response:
        return page(
            request,
            self._secrets.live(),
            key=lambda secret: secret.name.upper(),
            show=self._shown.item,
            behaviour=self._behaviour,
        )

    def _list_deleted(self, request: Request) -> Response:
        return page(
            request,
            self._secrets.deleted(),
            key=lambda secret: secret.name.upper(),
            show=self._shown.deleted_item,
            behaviour=self._behaviour,
        )

    def _versions(self, name: str, request: Request) -> Response:
        try:
            secret = self._secrets.get(shapes.checked_name(name))
        except VaultError as error:
            if error.status != 404:
                raise
            return Response(200, {"value": [], "nextLink": None})
        return page(
            request,
            secret.versions.values(),
            key=lambda version: version.id.upper(),
            show=lambda version: self._shown.bundle(secret, version),
            behaviour=self._behaviour,
        )


def _said(refused: TokenRefused) -> str:
    """What Key Vault says of a bad token: those of the audience and the issuer are seen, others not."""
    if refused.reason is Refusal.AUDIENCE:
        return f"AKV10022: Invalid audience. Expected {VAULT[0]}, found: {refused.audience}."
    if refused.reason is Refusal.ISSUER:
        return "AKV10032: Invalid issuer."
    return f"Error validating token: {refused.reason}."


def _without_value(request: Request) -> Any:
    if not request.body.strip():
        return None
    try:
        body = parse_object(request.body)
    except NotAnObject:
        return f"{len(request.body)} bytes that are no JSON object"
    known = {name: body[name] for name in _JOURNALED if name in body}
    return {"value": MASK, **known} if "value" in body else known


def _without_values(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(value.get("value"), str):
        return value | {"value": MASK}
    return value
