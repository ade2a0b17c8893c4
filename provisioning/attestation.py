"""How devices prove themselves: what an enrollment's `attestation` says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from provisioning.documents import MalformedDocument, moment, part, text
from provisioning.keys import KeyFormatError, SymmetricKey, SymmetricKeys

T = TypeVar("T")

SYMMETRIC_KEY = "symmetricKey"
X509 = "x509"
TPM = "tpm"
NONE = "none"
KINDS = (SYMMETRIC_KEY, X509, TPM, NONE)
"""The types of attestation (documented). That of an enrollment does not change."""


@dataclass(frozen=True, slots=True)
class Slots(Generic[T]):
    """The primary and the secondary of something; either may be empty."""

    primary: T | None = None
    secondary: T | None = None

    def __bool__(self) -> bool:
        return self.primary is not None or self.secondary is not None


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate in a slot. Its texts are its maker's: hostile wherever they are shown.

    Attributes:
        text: PEM or Base64 of DER; None where the service shows only what it says.
    """

    text: str | None = field(repr=False)
    subject: str | None
    issuer: str | None
    sha1_thumbprint: str | None
    sha256_thumbprint: str | None
    serial_number: str | None
    not_before: datetime | None
    not_after: datetime | None


@dataclass(frozen=True, slots=True, repr=False)
class Attestation:
    """An `attestation` member, its symmetric keys apart."""

    _document: Mapping[str, Any] = field(repr=False)
    keys: SymmetricKeys | None = None
    """Only where they were asked for: no GET or query shows them (documented)."""

    @classmethod
    def adopt(cls, document: Any) -> "Attestation":
        """The attestation of a document that nobody else holds; the keys are taken out of it.

        Raises:
            MalformedDocument: it is none, or a key in it is none.
        """
        if not isinstance(document, dict):
            raise MalformedDocument("attestation must be an object")
        return cls(document, take_keys(document))

    def __repr__(self) -> str:
        return f"Attestation({self.kind[:20]!a}{', keys=****' if self.keys else ''})"

    @property
    def kind(self) -> str:
        """One of KINDS; "" where it says none."""
        return text(self._document, "type") or ""

    @property
    def endorsement_key(self) -> str | None:
        """A TPM's public endorsement key, Base64."""
        return text(part(self._document, TPM), "endorsementKey")

    @property
    def client_certificates(self) -> Slots[Certificate]:
        """The certificates of an individual enrollment's device."""
        return _slots(part(part(self._document, X509), "clientCertificates"), _certificate)

    @property
    def signing_certificates(self) -> Slots[Certificate]:
        """The certificates that sign those of a group's devices."""
        return _slots(part(part(self._document, X509), "signingCertificates"), _certificate)

    @property
    def ca_references(self) -> Slots[str]:
        """The names of CA certificates of the DPS that do so."""
        return _slots(part(part(self._document, X509), "caReferences"), text)


def take_keys(attestation: dict[str, Any]) -> SymmetricKeys | None:
    """Take the symmetric keys out of an attestation, which loses them.

    Raises:
        MalformedDocument: its type or a key is none, or there is a secondary key alone.
    """
    kind = attestation.get("type")
    if kind is not None and not isinstance(kind, str):
        raise MalformedDocument("attestation.type must be a text")
    held = attestation.get(SYMMETRIC_KEY)
    if not held:
        return None
    if not isinstance(held, dict):
        raise MalformedDocument("attestation.symmetricKey must be an object")
    keys = {name: _key(held.pop(name, None), name) for name in ("primaryKey", "secondaryKey")}
    if not held:
        del attestation[SYMMETRIC_KEY]
    primary, secondary = keys.values()
    if primary is None:
        if secondary is not None:
            raise MalformedDocument("attestation.symmetricKey has a secondaryKey without a primaryKey")
        return None
    return SymmetricKeys(primary, secondary)


def put_keys(attestation: dict[str, Any], keys: SymmetricKeys | None) -> None:
    """Put symmetric keys into an attestation, as text, to be sent."""
    if keys is None:
        return
    held = attestation.get(SYMMETRIC_KEY) or {}
    attestation[SYMMETRIC_KEY] = {**held, "primaryKey": keys.primary.reveal()}
    if keys.secondary is not None:
        attestation[SYMMETRIC_KEY]["secondaryKey"] = keys.secondary.reveal()


def _key(value: Any, name: str) -> SymmetricKey | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise MalformedDocument(f"attestation.symmetricKey.{name} must be a text")
    try:
        return SymmetricKey.parse(value)
    except KeyFormatError as error:
        raise MalformedDocument(f"attestation.symmetricKey.{name}: {error}") from None


def _slots(document: Mapping[str, Any], read: Callable[[Mapping[str, Any], str], T | None]) -> Slots[T]:
    return Slots(read(document, "primary"), read(document, "secondary"))


def _certificate(document: Mapping[str, Any], slot: str) -> Certificate | None:
    held = part(document, slot)
    if not held:
        return None
    info = part(held, "info")
    return Certificate(
        text=text(held, "certificate"),
        subject=text(info, "subjectName"),
        issuer=text(info, "issuerName"),
        sha1_thumbprint=text(info, "sha1Thumbprint"),
        sha256_thumbprint=text(info, "sha256Thumbprint"),
        serial_number=text(info, "serialNumber"),
        not_before=moment(info, "notBeforeUtc"),
        not_after=moment(info, "notAfterUtc"),
    )
