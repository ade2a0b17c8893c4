"""A world of services without a wire, and what a store makes of it."""

from pathlib import Path
from typing import Any

from local.dps.authorities import CaCertificate
from local.dps.enrollments import GROUP, INDIVIDUAL, Enrollment, Kind, parse
from local.dps.keys import SymmetricKeys
from local.dps.service import ProvisioningService
from local.hub import IotHub
from local.iothub.service import HubService
from local.issuer import Issuer
from local.kept import Head, KeptHub, Services, Store, lines
from local.vault import KeyVault, VaultBehaviour, VaultEvent
from local.world import ManualClock, World

HUBS = ("hub-a.azure-devices.net", "hub-b.azure-devices.net")
KEY = "a2V5LW9mLWEtZ3JvdXAtMDAwMDAwMDAwMDAwMDAwMA=="


ISSUER = Issuer(ManualClock())  # takes a tenth of a second to make


class Rig:
    """Made anew, or with what a store holds; `events` are those the vault tells of from now on."""

    def __init__(self, store: Store | None = None, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.world = World(self.clock, seed=3)
        self.head = store.head if store else None
        self.hubs = {
            name: IotHub(name, allocation_weight=weight, seed=1)
            for name, weight in (self.head.weights if self.head else dict.fromkeys(HUBS, 2)).items()
        }
        self.dps = ProvisioningService(
            hubs=self.hubs.values(),
            world=self.world,
            policies=self.head.policies if self.head else None,
            ca_certificates=self.head.authorities if self.head else (),
        )
        self.vault = KeyVault(ISSUER, self.world, behaviour=VaultBehaviour())
        self.events: list[VaultEvent] = []
        if store is not None:
            store.fill(self.services)
        self.made = self.head.made if self.head else self.clock.now()
        self.vault.subscribe(self.events.append, since=self.made)
        policies = {hub.host_name: hub.policies for hub in self.head.hubs} if self.head else {}
        self.served = {
            name: HubService(hub, world=self.world, policies=policies.get(name), throttled=False)
            for name, hub in self.hubs.items()
        }

    @property
    def services(self) -> Services:
        return Services(self.dps, self.hubs, self.vault)

    def save(self, folder: Path) -> Store:
        store = Store(folder)
        folder.mkdir(exist_ok=True)
        head = Head(
            name=self.dps.name,
            id_scope=self.dps.id_scope,
            policies=self.dps.policies,
            authorities=tuple(self.dps.authorities),
            hubs=tuple(
                KeptHub(name, hub.allocation_weight, hub.apply_allocation_policy, self.served[name].policies)
                for name, hub in self.hubs.items()
            ),
            made=self.made,
            ahead=12.5,
            vault_since=self.made,
            ports={"dps": 4711},
            tables_key="a-key-of-tables",
        )
        store.save(lines(head, self.services))
        return store

    def enroll(self, kind: Kind, name: str, **members: Any) -> Enrollment:
        attestation = {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY}}
        body = {kind.id_member: name, "attestation": attestation, **members}
        draft = parse(kind, body, HUBS)
        keys = SymmetricKeys(KEY, None)
        now = self.clock.now()
        made = Enrollment(kind, draft.id, draft.members, draft.attestation.type, '"e"', now, now, keys)
        self.dps.store.enrollments(kind).put(made)
        return made


__all__ = ["GROUP", "HUBS", "INDIVIDUAL", "KEY", "CaCertificate", "Rig"]
