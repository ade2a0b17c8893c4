"""The page: who is let in, what is read, and the journal."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from local.arm.errors import (
    ArmError,
    no_group,
    no_resource,
    no_subscription,
    not_authorized,
    nothing_here,
)
from local.arm.paths import action_of, split, version_of
from local.arm.resources import SUBSCRIPTION, TYPE, ArmBehaviour, ProvisioningResource
from local.arm.shown import Shown
from local.arm.sites import FunctionSite, Sites, is_site
from local.asgi import JsonService, Request, Response
from local.issuer import ARM, Granted, Refusal, TokenJudge, TokenRefused
from local.world import World


class ArmPage(JsonService):
    """The provisioning services of one subscription, over HTTP.

    Paths count without case, and a slash at their end does not count (documented for resource ids).
    """

    def __init__(
        self,
        resources: Iterable[ProvisioningResource],
        judge: TokenJudge,
        world: World,
        *,
        subscription: str = SUBSCRIPTION,
        behaviour: ArmBehaviour | None = None,
        sites: Iterable[FunctionSite] = (),
        name: str = "arm",
    ) -> None:
        """Make the page.

        Args:
            resources: the services; what they say of themselves is read at each call.
            judge: who decides on tokens. Those read whose roles allow it.
            world: clock and journal.
            subscription: its id.
            behaviour: the choices on what the facts leave open.
            sites: function apps, whose functions' keys can be changed here.
            name: what the journal calls this service.
        """
        self._resources = tuple(resources)
        self._judge = judge
        self._world = world
        self._subscription = subscription
        self._behaviour = behaviour or ArmBehaviour()
        self._shown = Shown(subscription, self._behaviour)
        self._sites = Sites(subscription, sites)
        self._name = name

    def resource_id(self, resource: ProvisioningResource) -> str:
        """The resource id of a service."""
        return self._shown.id_of(resource)

    def site_id(self, site: FunctionSite) -> str:
        """The resource id of a function app."""
        return self._sites.id_of(site)

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        try:
            who = self._admit(request)
            if is_site(request.segments):
                return self._sites.answer(request, who)
            version = version_of(request)
            subscription, group, rest = split(request.segments)
            _authorize(request, who, rest)
            if subscription.lower() != self._subscription.lower():
                raise no_subscription(subscription)
            return Response(200, self._read(request, group, rest, version))
        except ArmError as error:
            return error.response

    def failed(self, status: int, message: str) -> Response:
        """An error in the management plane's shape."""
        code = "InternalServerError" if status == 500 else "RequestContentTooLarge"
        return ArmError(status, code, message).response

    def record(self, request: Request, response: Response) -> None:
        """Journal a call; bodies of requests are never looked at, nor are answers that hold keys."""
        secret = response.status < 300 and is_site(request.segments)
        self._world.journal.record(
            self._world.clock.now(),
            self._name,
            request.method,
            request.path,
            response.status,
            response=None if secret else response.value,
        )

    def _admit(self, request: Request) -> Granted:
        token = request.bearer
        if token is None:
            message = "Authentication failed. The 'Authorization' header is missing the access token."
            raise ArmError(401, "AuthenticationFailedMissingToken", message)
        try:
            return self._judge.accept(token, ARM)
        except TokenRefused as refused:
            raise self._refused(refused) from None

    def _refused(self, refused: TokenRefused) -> ArmError:
        if refused.reason is Refusal.AUDIENCE:
            allowed = ",".join(f"'{each}'" for each in ARM)
            return ArmError(
                401,
                "InvalidAuthenticationTokenAudience",
                "The access token has been obtained for wrong audience or resource "
                f"'{refused.audience}'. It should exactly match with one of the allowed audiences {allowed}.",
            )
        if refused.reason is Refusal.EXPIRED and refused.expired is not None:
            ended = _us_time(datetime.fromtimestamp(refused.expired, UTC))
            return ArmError(
                401,
                "ExpiredAuthenticationToken",
                f"The access token expiry UTC time '{ended}' is earlier than current UTC time "
                f"'{_us_time(self._world.clock.now())}'.",
            )
        return ArmError(401, "InvalidAuthenticationToken", f"The access token is invalid: {refused.reason}.")

    def _read(self, request: Request, group: str | None, rest: Sequence[str], version: str) -> Any:
        within = self._resources
        if group is not None:
            within = tuple(each for each in within if each.resource_group.lower() == group.lower())
            if not within:
                raise no_group(group)
        if not rest:
            return self._list(request, within, version)
        if group is None:
            raise nothing_here()
        found = next((each for each in within if each.service.name.lower() == rest[0].lower()), None)
        if found is None:
            raise no_resource(f"{TYPE}/{rest[0]}", group)
        match [word.lower() for word in rest[1:]]:
            case []:
                return self._shown.service(found, version)
            case ["certificates"]:
                held = found.service.authorities
                return {"value": [self._shown.certificate(found, each) for each in held]}
            case ["certificates", name]:
                one = next((each for each in found.service.authorities if each.name.lower() == name), None)
                if one is None:
                    raise no_resource(f"{TYPE}/{rest[0]}/certificates/{rest[2]}", group)
                return self._shown.certificate(found, one)
            case _:
                raise nothing_here()

    def _list(self, request: Request, within: Sequence[ProvisioningResource], version: str) -> Any:
        size = self._behaviour.page_size or max(len(within), 1)
        token = request.query.get("$skiptoken", "0")
        if not (token.isascii() and token.isdigit()):
            raise ArmError(400, "InvalidSkipToken", "The skip token is not one of this list's.")
        first = int(token[:9])
        answer: dict[str, Any] = {
            "value": [self._shown.service(each, version) for each in within[first : first + size]]
        }
        if first + size < len(within):
            host = request.headers.get("host", "localhost")
            query = f"api-version={version}&$skiptoken={first + size}"
            answer["nextLink"] = f"https://{host}{quote(request.path)}?{query}"
        return answer


def _authorize(request: Request, who: Granted, rest: Sequence[str]) -> None:
    """Let those read whose roles allow it, and nobody do more."""
    action = action_of(request.method, rest)
    if action is None:
        raise ArmError(405, "MethodNotAllowed", "This path does not take that method.")
    if request.method != "GET" or not who.may_manage(action):
        raise not_authorized(who.client_id, who.object_id, action, request.path)


def _us_time(moment: datetime) -> str:
    return f"{moment.month}/{moment.day}/{moment:%Y} {int(f'{moment:%I}')}:{moment:%M:%S %p}"
