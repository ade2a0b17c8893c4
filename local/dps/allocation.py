"""Which hub DPS itself chooses: the policies hashed, geoLatency and static."""

import math
from collections.abc import Sequence
from hashlib import blake2b

from local.dps import ids
from local.hub import IotHub


def candidates(named: Sequence[str], linked: Sequence[IotHub]) -> list[IotHub]:
    """The hubs an enrollment may use: those it names that are still linked, or all linked ones.

    A named hub that was unlinked since is left out; what DPS does with it is unknown ("might cause
    provisioning errors").
    """
    if not named:
        return list(linked)
    by_key = {ids.key(hub.host_name): hub for hub in linked}
    return [by_key[key] for key in dict.fromkeys(ids.key(host) for host in named) if key in by_key]


def choose(policy: str, registration_key: str, hubs: Sequence[IotHub]) -> IotHub | None:
    """The hub a policy of DPS's own chooses, None if it may choose none.

    `static` takes the one hub named, whatever its `applyAllocationPolicy` (the policies in that
    setting's name do the choosing; whether it holds for a named hub is unknown).
    """
    if policy == "geoLatency":
        return stand_in_for_geo_latency(registration_key, hubs)
    if policy == "static":
        return hubs[0] if hubs else None
    return hashed(registration_key, hubs)


def stand_in_for_geo_latency(registration_key: str, hubs: Sequence[IotHub]) -> IotHub | None:
    """One machine has no latencies to compare: as `hashed`."""
    return hashed(registration_key, hubs)


def hashed(registration_key: str, hubs: Sequence[IotHub]) -> IotHub | None:
    """The hub of a device by weighted rendezvous hashing; hubs that take no allocations are left out.

    That shares follow `allocationWeight` is documented; the hash itself is not. A device comes back
    to the same hub as long as its hubs and their weights stay.
    """
    open_hubs = [hub for hub in hubs if hub.apply_allocation_policy]
    return max(open_hubs, key=lambda hub: _score(registration_key, hub), default=None)


def _score(registration_key: str, hub: IotHub) -> float:
    digest = blake2b(f"{ids.key(hub.host_name)}\0{registration_key}".encode(), digest_size=8).digest()
    share = (int.from_bytes(digest) + 0.5) / 2**64
    return -hub.allocation_weight / math.log(share)
