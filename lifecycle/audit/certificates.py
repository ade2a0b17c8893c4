"""What a certificate that an enrollment or a DPS holds says of itself.

Reading never raises: a certificate comes from anybody, and what it makes a parser raise is open-ended. What
cannot be told is None, with the reason in `problem`.
"""

import base64
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from clients.wording import plain
from provisioning.attestation import Certificate

if TYPE_CHECKING:
    from cryptography import x509

MOST_TEXT = 128 * 1024
"""Longest text that is read, in characters; a chain of some ten certificates."""

LEAST_RSA_BITS = 2048
CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})
"""The curves that TLS libraries have in common; others are odd."""

_BROKEN_HASHES = {
    "1.2.840.113549.1.1.2": "MD2",
    "1.2.840.113549.1.1.3": "MD4",
    "1.2.840.113549.1.1.4": "MD5",
    "1.2.840.113549.1.1.5": "SHA-1",
    "1.3.14.3.2.29": "SHA-1",
    "1.2.840.10045.4.1": "SHA-1",
    "1.2.840.10040.4.3": "SHA-1",
}
"""Signature algorithms with a hash for which other contents can be found, by object identifier (RFC 3279)."""

_CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
_ANY_USAGE = "2.5.29.37.0"
_BEGIN = b"-----BEGIN"
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reading:
    """A certificate as it was read.

    Attributes:
        not_before: start of its validity, in UTC; None: not known.
        not_after: its end.
        key: "RSA 1024", "EC secp256r1", "Ed25519"; "" if not known.
        weak_key: whether that is too weak, or odd.
        hash: the broken hash that it is signed with; "" if it is sound, None if not known.
        self_issued: whether issuer and subject are the same; nobody relies on such a signature.
        authority: whether it may sign certificates.
        not_authority: why not.
        client: whether it may be used by a TLS client.
        subject: as it words it, made fit for a message; its maker chose it.
        thumbprint: SHA-1 in capital hexadecimal digits, by which services and people name certificates.
        held: how many certificates the text holds.
        problem: why the certificate itself could not be read; dates may be known all the same.
    """

    not_before: datetime | None = None
    not_after: datetime | None = None
    key: str = ""
    weak_key: bool | None = None
    hash: str | None = None
    self_issued: bool = False
    authority: bool | None = None
    not_authority: str = ""
    client: bool | None = None
    subject: str = ""
    thumbprint: str = ""
    held: int = 0
    problem: str = ""


def read(certificate: Certificate) -> Reading:
    """What a certificate in a slot says: PEM, a chain of PEM, Base64 of either or of DER, or only its info.

    Of a chain, the certificate counts that the service describes beside it; else the first, as files of
    chains begin with the one that they are about.
    """
    told = Reading(
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        subject=plain(certificate.subject or ""),
        thumbprint=_hex(certificate.sha1_thumbprint),
    )
    if not certificate.text:
        return replace(told, problem="the service shows only what the certificate says of itself")
    if len(certificate.text) > MOST_TEXT:
        return replace(told, problem=f"its text has over {MOST_TEXT:,} characters")
    try:
        blocks = _blocks(certificate.text)
        found = [_parsed(each) for each in blocks]
        described = [_reading(one) for one in found if _described(one, certificate)]
    except Exception:  # noqa: BLE001 - what a hostile certificate makes the parser raise is open-ended
        return replace(told, problem="its text cannot be read as a certificate")
    if not described:
        return replace(
            told, held=len(blocks), problem="its text is not the certificate that the service describes"
        )
    return replace(described[0], held=len(blocks))


def read_der(der: bytes | None, expires: datetime | None) -> Reading:
    """What a CA certificate of a DPS says.

    Args:
        der: the certificate; None: not shown.
        expires: its end as the service tells it.
    """
    told = Reading(not_after=expires)
    if der is None:
        return replace(told, problem="the service does not show the certificate in a known form")
    if len(der) > MOST_TEXT:
        return replace(told, problem=f"it has over {MOST_TEXT:,} bytes")
    try:
        return replace(_reading(_parsed(der)), held=1)
    except Exception:  # noqa: BLE001 - as above
        return replace(told, problem="it cannot be read as a certificate")


def _blocks(text: str) -> list[bytes]:
    raw = text.encode("ascii")
    if _BEGIN not in raw:
        raw = base64.b64decode(raw)
    return _BLOCK.findall(raw) if _BEGIN in raw else [raw]


def _parsed(content: bytes) -> "x509.Certificate":
    from cryptography import x509  # noqa: PLC0415 - put off until there is a certificate

    if content.startswith(_BEGIN):
        return x509.load_pem_x509_certificate(content)
    return x509.load_der_x509_certificate(content)


def _described(found: "x509.Certificate", certificate: Certificate) -> bool:
    """Whether it is the one that the service's info is about. Where that says nothing, any is."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - as above

    for told, algorithm in (
        (certificate.sha256_thumbprint, hashes.SHA256()),
        (certificate.sha1_thumbprint, hashes.SHA1()),  # noqa: S303 - a name, not a proof
    ):
        if told:
            return found.fingerprint(algorithm).hex().upper() == _hex(told)
    return True


def _reading(found: "x509.Certificate") -> Reading:
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - as above

    key, weak = _key(found)
    authority, not_authority = _authority(found)
    return Reading(
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        key=key,
        weak_key=weak,
        hash=_BROKEN_HASHES.get(found.signature_algorithm_oid.dotted_string, ""),
        self_issued=found.issuer.public_bytes() == found.subject.public_bytes(),
        authority=authority,
        not_authority=not_authority,
        client=_client(found),
        subject=_subject(found),
        thumbprint=found.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - as above
    )


def _key(found: "x509.Certificate") -> tuple[str, bool | None]:
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa  # noqa: PLC0415

    try:
        key: Any = found.public_key()
    except Exception:  # noqa: BLE001 - kinds of keys that the library does not know
        return "", None
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}", key.key_size < LEAST_RSA_BITS
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}", key.curve.name not in CURVES
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA {key.key_size}", True
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519", False
    return ("Ed448", False) if isinstance(key, ed448.Ed448PublicKey) else ("", None)


def _authority(found: "x509.Certificate") -> tuple[bool | None, str]:
    from cryptography import x509  # noqa: PLC0415 - as above

    try:
        extensions = found.extensions
    except Exception:  # noqa: BLE001 - broken extensions say nothing
        return None, ""
    try:
        if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False, "basicConstraints says that it is no CA"
    except x509.ExtensionNotFound:
        return False, "it has no basicConstraints"
    try:
        if not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            return False, "keyUsage lacks keyCertSign"
    except x509.ExtensionNotFound:
        pass
    return True, ""


def _client(found: "x509.Certificate") -> bool | None:
    from cryptography import x509  # noqa: PLC0415 - as above

    try:
        usages = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True  # unrestricted
    except Exception:  # noqa: BLE001 - as above
        return None
    return any(usage.dotted_string in (_CLIENT_AUTH, _ANY_USAGE) for usage in usages)


def _subject(found: "x509.Certificate") -> str:
    try:
        return plain(found.subject.rfc4514_string())
    except Exception:  # noqa: BLE001 - a name that cannot be written down
        return ""


def _hex(thumbprint: str | None) -> str:
    return re.sub(r"[^0-9A-F]", "", (thumbprint or "").upper())[:64]
