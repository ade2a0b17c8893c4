"""Checks of the certificates that enrollments and the DPS hold."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from clients.arm import CaCertificate, Unknown
from clients.wording import plain
from lifecycle.audit import certificates
from lifecycle.audit.certificates import Reading
from lifecycle.audit.checks.outcomes import NOTHING, Asked, date, found, on, sources, unknown
from lifecycle.audit.evidence import Around, EnrollmentEvidence
from lifecycle.audit.finding import JSON, Check, Outcome, Severity, Source
from provisioning.attestation import X509

Outcomes = Iterable[Outcome]

_ROLL = "./run dps {noun} roll-certificate --enrollment-id {id} --certificate-path FILE"
_ROLL_NAME = "./run dps {noun} roll-certificate --enrollment-id {id} --ca-name NAME"
_UPLOAD = (
    "az iot dps certificate create --dps-name {dps} --certificate-name NAME --path FILE, then "
    "./run dps enrollment-group roll-certificate --enrollment-id GROUP --ca-name NAME"
)
_READS = sources(Source.ENROLLMENTS, Source.CERTIFICATES)

EXPIRED = Check(
    id="DPS-CRED-001",
    title="A certificate has expired",
    severity=Severity.CRITICAL,
    needs=sources(),
    reads=_READS,
    why="devices that depend on it are refused when they register",
    fix=_ROLL,
    source="azure-docs iot-dps/how-to-roll-certificates; AWS Device Defender: certificate expiring",
)
EXPIRING = Check(
    id="DPS-CRED-002",
    title="A certificate expires soon",
    severity=Severity.HIGH,
    needs=sources(),
    reads=_READS,
    why="from that day on devices that depend on it are refused; new ones must reach them before",
    fix=_ROLL,
    source="azure-docs iot-dps/how-to-roll-certificates; AWS Device Defender: certificate expiring",
)
NOT_YET_VALID = Check(
    id="DPS-CRED-003",
    title="A certificate is not valid yet",
    severity=Severity.HIGH,
    needs=sources(),
    reads=_READS,
    why="until then devices that depend on it are refused; often a clock was wrong when it was made",
    fix=_ROLL,
    source="RFC 5280 §4.1.2.5",
)
TOGETHER = Check(
    id="DPS-CRED-004",
    title="Both slots' certificates end together",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=_READS,
    why="two slots are there so that one outlives the other; ending together they leave no time to roll",
    fix=_ROLL,
    source="azure-docs iot-dps/how-to-roll-certificates",
)
WEAK_KEY = Check(
    id="DPS-CRED-005",
    title="A certificate's key is weak or odd",
    severity=Severity.HIGH,
    needs=sources(),
    reads=_READS,
    why="RSA below 2048 bits can be broken, and odd curves are refused by TLS libraries",
    fix=_ROLL,
    source="NIST SP 800-131A; AWS Device Defender: certificate key quality",
)
WEAK_SIGNATURE = Check(
    id="DPS-CRED-006",
    title="A certificate is signed with SHA-1 or MD5",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=_READS,
    why="such a signature can be made to fit another certificate, and TLS libraries refuse it",
    fix=_ROLL,
    source="NIST SP 800-131A; AWS Device Defender: certificate key quality",
)
NO_AUTHORITY = Check(
    id="DPS-CRED-007",
    title="A signing certificate is no CA's",
    severity=Severity.HIGH,
    needs=sources(),
    reads=_READS,
    why="what it signs is no valid certificate, so the devices' chains are refused",
    fix=_ROLL,
    source="RFC 5280 §4.2.1.9; azure-docs iot-dps/concepts-x509-attestation",
)
UNVERIFIED = Check(
    id="DPS-CRED-008",
    title="A CA certificate is not verified",
    severity=Severity.HIGH,
    needs=sources(Source.CERTIFICATES),
    reads=sources(),
    why="DPS trusts no device below it until somebody proves to have its key",
    fix="az iot dps certificate generate-verification-code --dps-name {dps} --certificate-name {id}, then "
    "az iot dps certificate verify",
    source="azure-docs iot-dps/how-to-verify-certificates",
)
ALONE = Check(
    id="DPS-CRED-009",
    title="A certificate near its end has no successor in the other slot",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=_READS,
    why="devices can move to a new certificate only while both are accepted",
    fix=_ROLL,
    source="azure-docs iot-dps/how-to-roll-certificates",
)
NO_CLIENT = Check(
    id="DPS-CRED-010",
    title="A device's certificate is not for TLS clients",
    severity=Severity.HIGH,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="its extended key usage leaves client authentication out, which is all that a device does with it",
    fix=_ROLL,
    source="RFC 5280 §4.2.1.12",
)
NO_SUCH_CA = Check(
    id="DPS-CRED-011",
    title="The group names a CA certificate that the DPS does not have",
    severity=Severity.HIGH,
    needs=sources(Source.CERTIFICATES),
    reads=sources(Source.ENROLLMENTS),
    why="no device's chain can lead to it, so none can register by it",
    fix="./run dps enrollment-group update --enrollment-id {id} --ca-name NAME",
    source="DPS service API 2021-10-01: X509CAReferences",
)

Holder = Literal["signer", "client", "authority", "reference"]


@dataclass(frozen=True, slots=True)
class Held:
    """The certificates of one place.

    Attributes:
        resource: as findings name it.
        id: the enrollment's, or the CA certificate's name.
        holder: what they are for: they sign devices' certificates (a group's), are a device's, are a CA
            certificate of the DPS, or are named by a group and looked at where the DPS has them.
        slots: those that are filled, by name, in order.
    """

    resource: str
    id: str
    holder: Holder
    slots: tuple[tuple[str, Reading], ...]


def of_enrollment(evidence: EnrollmentEvidence, around: Around) -> Iterator[Held]:
    """The certificates of an enrollment, read once for all checks.

    Raises:
        MalformedDocument: the attestation is not as documented.
    """
    enrollment = evidence.enrollment
    attestation = enrollment.attestation
    if attestation.kind != X509:
        return
    holder: Holder = "signer" if evidence.group else "client"
    slots = attestation.signing_certificates if evidence.group else attestation.client_certificates
    if slots:
        both = (("primary", slots.primary), ("secondary", slots.secondary))
        filled = tuple((name, certificates.read(each)) for name, each in both if each is not None)
        yield Held(evidence.resource, enrollment.id, holder, filled)
    references = attestation.ca_references
    if evidence.group and references and not isinstance(around.certificates, Unknown):
        by_name = {each.name.lower(): each for each in around.certificates}
        named = (("primary", references.primary), ("secondary", references.secondary))
        here = tuple(
            (slot, certificates.read_der(by_name[name.lower()].der, by_name[name.lower()].expires))
            for slot, name in named
            if name is not None and name.lower() in by_name
        )
        if here:
            yield Held(evidence.resource, enrollment.id, "reference", here)


def of_authority(certificate: CaCertificate) -> Held:
    """A CA certificate of the DPS."""
    reading = certificates.read_der(certificate.der, certificate.expires)
    return Held(f"ca:{certificate.name}", certificate.name, "authority", (("certificate", reading),))


def expired(held: Held, around: Around) -> Outcomes:
    """A CA's is reported as the CA's, not once more for each group that names it."""
    if held.holder == "reference":
        return NOTHING
    dead = [
        (slot, each)
        for slot, each in held.slots
        if each.not_after is not None and each.not_after < around.now
    ]
    if not dead:
        return _dates_unknown(EXPIRED, held)
    others = len(dead) < len(held.slots) or held.holder == "authority"
    return _found(EXPIRED, held, around, dead, severity=Severity.HIGH if others else None)


def expiring(held: Held, around: Around) -> Outcomes:
    """It matters less where the other slot's goes on."""
    if held.holder == "reference":
        return NOTHING
    most = around.thresholds.certificate_days
    ending = [(slot, each) for slot, each in held.slots if _ends_within(each, most, around.now)]
    if not ending:
        return _dates_unknown(EXPIRING, held)
    goes_on = any(
        each.not_after is not None and each.not_after - around.now > timedelta(days=most)
        for _, each in held.slots
    )
    return _found(EXPIRING, held, around, ending, severity=Severity.MEDIUM if goes_on else None)


def not_yet_valid(held: Held, around: Around) -> Outcomes:
    """One that waits in the other slot while the present one is valid is how certificates are rolled."""
    if held.holder == "reference":
        return NOTHING
    early = [(slot, each) for slot, each in held.slots if each.not_before and each.not_before > around.now]
    if not early:
        return _dates_unknown(NOT_YET_VALID, held)
    covered = len(early) < len(held.slots)
    return _found(NOT_YET_VALID, held, around, early, severity=Severity.LOW if covered else None)


def together(held: Held, around: Around) -> Outcomes:
    """Both end within certificate_days of each other, and the first of them in sight."""
    ends = [each.not_after for _, each in held.slots if each.not_after is not None]
    if len(held.slots) < 2:
        return NOTHING
    if len(ends) < 2:
        return _dates_unknown(TOGETHER, held)
    first, last = min(ends), max(ends)
    in_sight = timedelta() <= first - around.now <= timedelta(days=around.thresholds.together_days)
    if not in_sight or last - first > timedelta(days=around.thresholds.certificate_days):
        return NOTHING
    return _found(TOGETHER, held, around, held.slots)


def weak_key(held: Held, around: Around) -> Outcomes:
    """By kind, size and curve."""
    return _content(WEAK_KEY, held, around, lambda each: each.weak_key)


def weak_signature(held: Held, around: Around) -> Outcomes:
    """The signature of a self-issued certificate is nothing anybody relies on: it is trusted by name."""
    return _content(
        WEAK_SIGNATURE, held, around, lambda each: None if each.hash is None else _forgeable(each)
    )


def no_authority(held: Held, around: Around) -> Outcomes:
    """Of signers and of CA certificates alone: a device's certificate should be none."""
    if held.holder == "client":
        return NOTHING
    return _content(NO_AUTHORITY, held, around, lambda each: _not(each.authority))


def no_client(held: Held, around: Around) -> Outcomes:
    """Of a device's own certificate alone: what a usage within a CA's binds is up to who verifies."""
    if held.holder != "client":
        return NOTHING
    return _content(NO_CLIENT, held, around, lambda each: _not(each.client))


def alone(held: Held, around: Around) -> Outcomes:
    """Within the renewal window, and not yet expired."""
    if held.holder == "authority" or len(held.slots) != 1:
        return NOTHING
    _, only = held.slots[0]
    if only.not_after is None:
        return _dates_unknown(ALONE, held)
    if not _ends_within(only, around.thresholds.renewal_days, around.now):
        return NOTHING
    return _found(ALONE, held, around, held.slots)


def unverified(certificate: CaCertificate, around: Around) -> Outcomes:
    """As the management plane says."""
    if certificate.verified:
        return NOTHING
    told = {"thumbprint": certificate.thumbprint[:64], "expires": date(certificate.expires)}
    return found(UNVERIFIED, f"ca:{certificate.name}", told, dps=around.dps, id=certificate.name)


def no_such_ca(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Only where the DPS's certificates were read, and there are any. Names compare without case."""
    references = evidence.enrollment.attestation.ca_references
    if not evidence.group or not references or isinstance(around.certificates, Unknown):
        return NOTHING
    there = {each.name.lower() for each in around.certificates}
    gone = tuple(
        plain(name)
        for name in (references.primary, references.secondary)
        if name and name.lower() not in there
    )
    return on(NO_SUCH_CA, evidence, {"names": gone}) if gone else NOTHING


HELD: tuple[Asked[Held], ...] = (
    Asked(EXPIRED, expired),
    Asked(EXPIRING, expiring),
    Asked(NOT_YET_VALID, not_yet_valid),
    Asked(TOGETHER, together),
    Asked(ALONE, alone),
)
"""Checks that look at a group's CA certificates too."""
READ: tuple[Asked[Held], ...] = (
    Asked(WEAK_KEY, weak_key),
    Asked(WEAK_SIGNATURE, weak_signature),
    Asked(NO_AUTHORITY, no_authority),
    Asked(NO_CLIENT, no_client),
)
"""Checks of what a certificate says, where it is held."""
AUTHORITY: tuple[Asked[CaCertificate], ...] = (Asked(UNVERIFIED, unverified),)
ENROLLMENT: tuple[Asked[EnrollmentEvidence], ...] = (Asked(NO_SUCH_CA, no_such_ca),)


def _content(check: Check, held: Held, around: Around, bad: Callable[[Reading], bool | None]) -> Outcomes:
    wrong = [(slot, each) for slot, each in held.slots if bad(each)]
    if wrong:
        return _found(check, held, around, wrong)
    unread = [each.problem for _, each in held.slots if bad(each) is None]
    return unknown(check, held.resource, unread[0] or "it is of a kind not known here") if unread else NOTHING


def _dates_unknown(check: Check, held: Held) -> Outcomes:
    for _, each in held.slots:
        if each.not_after is None or (check is NOT_YET_VALID and each.not_before is None):
            return unknown(check, held.resource, each.problem or "its dates are not told")
    return NOTHING


def _found(
    check: Check,
    held: Held,
    around: Around,
    slots: Iterable[tuple[str, Reading]],
    severity: Severity | None = None,
) -> Outcomes:
    told: dict[str, JSON] = {slot: _told(check, each) for slot, each in slots}
    return found(
        check,
        held.resource,
        told,
        severity=severity,
        fix={"reference": _ROLL_NAME, "authority": _UPLOAD}.get(held.holder),
        noun="enrollment" if held.holder == "client" else "enrollment-group",
        id=held.id,
        dps=around.dps,
    )


def _told(check: Check, reading: Reading) -> JSON:
    told: dict[str, JSON] = {
        "subject": reading.subject,
        "thumbprint": reading.thumbprint,
        "not_before": date(reading.not_before),
        "not_after": date(reading.not_after),
    }
    if check is WEAK_KEY:
        told["key"] = reading.key
    elif check is WEAK_SIGNATURE:
        told["hash"] = reading.hash
    elif check is NO_AUTHORITY:
        told["problem"] = reading.not_authority
    if reading.held > 1:
        told["certificates_in_the_text"] = reading.held
    return told


def _ends_within(reading: Reading, most: int, now: datetime) -> bool:
    return reading.not_after is not None and timedelta() <= reading.not_after - now <= timedelta(days=most)


def _forgeable(reading: Reading) -> bool:
    return bool(reading.hash) and not reading.self_issued


def _not(value: bool | None) -> bool | None:  # noqa: FBT001 - a truth, not an option
    return None if value is None else not value
