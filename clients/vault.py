"""Secrets of one key vault, over its REST API.

Why not azure-keyvault-secrets: its async client needs aiohttp beside httpx, it retries a set that got no
answer (each set makes a new version), knows no rate share and no kill switch between two attempts, and takes
the tenant and resource of its token from whoever answers. These are eight calls on the layer that DPS and the
hubs use anyway. Its one advantage, the challenge, is kept in the form that is safe: see `VaultClient`.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl, urlsplit

from clients.connections import Connections
from clients.errors import Forbidden, NotFound, Unauthenticated, UnexpectedReply
from clients.outcomes import Deleted, Gone
from clients.ports import Clock, RateShare
from clients.reading import Members, Misshapen, items, understood
from clients.service import Auth, Fault, Reply, Request, Service
from clients.vault_shapes import (
    Absent,
    Secret,
    SecretValue,
    SecretVersion,
    change_body,
    checked_name,
    checked_version,
    code_only,
    fault_of,
    read_secret,
    read_version,
    set_body,
)
from clients.wording import plain
from provisioning.keys import SymmetricKey

__all__ = [
    "VAULT_API_VERSION",
    "VAULT_RESOURCE",
    "VAULT_SCOPE",
    "Absent",
    "Secret",
    "SecretValue",
    "SecretVersion",
    "VaultClient",
]

VAULT_API_VERSION = "2025-07-01"
"""The version that is spoken; 2026-04-01 adds nothing to secrets (documented)."""

VAULT_RESOURCE = "https://vault.azure.net"
VAULT_SCOPE = f"{VAULT_RESOURCE}/.default"
"""What an Entra token must be for (documented; other clouds have their own)."""

_MISSING = "SecretNotFound"
_DISABLED = "SecretDisabled"
_TOKEN = "$skiptoken"  # noqa: S105 - the name of a query parameter

T = TypeVar("T")


class VaultClient:
    """One vault: the configured URL, and no other.

    A URL in an event, a challenge, an id or a link to a next page is never called. A challenge (401) is
    answered with a fresh token of the configured identity and scope, once; neither its tenant nor its
    resource is followed. If the vault then still refuses and asks for a token of another resource, the
    exception says so: the URL is not the vault it should be, or one of another cloud. Tokens are not asked
    for with continuous access evaluation, so a vault has no claims to challenge with.

    Every method may raise ServiceError and NoCredential; those that change, OutcomeUnknown too.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: Auth,
        connections: Connections,
        share: RateShare,
        clock: Clock,
        jitter: Callable[[], float],
        resource: str = VAULT_RESOURCE,
    ) -> None:
        """Describe it; nothing is sent.

        Args:
            url: `https://NAME.vault.azure.net`.
            auth: an Entra token for VAULT_SCOPE, or for the scope of `resource`.
            connections: shared with the other clients.
            share: of the vault's rate (4,000 calls in 10 s: documented).
            clock: for pauses and budgets.
            jitter: a random number in [0, 1), drawn per pause.
            resource: what tokens are for.

        Raises:
            NotSendable: the URL cannot be a vault's.
        """

        def service(fault: Callable[[Any], Fault]) -> Service:
            return Service(
                "Key Vault",
                url,
                api_version=VAULT_API_VERSION,
                auth=auth,
                connections=connections,
                share=share,
                clock=clock,
                fault=fault,
                jitter=jitter,
            )

        self._service = service(fault_of)
        self._with_value = service(code_only)
        self._resource = resource.rstrip("/")

    def __repr__(self) -> str:
        return f"VaultClient({self._service.host!r})"

    async def set(
        self,
        name: str,
        value: SecretValue | SymmetricKey,
        *,
        tags: Mapping[str, str] | None = None,
        expires: datetime | None = None,
        not_before: datetime | None = None,
        enabled: bool = True,
        content_type: str | None = None,
    ) -> SecretVersion:
        """Make a new version, which is the newest from then on. It always makes one, also of the same value.

        Args:
            name: of the secret; 1 to 127 letters, digits and dashes.
            value: 1 to 25,000 bytes in UTF-8.
            tags: at most 15, each name and value at most 256 characters. One that names the change lets
                `find_version` tell after an OutcomeUnknown whether it was made.
            expires: advisory; SecretNearExpiry is raised 30 days before (documented).
            not_before: advisory.
            enabled: whether it can be read. A disabled newest version makes reads without a version fail.
            content_type: a note on the value's kind.

        Raises:
            NotSendable: an argument that the vault would refuse. Never shows the value.
            OutcomeUnknown: it may have been made, or may still be. A repeated set makes a second version:
                look with `find_version` first.
            Conflict: a deleted secret has the name (code ObjectIsDeletedButRecoverable).
        """
        body = set_body(
            value,
            tags=tags or {},
            expires=expires,
            not_before=not_before,
            enabled=enabled,
            content_type=content_type,
        )
        request = Request("PUT", _path(name), body=body, writes=True)
        reply = await self._send(request, self._with_value)
        return self._understood(reply, lambda body: read_version(body, name), wrote=True)

    async def get(self, name: str, version: str | None = None) -> Secret | Absent:
        """A version with its value; None: the newest, and no older one if that is disabled.

        Any 404 but the vault's own SecretNotFound raises NotFound: it says nothing of the secret.
        """
        try:
            reply = await self._send(Request("GET", _path(name, version)))
        except NotFound as error:
            if error.code != _MISSING:
                raise
            return Absent.MISSING
        except Forbidden as error:
            if error.code != _DISABLED:
                raise
            return Absent.DISABLED
        return self._understood(reply, lambda body: read_secret(body, name, version))

    async def versions(self, name: str) -> AsyncIterator[SecretVersion]:
        """All versions, disabled ones too, ordered by nothing of use (their ids). None of a missing secret.

        It is whole only if it ends without an exception.
        """
        path, token = f"{_path(name)}/versions", ""
        while True:
            reply = await self._send(Request("GET", path, query={_TOKEN: token} if token else {}))
            found, following = self._understood(reply, lambda body: _read_page(body, name))
            if following and following == token:
                raise UnexpectedReply(
                    "Key Vault: a page leads to itself; begin the listing again", service=self._service.name
                )
            for each in found:
                yield each
            if not following:
                return
            token = following

    async def find_version(self, name: str, tag: str, value: str) -> SecretVersion | None:
        """The newest version that carries this tag with this value, enabled or not; None: none does.

        After an OutcomeUnknown of `set` this tells whether the version was made. None is not final: a call
        that got no answer may still be on its way, for as long as an attempt may take.

        Of several from the same second the highest id is taken, so that everybody takes the same one.
        """
        found = [each async for each in self.versions(name) if each.tags.get(tag) == value]
        return max(found, key=lambda each: (each.created, each.version), default=None)

    async def update(
        self,
        name: str,
        version: str,
        *,
        tags: Mapping[str, str] | None = None,
        enabled: bool | None = None,
        expires: datetime | None = None,
        not_before: datetime | None = None,
        content_type: str | None = None,
    ) -> SecretVersion | Gone:
        """Change what is noted about one version; what is not given stays. Its value never changes.

        There is no ETag: the last writer wins. To say the same twice does no harm.

        Args:
            name: of the secret.
            version: the one meant: "the newest" might be another by the time it arrives.
            tags: all of them: they replace those that are there.
            enabled: as in `set`.
            expires: as in `set`.
            not_before: as in `set`.
            content_type: as in `set`.

        Raises:
            NotSendable: an argument that the vault would refuse.
        """
        body = change_body(
            tags=tags, enabled=enabled, expires=expires, not_before=not_before, content_type=content_type
        )
        request = Request("PATCH", _path(name, checked_version(version)), body=body, writes=True)
        reply = await self._unless_missing(request)
        if reply is None:
            return Gone()
        return self._understood(reply, lambda body: read_version(body, name, version), wrote=True)

    async def disable(self, name: str, version: str) -> SecretVersion | Gone:
        """Make a version's value unreadable, until it is enabled again."""
        return await self.update(name, version, enabled=False)

    async def delete(self, name: str) -> Deleted | Gone:
        """Delete a secret with all its versions. It can be recovered for 7 to 90 days, as the vault is set.

        For some seconds it is neither there nor among the deleted. There is no purge here: the root of every
        device key derived from a group's key would be gone for ever.
        """
        reply = await self._unless_missing(Request("DELETE", _path(name), writes=True))
        return Gone() if reply is None else Deleted()

    async def recover(self, name: str) -> SecretVersion | Gone:
        """Bring a deleted secret back; its newest version. It can be read some seconds later.

        Gone means that it is not among the deleted: not yet, not any more, or never was.
        """
        path = f"/deletedsecrets/{checked_name(name)}/recover"
        reply = await self._unless_missing(Request("POST", path, writes=True))
        if reply is None:
            return Gone()
        return self._understood(reply, lambda body: read_version(body, name), wrote=True)

    async def _unless_missing(self, request: Request) -> Reply | None:
        try:
            return await self._send(request)
        except NotFound as error:
            if error.code != _MISSING:
                raise
            return None

    async def _send(self, request: Request, service: Service | None = None) -> Reply:
        try:
            return await (service or self._service).send(request)
        except Unauthenticated as error:
            self._explain(error)

    def _explain(self, error: Unauthenticated) -> NoReturn:
        """Raise it, saying more if the vault wanted a token for something else."""
        wanted = _resource(error.challenge)
        if not wanted or wanted == self._resource:
            raise error
        raise Unauthenticated(
            f"{error}; it asks for a token of {plain(wanted)!a}, and only tokens of {self._resource} are "
            "given: check that the vault's URL is right, and of the right cloud",
            service=error.service,
            status=error.status,
            code=error.code,
        ) from None

    def _understood(self, reply: Reply, read: Callable[[Any], T], *, wrote: bool = False) -> T:
        return understood(self._service.name, reply.body, read, wrote=wrote)


def _path(name: str, version: str | None = None) -> str:
    path = f"/secrets/{checked_name(name)}"
    return path if version is None else f"{path}/{checked_version(version)}"


def _read_page(body: Any, name: str) -> tuple[list[SecretVersion], str]:
    """The versions of a page, and the token of the next one; "" after the last."""
    members = Members(body, "the list of versions")
    found = [read_version(each, name) for each in items(body.get("value"), "the list of versions")]
    link = members.text_or_none("nextLink")
    if not link:
        return found, ""
    # Of the link only the token is taken: where it points is not for an answer to say.
    try:
        token = dict(parse_qsl(urlsplit(link).query)).get(_TOKEN, "")
    except ValueError:
        token = ""
    if not token:
        raise Misshapen("nextLink of the list of versions must have a $skiptoken")
    return found, token


def _resource(challenge: str) -> str:
    """What a challenge asks a token for: its `resource`, or its `scope` without the end; "" if neither."""
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() != "bearer":
        return ""
    given: dict[str, str] = {}
    for part in rest.split(","):
        name, _, text = part.partition("=")
        given[name.strip().lower()] = text.strip().strip('"')
    wanted = given.get("resource") or given.get("resource_id") or given.get("scope", "")
    return wanted.removesuffix("/.default").rstrip("/")
