"""Rotations as the app runs them: every client made of the settings, over the wire."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli.connect import state_settings
from clients.clock import SystemClock
from clients.device import DeviceClient
from clients.hubs import HubClient, HubShares
from clients.ports import Telemetry
from lifecycle.jobs import JobKind, JobStore, Slice
from lifecycle.rates import Rate
from lifecycle.rotation.canary import CanaryPlaces
from lifecycle.rotation.identities import Fleet
from lifecycle.rotation.ports import Ports
from lifecycle.rotation.run import KIND, rotation_kind
from lifecycle.rotation.store import RotationStore
from provisioning.hubs import HubKey
from settings import Settings
from wiring import Wiring

RATES = {KIND: {Rate.DPS: 0.95, Rate.HUB_REGISTRY: 0.4}}


def wiring_of(state: Path, tables: str, environment: dict[str, str]) -> Wiring:
    """The clients of a stack's state file; `environment` gets what azure-identity reads."""
    environment.update(state_settings(state))
    return Wiring(Settings.read({**environment, "STATE_TABLES": tables}), SystemClock())


def ports_of(wiring: Wiring, id_scope: str) -> Callable[[Slice], Ports]:
    """Clients that call under a slice's shares."""

    def ports(slice_: Slice) -> Ports:
        share = slice_.share(Rate.DPS)
        dps, vault = wiring.dps(share), wiring.vault(share)
        assert vault is not None

        def hub(name: HubKey) -> HubClient:
            of_hub = slice_.share(Rate.HUB_REGISTRY, name)
            return wiring.hub(name, HubShares(identities=of_hub, queries=of_hub, twins=of_hub))

        devices = DeviceClient(
            f"https://{wiring.settings.dps_host}",
            id_scope,
            connections=wiring.connections,
            share=share,
            clock=wiring.clock,
            jitter=random.random,
        )
        return Ports(
            groups=dps.groups,
            vault=vault,
            places=CanaryPlaces(devices, dps.registrations, dps.individuals, hub),
            identities=Fleet(dps.registrations, hub),
            provider=wiring.settings.dps_resource_id or wiring.settings.dps_host,
        )

    return ports


def rotation_of(wiring: Wiring, state: Path, telemetry: Telemetry) -> tuple[JobKind, RotationStore, JobStore]:
    """The kind of job, and the two stores."""
    told: Any = json.loads(state.read_text())
    dps = wiring.settings.dps_name
    rotations = RotationStore(wiring.table("rotations"), dps, wiring.clock)
    kind = rotation_kind(rotations, ports_of(wiring, told["dps"]["id_scope"]), telemetry)
    return kind, rotations, JobStore(wiring.table("jobs"), dps, wiring.clock)
