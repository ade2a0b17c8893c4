"""The CA certificates a provisioning service knows, which the management plane uploads in the real one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography import x509

from local.dps import ids

CA_LIMIT = 25
"""Most CA certificates of a service (documented)."""


@dataclass(frozen=True, slots=True)
class CaCertificate:
    """A CA certificate of a provisioning service."""

    name: str
    """What `caReferences` of an enrollment say; counts without case (inferred: a resource name)."""
    pem: bytes
    verified: bool = True
    """Whether somebody has proved to hold its key. Others vouch for no device (documented)."""


class Authorities:
    """The CA certificates of one service, by name."""

    def __init__(self, certificates: Iterable[CaCertificate] = ()) -> None:
        self._held: dict[str, tuple[CaCertificate, x509.Certificate]] = {}
        for certificate in certificates:
            self.put(certificate)

    def __iter__(self) -> Iterator[CaCertificate]:
        return (held for held, _ in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def put(self, certificate: CaCertificate) -> None:
        """Add one, or replace that of the same name.

        Raises:
            ValueError: it is no certificate, or there are 25 already.
        """
        key = ids.key(certificate.name)
        if key not in self._held and len(self._held) >= CA_LIMIT:
            raise ValueError(f"there are {CA_LIMIT} CA certificates already: remove one first")
        self._held[key] = (certificate, x509.load_pem_x509_certificate(certificate.pem))

    def remove(self, name: str) -> CaCertificate | None:
        """Forget one; enrollments that refer to it keep doing so, and let nobody in."""
        held = self._held.pop(ids.key(name), None)
        return None if held is None else held[0]

    @property
    def verified(self) -> tuple[x509.Certificate, ...]:
        """Those that vouch for devices."""
        return tuple(loaded for held, loaded in self._held.values() if held.verified)

    def referred(self, name: str) -> x509.Certificate | None:
        """A verified one by its name."""
        held = self._held.get(ids.key(name))
        return held[1] if held is not None and held[0].verified else None
