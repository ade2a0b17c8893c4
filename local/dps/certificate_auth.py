"""Which enrollment a device belongs to, proved by its TLS client certificate.

That the device holds the certificate's key is for the TLS handshake to prove. Refusals are 401002 with
one of two messages, both seen (Azure/azure-iot-sdk-java#573, microsoft/vscode-iot-workbench#590); which
one goes with which fault is inferred.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from local.dps import attestation, chains, ids
from local.dps.attested import Attested, DeviceCertificate
from local.dps.authorities import Authorities
from local.dps.behaviour import Behaviour
from local.dps.enrollments import Enrollment
from local.dps.errors import UNAUTHORIZED, WRONG_KEY, DpsError
from local.dps.store import Store
from local.hub import Thumbprints

_INVALID = "Invalid certificate"
_NO_CA = "CA certificate not found."


@dataclass(frozen=True, slots=True)
class CertificateAuth:
    """Finds the enrollment of a certificate among a service's records."""

    store: Store
    authorities: Authorities
    behaviour: Behaviour

    def attest(self, sent: Sequence[str], registration_id: str, now: datetime) -> Attested:
        """The enrollment of the device that sent this chain.

        The common name of its certificate must be the registration id (documented; without case, as ids
        are). Then, documented too, the most specific enrollment counts and no other, whatever its state:
        the individual one, else the group of the first certificate above the device's that has a group.
        A group's device must send its chain up to a CA certificate that the service has verified.

        Args:
            sent: PEM texts, the device's own certificate first.
            registration_id: as the device writes it.
            now: when.

        Raises:
            DpsError: 401: no certificate (401000), or not one for this registration id (401002).
        """
        if not sent:
            raise DpsError(UNAUTHORIZED, "Unauthorized")
        try:
            return self._attest(
                [x509.load_pem_x509_certificate(each.encode()) for each in sent], registration_id, now
            )
        except DpsError:
            raise
        except Exception:  # noqa: BLE001 - what a hostile certificate makes the parsers raise is open-ended
            raise DpsError(WRONG_KEY, _INVALID) from None

    def _attest(self, sent: list[x509.Certificate], registration_id: str, now: datetime) -> Attested:
        if _common_name(sent[0]) != ids.key(registration_id):
            raise DpsError(WRONG_KEY, _INVALID)
        individual = self.store.individuals.get(ids.key(registration_id))
        if individual is not None:
            return self._individual(sent, individual, registration_id, now)
        groups = {each: group for group in self.store.groups for each in self._signers(group)}
        chain = chains.verified(sent, self._anchors(), now)
        for signer in chain[1:]:
            found = groups.get(chains.thumbprint(signer))
            if found is not None:
                return self._attested(registration_id, found, sent[0], signer)
        raise DpsError(WRONG_KEY, _NO_CA)

    def _individual(
        self, sent: list[x509.Certificate], enrollment: Enrollment, registration_id: str, now: datetime
    ) -> Attested:
        """By the very certificate of the enrollment, or by a CA it refers to.

        In what way individual enrollments use `caReferences` is not documented; inferred: as groups do.
        """
        leaf = sent[0]
        own = _certificates(enrollment, "clientCertificates")
        if own:
            thumbprints = [each["info"]["sha256Thumbprint"].upper() for each in own]
            valid = leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc
            if chains.thumbprint(leaf) not in thumbprints or (
                not valid and self.behaviour.client_certificates_expire
            ):
                raise DpsError(WRONG_KEY, _INVALID)
            return self._attested(registration_id, enrollment, leaf, None, thumbprints)
        signers = set(self._signers(enrollment))
        for signer in chains.verified(sent, self._anchors(), now)[1:]:
            if chains.thumbprint(signer) in signers:
                return self._attested(registration_id, enrollment, leaf, signer)
        raise DpsError(WRONG_KEY, _NO_CA)

    def _attested(
        self,
        registration_id: str,
        enrollment: Enrollment,
        leaf: x509.Certificate,
        signer: x509.Certificate | None,
        thumbprints: Sequence[str] = (),
    ) -> Attested:
        held = list(thumbprints) or [chains.thumbprint(leaf)]
        shown: dict[str, Any] = {}
        if self.behaviour.x509_result_shows_certificates:
            shown["certificateInfo"] = attestation.info(leaf)
            if signer is not None:
                shown["signingCertificateInfo"] = attestation.info(signer)
        der = base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()
        # A single thumbprint is seen in both places of the hub identity (Azure/iotedge#2951).
        certificate = DeviceCertificate(der, Thumbprints(held[0], held[-1]), shown)
        return Attested(registration_id, enrollment, certificate=certificate)

    def _signers(self, enrollment: Enrollment) -> Iterator[str]:
        """The thumbprints of the certificates that sign for an enrollment."""
        for each in _certificates(enrollment, "signingCertificates"):
            yield each["info"]["sha256Thumbprint"].upper()
        references = _x509(enrollment).get("caReferences") or {}
        for name in references.values():
            referred = self.authorities.referred(name) if isinstance(name, str) else None
            if referred is not None:
                yield chains.thumbprint(referred)

    def _anchors(self) -> Iterator[x509.Certificate]:
        yield from self.authorities.verified
        own = [
            each["certificate"]
            for group in self.store.groups
            for each in _certificates(group, "signingCertificates")
            if "certificate" in each  # else its info alone is known
        ]
        if own and self.behaviour.signing_certificates_are_trusted:
            yield from map(attestation.read_certificate, own)


def _x509(enrollment: Enrollment) -> Mapping[str, Any]:
    part: Mapping[str, Any] = enrollment.members["attestation"].get(attestation.X509) or {}
    return part


def _certificates(enrollment: Enrollment, member: str) -> list[Mapping[str, Any]]:
    held = _x509(enrollment).get(member) or {}
    return [held[slot] for slot in ("primary", "secondary") if slot in held]


def _common_name(certificate: x509.Certificate) -> str | None:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return ids.key(str(names[0].value)) if len(names) == 1 else None
