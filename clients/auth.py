"""The ways into a service: shared access signatures and Entra tokens."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import quote

from clients.connections import Connections
from clients.errors import NoCredential, NotSendable
from clients.ports import Clock
from clients.wording import plain
from provisioning.keys import KeyFormatError, SymmetricKey

if TYPE_CHECKING:
    from types import TracebackType

    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
    from azure.core.credentials_async import AsyncSupportsTokenInfo

DPS_SCOPE = "https://azure-devices-provisioning.net/.default"
"""What Entra tokens for DPS are asked for (documented)."""

HUB_SCOPE = "https://iothubs.azure.net/.default"
"""The same for IoT hubs (documented)."""

SAS_SECONDS = 3600
"""How long a shared access signature is good for. A new one is made after half of it, so that a clock which
differs from the service's by less than half an hour does no harm."""

TOKEN_SECONDS = 30.0
"""Longest wait for an Entra token: `az` may take ten seconds, an identity endpoint some milliseconds."""

RENEW_SECONDS = 300.0
"""How long before its expiry an Entra token is renewed, where the issuer names no time."""


@dataclass(frozen=True, slots=True)
class ConnectionString:
    """What the portal calls a connection string of a shared access policy, of a DPS or an IoT hub."""

    host: str
    policy: str
    key: SymmetricKey

    @classmethod
    def parse(cls, text: str) -> "ConnectionString":
        """Read `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…`, in any order.

        Raises:
            NotSendable: a part is missing, twice there or malformed. Names the part, never its value.
        """
        parts: dict[str, str] = {}
        for part in text.strip().split(";"):
            name, mark, value = part.partition("=")
            if not part.strip():
                continue
            key = name.strip().lower()
            if not mark or key in parts:
                raise NotSendable(
                    "the connection string has a part that is no NAME=VALUE, or one twice; copy it whole "
                    "from the shared access policy"
                )
            parts[key] = value.strip()
        if "deviceid" in parts:
            raise NotSendable(
                "the connection string is that of a device (it has DeviceId); take one of a shared "
                "access policy"
            )
        missing = [name for name in _PARTS if not parts.get(name.lower())]
        if missing:
            raise NotSendable(
                f"the connection string lacks {' and '.join(missing)}; copy it whole from the shared access "
                "policy: HostName=…;SharedAccessKeyName=…;SharedAccessKey=…"
            )
        host, policy, key_text = (parts[name.lower()] for name in _PARTS)
        if "/" in host or any(character.isspace() for character in host):
            raise NotSendable("the connection string's HostName is no host name; write it without https://")
        try:
            return cls(host, policy, SymmetricKey.parse(key_text))
        except KeyFormatError as error:
            raise NotSendable(
                f"the connection string's SharedAccessKey is cut or mistyped: {error}"
            ) from None

    def auth(self, clock: Clock) -> "SasAuth":
        """Enters with this policy's key."""
        return SasAuth(self.host, self.policy, self.key, clock)


_PARTS = ("HostName", "SharedAccessKeyName", "SharedAccessKey")


class SasAuth:
    r"""Shared access signatures of one policy for one host, made here, each used for half its time.

    `SharedAccessSignature sr={host}&sig={signature}&se={unix time}&skn={policy}`, all URL-encoded; the
    signature is Base64 of the HMAC-SHA256 of "{encoded host}\n{se}" (documented, for DPS and hubs alike).
    """

    def __init__(self, host: str, policy: str, key: SymmetricKey, clock: Clock) -> None:
        """Make none yet.

        Args:
            host: of the service; a port is left out of the signature.
            policy: the shared access policy's name.
            key: its primary or secondary key.
            clock: the date signatures expire by.
        """
        self._resource = quote(host.partition(":")[0].lower(), safe="")
        self._policy = policy
        self._key = key
        self._clock = clock
        self._header = ""
        self._made = 0.0

    def __repr__(self) -> str:
        return f"SasAuth({self._resource!r}, {self._policy!r})"

    async def header(self, *, fresh: bool = False) -> str:
        """The value of the Authorization header; `fresh` makes a new one."""
        now = self._clock.now().timestamp()
        # A date before the making of the last one: this machine's clock was set back, and was wrong then.
        if fresh or not self._made <= now < self._made + SAS_SECONDS / 2:
            expiry = int(now) + SAS_SECONDS
            signature = quote(self._key.sign(f"{self._resource}\n{expiry}"), safe="")
            self._header = (
                f"SharedAccessSignature sr={self._resource}&sig={signature}&se={expiry}"
                f"&skn={quote(self._policy, safe='')}"
            )
            self._made = now
        return self._header


class TokenSource(Protocol):
    """What TokenAuth asks: any async credential of azure-identity, or `AzureCredential`."""

    async def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        """A token for the scopes."""


@dataclass(frozen=True, slots=True)
class _Held:
    header: str
    renew_at: float
    expires_at: float


class TokenAuth:
    """Entra tokens for one scope: kept, renewed before they expire, asked for once for all who wait.

    While a renewal fails, the old token serves until it expires. A credential keeps tokens of its own and
    may hand out the same one again, also to `fresh`: that a right was granted a minute ago shows up late.
    """

    def __init__(
        self, credential: TokenSource, scope: str, clock: Clock, *, seconds: float = TOKEN_SECONDS
    ) -> None:
        """Ask nothing yet.

        Args:
            credential: an async credential of azure-identity; closing it is the caller's affair.
            scope: such as DPS_SCOPE.
            clock: the date tokens expire by.
            seconds: longest wait for one.
        """
        self._credential = credential
        self._scope = scope
        self._clock = clock
        self._seconds = seconds
        self._held: _Held | None = None
        self._asking: asyncio.Task[_Held] | None = None

    def __repr__(self) -> str:
        return f"TokenAuth({self._scope!r})"

    async def header(self, *, fresh: bool = False) -> str:
        """The value of the Authorization header.

        Raises:
            NoCredential: no token within the time, or none at all; says what to set.
        """
        held, now = self._held, self._clock.now().timestamp()
        if held and not fresh and now < held.renew_at:
            return held.header
        try:
            self._held = await self._ask()
        except NoCredential:
            if held and not fresh and now < held.expires_at:
                return held.header
            raise
        return self._held.header

    async def _ask(self) -> _Held:
        if self._asking is None or self._asking.done():
            # A task of its own: who waits may be cancelled, and the others wait on.
            self._asking = asyncio.create_task(self._token())
            self._asking.add_done_callback(_seen)
        return await asyncio.shield(self._asking)

    async def _token(self) -> _Held:
        try:
            async with asyncio.timeout(self._seconds):
                token = await self._credential.get_token(self._scope)
        except TimeoutError:
            raise NoCredential(
                f"no Entra token for {self._scope} within {self._seconds:g} s; check that this machine's "
                "identity endpoint or `az` answers"
            ) from None
        except Exception as error:  # noqa: BLE001 - a credential's errors share no base, and its chain is long
            # The cause is left out: azure-identity repeats the identity endpoint's answer in it.
            raise NoCredential(
                f"no Entra token for {self._scope}: {type(error).__name__}: {plain(str(error))}; in Azure, "
                "give the app a managed identity and its client id where it is user-assigned; elsewhere, run "
                "`az login`"
            ) from None
        now = self._clock.now().timestamp()
        if not token.token or token.expires_on <= now:
            raise NoCredential(
                f"the Entra token for {self._scope} has expired already; check this machine's clock"
            )
        refresh_on = getattr(token, "refresh_on", None) or token.expires_on - RENEW_SECONDS
        # Of a token with less than that to live, half of what it has.
        renew_at = max(refresh_on, (now + token.expires_on) / 2) if refresh_on <= now else refresh_on
        return _Held(f"Bearer {token.token}", renew_at, token.expires_on)


def _seen(task: "asyncio.Task[_Held]") -> None:
    if not task.cancelled():
        task.exception()  # whoever asked may be gone


IDENTITY_VARIABLES = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT")
"""By either of them App Service, Functions and Azure's other hosts say where their identity endpoint is."""


class AzureCredential:
    """A credential of azure-identity over our own connections, made when a token is first asked for.

    A managed identity where the environment has an identity endpoint. Elsewhere whatever
    DefaultAzureCredential finds: a service principal in the environment, a workload identity, `az login`,
    and so on; a virtual machine's identity is not looked for, which takes seconds on every other machine.

    It is itself an async credential of azure-core, for Azure's own SDKs.
    """

    def __init__(
        self,
        connections: Connections,
        client_id: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Make nothing yet.

        Args:
            connections: carry its calls; not closed with it.
            client_id: of a user-assigned managed identity; None: the system-assigned one.
            environment: where IDENTITY_VARIABLES are looked for; azure-identity itself reads the process's.
        """
        self._connections = connections
        self._client_id = client_id or None
        self._managed = any(environment.get(name) for name in IDENTITY_VARIABLES)
        self._made: AsyncSupportsTokenInfo | None = None
        self._making = asyncio.Lock()

    def __repr__(self) -> str:
        return f"AzureCredential({'managed identity' if self._managed else 'default'})"

    async def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        """A token for the scopes.

        Raises:
            azure.core.exceptions.ClientAuthenticationError: there is none, and why.
        """
        credential: Any = await self._credential()
        token: AccessToken = await credential.get_token(*scopes, **options)
        return token

    async def get_token_info(
        self, *scopes: str, options: "TokenRequestOptions | None" = None
    ) -> "AccessTokenInfo":
        """The same with the time from which to renew it, for newer SDKs."""
        credential = await self._credential()
        return await credential.get_token_info(*scopes, options=options)

    async def close(self) -> None:
        """Forget tokens; a later call asks anew."""
        made, self._made = self._made, None
        if made:
            await made.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: "TracebackType | None" = None,
    ) -> None:
        await self.close()

    async def _credential(self) -> "AsyncSupportsTokenInfo":
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(self._make)  # its imports take half a second
            return self._made

    def _make(self) -> "AsyncSupportsTokenInfo":
        from azure.identity.aio import (  # noqa: PLC0415 - put off to the first token
            DefaultAzureCredential,
            ManagedIdentityCredential,
        )

        from clients.azure_transport import HttpxTransport  # noqa: PLC0415 - put off to the first token

        transport = HttpxTransport(self._connections.open())
        if self._managed:
            return ManagedIdentityCredential(client_id=self._client_id, transport=transport)
        return DefaultAzureCredential(exclude_managed_identity_credential=True, transport=transport)


def credential(connections: Connections, client_id: str | None = None) -> AzureCredential:
    """The credential of this process: see AzureCredential."""
    return AzureCredential(connections, client_id)
