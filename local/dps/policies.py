"""Shared access policies of the service API."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from local.dps import errors, sas
from local.dps.errors import DpsError

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


def authorize(
    header: str | None,
    policies: Collection[AccessPolicy],
    hosts: Collection[str],
    permission: str,
    now: datetime,
) -> None:
    """Check the `Authorization` header of a service API call.

    Args:
        header: as sent.
        policies: those of the service.
        hosts: lower-case host names a token may be for; its scheme, port, case and encoding do not count.
        permission: what the call needs; no permission includes another.
        now: when a token's expiry is looked at.

    Raises:
        DpsError: 401 without a good token, 403 without the permission.
    """
    try:
        token = sas.parse(header)
    except sas.SasError as error:
        raise DpsError(errors.UNAUTHORIZED, str(error)) from None
    policy = next((each for each in policies if each.name == token.policy), None)
    if policy is None or token.path not in hosts or token.expired(now):
        raise DpsError(errors.UNAUTHORIZED, "The token names no policy or another host, or has expired.")
    if not any(token.signed_with(key) for key in (policy.primary_key, policy.secondary_key)):
        raise DpsError(errors.UNAUTHORIZED, "The token is not signed with a key of its policy.")
    if permission not in policy.permissions:
        raise DpsError(errors.FORBIDDEN, f"The policy {policy.name} lacks {permission}.")
