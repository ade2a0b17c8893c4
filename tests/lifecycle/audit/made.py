"""Evidence as a run would gather it: a clean service, and what changes it."""

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from allocation import ALL_OPEN, CompiledPolicy
from allocation.policy import compile_policy, read_document
from clients.arm import CaCertificate, DpsPage, LinkedHub
from clients.hubs import HubRow, HubStatistics
from lifecycle.audit import checks
from lifecycle.audit.evidence import (
    Around,
    Complete,
    Counts,
    DeviceEvidence,
    EnrollmentEvidence,
    OperationEvidence,
    OrphanEvidence,
    RecordEvidence,
    Thresholds,
    VaultSecret,
    WebhookEvidence,
)
from lifecycle.audit.finding import Finding, NotEvaluated, Outcome, Source
from provisioning.enrollments import EnrollmentGroup, IndividualEnrollment
from provisioning.hubs import HubKey, hub_key
from provisioning.keys import SymmetricKey, SymmetricKeys
from provisioning.registrations import Registration

Evidence = (
    EnrollmentEvidence
    | RecordEvidence
    | DeviceEvidence
    | OrphanEvidence
    | Counts
    | OperationEvidence
    | WebhookEvidence
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HUB_A, HUB_B = (hub_key(f"hub-{name}.azure-devices.net") for name in "ab")
GONE = hub_key("hub-gone.azure-devices.net")
WEBHOOK = "https://fleet.example/api/allocate"
KEYED = f"{WEBHOOK}?code=the-function-key"


LONG_AGO, FAR_OFF = NOW - timedelta(days=100), NOW + timedelta(days=3000)


def ago(**duration: float) -> datetime:
    return NOW - timedelta(**duration)


def wire(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.1234567Z"


def key(seed: str, size: int = 64) -> SymmetricKey:
    """Bytes that look drawn, and are the same in every run."""
    return SymmetricKey.parse(base64.b64encode(hashlib.shake_256(seed.encode()).digest(size)).decode())


KEYS = SymmetricKeys(key("primary"), key("secondary"))


def certificate(
    start: datetime = LONG_AGO,
    end: datetime = FAR_OFF,
    *,
    authority: bool = True,
    usages: tuple[str, ...] = (),
    curve: ec.EllipticCurve | None = None,
    name: str = "Contoso line",
) -> bytes:
    """A self-issued certificate, DER."""
    secret = ec.generate_private_key(curve or ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    building = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if usages:
        building = building.add_extension(
            x509.ExtendedKeyUsage([x509.ObjectIdentifier(each) for each in usages]), critical=False
        )
    return building.sign(secret, hashes.SHA256()).public_bytes(Encoding.DER)


def sha1_signed() -> bytes:
    """A CA's certificate that says of itself that another signed it with SHA-1; nobody checks whether."""
    secret = rsa.generate_private_key(65537, 2048)
    line, root = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in ("line", "root"))
    built = (
        x509.CertificateBuilder(root, line, secret.public_key(), 7, LONG_AGO, FAR_OFF)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    sha256_with_rsa, sha1_with_rsa = (bytes.fromhex(f"06092a864886f70d0101{end}") for end in ("0b", "05"))
    return built.replace(sha256_with_rsa, sha1_with_rsa)


def pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def held(*ders: bytes | None) -> dict[str, Any]:
    """Slots of an `x509` member: primary, secondary."""
    slots = zip(("primary", "secondary"), ders, strict=False)
    return {slot: {"certificate": pem(der)} for slot, der in slots if der is not None}


def signed_by(*ders: bytes | None) -> dict[str, Any]:
    return {"attestation": {"type": "x509", "x509": {"signingCertificates": held(*ders)}}}


def device_of(*ders: bytes | None) -> dict[str, Any]:
    return {"attestation": {"type": "x509", "x509": {"clientCertificates": held(*ders)}}}


def named_cas(*names: str) -> dict[str, Any]:
    references = dict(zip(("primary", "secondary"), names, strict=False))
    return {"attestation": {"type": "x509", "x509": {"caReferences": references}}}


COMMON: Mapping[str, Any] = {
    "attestation": {"type": "symmetricKey"},
    "etag": '"1"',
    "provisioningStatus": "enabled",
    "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": True},
    "createdDateTimeUtc": wire(ago(days=20)),
    "lastUpdatedDateTimeUtc": wire(ago(days=10)),
    "allocationPolicy": "custom",
    "iotHubs": [HUB_A.upper(), HUB_B],
    "customAllocationDefinition": {"webhookUrl": KEYED, "apiVersion": "2021-10-01"},
    "initialTwin": {
        "tags": {"site": "lisbon", "count": None, "metadata": None, "version": None},
        "properties": {"desired": {"interval": 30}},
    },
}


def calls(url: str, version: str | None = "2021-10-01") -> dict[str, Any]:
    return {"customAllocationDefinition": {"webhookUrl": url, "apiVersion": version}}


def group(changes: Mapping[str, Any] | None = None, **evidence: Any) -> EnrollmentEvidence:
    """A clean group's evidence, with members of its document and of the evidence changed."""
    document = {"enrollmentGroupId": "Line-A", **COMMON, **(changes or {})}
    symmetric = document["attestation"].get("type") == "symmetricKey"
    told: dict[str, Any] = {
        "keys": KEYS if symmetric else None,
        "secret": secret() if symmetric else None,
        "registered": True,
        "webhook_keys_shown": True,
        **evidence,
    }
    return EnrollmentEvidence(EnrollmentGroup.read(document), **told)


def individual(changes: Mapping[str, Any] | None = None, **evidence: Any) -> EnrollmentEvidence:
    document = {"registrationId": "Dev-1", **COMMON, **(changes or {})}
    told: dict[str, Any] = {"registered": True, "webhook_keys_shown": True, **evidence}
    return EnrollmentEvidence(IndividualEnrollment.read(document), **told)


def secret(**changes: Any) -> VaultSecret:
    clean = VaultSecret("line-a-key", NOW + timedelta(days=200), True, ago(days=9), "primary")
    return replace(clean, **changes)


def record(changes: Mapping[str, Any] | None = None, **evidence: Any) -> RecordEvidence:
    document = {
        "registrationId": "Dev-1",
        "createdDateTimeUtc": wire(ago(days=20)),
        "lastUpdatedDateTimeUtc": wire(ago(days=10)),
        "assignedHub": "Hub-A.azure-devices.net",
        "deviceId": "Dev-1",
        "status": "assigned",
        "substatus": "initialAssignment",
        "etag": '"1"',
        **(changes or {}),
    }
    told: dict[str, Any] = {"group": "Line-A", "device": row(), **evidence}
    return RecordEvidence(Registration.read(document), **told)


def row(device_id: str = "Dev-1") -> HubRow:
    return HubRow(device_id, "enabled", "Disconnected", ago(days=2), None, None, {})


def ca(name: str = "root", der: bytes | None = None, *, verified: bool = True) -> CaCertificate:
    der = der or certificate()
    ends = x509.load_der_x509_certificate(der).not_valid_after_utc
    return CaCertificate(name, f"CN={name}", "AB" * 20, verified, ends, der)


def linked(*hubs: HubKey, applies: bool = True) -> tuple[LinkedHub, ...]:
    return tuple(LinkedHub(hub, hub, 1, applies, "westeurope") for hub in hubs)


def page(hubs: Any = None) -> DpsPage:
    return DpsPage(
        name="dps-1",
        location="westeurope",
        sku="S1",
        capacity=1,
        id_scope="0ne00000000",
        service_host="dps-1.azure-devices-provisioning.net",
        device_host="global.azure-devices-provisioning.net",
        allocation_policy="Hashed",
        linked_hubs=linked(HUB_A, HUB_B) if hubs is None else hubs,
        local_auth_disabled=None,
    )


def policy(text: str = f"hubs: [{{name: {HUB_A}}}, {{name: {HUB_B}}}]") -> CompiledPolicy:
    return compile_policy(read_document(text))


POLICY = policy()
ROOT = ca()


def around(*, without: frozenset[Source] = frozenset(), **changes: Any) -> Around:
    """A run of which everything is known, or all `without` some sources."""
    told: dict[str, Any] = {
        "dps": "dps-1",
        "now": NOW,
        "thresholds": Thresholds(),
        "complete": Complete(frozenset(Source) - without, {source: f"no {source}" for source in without}),
        "page": page(),
        "certificates": (ROOT,),
        "policy": POLICY,
        "fleet": ALL_OPEN,
        "webhook": WEBHOOK,
        **changes,
    }
    return Around(**told)


def counts(**changes: Any) -> Counts:
    clean: dict[str, Any] = {
        "registrations": 1_000,
        "individual_enrollments": 100,
        "symmetric_groups": 3,
        "x509_groups": 2,
        "by_hub": {HUB_A: HubStatistics(500, 500, 0)},
        "listed": {HUB_A: 500, HUB_B: 500},
        "key_digests": {"11": ("Line-A/primary",), "22": ("Line-A/secondary",), "33": ("line-b/primary",)},
        "growth": {"registrations": 10.0, f"hub:{HUB_A}": 5.0},
        **changes,
    }
    return Counts(**clean)


_SUBJECTS: Mapping[type, Callable[[Any, Around], Iterable[Outcome]]] = {
    EnrollmentEvidence: checks.enrollment,
    RecordEvidence: checks.record,
    DeviceEvidence: checks.device,
    OrphanEvidence: checks.orphan,
    Counts: checks.service,
    OperationEvidence: checks.operation,
    WebhookEvidence: checks.webhook,
}


def look(evidence: Evidence, with_: Around) -> Iterable[Outcome]:
    """What all checks say of it."""
    return _SUBJECTS[type(evidence)](evidence, with_)


def findings(evidence: Evidence, with_: Around | None = None) -> list[Finding]:
    return [each for each in look(evidence, with_ or around()) if isinstance(each, Finding)]


def unevaluated(evidence: Evidence, with_: Around | None = None) -> list[NotEvaluated]:
    return [each for each in look(evidence, with_ or around()) if isinstance(each, NotEvaluated)]


def found(evidence: Evidence, with_: Around | None = None) -> list[str]:
    """The ids of what is found."""
    return [each.check for each in findings(evidence, with_)]


def not_told(evidence: Evidence, with_: Around | None = None) -> set[str]:
    """The ids of what is not evaluated."""
    return {each.check for each in unevaluated(evidence, with_)}
