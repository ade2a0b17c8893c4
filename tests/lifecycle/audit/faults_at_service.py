"""For every check its fault, put where it comes from in the field, into a service as it should be.

By the services' own APIs, by devices that register, by calls of the webhook, by the app's own jobs. What the
management plane alone changes (links, CA certificates) and a vault's secrets: at the emulators themselves.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from allocation import cordon, drain
from lifecycle.jobs import Blocked, Failed, JobKind, Slice, SliceResult
from lifecycle.rotation.row import Stage, Why
from tests.lifecycle.audit.cloud_rig import (
    DPS,
    FOREIGN,
    HUB_A,
    HUB_B,
    KEY,
    OPEN,
    WEBHOOK,
    CloudRig,
    strong,
)
from tests.lifecycle.audit.made import NOW, certificate, pem, sha1_signed
from tests.lifecycle.audit.planted import CLIENT, SAMPLE, SERVER, within

HOUR, DAY = 3600.0, 86400.0
RETIRED = "hub-retired.azure-devices.net"
MIGRATES = {"updateHubAssignment": True, "migrateDeviceData": True}
NEVER = {"updateHubAssignment": False, "migrateDeviceData": False}
POLICY: Mapping[str, Any] = {"hubs": [{"name": HUB_A}, {"name": HUB_B}]}


def custom(url: str = WEBHOOK, version: str = "2021-10-01", **members: Any) -> dict[str, Any]:
    return {
        "allocationPolicy": "custom",
        "customAllocationDefinition": {"webhookUrl": url, "apiVersion": version},
        "reprovisionPolicy": MIGRATES,
        **members,
    }


def keyed(seed: str, *keys: str) -> dict[str, Any]:
    primary, secondary = keys or (strong(seed), strong(f"{seed} too"))
    slots = {"primaryKey": primary, "secondaryKey": secondary}
    return {"attestation": {"type": "symmetricKey", "symmetricKey": slots}}


def signed(*ders: bytes, kind: str = "signingCertificates") -> dict[str, Any]:
    slots = dict(zip(("primary", "secondary"), ({"certificate": pem(der)} for der in ders), strict=False))
    return {"attestation": {"type": "x509", "x509": {kind: slots}}, "allocationPolicy": "hashed"}


LASTING = certificate()
DEVICE = certificate(authority=False, usages=(CLIENT,))


async def furnish(rig: CloudRig) -> None:
    """A service as it should be: of each kind of thing one, and nothing wrong."""
    rig.authority("root", LASTING)
    await rig.activate(json.dumps(POLICY))
    await rig.put_group("line-a", **keyed("line-a"), **custom())
    await rig.adopt("line-a")
    await rig.put_group("line-x", **signed(LASTING))
    await rig.put_individual("solo", **keyed("solo"), **custom())
    await rig.put_individual("leaf", **signed(DEVICE, kind="clientCertificates"))
    assert (await rig.register("solo", strong("solo")))["status"] == "assigned"
    for device in ("dev-1", "dev-2"):
        assert (await rig.register_in("line-a", device))["status"] == "assigned"


Plant = Callable[[CloudRig], Awaitable[Any]]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        plant: puts it there, an hour before the second audit.
        at: whom the finding is about.
        along: findings that cannot be had apart from it, and why.
        early: what was done half a year before.
        settings: of the app.
        thresholds: of both runs.
        last: of the second.
        hubs: linked beside the two.
        webhooks: whether the run calls them.
        meanwhile: whether the audit comes at once, and not an hour later.
        late: seconds between the audits, beyond 23 hours.
    """

    plant: Plant
    at: str
    along: Mapping[tuple[str, str], str] = field(default_factory=dict)
    early: Plant | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    last: Mapping[str, Any] = field(default_factory=dict)
    hubs: tuple[str, ...] = ()
    webhooks: bool = True
    meanwhile: bool = False
    late: float = 0.0


async def nothing(_: CloudRig) -> None:
    """The fault was planted early, or comes by itself."""


def a_group(name: str = "faulty", **members: Any) -> Plant:
    """A group with certificates, so that nothing of keys and vaults belongs to it."""

    async def plant(rig: CloudRig) -> None:
        await rig.put_group(name, **{**signed(LASTING), **members})

    return plant


def of_group(fault: Plant | None = None, **members: Any) -> Fault:
    return Fault(fault or a_group(**members), "group:faulty")


def of_individual(**members: Any) -> Fault:
    async def plant(rig: CloudRig) -> None:
        await rig.put_individual("odd", **{"allocationPolicy": "hashed", **members})

    return Fault(plant, "individual:odd", thresholds={"sample_keys": 100})


def of_vault(key: str = "", **version: Any) -> Plant:
    """A group in rotation; its secret as told, or nothing of it in the vault."""

    async def plant(rig: CloudRig) -> None:
        await rig.put_group("faulty", **keyed("faulty"), allocationPolicy="hashed")
        await rig.adopt("faulty", key, **version)

    return plant


async def with_expired_secret(rig: CloudRig) -> None:
    await of_vault(expires=int((rig.clock.now() + timedelta(minutes=10)).timestamp()))(rig)


async def not_adopted(rig: CloudRig) -> None:
    await rig.put_group("faulty", **keyed("faulty"), allocationPolicy="hashed")


async def registered_early(rig: CloudRig) -> None:
    await of_vault()(rig)
    await rig.register_in("faulty", "old-one")


async def attached_early(rig: CloudRig) -> None:
    await rig.put_individual("odd", **keyed("odd"), **custom())
    await rig.register("odd", strong("odd"))


async def has_a_twin_beside_the_policys(rig: CloudRig) -> None:
    await rig.activate(json.dumps({**POLICY, "default": {"twin": {"tags": {"ring": "one"}}}}))
    await a_group(**custom(initialTwin={"tags": {"site": "oslo"}}))(rig)


async def names_hubs_in_one_text(rig: CloudRig) -> None:
    """Into the emulator's record: it takes linked hubs alone, and whether DPS does is not known."""
    await a_group()(rig)
    [made] = [each for each in rig.service.store.groups if each.id == "faulty"]
    members = {**made.members, "iotHubs": [f"{HUB_A}, {HUB_B}"]}
    rig.service.store.groups.put(replace(made, members=members))


async def names_a_hub_that_went(rig: CloudRig) -> None:
    await a_group(iotHubs=[HUB_A, RETIRED])(rig)
    rig.service.unlink(RETIRED)


async def names_a_closed_hub(rig: CloudRig) -> None:
    await cordon(rig.table("fleet"), DPS, HUB_B, "kim", rig.now)
    await a_group(**custom(iotHubs=[HUB_B]))(rig)


async def names_a_hub_outside_the_policy(rig: CloudRig) -> None:
    await rig.activate(json.dumps({**POLICY, "unlisted_hubs": "refuse"}))
    await a_group(**custom(iotHubs=[HUB_A, RETIRED]))(rig)


async def with_a_foreign_ca(rig: CloudRig) -> None:
    rig.authority("leaving", LASTING)
    await rig.put_group(
        "faulty",
        attestation={"type": "x509", "x509": {"caReferences": {"primary": "root", "secondary": "leaving"}}},
        allocationPolicy="hashed",
    )
    rig.service.authorities.remove("leaving")


async def with_a_shared_key(rig: CloudRig) -> None:
    await rig.put_group("faulty", **keyed("", strong("line-a"), strong("x")), allocationPolicy="hashed")
    await rig.adopt("faulty", strong("line-a"))


async def an_unverified_ca(rig: CloudRig) -> None:
    rig.authority("factory", LASTING, verified=False)


async def a_device_fails(rig: CloudRig) -> None:
    await rig.put_group("faulty", **keyed("faulty"), **custom(f"{WEBHOOK}-of-last-year"))
    await rig.adopt("faulty")
    assert (await rig.register_in("faulty", "odd"))["status"] == "failed"
    await rig.put_group("faulty", **keyed("faulty"), **custom())


async def a_device_gets_no_answer(rig: CloudRig) -> None:
    """DPS asks ten times over seven minutes: the audit comes in between."""
    rig.internet.down.add(WEBHOOK)
    assert (await rig.register_in("line-a", "odd", to_the_end=False))["status"] == "assigning"
    await rig.clock.advance(90)


async def a_revoked_device_tries(rig: CloudRig) -> None:
    await rig.put_group("line-a", **keyed("line-a"), **custom(provisioningStatus="disabled"))
    await rig.register_in("line-a", "dev-1")


async def a_devices_hub_goes(rig: CloudRig) -> None:
    await rig.put_individual("odd", **keyed("odd"), allocationPolicy="hashed", iotHubs=[RETIRED])
    assert (await rig.register("odd", strong("odd")))["assignedHub"] == RETIRED
    await rig.put_individual("odd", **keyed("odd"), allocationPolicy="hashed", iotHubs=[])
    rig.service.unlink(RETIRED)


async def home_of(rig: CloudRig, device: str) -> str:
    return next(name for name, hub in rig.hubs.items() if device in hub.hub.devices)


async def a_device_is_deleted_at_its_hub(rig: CloudRig) -> None:
    await rig.at_hub("DELETE", await home_of(rig, "dev-1"), "dev-1")


async def a_device_is_made_by_hand(rig: CloudRig) -> None:
    await rig.at_hub("PUT", HUB_A, "by-hand")


async def a_device_is_made_at_another_hub(rig: CloudRig) -> None:
    home = await home_of(rig, "dev-1")
    await rig.at_hub("PUT", HUB_B if home == HUB_A else HUB_A, "dev-1")


async def a_group_is_deleted(rig: CloudRig) -> None:
    await rig.delete_group("line-a")


async def a_hub_is_drained(rig: CloudRig) -> None:
    await drain(rig.table("fleet"), DPS, await home_of(rig, "solo"), "kim", rig.now)


FULL = {
    (f"DPS-QUOTA-{number:03}", "service"): "one group, CA or hub is more than so small a share"
    for number in (3, 4, 5, 6)
}


async def many_devices(rig: CloudRig) -> None:
    for number in range(8):
        await rig.register_in("line-a", f"odd-{number}")


async def many_individuals(rig: CloudRig) -> None:
    for number in range(8):
        await rig.put_individual(f"odd-{number}", **keyed(f"odd-{number}"), allocationPolicy="hashed")


async def many_groups(rig: CloudRig) -> None:
    for number in range(79):
        await rig.put_group(f"g-{number:02}", **keyed(f"g-{number}"), allocationPolicy="hashed")


async def many_x509_groups(rig: CloudRig) -> None:
    for number in range(79):
        await a_group(f"g-{number:02}")(rig)


async def many_authorities(rig: CloudRig) -> None:
    for number in range(19):
        rig.authority(f"ca-{number}", LASTING)


async def many_links(rig: CloudRig) -> None:
    for hub in rig.aside:
        rig.service.link(hub)


async def a_small_hub(rig: CloudRig) -> None:
    await rig.activate(json.dumps({"hubs": [{"name": HUB_A, "capacity": 5, "headroom": 0}, {"name": HUB_B}]}))
    for number in range(4):
        await rig.put_individual(
            f"odd-{number}", **keyed(f"odd-{number}"), allocationPolicy="hashed", iotHubs=[HUB_A]
        )
        await rig.register(f"odd-{number}", strong(f"odd-{number}"))


async def a_device_is_placed_without_the_ledger(rig: CloudRig) -> None:
    rig.internet.instance = rig.instance(ledger=False)
    await rig.register_in("line-a", "odd")
    rig.internet.instance = None


async def somebody_else_calls_the_webhook(rig: CloudRig) -> None:
    body = {
        "enrollmentGroup": {"enrollmentGroupId": "line-a"},
        "deviceRuntimeContext": {"registrationId": "nobody", "symmetricKey": {}},
        "linkedHubs": [HUB_A, HUB_B],
    }
    assert (await rig.http.post(WEBHOOK, json=body)).status_code == 200


async def an_instance_stays_behind(rig: CloudRig) -> None:
    behind = await rig.activate(json.dumps({**POLICY, "unlisted_hubs": "refuse"}))
    await rig.activate(json.dumps(POLICY))
    await rig.clock.advance(600)
    rig.internet.instance = rig.instance(behind)
    await rig.register_in("line-a", "odd")
    rig.internet.instance = None


def a_job_ends(result: SliceResult) -> Plant:
    async def plant(rig: CloudRig) -> None:
        async def slice_(_: Slice) -> SliceResult:
            return result

        await rig.run(JobKind("export", slice_), "export:1")

    return plant


async def a_rotation_waits(rig: CloudRig) -> None:
    def blocked(row: Any) -> Any:
        return replace(row, stage=Stage.BLOCKED, blocked=Why.RETIRE, rotation="r-1")

    await rig.rotations.change("line-a", blocked)


FAULTS: Mapping[str, Fault] = {
    "DPS-ALLOC-001": of_group(**custom(WEBHOOK.partition("?")[0])),
    "DPS-ALLOC-002": of_group(**custom(FOREIGN)),
    "DPS-ALLOC-003": of_group(**custom(WEBHOOK.replace("https", "http"))),
    "DPS-ALLOC-004": of_group(**custom(f"{OPEN}?code={KEY}")),
    "DPS-ALLOC-005": of_group(**custom(version="2019-03-31")),
    "DPS-ALLOC-006": of_group(**custom(f"{WEBHOOK}-of-last-year")),
    "DPS-ALLOC-007": of_group(**custom(reprovisionPolicy=NEVER)),
    "DPS-ALLOC-008": of_group(has_a_twin_beside_the_policys),
    "DPS-ALLOC-009": replace(of_group(names_a_hub_that_went), hubs=(RETIRED,)),
    "DPS-ALLOC-010": replace(
        of_group(names_a_closed_hub),
        along={("DPS-ALLOC-006", "group:faulty"): "the webhook has no hub for a new device: 503"},
    ),
    "DPS-ALLOC-011": replace(of_group(names_a_hub_outside_the_policy), hubs=(RETIRED,)),
    "DPS-ALLOC-012": of_group(allocationPolicy=None),
    "DPS-ALLOC-013": of_group(names_hubs_in_one_text),
    "DPS-CRED-001": of_group(**signed(certificate(end=NOW - timedelta(days=1)), LASTING)),
    "DPS-CRED-002": of_group(**signed(LASTING, within(20))),
    "DPS-CRED-003": of_group(**signed(certificate(start=NOW + timedelta(days=9)), LASTING)),
    "DPS-CRED-004": of_group(**signed(within(100), within(110))),
    "DPS-CRED-005": of_group(**signed(certificate(curve=ec.SECP256K1()), LASTING)),
    "DPS-CRED-006": of_group(**signed(LASTING, sha1_signed())),
    "DPS-CRED-007": of_group(**signed(certificate(authority=False), LASTING)),
    "DPS-CRED-008": Fault(an_unverified_ca, "ca:factory"),
    "DPS-CRED-009": of_group(**signed(within(60))),
    "DPS-CRED-010": of_individual(
        **signed(certificate(authority=False, usages=(SERVER,)), kind="clientCertificates")
    ),
    "DPS-CRED-011": of_group(with_a_foreign_ca),
    "DPS-CRED-012": of_individual(**keyed("", strong("a"), strong("a"))),
    "DPS-CRED-013": of_individual(**keyed("", strong("a"), strong("b", 16))),
    "DPS-CRED-014": Fault(
        with_a_shared_key,
        "group:faulty",
        along={("DPS-CRED-014", "group:line-a"): "a key is shared by two"},
    ),
    "DPS-CRED-015": of_individual(**keyed("", strong("a"), "Y29udG9zby1mYWN0b3J5LWxpbmUtYS1tYXN0ZXIta2V5")),
    "DPS-CRED-016": of_individual(**keyed("", strong("a"), SAMPLE)),
    "DPS-CRED-017": Fault(
        nothing, "group:faulty", early=registered_early, settings={"AUDIT_KEY_AGE_DAYS": "150"}
    ),
    "DPS-CRED-018": of_group(not_adopted),
    "DPS-CRED-019": Fault(with_expired_secret, "secret:faulty-key"),
    "DPS-CRED-020": of_group(of_vault(strong("another's"))),
    "DPS-CRED-021": Fault(
        nothing, "individual:odd", early=attached_early, settings={"AUDIT_WEBHOOK_KEY_AGE_DAYS": "150"}
    ),
    "DPS-REC-001": Fault(a_device_fails, "registration:odd"),
    "DPS-REC-002": Fault(
        a_device_gets_no_answer,
        "registration:odd",
        thresholds={"assigning_minutes": 1},
        webhooks=False,
        meanwhile=True,
    ),
    "DPS-REC-003": Fault(a_revoked_device_tries, "registration:dev-1"),
    "DPS-REC-004": Fault(a_devices_hub_goes, "registration:odd", hubs=(RETIRED,)),
    "DPS-REC-005": Fault(a_device_is_deleted_at_its_hub, "registration:dev-1"),
    "DPS-REC-006": Fault(a_device_is_made_by_hand, f"device:{HUB_A}/by-hand"),
    "DPS-REC-007": Fault(a_device_is_made_at_another_hub, "registration:dev-1"),
    "DPS-REC-008": Fault(
        a_group_is_deleted,
        "registration:dev-1",
        along={("DPS-REC-008", "registration:dev-2"): "the group had two devices"},
    ),
    "DPS-REC-009": Fault(nothing, "group:faulty", early=a_group()),
    "DPS-REC-010": of_group(initialTwin={"tags": {"additional_properties": {"site": "oslo"}}}),
    "DPS-REC-011": Fault(a_hub_is_drained, "registration:solo"),
    "DPS-QUOTA-001": Fault(many_devices, "service", along=FULL, last={"quota_share": 1e-5}),
    "DPS-QUOTA-002": Fault(many_individuals, "service", along=FULL, last={"quota_share": 1e-5}),
    "DPS-QUOTA-003": Fault(many_groups, "service", settings={"VAULT_URL": ""}),
    "DPS-QUOTA-004": Fault(many_x509_groups, "service"),
    "DPS-QUOTA-005": Fault(many_authorities, "service"),
    "DPS-QUOTA-006": Fault(
        many_links, "service", hubs=tuple(f"hub-{number}.azure-devices.net" for number in range(38))
    ),
    "DPS-QUOTA-007": Fault(a_small_hub, f"hub:{HUB_A}"),
    "DPS-OPS-001": Fault(a_device_is_placed_without_the_ledger, "service"),
    "DPS-OPS-002": Fault(somebody_else_calls_the_webhook, "service"),
    "DPS-OPS-003": Fault(an_instance_stays_behind, "service"),
    "DPS-OPS-004": Fault(nothing, "job:audit", late=2 * DAY),
    "DPS-OPS-005": Fault(a_job_ends(Blocked("a table is full")), "job:export:1"),
    "DPS-OPS-006": Fault(a_rotation_waits, "group:line-a"),
    "DPS-OPS-007": Fault(a_job_ends(Failed("the file is gone")), "service"),
}
