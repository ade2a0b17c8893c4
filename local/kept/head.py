"""What must be known of a kept world before its services are made."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local.dps.authorities import CaCertificate
from local.dps.policies import AccessPolicy
from local.iothub.auth import HubPolicy


@dataclass(frozen=True, slots=True)
class KeptHub:
    """A linked hub without its devices."""

    host_name: str
    allocation_weight: int
    apply_allocation_policy: bool
    policies: tuple[HubPolicy, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """A world without its records. Holds secrets, which no `repr` shows."""

    name: str
    """Of the provisioning service."""
    id_scope: str
    policies: tuple[AccessPolicy, ...]
    authorities: tuple[CaCertificate, ...]
    hubs: tuple[KeptHub, ...]
    """In the order of linking."""
    made: datetime
    """When the world began."""
    ahead: float
    """Seconds by which its clock is ahead of the machine's."""
    vault_since: datetime | None
    """When somebody first subscribed to the vault's events."""
    ports: Mapping[str, int]
    """Where each service listens, so that connection strings and URLs stay good."""
    tables_key: str = field(repr=False)
    """Of Azurite's account."""

    @property
    def weights(self) -> dict[str, int]:
        """Host name of each hub -> its weight at DPS."""
        return {hub.host_name: hub.allocation_weight for hub in self.hubs}


def values(head: Head) -> Iterator[dict[str, Any]]:
    """The head as the first lines of a file."""
    yield {
        "world": {
            "made": head.made.isoformat(),
            "ahead": head.ahead,
            "vault_since": head.vault_since and head.vault_since.isoformat(),
            "ports": dict(head.ports),
            "tables_key": head.tables_key,
        }
    }
    yield {
        "dps": {"name": head.name, "id_scope": head.id_scope, "policies": list(map(_policy, head.policies))}
    }
    for ca in head.authorities:
        pem = base64.b64encode(ca.pem).decode()
        yield {"ca": {"name": ca.name, "pem": pem, "verified": ca.verified}}
    for hub in head.hubs:
        yield {
            "hub": {
                "host_name": hub.host_name,
                "allocation_weight": hub.allocation_weight,
                "apply_allocation_policy": hub.apply_allocation_policy,
                "policies": list(map(_policy, hub.policies)),
            }
        }


def read(lines: Iterable[Mapping[str, Any]]) -> Head:
    """The head at the beginning of a file's lines; it stops at the first line that is none of it.

    Raises:
        KeyError, TypeError, ValueError: the lines are not those of `values`.
    """
    world: Mapping[str, Any] = {}
    dps: Mapping[str, Any] = {}
    authorities, hubs = [], []
    for each in lines:
        match each:
            case {"world": dict(found)}:
                world = found
            case {"dps": dict(found)}:
                dps = found
            case {"ca": dict(found)}:
                authorities.append(CaCertificate(found["name"], _bytes(found["pem"]), found["verified"]))
            case {"hub": dict(found)}:
                policies = tuple(HubPolicy(**_policy_of(one)) for one in found["policies"])
                hubs.append(KeptHub(**{**found, "policies": policies}))
            case _:
                break
    since = world["vault_since"]
    return Head(
        name=dps["name"],
        id_scope=dps["id_scope"],
        policies=tuple(AccessPolicy(**_policy_of(one)) for one in dps["policies"]),
        authorities=tuple(authorities),
        hubs=tuple(hubs),
        made=datetime.fromisoformat(world["made"]),
        ahead=float(world["ahead"]),
        vault_since=None if since is None else datetime.fromisoformat(since),
        ports={str(name): int(port) for name, port in world["ports"].items()},
        tables_key=str(world["tables_key"]),
    )


def _policy(policy: AccessPolicy | HubPolicy) -> dict[str, Any]:
    return {
        "name": policy.name,
        "primary_key": policy.primary_key,
        "secondary_key": policy.secondary_key,
        "permissions": sorted(policy.permissions),
    }


def _policy_of(kept: Mapping[str, Any]) -> dict[str, Any]:
    return {**kept, "permissions": frozenset(kept["permissions"])}


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
