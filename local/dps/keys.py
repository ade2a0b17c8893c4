"""Symmetric keys: their limits, their making, and the device keys of an enrollment group."""

import base64
import binascii
import hashlib
import hmac
import random
from dataclasses import dataclass, field
from typing import Any

from local.dps.errors import BAD_REQUEST, DpsError

_SHORTEST, _LONGEST, _GENERATED = 16, 64, 64


@dataclass(frozen=True, slots=True)
class SymmetricKeys:
    """A primary key and perhaps a secondary one, in Base64; never part of a `repr`."""

    primary: str | None = field(default=None, repr=False)
    secondary: str | None = field(default=None, repr=False)

    @property
    def present(self) -> tuple[str, ...]:
        """The keys there are, the primary first."""
        return tuple(each for each in (self.primary, self.secondary) if each)

    def derived(self, registration_id: str) -> "SymmetricKeys":
        """The keys of one device of a group that has these keys."""
        return SymmetricKeys(
            derive_key(self.primary, registration_id) if self.primary else None,
            derive_key(self.secondary, registration_id) if self.secondary else None,
        )


def derive_key(group_key: str, registration_id: str) -> str:
    """Base64 of HMAC-SHA256 over the registration id, keyed with the decoded group key (documented).

    The id counts as it is written: DPS compares ids without case, this function does not.
    """
    digest = hmac.digest(base64.b64decode(group_key), registration_id.encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


def generate(source: random.Random) -> SymmetricKeys:
    """Two new keys of 64 bytes, the size of those the service makes."""
    return SymmetricKeys(*(base64.b64encode(source.randbytes(_GENERATED)).decode() for _ in range(2)))


def parse(symmetric_key: Any) -> SymmetricKeys | None:
    """The keys of an attestation's `symmetricKey` member; None when it carries none.

    A missing, null or empty key counts as absent. One key alone is allowed (seen: the service does
    not require a secondary key).

    Raises:
        DpsError: 400: not an object, not Base64, or not 16 to 64 bytes.
    """
    if symmetric_key is None:
        return None
    if not isinstance(symmetric_key, dict):
        raise DpsError(BAD_REQUEST, "attestation.symmetricKey must be an object.")
    primary = _check("primaryKey", symmetric_key.get("primaryKey"))
    secondary = _check("secondaryKey", symmetric_key.get("secondaryKey"))
    return SymmetricKeys(primary, secondary) if primary or secondary else None


def _check(name: str, key: Any) -> str | None:
    if key is None or key == "":
        return None
    if isinstance(key, str):
        try:
            size = len(base64.b64decode(key.encode("ascii"), validate=True))
        except (UnicodeEncodeError, binascii.Error):
            size = -1
        if _SHORTEST <= size <= _LONGEST:
            return key
    raise DpsError(BAD_REQUEST, f"{name} must be Base64 of {_SHORTEST} to {_LONGEST} bytes.")
