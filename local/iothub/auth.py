"""Who may call a hub: shared access policies and bearer tokens."""

import base64
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from local.asgi import Request
from local.dps import sas
from local.dps.sas import SasToken
from local.iothub import errors
from local.iothub.errors import HubError
from local.issuer import HUBS, TokenJudge, TokenRefused

REGISTRY_READ = "RegistryRead"
REGISTRY_WRITE = "RegistryWrite"
SERVICE_CONNECT = "ServiceConnect"
DEVICE_CONNECT = "DeviceConnect"
OWNER = "iothubowner"
BUILT_IN = {
    OWNER: frozenset({REGISTRY_READ, REGISTRY_WRITE, SERVICE_CONNECT, DEVICE_CONNECT}),
    "service": frozenset({SERVICE_CONNECT}),
    "device": frozenset({DEVICE_CONNECT}),
    "registryRead": frozenset({REGISTRY_READ}),
    "registryReadWrite": frozenset({REGISTRY_READ, REGISTRY_WRITE}),
}
"""The policies every hub has from the start, and their permissions (documented)."""
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class HubPolicy:
    """A named pair of Base64 keys and what they allow."""

    name: str
    primary_key: str = field(repr=False)
    secondary_key: str = field(repr=False)
    permissions: frozenset[str]


def built_in(source: Random) -> tuple[HubPolicy, ...]:
    """The policies of `BUILT_IN` with new keys."""
    return tuple(
        HubPolicy(name, _key(source), _key(source), permissions) for name, permissions in BUILT_IN.items()
    )


def _key(source: Random) -> str:
    return base64.b64encode(source.randbytes(32)).decode()


class Access:
    """Checks the `Authorization` header of each call.

    What is wrong is always the same 401: no token, a bad one, and a policy that lacks the permission
    (seen: a policy without ServiceConnect at a twin, one without RegistryRead at a query). A good bearer
    token whose roles do not allow the call is told so by name (seen).
    """

    REMEMBERED = 256
    """Most tokens of policies kept once found good: clients send the same one for minutes."""
    LONGEST = 2048
    """Characters of the longest one kept."""

    def __init__(
        self, policies: Iterable[HubPolicy], hosts: Iterable[str], tokens: TokenJudge | None
    ) -> None:
        """Fix what tokens are checked against.

        Args:
            policies: those of the hub; of two with one name the first counts.
            hosts: host names a shared access signature may be for; case, scheme, port and encoding do
                not count.
            tokens: judges bearer tokens; None: none is good.
        """
        self._policies = {policy.name: policy for policy in reversed(tuple(policies))}
        self._hosts = frozenset(host.lower() for host in hosts)
        self._tokens = tokens
        self._good: dict[str, tuple[SasToken, HubPolicy]] = {}

    def check(
        self,
        header: str | None,
        any_of: Collection[str],
        data_actions: Collection[str],
        call: Request,
        now: datetime,
    ) -> None:
        """Return if the header opens the call.

        Args:
            header: as sent.
            any_of: the permissions of which the policy of a shared access signature needs one.
            data_actions: what the roles of a bearer token must allow, all of it.
            call: its path counts: a signature may be for a part of it (documented).
            now: when a token's expiry is looked at.

        Raises:
            HubError: 401.
        """
        if header is not None and header.lower().startswith(_BEARER):
            self._bearer(header[len(_BEARER) :].strip(), data_actions, call)
            return
        known = self._good.get(header) if header is not None else None
        token, policy = known or self._recognize(header)
        if (
            token.expired(now)
            or not self._covers(token, call.segments)
            or policy.permissions.isdisjoint(any_of)
        ):
            raise _unauthorized()
        if known is None and header is not None and len(header) <= self.LONGEST:
            if len(self._good) >= self.REMEMBERED:
                self._good.clear()
            self._good[header] = (token, policy)

    def _bearer(self, token: str, data_actions: Collection[str], call: Request) -> None:
        if self._tokens is None:
            raise _unauthorized()
        try:
            who = self._tokens.accept(token, HUBS)
        except TokenRefused:
            raise _unauthorized() from None
        if not who.may(*data_actions):
            message = (
                f"Principal {who.object_id} is not authorized for {call.method} on {call.path} "
                "due to no assigned permissions"
            )
            raise HubError(errors.NOT_ASSIGNED, message)

    def _recognize(self, header: str | None) -> tuple[SasToken, HubPolicy]:
        try:
            token = sas.parse(header)
        except sas.SasError:
            raise _unauthorized() from None
        policy = self._policies.get(token.policy) if token.policy is not None else None
        if policy is None or not any(
            token.signed_with(key) for key in (policy.primary_key, policy.secondary_key)
        ):
            raise _unauthorized()
        return token, policy

    def _covers(self, token: SasToken, path: Sequence[str]) -> bool:
        host, _, rest = token.path.partition("/")
        prefix = [part for part in rest.split("/") if part]
        return host in self._hosts and prefix == [part.lower() for part in path[: len(prefix)]]


def _unauthorized() -> HubError:
    return HubError(errors.UNAUTHORIZED, "Unauthorized")
