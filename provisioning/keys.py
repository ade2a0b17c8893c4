"""Symmetric keys of enrollments and the device keys derived from them."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field

KEY_BYTES = range(16, 65)
"""How long a symmetric key may be, in bytes once decoded (documented: 16 to 64)."""


class KeyFormatError(ValueError):
    """A symmetric key that DPS would refuse. The message never holds the key."""


@dataclass(frozen=True, slots=True)
class SymmetricKey:
    """A primary or secondary key of an enrollment, or a key derived from one.

    Its text reaches the outside only through `reveal`: neither `repr` nor `str` show it.
    """

    _value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self._value) not in KEY_BYTES:
            raise KeyFormatError(
                f"a symmetric key has 16 to 64 bytes once decoded, this one {len(self._value)}"
            )

    @classmethod
    def parse(cls, text: str) -> "SymmetricKey":
        """Read a key as DPS writes it.

        Args:
            text: standard Base64 with padding.

        Raises:
            KeyFormatError: not Base64, or not 16 to 64 bytes once decoded.
        """
        try:
            return cls(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as error:
            if isinstance(error, KeyFormatError):
                raise
            raise KeyFormatError("a symmetric key is Base64 text; this one does not decode") from None

    def derive(self, registration_id: str) -> "SymmetricKey":
        """The key of one device of an enrollment group whose key this is.

        HMAC-SHA256 over the registration id exactly as the device writes it: the HMAC is case-sensitive,
        the id at DPS is not (documented; vectors in the tests).
        """
        return SymmetricKey(hmac.digest(self._value, registration_id.encode(), hashlib.sha256))

    def sign(self, text: str) -> str:
        """The HMAC-SHA256 of a text as Base64: what a shared access signature is made of. Not secret."""
        return base64.b64encode(hmac.digest(self._value, text.encode(), hashlib.sha256)).decode("ascii")

    def reveal(self) -> str:
        """The Base64 text, for a device, a service call or the vault; never for a log."""
        return base64.b64encode(self._value).decode("ascii")

    def same_as(self, other: "SymmetricKey") -> bool:
        """Compare two keys in constant time."""
        return hmac.compare_digest(self.reveal(), other.reveal())


@dataclass(frozen=True, slots=True)
class SymmetricKeys:
    """Both keys of an enrollment. DPS does not ask for a secondary key."""

    primary: SymmetricKey
    secondary: SymmetricKey | None = None

    def same_as(self, other: "SymmetricKeys | None") -> bool:
        """Whether both keys, each in its slot, are the same."""
        if other is None or not self.primary.same_as(other.primary):
            return False
        if self.secondary is None or other.secondary is None:
            return self.secondary is other.secondary
        return self.secondary.same_as(other.secondary)
