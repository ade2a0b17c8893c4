"""How a device proves itself: what an enrollment's `attestation` may say, and what is kept of it."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from local.dps import keys as symmetric_keys
from local.dps import shapes
from local.dps.errors import BAD_REQUEST, DpsError
from local.dps.keys import SymmetricKeys
from local.dps.wire import timestamp

SYMMETRIC_KEY = "symmetricKey"
X509 = "x509"
TPM = "tpm"
NONE = "none"
_MOST_CERTIFICATE_TEXT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Attestation:
    """A checked attestation: its type, the members shown to everybody, and its keys apart."""

    type: str
    shown: Mapping[str, Any]
    keys: SymmetricKeys | None = None


def parse(value: Any, *, for_group: bool) -> Attestation:
    """Check an `attestation` member.

    The part of the named type is read; parts of other types must be absent or null. Groups take
    symmetric keys and X.509 only (inferred from the published limits, which count just these two).

    Raises:
        DpsError: 400.
    """
    if not isinstance(value, dict):
        raise DpsError(BAD_REQUEST, "attestation must be an object.")
    kind = value.get("type")
    if kind not in (SYMMETRIC_KEY, X509, TPM, NONE):
        raise DpsError(BAD_REQUEST, "attestation.type must be none, tpm, x509 or symmetricKey.")
    if for_group and kind == TPM:
        raise DpsError(BAD_REQUEST, "An enrollment group cannot use TPM attestation.")
    for other in (SYMMETRIC_KEY, X509, TPM):
        if other != kind and value.get(other) is not None:
            raise DpsError(BAD_REQUEST, f"attestation.{other} does not go with attestation.type {kind}.")
    extra = {name: part for name, part in value.items() if name not in ("type", SYMMETRIC_KEY, X509, TPM)}
    if kind == SYMMETRIC_KEY:
        return Attestation(kind, {"type": kind, **extra}, symmetric_keys.parse(value.get(SYMMETRIC_KEY)))
    if kind == X509:
        return Attestation(kind, {"type": kind, X509: _x509(value.get(X509), for_group=for_group), **extra})
    if kind == TPM:
        return Attestation(kind, {"type": kind, TPM: _tpm(value.get(TPM)), **extra})
    return Attestation(NONE, {"type": kind, **extra})


def with_keys(shown: Mapping[str, Any], held: SymmetricKeys | None) -> dict[str, Any]:
    """The attestation as `attestationmechanism` returns it: symmetric keys included."""
    if held is None:
        return dict(shown)
    named = {"primaryKey": held.primary, "secondaryKey": held.secondary}
    return {**shown, SYMMETRIC_KEY: {name: key for name, key in named.items() if key}}


def _tpm(value: Any) -> dict[str, Any]:
    kept: dict[str, Any] = shapes.TPM(value, "attestation.tpm")
    if all(_is_base64(kept[name]) for name in ("endorsementKey", "storageRootKey") if name in kept):
        return kept
    raise DpsError(
        BAD_REQUEST, "attestation.tpm needs an endorsementKey in Base64; a storageRootKey likewise."
    )


def _is_base64(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(base64.b64decode(text.encode("ascii"), validate=True))
    except (UnicodeEncodeError, binascii.Error):
        return False


def _x509(value: Any, *, for_group: bool) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DpsError(BAD_REQUEST, "attestation.x509 must be an object.")
    own = "signingCertificates" if for_group else "clientCertificates"
    foreign = "clientCertificates" if for_group else "signingCertificates"
    certificates, references = value.get(own), value.get("caReferences")
    if value.get(foreign) is not None or (certificates is None) == (references is None):
        raise DpsError(BAD_REQUEST, f"attestation.x509 needs either {own} or caReferences, and no {foreign}.")
    rest = {name: part for name, part in value.items() if name not in (own, foreign, "caReferences")}
    if references is not None:
        named = shapes.CA_REFERENCES(references, "attestation.x509.caReferences")
        if not (named.get("primary") or named.get("secondary")):
            raise DpsError(
                BAD_REQUEST, "attestation.x509.caReferences needs the name of a primary or secondary CA."
            )
        return {"caReferences": named, **rest}
    if not isinstance(certificates, dict):
        raise DpsError(BAD_REQUEST, f"attestation.x509.{own} must be an object.")
    checked = {slot: _certificate(part) for slot, part in certificates.items() if part is not None}
    if not checked or not checked.keys() <= {"primary", "secondary"}:
        raise DpsError(BAD_REQUEST, f"attestation.x509.{own} needs a primary or a secondary certificate.")
    return {own: checked, **rest}


def _certificate(value: Any) -> dict[str, Any]:
    kept: dict[str, Any] = shapes.CERTIFICATE(value, "A certificate")
    text = kept.get("certificate")
    if text is None and "info" in kept:
        return kept  # as some GET returned it
    if text is None or len(text) > _MOST_CERTIFICATE_TEXT:
        raise DpsError(BAD_REQUEST, "A certificate must be a PEM text or Base64 of DER.")
    try:
        return {"certificate": text, "info": info(read_certificate(text))}
    except Exception:  # noqa: BLE001 - what a hostile certificate makes the parser raise is open-ended
        raise DpsError(BAD_REQUEST, "A certificate cannot be read.") from None


def read_certificate(text: str) -> x509.Certificate:
    """A certificate from PEM or from Base64 of DER. What it raises for anything else is open-ended."""
    raw = text.encode("ascii")
    if b"-----BEGIN" in raw:
        return x509.load_pem_x509_certificate(raw)
    return x509.load_der_x509_certificate(base64.b64decode(raw))


def info(certificate: x509.Certificate) -> dict[str, Any]:
    """The published `X509CertificateInfo`."""
    return {
        "subjectName": certificate.subject.rfc4514_string(),
        "sha1Thumbprint": certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - an API member
        "sha256Thumbprint": certificate.fingerprint(hashes.SHA256()).hex().upper(),
        "issuerName": certificate.issuer.rfc4514_string(),
        "notBeforeUtc": timestamp(certificate.not_valid_before_utc),
        "notAfterUtc": timestamp(certificate.not_valid_after_utc),
        "serialNumber": f"{certificate.serial_number:x}",
        "version": certificate.version.value + 1,
    }
