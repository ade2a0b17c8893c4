"""What is wrong with the service of the chapter `audit`, and nothing else is: twelve faults."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.demo.groups import asks_webhook

HUB_A, HUB_B, CLOSED, RETIRED = (f"hub-{name}.azure-devices.net" for name in ("a", "b", "closed", "retired"))
HUBS = (HUB_A, HUB_B, CLOSED, RETIRED)
FLEET = "line-a"
"""The group with most of the devices, and nothing wrong."""
KEYLESS_DEVICE, LOST_DEVICE = "press-keyless", "press-003"
AUTHORITY = "plant-root"
"""The name of a CA certificate at the DPS."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault, as the audit is to find it."""

    check: str
    resource: str
    fault: str
    suppressed: bool = False
    """Whether it waits: mending it takes more than a command."""


PLANTED = (
    Planted("DPS-ALLOC-001", "group:keyless", "somebody updated it with the webhook's URL without the key"),
    Planted("DPS-REC-001", f"registration:{KEYLESS_DEVICE}", "its device has tried, and failed"),
    Planted("DPS-ALLOC-005", "group:legacy", "its webhook gets requests of 2019"),
    Planted("DPS-ALLOC-007", "group:legacy", "custom allocation, and never reprovisioned"),
    Planted("DPS-REC-010", "group:legacy", "the Azure CLI wrapped its twin in additional_properties"),
    Planted("DPS-ALLOC-009", "group:left", "one of its two hubs is no longer linked"),
    Planted("DPS-ALLOC-010", "group:left", "the other hub was cordoned, and forgotten"),
    Planted("DPS-ALLOC-012", "group:silent", "nobody said how its devices are allocated"),
    Planted("DPS-CRED-001", "group:expired", "its signing certificate has expired"),
    Planted("DPS-CRED-009", "group:ending", "its certificate has 60 days, and the other slot is empty"),
    Planted("DPS-CRED-008", f"ca:{AUTHORITY}", "nobody proved to have the CA's key", suppressed=True),
    Planted("DPS-REC-005", f"registration:{LOST_DEVICE}", "somebody deleted the device at its hub"),
)

TAGS: Mapping[str, Any] = {"site": "oslo"}
DESIRED: Mapping[str, Any] = {"interval": 60}
"""What the nested twin was to be."""


def groups(webhook: str) -> list[dict[str, Any]]:
    """The enrollment groups: the fleet's, and those with a fault.

    Args:
        webhook: the app's URL with its key.
    """
    custom = asks_webhook(FLEET, webhook)
    reprovisions = custom["reprovisionPolicy"]
    return [
        custom,
        asks_webhook("keyless", webhook.partition("?")[0]),
        asks_webhook("legacy", webhook, api_version="2019-03-31")
        | {
            "reprovisionPolicy": {"updateHubAssignment": False, "migrateDeviceData": False},
            "initialTwin": {
                "tags": {"additional_properties": TAGS},
                "properties": {"desired": {"additional_properties": DESIRED}},
            },
        },
        asks_webhook("left", webhook) | {"iotHubs": [CLOSED, RETIRED]},
        {
            "enrollmentGroupId": "silent",
            "attestation": {"type": "symmetricKey"},
            "reprovisionPolicy": reprovisions,
        },
        asks_webhook("expired", webhook) | {"attestation": _signed_by(certificate("expired CA", days=-3))},
        asks_webhook("ending", webhook) | {"attestation": _signed_by(certificate("ending CA", days=60))},
    ]


def certificate(name: str, *, days: int) -> str:
    """A self-signed CA certificate, PEM, that ends in so many days; it began a year before today."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=365))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def _signed_by(pem: str) -> dict[str, Any]:
    return {
        "type": "x509",
        "x509": {"signingCertificates": {"primary": {"certificate": pem}}},
    }
