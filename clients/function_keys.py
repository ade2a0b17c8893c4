"""The access keys of one function of an app, over the management plane.

Function-level keys, not the host's: a host key opens every function of the app, a function's key that one
alone (azure-docs azure-functions/function-keys-how-to). DPS needs no more than the webhook.

Shapes: `POST …/functions/NAME/listkeys` answers an object of key names to values (seen in the Core Tools'
own tests); `PUT …/functions/NAME/keys/KEY` takes `{"properties": {"name", "value"}}` (so sends the portal,
and the Azure CLI; the published description, WebApps_CreateOrUpdateFunctionSecret, leaves `properties` out)
and answers 200 or 201; `DELETE` of the same answers 204, or 404 where there is none. A value that is given
is taken, though the same page of azure-docs would rather have the host make it: its own are 32 random bytes
in URL-safe Base64. Here it must be known before it is made, so that it can be in the vault by then.

Neither has an ETag. Both are idempotent as long as the value is the same, so an answer that got lost is
cleared up by listing the keys.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from clients.connections import Connections
from clients.errors import NotFound, NotSendable
from clients.management import management, resource_path
from clients.outcomes import Deleted, Gone
from clients.ports import Clock, RateShare
from clients.reading import Misshapen, understood
from clients.service import Auth, Fault, Request
from clients.vault_shapes import SecretValue

WEB_API_VERSION = "2024-11-01"
"""Of Microsoft.Web; 2025-03-01 and 2025-05-01 have the same three calls."""

_SITE = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/[\w.()-]{1,90}"
    r"/providers/Microsoft\.Web/sites/[a-z0-9][a-z0-9-]{0,59}",
    re.IGNORECASE | re.ASCII,
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,126}", re.ASCII)


class FunctionKeysClient:
    """The keys of one function."""

    def __init__(
        self,
        site: str,
        function: str,
        *,
        auth: Auth,
        connections: Connections,
        share: RateShare,
        clock: Clock,
        jitter: Callable[[], float],
        url: str,
        api_version: str = WEB_API_VERSION,
    ) -> None:
        """Describe it; nothing is sent.

        Args:
            site: `/subscriptions/…/providers/Microsoft.Web/sites/NAME`.
            function: its name.
            auth: an Entra token for ARM_SCOPE, with the right to write the function's keys (the built-in
                role Website Contributor has it).
            connections: shared with the other clients.
            share: of the management plane's rate.
            clock: for pauses and budgets.
            jitter: a random number in [0, 1), drawn per pause.
            url: of the management plane.
            api_version: of Microsoft.Web.

        Raises:
            NotSendable: the id is not that of a site, or the name none of a function.
        """
        self._path = resource_path(site, _SITE, "app", "Microsoft.Web/sites/NAME")
        self._path += f"/functions/{_checked('function', function)}"
        self._service = management(
            url,
            api_version=api_version,
            auth=auth,
            connections=connections,
            share=share,
            clock=clock,
            # The service's own words are left out: they may repeat what was sent, and that is a key.
            fault=_code_only,
            jitter=jitter,
        )

    def __repr__(self) -> str:
        return f"FunctionKeysClient({self._path!r})"

    async def all(self) -> Mapping[str, SecretValue]:
        """Every key, by name.

        Raises:
            NotFound: there is no such app or function.
            ServiceError, NoCredential: what a call may raise.
        """
        reply = await self._service.send(Request("POST", f"{self._path}/listkeys"))
        return understood(self._service.name, reply.body, _keys)

    async def put(self, name: str, value: SecretValue) -> None:
        """Make a key, or give it this value; the others stay.

        Raises:
            NotSendable: no key can have the name.
            OutcomeUnknown: it may have happened, or may still: list the keys. To say it again does no harm.
            ServiceError, NoCredential: what a call may raise.
        """
        body = {"properties": {"name": name, "value": value.reveal()}}
        await self._service.send(Request("PUT", self._key(name), body=body, writes=True))

    async def delete(self, name: str) -> Deleted | Gone:
        """Delete a key; who still presents it gets 401 as soon as the app's instances have noticed.

        Raises:
            NotSendable, OutcomeUnknown, ServiceError, NoCredential: as `put`.
        """
        try:
            await self._service.send(Request("DELETE", self._key(name), writes=True))
        except NotFound:
            return Gone()
        return Deleted()

    def _key(self, name: str) -> str:
        return f"{self._path}/keys/{_checked('key', name)}"


def _checked(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise NotSendable(
            f"{what} name {name[:140]!a} is none: a letter, then letters, digits, dashes and underscores"
        )
    return name


def _keys(body: Any) -> Mapping[str, SecretValue]:
    # Some answers of Microsoft.Web come wrapped as a resource, some not; both are read.
    held = body.get("properties", body) if isinstance(body, Mapping) else None
    if not isinstance(held, Mapping):
        raise Misshapen("the function's keys must be an object")
    if any(not isinstance(value, str) for value in held.values()):
        raise Misshapen("the values of the function's keys must be texts")
    return {str(name): SecretValue(value) for name, value in held.items()}


def _code_only(body: Any) -> Fault:
    error = body.get("error") if isinstance(body, Mapping) else None
    code = error.get("code") if isinstance(error, Mapping) else None
    known = isinstance(code, str) and re.fullmatch(r"[A-Za-z0-9]{1,64}", code, re.ASCII)
    return Fault(str(code) if known else "")
