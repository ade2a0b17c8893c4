"""For every check a fault that it alone finds."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from allocation import FleetView, HubState
from clients.hubs import HubStatistics
from lifecycle.audit.evidence import (
    Around,
    DeviceEvidence,
    OperationEvidence,
    OrphanEvidence,
    WebhookEvidence,
)
from lifecycle.audit.finding import Severity
from provisioning.hubs import hub_key
from provisioning.keys import SymmetricKey, SymmetricKeys
from provisioning.registrations import registration_key
from tests.lifecycle.audit.made import (
    GONE,
    HUB_A,
    HUB_B,
    KEYED,
    KEYS,
    NOW,
    ROOT,
    WEBHOOK,
    Evidence,
    ago,
    around,
    ca,
    calls,
    certificate,
    counts,
    device_of,
    group,
    individual,
    key,
    linked,
    named_cas,
    page,
    policy,
    record,
    row,
    secret,
    sha1_signed,
    signed_by,
    wire,
)

SAMPLE = "oiK77Oy7rBw8YB6IS6ukRChAw+Yq6GC61RMrPLSTiOOtdI+XDu0LmLuNm11p+qv2I+adqGUdZHm46zXAQdZoOA=="
SERVER, CLIENT = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"


@dataclass(frozen=True)
class Planted:
    """A fault.

    Attributes:
        evidence: the faulty thing, all else clean.
        resource: whom the finding is about.
        severity: of the finding.
        shows: what its evidence holds, among others.
        fix: what its command holds.
    """

    evidence: Evidence
    resource: str
    severity: Severity
    shows: Mapping[str, Any] = field(default_factory=dict)
    fix: str = ""
    around: Around = field(default_factory=around)


def text_key(text: str) -> SymmetricKey:
    return SymmetricKey.parse(base64.b64encode(text.encode()).decode())


def within(days: float) -> bytes:
    """A signer's certificate that ends so soon."""
    return certificate(end=NOW + timedelta(days=days))


LINE_A, DEV_1 = "group:line-a", "registration:dev-1"
LASTING = certificate()
OLD = {"createdDateTimeUtc": wire(ago(days=900)), "lastUpdatedDateTimeUtc": wire(ago(days=400))}

PLANTED: Mapping[str, Planted] = {
    "DPS-ALLOC-001": Planted(
        group(calls(WEBHOOK)),
        LINE_A,
        Severity.CRITICAL,
        {"webhook": "https://fleet.example", "this_app": True},
        "./run dps webhook attach Line-A",
    ),
    "DPS-ALLOC-002": Planted(
        group(calls("https://other.example/api/allocate?code=x")),
        LINE_A,
        Severity.MEDIUM,
        {"webhook": "https://other.example", "differs": "host"},
        "webhook attach Line-A",
    ),
    "DPS-ALLOC-003": Planted(
        group(calls(KEYED.replace("https", "http"))),
        LINE_A,
        Severity.HIGH,
        {"webhook": "http://fleet.example"},
    ),
    "DPS-ALLOC-004": Planted(
        WebhookEvidence(LINE_A, 200, "", 0.2, with_key=False), LINE_A, Severity.HIGH, {"status": 200}
    ),
    "DPS-ALLOC-005": Planted(
        group(calls(KEYED, "2019-03-31")),
        LINE_A,
        Severity.LOW,
        {"api_version": "2019-03-31"},
        "./run dps enrollment-group update --enrollment-id Line-A --api-version 2021-10-01",
    ),
    "DPS-ALLOC-006": Planted(
        WebhookEvidence(LINE_A, 401, "the key is not accepted", 0.2),
        LINE_A,
        Severity.CRITICAL,
        {"status": 401, "problem": "the key is not accepted"},
    ),
    "DPS-ALLOC-007": Planted(
        individual({"reprovisionPolicy": {"updateHubAssignment": False, "migrateDeviceData": False}}),
        "individual:dev-1",
        Severity.MEDIUM,
        {"reprovision_policy": "never"},
        "./run dps enrollment update --enrollment-id Dev-1",
    ),
    "DPS-ALLOC-008": Planted(
        group({"initialTwin": {"tags": {str(n): "x" * 4000 for n in range(3)}}}),
        LINE_A,
        Severity.MEDIUM,
        {"problem": "tags: at least 12,003 bytes, and a hub takes 8,192"},
    ),
    "DPS-ALLOC-009": Planted(
        group({"iotHubs": [HUB_A, GONE]}),
        LINE_A,
        Severity.MEDIUM,
        {"unlinked": (GONE,), "left": 1},
        f"--iot-hubs {HUB_A}",
    ),
    "DPS-ALLOC-010": Planted(
        group({"iotHubs": [HUB_A, HUB_B]}),
        LINE_A,
        Severity.HIGH,
        {"hubs": {HUB_A: "applyAllocationPolicy is false", HUB_B: "cordoned"}},
        f"az iot dps linked-hub update --dps-name dps-1 --linked-hub {HUB_A} --apply-allocation-policy true",
        around(
            page=page(linked(HUB_A, applies=False) + linked(HUB_B)),
            fleet=FleetView(states={HUB_B: HubState.CORDONED}),
        ),
    ),
    "DPS-ALLOC-011": Planted(
        group({"iotHubs": [HUB_A, HUB_B]}),
        LINE_A,
        Severity.LOW,
        {"hubs": (HUB_B,), "every_hub": False},
        f"add {HUB_B}",
        around(policy=policy(f"hubs: [{{name: {HUB_A}}}]\nunlisted_hubs: refuse")),
    ),
    "DPS-ALLOC-012": Planted(
        group({"allocationPolicy": None, "customAllocationDefinition": None}),
        LINE_A,
        Severity.LOW,
        {"default": "Hashed"},
    ),
    "DPS-ALLOC-013": Planted(
        group({"iotHubs": [f"{HUB_A}, {HUB_B}"]}),
        LINE_A,
        Severity.HIGH,
        {"text": f"{HUB_A}, {HUB_B}"},
        f"--iot-hubs {HUB_A} {HUB_B}",
    ),
    "DPS-CRED-001": Planted(
        group(signed_by(certificate(end=ago(days=1)), LASTING)),
        LINE_A,
        Severity.HIGH,
        fix="./run dps enrollment-group roll-certificate --enrollment-id Line-A --certificate-path FILE",
    ),
    "DPS-CRED-002": Planted(group(signed_by(LASTING, within(20))), LINE_A, Severity.MEDIUM),
    "DPS-CRED-003": Planted(
        group(signed_by(certificate(start=NOW + timedelta(days=2)), LASTING)), LINE_A, Severity.LOW
    ),
    "DPS-CRED-004": Planted(group(signed_by(within(100), within(110))), LINE_A, Severity.MEDIUM),
    "DPS-CRED-005": Planted(
        group(signed_by(certificate(curve=ec.SECP256K1()), LASTING)), LINE_A, Severity.HIGH
    ),
    "DPS-CRED-006": Planted(group(signed_by(LASTING, sha1_signed())), LINE_A, Severity.MEDIUM),
    "DPS-CRED-007": Planted(group(signed_by(certificate(authority=False), LASTING)), LINE_A, Severity.HIGH),
    "DPS-CRED-008": Planted(
        counts(),
        "ca:factory",
        Severity.HIGH,
        {"thumbprint": "AB" * 20},
        "--dps-name dps-1 --certificate-name factory",
        around(certificates=(ROOT, ca("factory", verified=False))),
    ),
    "DPS-CRED-009": Planted(group(signed_by(within(60))), LINE_A, Severity.MEDIUM),
    "DPS-CRED-010": Planted(
        individual(device_of(certificate(authority=False, usages=(SERVER,)), LASTING)),
        "individual:dev-1",
        Severity.HIGH,
        fix="./run dps enrollment roll-certificate --enrollment-id Dev-1 --certificate-path FILE",
    ),
    "DPS-CRED-011": Planted(
        group(named_cas("Root", "elsewhere")), LINE_A, Severity.HIGH, {"names": ("elsewhere",)}
    ),
    "DPS-CRED-012": Planted(
        group(keys=SymmetricKeys(KEYS.primary, KEYS.primary)),
        LINE_A,
        Severity.MEDIUM,
        fix="rotate start Line-A",
    ),
    "DPS-CRED-013": Planted(
        group(keys=SymmetricKeys(KEYS.primary, key("short", 16))),
        LINE_A,
        Severity.MEDIUM,
        {"bytes": {"secondary": 16}, "least": 32},
    ),
    "DPS-CRED-014": Planted(
        counts(key_digests={"11": ("Line-A/primary", "line-b/secondary"), "22": ("line-b/primary",)}),
        LINE_A,
        Severity.HIGH,
        {"groups": ("line-b",), "number": 1},
    ),
    "DPS-CRED-015": Planted(
        individual(keys=SymmetricKeys(text_key("contoso-factory-line-a-master-key"))),
        "individual:dev-1",
        Severity.HIGH,
        {"primary": "it is a short text in place of random bytes"},
    ),
    "DPS-CRED-016": Planted(
        group(keys=SymmetricKeys(KEYS.primary, SymmetricKey.parse(SAMPLE))),
        LINE_A,
        Severity.CRITICAL,
        {"slots": ("secondary",)},
        "rotate breach Line-A",
    ),
    "DPS-CRED-017": Planted(
        group(secret=secret(updated=ago(days=380))), LINE_A, Severity.LOW, {"days": 380, "most": 365}
    ),
    "DPS-CRED-018": Planted(group(secret=None), LINE_A, Severity.MEDIUM, fix="rotate adopt Line-A"),
    "DPS-CRED-019": Planted(
        group(secret=secret(expires=ago(days=1))),
        "secret:line-a-key",
        Severity.HIGH,
        {"group": "Line-A", "expires": "2026-05-31"},
    ),
    "DPS-CRED-020": Planted(
        group(secret=secret(holds="neither")), LINE_A, Severity.HIGH, {"secret": "line-a-key"}
    ),
    "DPS-CRED-021": Planted(individual(OLD), "individual:dev-1", Severity.LOW, {"days": 399, "most": 180}),
    "DPS-REC-001": Planted(
        record({"status": "failed", "errorCode": 400209, "lastUpdatedDateTimeUtc": wire(ago(days=1))}),
        DEV_1,
        Severity.MEDIUM,
        {"error_code": 400209, "advice": "attach the webhook again with the present key", "group": "Line-A"},
        "./run dps device show Dev-1",
    ),
    "DPS-REC-002": Planted(
        record({"status": "assigning", "lastUpdatedDateTimeUtc": wire(ago(minutes=90))}, device=None),
        DEV_1,
        Severity.MEDIUM,
        {"minutes": 89},
    ),
    "DPS-REC-003": Planted(record({"status": "disabled"}), DEV_1, Severity.INFO),
    "DPS-REC-004": Planted(record({"assignedHub": GONE}), DEV_1, Severity.MEDIUM, {"hub": GONE}),
    "DPS-REC-005": Planted(
        record(device=None, confirmed=True),
        DEV_1,
        Severity.HIGH,
        {"hub": HUB_A, "device": "Dev-1"},
        "./run dps enrollment-group registration delete --registration-id Dev-1",
    ),
    "DPS-REC-006": Planted(
        DeviceEvidence(HUB_A, row("by-hand"), confirmed=True),
        f"device:{HUB_A}/by-hand",
        Severity.LOW,
        {"hub": HUB_A},
        "--hub-name hub-a --device-id by-hand",
    ),
    "DPS-REC-007": Planted(
        record(other_hubs=(HUB_B,), confirmed=True),
        DEV_1,
        Severity.MEDIUM,
        {"others": (HUB_B,)},
        "--hub-name hub-b --device-id Dev-1",
    ),
    "DPS-REC-008": Planted(
        OrphanEvidence(registration_key("Dev-1"), "line-z", record().record),
        DEV_1,
        Severity.LOW,
        {"group": "line-z"},
    ),
    "DPS-REC-009": Planted(
        group({"createdDateTimeUtc": wire(ago(days=100))}, registered=False),
        LINE_A,
        Severity.LOW,
        {"days": 99},
    ),
    "DPS-REC-010": Planted(
        group({"initialTwin": {"tags": {"additional_properties": {"additional_properties": {"a": 1}}}}}),
        LINE_A,
        Severity.MEDIUM,
        {"depth": {"tags": 2}},
    ),
    "DPS-REC-011": Planted(
        record(would_go=HUB_B), DEV_1, Severity.INFO, {"hub": HUB_A, "would_go": HUB_B}, "dps explain Dev-1"
    ),
    "DPS-QUOTA-001": Planted(
        counts(growth={"registrations": 50_000.0}),
        "service",
        Severity.MEDIUM,
        {"used": 1_000, "limit": 1_000_000, "headroom": 999_000, "days_to_full": 19},
    ),
    "DPS-QUOTA-002": Planted(
        counts(individual_enrollments=960_000),
        "service",
        Severity.HIGH,
        {"share": 0.96, "days_to_full": None},
    ),
    "DPS-QUOTA-003": Planted(counts(symmetric_groups=100), "service", Severity.CRITICAL, {"headroom": 0}),
    "DPS-QUOTA-004": Planted(counts(x509_groups=80), "service", Severity.MEDIUM, {"used": 80}),
    "DPS-QUOTA-005": Planted(
        counts(),
        "service",
        Severity.MEDIUM,
        {"used": 20, "limit": 25},
        around=around(certificates=tuple(ca(f"ca-{n}", ROOT.der) for n in range(20))),
    ),
    "DPS-QUOTA-006": Planted(
        counts(),
        "service",
        Severity.MEDIUM,
        {"used": 40, "limit": 50},
        around=around(page=page(linked(HUB_A, HUB_B, *(hub_key(f"hub-{n}.example.net") for n in range(38))))),
    ),
    "DPS-QUOTA-007": Planted(
        counts(listed={HUB_A: 810_000}, by_hub={HUB_A: HubStatistics(810_000, 1, 1)}),
        f"hub:{HUB_A}",
        Severity.MEDIUM,
        {"used": 810_000, "limit": 1_000_000},
        f"./run dps hub cordon {HUB_A}",
    ),
    "DPS-OPS-001": Planted(OperationEvidence(ledger_gaps=3), "service", Severity.MEDIUM, {"answers": 3}),
    "DPS-OPS-002": Planted(OperationEvidence(unconfirmed=2), "service", Severity.MEDIUM, {"answers": 2}),
    "DPS-OPS-003": Planted(
        OperationEvidence(policy_active="one", policy_seen=frozenset({"one", "two"})),
        "service",
        Severity.HIGH,
        {"active": "one", "seen": ("two",)},
    ),
    "DPS-OPS-004": Planted(
        OperationEvidence(jobs_late={"audit": timedelta(hours=2), "purge": timedelta()}),
        "job:audit",
        Severity.MEDIUM,
        {"minutes_late": 120},
    ),
    "DPS-OPS-005": Planted(
        OperationEvidence(jobs_blocked={"audit-7": "it failed five times"}),
        "job:audit-7",
        Severity.HIGH,
        {"problem": "it failed five times"},
        "./run dps job resume audit-7",
    ),
    "DPS-OPS-006": Planted(
        OperationEvidence(rotations_waiting={"Line-A": "consent to retire"}),
        LINE_A,
        Severity.HIGH,
        {"waits_for": "consent to retire"},
    ),
    "DPS-OPS-007": Planted(OperationEvidence(poisoned=1), "service", Severity.MEDIUM, {"number": 1}),
}
