"""The management plane's page on provisioning services, to read and not to write.

Known: the paths and members (published API descriptions of 2022-12-12 and, from Microsoft's own client, of
2026-08-31 and 2026-11-01), keys that come masked, hubs that show weight and `applyAllocationPolicy` only
when they were set (both seen in a debug log), and the error codes and messages (seen in public logs).

What is unknown, and what this does:
- whether a hub linked without naming them shows the two members of allocation: a choice of `ArmBehaviour`;
- which members a hub linked by identity has in 2022-12-12: those it always has, without connectionString;
- whether a list of a few services comes in pages: a choice of `ArmBehaviour`;
- the order of the checks: token, api-version, path, rights, existence;
- the message of a refused token other than an expired one and one for another audience: words of its own.

Changes and key lists are refused to everybody, as a role that can only read refuses them: nothing that
works with these emulators may need them.
"""

import base64
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Protocol
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from local.asgi import JsonService, Request, Response
from local.issuer import ARM, Caller, Refusal, TokenJudge, TokenRefused, caller
from local.world import World

API_VERSIONS = ("2022-12-12", "2026-08-31", "2026-11-01")
SUBSCRIPTION = "00000000-0000-4000-8000-00000000005b"
"""The subscription unless told otherwise."""
_TYPE = "Microsoft.Devices/provisioningServices"
_WITH_IDENTITIES = API_VERSIONS[1:]
"""Where hubs can be linked by identity and shared keys can be turned off."""


class LinkedHub(Protocol):
    """A hub as DPS was told of it."""

    @property
    def host_name(self) -> str:
        """`name.azure-devices.net`."""

    @property
    def allocation_weight(self) -> int:
        """1 to 1000."""

    @property
    def apply_allocation_policy(self) -> bool:
        """Whether DPS's own policies may assign devices to it."""


class Provisioning(Protocol):
    """What this page must know of a provisioning service."""

    @property
    def name(self) -> str:
        """The first part of its host name."""

    @property
    def id_scope(self) -> str:
        """What devices name it by."""

    @property
    def hubs(self) -> Sequence[LinkedHub]:
        """The linked hubs now."""


@dataclass(frozen=True, slots=True)
class CaCertificate:
    """A CA certificate of a provisioning service."""

    name: str
    pem: bytes
    verified: bool = True
    created: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    updated: datetime = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ProvisioningResource:
    """A provisioning service as a resource of a subscription."""

    service: Provisioning
    resource_group: str = "rg-local"
    location: str = "westeurope"
    allocation_policy: str = "Hashed"
    """`Hashed`, `GeoLatency` or `Static`: of enrollments that name none."""
    capacity: int = 1
    """Units of sku S1."""
    certificates: tuple[CaCertificate, ...] = ()
    linked_by_identity: frozenset[str] = frozenset()
    """Host names of hubs that DPS reaches with its own identity, without a connection string."""
    disable_local_auth: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ArmBehaviour:
    """One reading of the unknown behaviours of the management plane."""

    show_default_allocation: bool = False
    """Whether a hub of weight 1 to which the policies apply says so."""
    page_size: int | None = None
    """Services in a page of a list; None: a list has one page."""


class ArmError(Exception):
    """An error in Azure Resource Manager's shape."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    @property
    def response(self) -> Response:
        """The answer that says so."""
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        return Response(self.status, {"error": {"code": self.code, "message": self.message}}, headers)


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
        readers: Collection[str] | None = None,
        behaviour: ArmBehaviour | None = None,
        name: str = "arm",
    ) -> None:
        """Make the page.

        Args:
            resources: the services; what they say of themselves is read at each call.
            judge: who decides on tokens.
            world: clock and journal.
            subscription: its id.
            readers: object ids that may read; None: every identity may.
            behaviour: the choices on what the facts leave open.
            name: what the journal calls this service.
        """
        self._resources = tuple(resources)
        self._judge = judge
        self._world = world
        self._subscription = subscription
        self._readers = readers
        self._behaviour = behaviour or ArmBehaviour()
        self._name = name

    def resource_id(self, resource: ProvisioningResource) -> str:
        """The resource id of a service."""
        return (
            f"/subscriptions/{self._subscription}/resourceGroups/{resource.resource_group}"
            f"/providers/{_TYPE}/{resource.service.name}"
        )

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        try:
            who = self._admit(request)
            version = _version(request)
            subscription, group, rest = _split(request.segments)
            self._authorize(request, who, rest)
            self._own(subscription)
            return Response(200, self._read(request, group, rest, version))
        except ArmError as error:
            return error.response

    def failed(self, status: int, message: str) -> Response:
        """An error in the management plane's shape."""
        code = "InternalServerError" if status == 500 else "RequestContentTooLarge"
        return ArmError(status, code, message).response

    def record(self, request: Request, response: Response) -> None:
        """Journal a call; bodies of requests are never looked at."""
        self._world.journal.record(
            self._world.clock.now(),
            self._name,
            request.method,
            request.path,
            response.status,
            response=response.value,
        )

    def _admit(self, request: Request) -> Caller:
        token = request.bearer
        if token is None:
            message = "Authentication failed. The 'Authorization' header is missing the access token."
            raise ArmError(401, "AuthenticationFailedMissingToken", message)
        try:
            self._judge.accept(token, ARM)
            return caller(token)
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

    def _authorize(self, request: Request, who: Caller, rest: Sequence[str]) -> None:
        """Let readers read, and nobody do more."""
        action = _action(request.method, rest)
        if action is None:
            raise ArmError(405, "MethodNotAllowed", "This path does not take that method.")
        if request.method != "GET" or (self._readers is not None and who.object_id not in self._readers):
            message = (
                f"The client '{who.client_id}' with object id '{who.object_id}' does not have "
                f"authorization to perform action '{action}' over scope '{request.path}' or the scope is "
                "invalid. If access was recently granted, please refresh your credentials."
            )
            raise ArmError(403, "AuthorizationFailed", message)

    def _own(self, subscription: str) -> None:
        if subscription.lower() != self._subscription.lower():
            message = f"The subscription '{subscription}' could not be found."
            raise ArmError(404, "SubscriptionNotFound", message)

    def _read(self, request: Request, group: str | None, rest: Sequence[str], version: str) -> Any:
        within = self._resources
        if group is not None:
            within = tuple(each for each in within if each.resource_group.lower() == group.lower())
            if not within:
                raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        if not rest:
            return self._list(request, within, version)
        if group is None:
            raise _nothing_here()
        found = next((each for each in within if each.service.name.lower() == rest[0].lower()), None)
        if found is None:
            raise _no_resource(f"{_TYPE}/{rest[0]}", group)
        words = [word.lower() for word in rest[1:]]
        match words:
            case []:
                return self._shown(found, version)
            case ["certificates"]:
                return {"value": [self._certificate(found, each) for each in found.certificates]}
            case ["certificates", name]:
                one = next((each for each in found.certificates if each.name.lower() == name), None)
                if one is None:
                    raise _no_resource(f"{_TYPE}/{rest[0]}/certificates/{rest[2]}", group)
                return self._certificate(found, one)
            case _:
                raise _nothing_here()

    def _list(self, request: Request, within: Sequence[ProvisioningResource], version: str) -> Any:
        size = self._behaviour.page_size or max(len(within), 1)
        token = request.query.get("$skiptoken", "0")
        if not (token.isascii() and token.isdigit()):
            raise ArmError(400, "InvalidSkipToken", "The skip token is not one of this list's.")
        first = int(token[:9])
        answer: dict[str, Any] = {
            "value": [self._shown(each, version) for each in within[first : first + size]]
        }
        if first + size < len(within):
            host = request.headers.get("host", "localhost")
            query = f"api-version={version}&$skiptoken={first + size}"
            answer["nextLink"] = f"https://{host}{quote(request.path)}?{query}"
        return answer

    def _shown(self, resource: ProvisioningResource, version: str) -> dict[str, Any]:
        service = resource.service
        properties: dict[str, Any] = {
            "state": "Active",
            "provisioningState": "Succeeded",
            "iotHubs": [self._hub(resource, hub, version) for hub in service.hubs],
            "allocationPolicy": resource.allocation_policy,
            "serviceOperationsHostName": f"{service.name}.azure-devices-provisioning.net",
            "deviceProvisioningHostName": "global.azure-devices-provisioning.net",
            "idScope": service.id_scope,
            "enableDataResidency": False,
        }
        if version in _WITH_IDENTITIES:
            properties["disableLocalAuth"] = resource.disable_local_auth
        shown: dict[str, Any] = {
            "etag": _etag(properties, resource.tags),
            "name": service.name,
            "location": resource.location,
            "properties": properties,
            "resourcegroup": resource.resource_group,
            "type": _TYPE,
            "id": self.resource_id(resource),
            "subscriptionid": self._subscription,
            "tags": dict(resource.tags),
            "sku": {"name": "S1", "tier": "Standard", "capacity": resource.capacity},
        }
        if version in _WITH_IDENTITIES and resource.linked_by_identity:
            shown["identity"] = {"type": "SystemAssigned"}
        return shown

    def _hub(self, resource: ProvisioningResource, hub: LinkedHub, version: str) -> dict[str, Any]:
        by_identity = hub.host_name in resource.linked_by_identity
        shown: dict[str, Any] = {"name": hub.host_name}
        weight, applies = hub.allocation_weight, hub.apply_allocation_policy
        if self._behaviour.show_default_allocation or (weight, applies) != (1, True):
            shown |= {"applyAllocationPolicy": applies, "allocationWeight": weight}
        if version in _WITH_IDENTITIES:
            shown |= {
                "hostName": hub.host_name,
                "authenticationType": "SystemAssigned" if by_identity else "KeyBased",
            }
        if not by_identity:
            masked = f"HostName={hub.host_name};SharedAccessKeyName=iothubowner;SharedAccessKey=****"
            shown["connectionString"] = masked
        return shown | {"location": resource.location}

    def _certificate(self, resource: ProvisioningResource, one: CaCertificate) -> dict[str, Any]:
        parsed = x509.load_pem_x509_certificate(one.pem)
        der = parsed.public_bytes(serialization.Encoding.DER)
        properties = {
            "subject": parsed.subject.rfc4514_string(),
            "expiry": _http_date(parsed.not_valid_after_utc),
            "thumbprint": parsed.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - what thumbprints are
            "isVerified": one.verified,
            "created": _http_date(one.created),
            "updated": _http_date(one.updated),
            "certificate": base64.b64encode(der).decode(),
        }
        return {
            "properties": properties,
            "etag": _etag(properties, {}),
            "id": f"{self.resource_id(resource)}/certificates/{one.name}",
            "name": one.name,
            "type": f"{_TYPE}/Certificates",
        }


def _version(request: Request) -> str:
    version = request.query.get("api-version")
    if not version:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise ArmError(400, "MissingApiVersionParameter", message)
    if version not in API_VERSIONS:
        message = (
            f"No registered resource provider found for location 'global' and API version '{version}' for "
            f"type 'provisioningServices'. The supported api-versions are '{', '.join(API_VERSIONS)}'."
        )
        raise ArmError(400, "NoRegisteredProviderFound", message)
    return version


def _split(segments: Sequence[str]) -> tuple[str, str | None, Sequence[str]]:
    """Subscription, resource group and what follows the type in a path.

    Raises:
        ArmError: 404: it is not a path of provisioning services.
    """
    lower = [segment.lower() for segment in segments]
    kind = [word.lower() for word in ("providers", *_TYPE.split("/"))]
    if lower[:1] == ["subscriptions"] and lower[2:5] == kind:
        return segments[1], None, segments[5:]
    if lower[:1] == ["subscriptions"] and lower[2:3] == ["resourcegroups"] and lower[4:7] == kind:
        return segments[1], segments[3], segments[7:]
    raise _nothing_here()


def _action(method: str, rest: Sequence[str]) -> str | None:
    """The right that a method needs on what follows the type in a path; None: it takes no such method."""
    kind = f"{_TYPE}/certificates" if len(rest) > 1 and rest[1].lower() == "certificates" else _TYPE
    if method == "POST":
        return f"{kind}/{rest[-1].lower()}/action" if len(rest) > 1 else None
    if method == "GET":
        return f"{kind}/read"
    verbs = {"PUT": "write", "PATCH": "write", "DELETE": "delete"}
    return f"{kind}/{verbs[method]}" if method in verbs and rest else None


def _nothing_here() -> ArmError:
    return ArmError(404, "NotFound", "There is nothing at this path.")


def _no_resource(resource: str, group: str) -> ArmError:
    message = (
        f"The Resource '{resource}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return ArmError(404, "ResourceNotFound", message)


def _etag(*parts: Any) -> str:
    """Eight bytes in base64, as seen; others when what they stand for has changed."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return base64.b64encode(b"\0\0\0\0" + hashlib.sha256(text.encode()).digest()[:4]).decode()


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _us_time(moment: datetime) -> str:
    return f"{moment.month}/{moment.day}/{moment:%Y} {int(f'{moment:%I}')}:{moment:%M:%S %p}"
