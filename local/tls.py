"""Certificates made at start: a private authority, and server certificates that loopback clients accept."""

import ipaddress
import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_LIFETIME = timedelta(days=800)  # some clients refuse server certificates of more than 825 days
_WORTH_KEEPING = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """Files of one server certificate and of the authority that signed it."""

    ca_pem: Path
    """What clients must trust."""
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """A context for a server that shows this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """A context for a client that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.ca_pem))


class CertificateAuthority:
    """An EC P-256 authority, whose files live in an owner-only directory."""

    def __init__(self, directory: Path, *, name: str = "local emulators", keep: bool = False) -> None:
        """Make one.

        Args:
            directory: where its files live.
            name: the common name, before " CA".
            keep: be the one whose files are there already, if it is good for another month; clients that
                trust it go on doing so.

        Raises:
            ValueError: what is there to be kept cannot be read.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._directory = directory
        self.ca_pem = directory / "ca.pem"
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} CA")])
        kept = self._kept() if keep else None
        self._key = kept or ec.generate_private_key(ec.SECP256R1())
        if kept is None:
            self._make()

    def _kept(self) -> ec.EllipticCurvePrivateKey | None:
        """The key of the authority whose files are there, if it is good for another month."""
        key_file = self._directory / "ca.key"
        if not (self.ca_pem.exists() and key_file.exists()):
            return None
        certificate = x509.load_pem_x509_certificate(self.ca_pem.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            text = f"{key_file} holds no EC key: take it away to get a new authority"
            raise ValueError(text)  # noqa: TRY004  it is the file's content that is wrong
        fresh = certificate.not_valid_after_utc > datetime.now(UTC) + _WORTH_KEEPING
        return key if fresh and certificate.subject == self._name else None

    def _make(self) -> None:
        certificate = (
            _builder(self._name, self._name, self._key.public_key(), self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        _write(self.ca_pem, certificate.public_bytes(serialization.Encoding.PEM))
        _write(self._directory / "ca.key", _private_pem(self._key))

    def issue(self, file_name: str = "server", names: Iterable[str] = ()) -> ServerCertificate:
        """A server certificate for the loopback names and `names` (host names or IP addresses).

        Args:
            file_name: what its two files are called, without the ending.
            names: more subject alternative names.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        every = dict.fromkeys((*LOOPBACK_NAMES, *names))
        certificate = (
            _builder(subject, self._name, key.public_key(), self._key.public_key())
            .add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in every]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem, key_file = self._directory / f"{file_name}.pem", self._directory / f"{file_name}.key"
        _write(pem, certificate.public_bytes(serialization.Encoding.PEM))
        _write(key_file, _private_pem(key))
        return ServerCertificate(self.ca_pem, pem, key_file)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file that never exists with wider rights than its owner's."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
