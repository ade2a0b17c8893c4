"""A certification authority made of the openssl command: certificates as factories make them."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

_CONFIG = """
[ca]
default_ca = here
[here]
database = index.txt
new_certs_dir = .
serial = serial
certificate = root.pem
private_key = root.key
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[no_sign]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature
[leaf]
basicConstraints = critical, CA:FALSE
[bare]
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
[client]
basicConstraints = CA:FALSE
extendedKeyUsage = clientAuth, serverAuth
[any_usage]
basicConstraints = CA:FALSE
extendedKeyUsage = anyExtendedKeyUsage
"""

VALID = ("20260101000000Z", "20360101000000Z")

KEYS: Mapping[str, tuple[str, ...]] = {
    "rsa1024": ("rsa:1024",),
    "rsa2048": ("rsa:2048",),
    "p256": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "secp256k1": ("ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"),
    "ed25519": ("ed25519",),
}


class Authority:
    """One root and what it signs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "openssl.cnf").write_text(_CONFIG)
        (directory / "index.txt").write_text("")
        (directory / "serial").write_text("1000\n")
        self._run(
            "req", "-x509", "-newkey", *KEYS["rsa2048"], "-nodes", "-keyout", "root.key", "-out", "root.pem",
            "-subj", "/CN=Contoso root", "-days", "3650", "-extensions", "authority", "-sha1",
        )  # fmt: skip

    @property
    def root(self) -> str:
        """Its own certificate, which it signed with SHA-1."""
        return (self._directory / "root.pem").read_text()

    def sign(
        self,
        extensions: str,
        key: str = "p256",
        valid: tuple[str, str] = VALID,
        digest: str = "sha256",
        name: str = "/CN=Contoso line",
    ) -> str:
        """A certificate, PEM."""
        self._run("req", "-newkey", *KEYS[key], "-nodes", "-keyout", "key", "-out", "request", "-subj", name)
        self._run(
            "ca", "-batch", "-notext", "-in", "request", "-out", "signed.pem", "-extensions", extensions,
            "-startdate", valid[0], "-enddate", valid[1], "-md", digest, "-preserveDN",
        )  # fmt: skip
        return (self._directory / "signed.pem").read_text()

    def _run(self, *arguments: str) -> None:
        config = () if arguments[0] == "x509" else ("-config", "openssl.cnf")
        done = subprocess.run(
            ["openssl", arguments[0], *config, *arguments[1:]],
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
