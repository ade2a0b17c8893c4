"""Weighted rendezvous hashing: which hub a device belongs to, from nothing but names and weights.

Each hub draws a number from the hash of (hub, device) and its weight; the highest wins. So shares follow
the weights, removing a hub moves only its own devices, and a changed weight moves devices only to or from
the hub it changed.

The numbers below decide where real devices live. Changing the hash, its input or the score moves whole
fleets; the tests hold golden values.
"""

import math
from collections.abc import Mapping
from hashlib import blake2b

from provisioning.hubs import HubKey
from provisioning.registrations import RegistrationKey


def rank(registration: RegistrationKey, weights: Mapping[HubKey, float]) -> list[HubKey]:
    """All hubs of positive weight, the device's best first.

    Args:
        registration: the device, in its comparable form.
        weights: hub -> weight; only the proportions matter. Hubs of weight 0 or less take no part.
    """
    # surrogatepass: a hostile id may hold half a surrogate pair, and must still land somewhere.
    device = b"\0" + registration.encode("utf-8", "surrogatepass")
    return [
        hub
        for _, hub in sorted(
            (_cost(hub, device, weight), hub) for hub, weight in weights.items() if weight > 0
        )
    ]


def _cost(hub: HubKey, device: bytes, weight: float) -> float:
    """-ln(u) / weight, with u uniform in (0, 1).

    An exponential draw: the least of them falls to each hub in proportion to its weight (the logarithmic
    method of Schindelhauer and Schomaker, SPAA 2005, read as costs).
    """
    digest = blake2b(hub.encode("utf-8", "surrogatepass") + device, digest_size=8).digest()
    # 53 bits and a half step keep u strictly inside (0, 1) in a double.
    uniform = ((int.from_bytes(digest, "big") >> 11) + 0.5) * 2.0**-53
    return -math.log(uniform) / weight
