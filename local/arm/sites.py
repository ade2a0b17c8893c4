"""Function apps at the management plane: their functions' keys, and nothing else of them.

Shapes: listkeys answers names to values; PUT takes `properties.value` and answers 201 for a new key and 200
for another value; DELETE answers 204, or 404. The actions are the documented ones of Microsoft.Web.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from local.arm.errors import ArmError, no_group, no_resource, no_subscription, not_authorized, nothing_here
from local.arm.resources import GROUP
from local.asgi import NotAnObject, Request, Response, parse_object
from local.issuer import Granted
from local.sites import FunctionKeys

TYPE = "Microsoft.Web/sites"
API_VERSIONS = ("2024-04-01", "2024-11-01", "2025-03-01", "2025-05-01")


@dataclass(frozen=True, slots=True)
class FunctionSite:
    """A function app as a resource of a subscription."""

    name: str
    keys: FunctionKeys
    resource_group: str = GROUP


class Sites:
    """The function apps of one subscription."""

    def __init__(self, subscription: str, sites: Iterable[FunctionSite]) -> None:
        self._subscription = subscription
        self._sites = tuple(sites)

    def id_of(self, site: FunctionSite) -> str:
        """The resource id of an app."""
        group = f"/subscriptions/{self._subscription}/resourceGroups/{site.resource_group}"
        return f"{group}/providers/{TYPE}/{site.name}"

    def answer(self, request: Request, who: Granted) -> Response:
        """Answer one request below /providers/Microsoft.Web/sites.

        Raises:
            ArmError: it cannot be.
        """
        _check_version(request)
        subscription, group, rest = request.segments[1], request.segments[3], request.segments[7:]
        action = _action(request.method, rest)
        if action is None:
            raise nothing_here()
        if not who.may_manage(action):
            raise not_authorized(who.client_id, who.object_id, action, request.path)
        if subscription.lower() != self._subscription.lower():
            raise no_subscription(subscription)
        within = [each for each in self._sites if each.resource_group.lower() == group.lower()]
        if not within:
            raise no_group(group)
        site = next((each for each in within if each.name.lower() == rest[0].lower()), None)
        held = None if site is None else site.keys.all(rest[2])
        if site is None or held is None:
            raise no_resource(f"{TYPE}/{rest[0]}", group)
        if request.method == "POST":
            return Response(200, held)
        if request.method == "DELETE":
            if not site.keys.delete(rest[2], rest[4]):
                raise ArmError(404, "NotFound", f"Key '{rest[4]}' was not found.")
            return Response(204, None)
        return self._put(request, site, rest)

    def _put(self, request: Request, site: FunctionSite, rest: Sequence[str]) -> Response:
        try:
            properties = parse_object(request.body).get("properties") or {}
        except NotAnObject as error:
            raise ArmError(400, "BadRequest", str(error)) from None
        value = properties.get("value") if isinstance(properties, dict) else None
        made = site.keys.put(rest[2], rest[4], value if isinstance(value, str) else None)
        assert made is not None
        told: dict[str, Any] = {
            "id": f"{self.id_of(site)}/functions/{rest[2]}/keys/{rest[4]}",
            "name": rest[4],
            "type": f"{TYPE}/functions/keys",
            "properties": {"name": rest[4], "value": made[0]},
        }
        return Response(201 if made[1] else 200, told)


def is_site(segments: Sequence[str]) -> bool:
    """Whether a path is below a function app."""
    lower = [segment.lower() for segment in segments]
    return lower[:1] == ["subscriptions"] and lower[4:7] == ["providers", "microsoft.web", "sites"]


def _action(method: str, rest: Sequence[str]) -> str | None:
    """The right that a method needs on what follows the type; None: nothing here takes it."""
    lower = [segment.lower() for segment in rest]
    if len(lower) == 4 and lower[1] == "functions" and lower[3] == "listkeys" and method == "POST":
        return f"{TYPE}/functions/listKeys/action"
    if len(lower) == 5 and lower[1] == "functions" and lower[3] == "keys":
        return {"PUT": f"{TYPE}/functions/keys/write", "DELETE": f"{TYPE}/functions/keys/delete"}.get(method)
    return None


def _check_version(request: Request) -> None:
    version = request.query.get("api-version")
    if version not in API_VERSIONS:
        code = "NoRegisteredProviderFound" if version else "MissingApiVersionParameter"
        raise ArmError(400, code, f"The supported api-versions are '{', '.join(API_VERSIONS)}'.")
