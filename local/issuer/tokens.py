"""Signed tokens in the shape of Entra's, made and judged by the world's clock."""

import base64
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from local.issuer.roles import EVERYTHING, Granted, Role, patterns
from local.world import Clock


def _either(resource: str) -> tuple[str, ...]:
    return (resource, f"{resource}/")


DPS = _either("https://azure-devices-provisioning.net")
"""Audiences of the DPS service API (documented)."""
HUBS = _either("https://iothubs.azure.net")
"""Audiences of IoT Hub's service API (documented)."""
VAULT = _either("https://vault.azure.net")
"""Audiences of Key Vault (documented; its challenge names the first)."""
ARM = (*_either("https://management.azure.com"), *_either("https://management.core.windows.net"))
"""Audiences of Azure Resource Manager, as its own error message lists them (seen)."""
STORAGE = _either("https://storage.azure.com")
"""Audiences of Azure Storage (documented)."""

LIFETIME = 86_399.0
"""Seconds a token is good for (seen in recorded answers)."""
_ALGORITHM = "RS256"
_DATA_ACTIONS, _ACTIONS = "local_data_actions", "local_actions"
"""Claims of this issuer's own: real tokens say nothing of roles."""
_LATEST_TIME = 253_402_300_799  # the end of the year 9999


class Refusal(StrEnum):
    """Why a token is not accepted."""

    GARBAGE = "it is not a token, or lacks a claim that every token has"
    SIGNATURE = "it was not signed by this issuer"
    ISSUER = "it names another issuer"
    EXPIRED = "it has expired"
    EARLY = "it is not valid yet"
    AUDIENCE = "it is for another audience"


class TokenRefused(Exception):
    """A token that is not accepted; the text holds nothing of it but its audience.

    Args:
        reason: why.
        audience: whom it is for, when that is the reason.
        expired: when it expired in seconds since 1970, when that is the reason.
    """

    def __init__(self, reason: Refusal, *, audience: str | None = None, expired: float | None = None) -> None:
        super().__init__(f"The token is refused: {reason}{f' ({audience})' if audience else ''}.")
        self.reason = reason
        self.audience = audience
        self.expired = expired


class TokenJudge(Protocol):
    """Who decides on the tokens that reach a service."""

    def accept(self, token: str, audiences: Collection[str]) -> Granted:
        """What a token lets its holder do, if it is good for one of the audiences.

        Args:
            token: what follows `Bearer` in the header.
            audiences: compared as they are, so both spellings with and without a slash at the end.

        Raises:
            TokenRefused: it is not.
        """


@dataclass(frozen=True, slots=True)
class Identity:
    """A principal that tokens are for: a managed identity, or an application with a secret."""

    client_id: str
    """The application id (`appid` in the token)."""
    object_id: str
    """The principal id (`oid`), which role assignments name."""
    secret: str | None = field(default=None, repr=False)
    """What an application shows at the authority's endpoint; None: a managed identity."""
    roles: tuple[Role, ...] = EVERYTHING
    """What it was given."""


SYSTEM = Identity("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002")
"""The system-assigned identity an issuer has unless told otherwise."""


class Issuer:
    """Makes tokens and judges them.

    Nothing of it is secret but its private key, which never leaves it.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        tenant: str = "00000000-0000-4000-8000-0000000000ff",
        system: Identity | None = SYSTEM,
        identities: Collection[Identity] = (),
        lifetime: float = LIFETIME,
        leeway: float = 0.0,
    ) -> None:
        """Make an issuer with a key of its own.

        Args:
            clock: the world's.
            tenant: the directory's id.
            system: whose tokens a request that names no identity gets; None: such requests are refused.
            identities: further principals, by their client ids.
            lifetime: seconds a token is good for.
            leeway: seconds by which a token may be early or late and still be accepted. Services are
                known to allow some; how much is not, so the default is the strictest.
        """
        self.tenant = tenant
        self.name = f"https://sts.windows.net/{tenant}/"
        self.system = system
        self._identities = {each.client_id.lower(): each for each in (*identities, *filter(None, [system]))}
        self._clock = clock
        self._lifetime = lifetime
        self._leeway = leeway
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self._key.public_key()
        self._public = public
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self._key_id = base64.urlsafe_b64encode(sha256(der).digest()[:15]).decode()

    @property
    def lifetime(self) -> float:
        """Seconds a token is good for."""
        return self._lifetime

    def identity(self, client_id: str) -> Identity | None:
        """The principal with that client id, in any case."""
        return self._identities.get(client_id.lower())

    def token(
        self,
        audience: str,
        identity: Identity | None = None,
        *,
        lifetime: float | None = None,
        roles: Collection[Role] | None = None,
    ) -> str:
        """A token for an audience.

        Args:
            audience: the resource, put into the token as it is.
            identity: for whom; None: the system-assigned one.
            lifetime: seconds it is good for; None: the issuer's.
            roles: what it lets its holder do; None: what the identity was given.

        Raises:
            ValueError: no identity is given and there is no system-assigned one.
        """
        holder = identity or self.system
        if holder is None:
            raise ValueError("there is no system-assigned identity; name one")
        now = int(self._clock.now().timestamp())
        data_actions, actions = patterns(holder.roles if roles is None else roles)
        claims = {
            "aud": audience,
            "iss": self.name,
            "iat": now,
            "nbf": now,
            "exp": now + int(self._lifetime if lifetime is None else lifetime),
            "appid": holder.client_id,
            "oid": holder.object_id,
            "sub": holder.object_id,
            "tid": self.tenant,
            "idtyp": "app",
            "ver": "1.0",
            _DATA_ACTIONS: data_actions,
            _ACTIONS: actions,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self._key_id})

    def accept(self, token: str, audiences: Collection[str]) -> Granted:
        """What a token allows that is this issuer's, valid by the world's clock, and for an audience.

        Raises:
            TokenRefused: it is not.
        """
        claims = self._verified(token)
        audience, begin, end = claims["aud"], claims["nbf"], claims["exp"]
        if not (isinstance(audience, str) and _is_time(begin) and _is_time(end)):
            raise TokenRefused(Refusal.GARBAGE)
        now = self._clock.now().timestamp()
        if now >= end + self._leeway:
            raise TokenRefused(Refusal.EXPIRED, expired=float(end))
        if now < begin - self._leeway:
            raise TokenRefused(Refusal.EARLY)
        if audience not in audiences:
            raise TokenRefused(Refusal.AUDIENCE, audience=audience)
        return Granted(
            object_id=str(claims["oid"]),
            client_id=str(claims["appid"]),
            tenant=str(claims["tid"]),
            data_actions=_texts(claims.get(_DATA_ACTIONS)),
            actions=_texts(claims.get(_ACTIONS)),
        )

    def _verified(self, token: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public,
                algorithms=[_ALGORITHM],  # never the token's own choice
                issuer=self.name,
                options={
                    "require": ["aud", "iss", "exp", "nbf", "oid", "appid", "tid"],
                    "verify_aud": False,
                    "verify_exp": False,  # these three go by the world's clock
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
            raise TokenRefused(Refusal.SIGNATURE) from None
        except jwt.InvalidIssuerError:
            raise TokenRefused(Refusal.ISSUER) from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise TokenRefused(Refusal.GARBAGE) from None
        return claims


def _is_time(value: Any) -> bool:
    """Whether a claim is seconds since 1970 that a date can be made of."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LATEST_TIME


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
