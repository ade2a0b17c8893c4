"""Shared access policies of the service API."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from local.dps import errors, sas
from local.dps.errors import DpsError
from local.dps.sas import SasToken
from local.issuer import DPS, TokenJudge, TokenRefused

_BEARER = "bearer "

SERVICE_CONFIG = "ServiceConfig"
ENROLLMENT_READ = "EnrollmentRead"
ENROLLMENT_WRITE = "EnrollmentWrite"
REGISTRATION_READ = "RegistrationStatusRead"
REGISTRATION_WRITE = "RegistrationStatusWrite"
ALL_PERMISSIONS = frozenset(
    {SERVICE_CONFIG, ENROLLMENT_READ, ENROLLMENT_WRITE, REGISTRATION_READ, REGISTRATION_WRITE}
)
OWNER = "provisioningserviceowner"
"""The policy every service has from the start (documented)."""


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """A named pair of Base64 keys and what they allow."""

    name: str
    primary_key: str = field(repr=False)
    secondary_key: str = field(repr=False)
    permissions: frozenset[str] = ALL_PERMISSIONS


class Access:
    """Checks the `Authorization` headers of service API calls.

    A client sends the same token for minutes. One whose policy, host and signature were found good is
    remembered by its whole text; its expiry and what its policy allows are looked at on every call.
    """

    REMEMBERED = 256
    """Most tokens kept, of at most `LONGEST` characters each."""
    LONGEST = 2048

    def __init__(
        self, policies: Iterable[AccessPolicy], hosts: Iterable[str], tokens: TokenJudge | None = None
    ) -> None:
        """Fix what tokens are checked against.

        Args:
            policies: those of the service; of two with one name the first counts.
            hosts: host names a token may be for; their case does not count, nor a token's scheme, port,
                case and encoding.
            tokens: judges Entra's bearer tokens; None refuses them all.
        """
        self._tokens = tokens
        self._policies = {policy.name: policy for policy in reversed(tuple(policies))}
        self._hosts = frozenset(host.lower() for host in hosts)
        self._good: dict[str, tuple[SasToken, AccessPolicy]] = {}

    def check(
        self, header: str | None, permission: str, data_actions: Collection[str], now: datetime
    ) -> None:
        """Return if the header opens the call.

        Which status DPS gives a bearer token whose roles do not allow a call is unknown: here the one of a
        policy that does not.

        Args:
            header: as sent.
            permission: what the policy of a shared access signature must allow; none includes another.
            data_actions: what the roles of a bearer token must allow, all of it.
            now: when a token's expiry is looked at.

        Raises:
            DpsError: 401 without a good token, 403 without the permission.
        """
        if header is not None and header[: len(_BEARER)].lower() == _BEARER:
            self._accept(header[len(_BEARER) :].strip(), data_actions)
            return
        known = self._good.get(header) if header is not None else None
        if known is None or known[0].expired(now):
            known = self._recognize(header, now)
        policy = known[1]
        if permission not in policy.permissions:
            raise DpsError(errors.FORBIDDEN, f"The policy {policy.name} lacks {permission}.")

    def _accept(self, token: str, data_actions: Collection[str]) -> None:
        if self._tokens is None:
            raise DpsError(errors.UNAUTHORIZED, "This service knows no issuer of bearer tokens.")
        try:
            who = self._tokens.accept(token, DPS)
        except TokenRefused as error:
            raise DpsError(errors.UNAUTHORIZED, f"The bearer token is refused: {error}") from None
        if not who.may(*data_actions):
            needed = ", ".join(data_actions)
            raise DpsError(errors.FORBIDDEN, f"The principal {who.object_id} is not assigned {needed}.")

    def _recognize(self, header: str | None, now: datetime) -> tuple[SasToken, AccessPolicy]:
        try:
            token = sas.parse(header)
        except sas.SasError as error:
            raise DpsError(errors.UNAUTHORIZED, str(error)) from None
        policy = self._policies.get(token.policy) if token.policy is not None else None
        if policy is None or token.path not in self._hosts or token.expired(now):
            raise DpsError(errors.UNAUTHORIZED, "The token names no policy or another host, or has expired.")
        if not any(token.signed_with(key) for key in (policy.primary_key, policy.secondary_key)):
            raise DpsError(errors.UNAUTHORIZED, "The token is not signed with a key of its policy.")
        if header is not None and len(header) <= self.LONGEST:
            if len(self._good) >= self.REMEMBERED:
                self._good.clear()
            self._good[header] = (token, policy)
        return token, policy
