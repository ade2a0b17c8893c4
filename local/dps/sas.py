"""Shared access signatures, read as tolerantly as the real clients need it."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote, unquote

_SCHEME = "sharedaccesssignature "


class SasError(ValueError):
    """The header is not a shared access signature."""


@dataclass(frozen=True, slots=True)
class SasToken:
    """A token as sent; `resource` and `expiry` are the raw texts, which the signature covers."""

    resource: str
    expiry: str
    policy: str | None
    signature: bytes = field(repr=False)

    def expired(self, now: datetime) -> bool:
        """Whether `se` (seconds since 1970) has come."""
        return int(self.expiry) <= now.timestamp()

    def signed_with(self, key: str) -> bool:
        """Whether the signature was made with this Base64 key."""
        message = f"{self.resource}\n{self.expiry}".encode()
        expected = hmac.digest(base64.b64decode(key), message, hashlib.sha256)
        return hmac.compare_digest(expected, self.signature)

    @property
    def path(self) -> str:
        """The resource, decoded, lower-case, without scheme, port and outer slashes."""
        text = unquote(self.resource).lower()
        text = text.partition("://")[2] or text
        host, slash, rest = text.strip("/").partition("/")
        if host.startswith("["):
            host = host[1:].partition("]")[0]
        elif host.count(":") == 1:
            host = host.partition(":")[0]
        return f"{host}{slash}{rest}"


def parse(header: str | None) -> SasToken:
    """Read an `Authorization` header; its fields may come in any order.

    Raises:
        SasError: missing, of another scheme, or without a usable `sr`, `sig` or `se`.
    """
    if not header or not header.lower().startswith(_SCHEME):
        raise SasError("The Authorization header must be a SharedAccessSignature.")
    fields: dict[str, str] = {}
    for part in header[len(_SCHEME) :].strip().split("&"):
        name, _, value = part.partition("=")
        fields[name.strip().lower()] = value
    resource, expiry = fields.get("sr", ""), fields.get("se", "")
    if not resource or not (expiry.isascii() and expiry.isdigit() and len(expiry) <= 15):
        raise SasError("The SharedAccessSignature lacks sr or a usable se.")
    try:
        signature = base64.b64decode(unquote(fields.get("sig", "")).encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise SasError("The SharedAccessSignature's sig is not Base64.") from None
    policy = fields.get("skn")
    return SasToken(resource, expiry, unquote(policy) if policy else None, signature)


def sign(resource: str, key: str, expires: datetime, policy: str | None = None) -> str:
    """An `Authorization` header for a resource (`host` or `idScope/registrations/id`, not yet encoded)."""
    encoded, expiry = quote(resource, safe=""), int(expires.timestamp())
    digest = hmac.digest(base64.b64decode(key), f"{encoded}\n{expiry}".encode(), hashlib.sha256)
    signature = quote(base64.b64encode(digest).decode(), safe="")
    named = f"&skn={quote(policy, safe='')}" if policy else ""
    return f"SharedAccessSignature sr={encoded}&sig={signature}&se={expiry}{named}"
