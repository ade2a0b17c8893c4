"""Where clients get tokens: the identity endpoint of Azure Functions, and an authority's token endpoint.

What is unknown, and what this does:
- the status of a wrong `X-IDENTITY-HEADER`: 403;
- the status and text of a resource that the tenant does not know: 400 with Entra's number for it
  (the identity endpoint is known to answer such requests vaguely, with a `statusCode` of 500);
- which other parameters name an identity beside `client_id`, `mi_res_id` and `object_id`
  (`principal_id` is documented too): all but `client_id` and the two object ids are refused.
"""

import hmac
import secrets
from collections.abc import Callable, Collection
from urllib.parse import parse_qsl

from local.asgi import JsonService, Request, Response
from local.issuer.tokens import ARM, DPS, HUBS, STORAGE, VAULT, Identity, Issuer
from local.world import World

PATH = "/msi/token"
"""Path of the identity endpoint; clients take it from IDENTITY_ENDPOINT, and it looks so in Azure."""
VERSION = "2019-08-01"
"""The version of the identity endpoint that azure-identity speaks."""
RESOURCES = (*DPS, *HUBS, *VAULT, *ARM, *STORAGE)
_DEFAULT = "/.default"


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


class TokenService(JsonService):
    """Both endpoints, as one ASGI application.

    `GET /msi/token` is the identity endpoint of App Service and Functions, which Azure serves over plain
    HTTP: `ManagedIdentityCredential` finds it by `environment`. `POST /{tenant}/oauth2/v2.0/token` is the
    client-credentials grant for identities that have a secret, for which `ClientSecretCredential` wants
    TLS, `authority=` and `disable_instance_discovery=True`.
    """

    def __init__(
        self,
        issuer: Issuer,
        world: World,
        *,
        header: str | None = None,
        resources: Collection[str] = RESOURCES,
        name: str = "issuer",
    ) -> None:
        """Make the endpoints of an issuer.

        Args:
            issuer: who makes the tokens.
            world: its journal gets every call, without tokens and secrets.
            header: what callers of the identity endpoint must show; None: a new random text.
            resources: for which there are tokens.
            name: what the journal calls this service.
        """
        self._issuer = issuer
        self._world = world
        self._header = header or secrets.token_hex(16)
        self._resources = frozenset(resources)
        self._name = name

    def environment(self, url: str) -> dict[str, str]:
        """The environment variables by which clients find the identity endpoint.

        Args:
            url: where this application is served, without a slash at the end.
        """
        return {"IDENTITY_ENDPOINT": url + PATH, "IDENTITY_HEADER": self._header}

    def answer(self, request: Request) -> Response:
        """Answer one request."""
        method, path = request.method, request.segments
        if (method, request.path) == ("GET", PATH):
            return self._checked(self._identity_token, request, _identity_error)
        if len(path) == 4 and path[1:] == ("oauth2", "v2.0", "token") and method == "POST":
            return self._checked(self._client_token, request, _authority_error)
        if len(path) == 4 and path[1:] == ("v2.0", ".well-known", "openid-configuration") and method == "GET":
            return self._discovery(request)
        return self.failed(404, "There is nothing at this path.")

    def failed(self, status: int, message: str) -> Response:
        """An error in the shape of the identity endpoint."""
        return _identity_error(_RefusedError(status, message))

    def record(self, request: Request, response: Response) -> None:
        """Journal a call by what it asks for."""
        sent = dict(request.query) | (_form(request) if request.method == "POST" else {})
        kept = ("api-version", "resource", "client_id", "mi_res_id", "object_id", "grant_type", "scope")
        self._world.journal.record(
            self._world.clock.now(),
            self._name,
            request.method,
            request.path,
            response.status,
            request={name: sent[name] for name in kept if name in sent},
            response=response.value,
        )

    def _checked(
        self,
        answer: Callable[[Request], Response],
        request: Request,
        shape: Callable[[_RefusedError], Response],
    ) -> Response:
        try:
            return answer(request)
        except _RefusedError as refused:
            return shape(refused)

    def _identity_token(self, request: Request) -> Response:
        shown = request.headers.get("x-identity-header", "")
        if not hmac.compare_digest(shown.encode("latin-1"), self._header.encode()):
            raise _RefusedError(403, "X-IDENTITY-HEADER is missing or wrong.")
        if request.query.get("api-version") != VERSION:
            raise _RefusedError(400, f"api-version must be {VERSION}.")
        resource = self._known(request.query.get("resource", ""))
        holder = self._holder(request)
        token = self._issuer.token(resource, holder)
        expires = int(self._world.clock.now().timestamp()) + int(self._issuer.lifetime)
        return Response(
            200,
            {
                "access_token": token,
                "client_id": holder.client_id,
                "expires_on": str(expires),
                "resource": resource,
                "token_type": "Bearer",
            },
        )

    def _holder(self, request: Request) -> Identity:
        asked = {name: request.query[name] for name in _NAMES_OF_IDENTITIES if name in request.query}
        found = self._issuer.system
        if asked:
            found = self._issuer.identity(asked["client_id"]) if list(asked) == ["client_id"] else None
        if found is None or found.secret is not None:
            raise _RefusedError(
                400, "No managed identity found for specified ClientId/ResourceId/PrincipalId."
            )
        return found

    def _client_token(self, request: Request) -> Response:
        self._own_tenant(request.segments[0])
        form = _form(request)
        if form.get("grant_type") != "client_credentials":
            raise _RefusedError(
                400, "AADSTS70003: The grant type is not supported.", "unsupported_grant_type"
            )
        found = self._issuer.identity(form.get("client_id", ""))
        if found is None or found.secret is None:
            raise _RefusedError(400, "AADSTS700016: There is no such application.", "unauthorized_client")
        if not hmac.compare_digest(form.get("client_secret", "").encode(), found.secret.encode()):
            raise _RefusedError(401, "AADSTS7000215: Invalid client secret provided.", "invalid_client")
        scope = form.get("scope", "")
        if not scope.endswith(_DEFAULT):
            raise _RefusedError(400, "AADSTS1002012: The scope must end in /.default.", "invalid_scope")
        token = self._issuer.token(self._known(scope.removesuffix(_DEFAULT)), found)
        seconds = int(self._issuer.lifetime)
        return Response(
            200,
            {
                "token_type": "Bearer",
                "expires_in": seconds,
                "ext_expires_in": seconds,
                "access_token": token,
            },
            {"Cache-Control": "no-store, no-cache"},
        )

    def _discovery(self, request: Request) -> Response:
        try:
            self._own_tenant(request.segments[0])
        except _RefusedError as refused:
            return _authority_error(refused)
        here = f"https://{request.headers.get('host', 'localhost')}/{request.segments[0]}"
        return Response(
            200,
            {
                "token_endpoint": f"{here}/oauth2/v2.0/token",
                "authorization_endpoint": f"{here}/oauth2/v2.0/authorize",
                "issuer": self._issuer.name,
            },
        )

    def _own_tenant(self, tenant: str) -> None:
        if tenant.lower() != self._issuer.tenant.lower():
            raise _RefusedError(400, "AADSTS90002: There is no such tenant.", "invalid_request")

    def _known(self, resource: str) -> str:
        if resource not in self._resources:
            raise _RefusedError(
                400, "AADSTS500011: The resource principal was not found in the tenant.", "invalid_resource"
            )
        return resource


_NAMES_OF_IDENTITIES = ("client_id", "mi_res_id", "object_id", "principal_id")


def _form(request: Request) -> dict[str, str]:
    text = request.body.decode("utf-8", "replace")
    return dict(parse_qsl(text, keep_blank_values=True))


def _identity_error(refused: _RefusedError) -> Response:
    return Response(refused.status, {"statusCode": refused.status, "message": refused.message})


def _authority_error(refused: _RefusedError) -> Response:
    return Response(refused.status, {"error": refused.code, "error_description": refused.message})
