"""Certificates of devices and of those who sign them, as a factory makes them."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

KeyKind = Literal["ec", "rsa"]
YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Party:
    """A certificate, its key, and the certificates above it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    above: tuple[x509.Certificate, ...] = ()

    def issue(
        self,
        name: str,
        *,
        ca: bool = False,
        kind: KeyKind = "ec",
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> "Party":
        above = (self.certificate, *self.above)
        return _make(name, ca=ca, kind=kind, start=start, end=end, signer=self, above=above)

    @property
    def pem(self) -> str:
        return _pem(self.certificate)

    @property
    def thumbprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex().upper()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def chain_pem(self, above: int | None = None) -> str:
        """Its certificate and so many of those above; None: all but the root."""
        sent = self.above[:-1] if above is None else self.above[:above]
        return "".join(_pem(each) for each in (self.certificate, *sent))

    def shown_by(self, context: ssl.SSLContext, folder: Path, above: int | None = None) -> ssl.SSLContext:
        """The client context, with this certificate to show."""
        pem, key = folder / f"{self.thumbprint}.pem", folder / f"{self.thumbprint}.key"
        pem.write_text(self.chain_pem(above))
        key.write_text(self.key_pem)
        context.load_cert_chain(pem, key)
        return context


def root(name: str = "Root", kind: KeyKind = "ec", end: datetime | None = None) -> Party:
    return _make(name, ca=True, kind=kind, start=None, end=end, signer=None, above=())


def self_signed(name: str, start: datetime | None = None, end: datetime | None = None) -> Party:
    return _make(name, ca=False, kind="ec", start=start, end=end, signer=None, above=())


def _make(
    name: str,
    *,
    ca: bool,
    kind: KeyKind,
    start: datetime | None,
    end: datetime | None,
    signer: Party | None,
    above: tuple[x509.Certificate, ...],
) -> Party:
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if kind == "ec"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start or now - YEAR)
        .not_valid_after(end or now + YEAR)
    )
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Party(builder.sign(signer.key if signer else key, hashes.SHA256()), key, above)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
