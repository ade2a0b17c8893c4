"""Certificates that are about to be put into an enrollment."""

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lifecycle.errors import InvalidOption

if TYPE_CHECKING:
    from cryptography import x509

MOST_TEXT = 16 * 1024
"""Longest certificate that is read, in characters; those of devices and their signers have some 2,000."""

_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_END = re.compile(r"-----END ([A-Z0-9 ]+)-----")
_LABEL = "CERTIFICATE"


@dataclass(frozen=True, slots=True)
class CertificateRules:
    """What a certificate must be.

    Attributes:
        now: the time it must be valid at.
        authority: whether it signs devices' certificates, and so must be a CA's.
        any_date: take it though it is expired or not valid yet.
    """

    now: datetime
    authority: bool
    any_date: bool = False


def certificate(text: str, parameter: str, rules: CertificateRules) -> str:
    """One certificate in PEM, as it is sent: its block alone, without what stands around it.

    Raises:
        InvalidOption: names the parameter and the fix. It never shows what the file holds, which may be a
            private key.
    """
    block = _block(text, parameter)
    from cryptography import x509  # noqa: PLC0415 - put off until there is a certificate

    try:
        read = x509.load_pem_x509_certificate(block.encode("ascii"))
        until, since = read.not_valid_after_utc, read.not_valid_before_utc
        signs = _signs(read)
    except Exception:  # noqa: BLE001 - what a hostile certificate makes the parser raise is open-ended
        raise InvalidOption(
            parameter,
            "the certificate cannot be read",
            "make it again: openssl x509 -in FILE -noout must read it",
        ) from None
    if rules.authority and not signs:
        raise InvalidOption(
            parameter,
            "the certificate is no CA's (basicConstraints CA, keyUsage keyCertSign), so it signs no device",
            "give the certificate that signs the devices' certificates",
        )
    if not rules.any_date and until < rules.now:
        raise InvalidOption(
            parameter, f"the certificate expired on {until:%Y-%m-%d}", "give a valid one, or say --force"
        )
    if not rules.any_date and since > rules.now:
        raise InvalidOption(
            parameter, f"the certificate is not valid before {since:%Y-%m-%d}", "wait, or say --force"
        )
    return block


def expiry(text: str) -> datetime | None:
    """When a certificate from an enrollment ends; None where it cannot be read. PEM or Base64 of DER."""
    from cryptography import x509  # noqa: PLC0415 - as above

    try:
        raw = text.encode("ascii")
        if b"-----BEGIN" in raw:
            return x509.load_pem_x509_certificate(raw).not_valid_after_utc
        return x509.load_der_x509_certificate(base64.b64decode(raw)).not_valid_after_utc
    except Exception:  # noqa: BLE001 - as above
        return None


def _block(text: str, parameter: str) -> str:
    if len(text) > MOST_TEXT:
        raise InvalidOption(
            parameter, f"the file has over {MOST_TEXT:,} characters", "give a file with one certificate"
        )
    begins, ends = _BEGIN.findall(text), _END.findall(text)
    if any("PRIVATE KEY" in label for label in begins + ends):
        raise InvalidOption(
            parameter,
            "the file holds a private key, which must never leave its place",
            "give the certificate alone",
        )
    if not begins and not ends:
        raise InvalidOption(
            parameter,
            "the file is no PEM: it has no -----BEGIN CERTIFICATE----- line",
            "convert it: openssl x509 -inform DER -in FILE -out FILE.pem",
        )
    if begins != ends or any(label != _LABEL for label in begins):
        raise InvalidOption(
            parameter,
            "the file's BEGIN and END lines do not match",
            "it must start with -----BEGIN CERTIFICATE----- and end with -----END CERTIFICATE-----",
        )
    if len(begins) > 1:
        raise InvalidOption(
            parameter, f"the file holds {len(begins)} certificates", "give a file with the one that counts"
        )
    start = text.index(f"-----BEGIN {_LABEL}-----")
    end = text.index(f"-----END {_LABEL}-----")
    if end < start:
        raise InvalidOption(
            parameter, "the file's END line stands before its BEGIN line", "make the file again"
        )
    lines = text[start : end + len(f"-----END {_LABEL}-----")].splitlines()
    return "\n".join(line.strip() for line in lines) + "\n"


def _signs(read: "x509.Certificate") -> bool:
    from cryptography import x509  # noqa: PLC0415 - as above

    try:
        if not read.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except x509.ExtensionNotFound:
        return False
    try:
        return read.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True
