"""Weighted rendezvous hashing: which hub a device belongs to, from nothing but names and weights.

Each hub draws a number from the hash of (hub, device) and its weight; the highest wins. So shares follow
the weights, removing a hub moves only its own devices, and a changed weight moves devices only to or from
the hub it changed.

The numbers below decide where real devices live. Changing the hash, its input or the score moves whole
fleets; the tests hold golden values.
"""

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from math import inf, log
from operator import itemgetter
from struct import Struct
from typing import NamedTuple, Protocol

from provisioning.hubs import HubKey
from provisioning.registrations import RegistrationKey

MOST_REMEMBERED = 1_000
"""Hubs whose hash state one Lots keeps, and lists of weights; a DPS links at most 50 hubs (documented)."""


class _Hash(Protocol):
    def copy(self) -> "_Hash": ...
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class _Alike(NamedTuple):
    """Hubs of equal weight: their places among all, and what takes their numbers out of all."""

    weight: float
    places: tuple[int, ...]
    of_these: Callable[[tuple[int, ...]], tuple[int, ...]]


class Lots:
    """Draws a device's lot for each hub.

    The hash state after a hub's name is kept and copied for each device: the digest is the same as from the
    start, at half the cost.
    """

    __slots__ = ("_alike", "_states")

    def __init__(self) -> None:
        self._states: dict[HubKey, _Hash] = {}
        self._alike: dict[tuple[float, ...], tuple[_Alike, ...]] = {}

    def rank(self, registration: RegistrationKey, weights: Mapping[HubKey, float]) -> list[HubKey]:
        """All hubs of positive weight, the device's best first.

        Args:
            registration: the device, in its comparable form.
            weights: hub -> weight; only the proportions matter. Hubs of weight 0 or less take no part.
        """
        lots = zip(self._draw(registration, weights), weights, weights.values(), strict=True)
        return [
            hub
            for _, hub in sorted((_cost(number, weight), hub) for number, hub, weight in lots if weight > 0)
        ]

    def first(self, registration: RegistrationKey, weights: Mapping[HubKey, float]) -> HubKey | None:
        """The device's best hub, as `rank` has it; None where no hub has weight."""
        # Of equal weights the highest number has the least cost: a logarithm for each weight, not each hub.
        # (Two numbers that differ in their last 11 bits alone tie in `rank`: one device in 10^16.)
        numbers = self._draw(registration, weights)
        key = tuple(weights.values())
        alike = self._alike.get(key) or self._alike_of(key)
        if len(alike) == 1 and len(alike[0].places) == len(numbers):
            return list(weights)[numbers.index(max(numbers))]
        least, best = inf, None
        for weight, places, of_these in alike:
            picked = of_these(numbers)
            highest = max(picked)
            cost = -log(((highest >> 11) + 0.5) * 2.0**-53) / weight  # as _cost: a call takes as long again
            if cost <= least:
                hub = list(weights)[places[picked.index(highest)]]
                if cost < least or best is None or hub < best:
                    least, best = cost, hub
        return best

    def _alike_of(self, weights: tuple[float, ...]) -> "tuple[_Alike, ...]":
        """The places of hubs of equal positive weight; a rule has the same weights for every device."""
        by_weight: dict[float, list[int]] = {}
        for place, weight in enumerate(weights):
            if weight > 0:
                by_weight.setdefault(weight, []).append(place)
        alike = tuple(
            _Alike(
                weight,
                tuple(places),
                # One index alone would give the number, and no tuple of it.
                itemgetter(*places) if len(places) > 1 else itemgetter(slice(places[0], places[0] + 1)),
            )
            for weight, places in by_weight.items()
        )
        # No longer lists than DPS's own: those of forged requests would take up memory.
        if len(weights) < len(_NUMBERS) and len(self._alike) < MOST_REMEMBERED:
            self._alike[weights] = alike
        return alike

    def _draw(self, registration: RegistrationKey, weights: Mapping[HubKey, float]) -> tuple[int, ...]:
        # surrogatepass: a hostile id may hold half a surrogate pair, and must still land somewhere.
        device = registration.encode("utf-8", "surrogatepass")
        states = self._states
        try:
            drawn = [states[hub].copy() for hub in weights]
        except KeyError:
            drawn = [self._state(hub).copy() for hub in weights]
        for lot in drawn:
            lot.update(device)
        count = len(drawn)
        numbers: tuple[int, ...] = (
            _NUMBERS[count] if count < len(_NUMBERS) else Struct(f">{count}Q")
        ).unpack(b"".join([lot.digest() for lot in drawn]))
        return numbers

    def _state(self, hub: HubKey) -> _Hash:
        state: _Hash = blake2b(hub.encode("utf-8", "surrogatepass") + b"\0", digest_size=8)
        if len(self._states) < MOST_REMEMBERED:
            self._states[hub] = state
        return state


_NUMBERS = tuple(Struct(f">{count}Q") for count in range(51))


def _cost(number: int, weight: float) -> float:
    """-ln(u) / weight, with u uniform in (0, 1).

    An exponential draw: the least of them falls to each hub in proportion to its weight (the logarithmic
    method of Schindelhauer and Schomaker, SPAA 2005, read as costs).
    """
    # 53 bits and a half step keep u strictly inside (0, 1) in a double.
    return -log(((number >> 11) + 0.5) * 2.0**-53) / weight


def rank(registration: RegistrationKey, weights: Mapping[HubKey, float]) -> list[HubKey]:
    """All hubs of positive weight, the device's best first, as `Lots.rank`."""
    return Lots().rank(registration, weights)


def has_room(load: int, *, share: int, shares: int, total: int, factor: tuple[int, int]) -> bool:
    """Whether one more device keeps a hub within the bounded load, `ceil(c * (n + 1) * w / W)`.

    In integers, for a bound that is off by a rounding is no bound. A hub of every set has room when c >= 1:
    were each full, all loads together would be at least c * (n + 1), and they are n.

    Args:
        load: devices on the hub now.
        share: the hub's weight w, as an integer in some common scale.
        shares: W, the weights of all hubs that are candidates, in that scale.
        total: n, the devices on all of them.
        factor: c, as numerator and denominator.
    """
    # load + 1 <= ceil(x)  is  load < x
    return load * shares * factor[1] < factor[0] * (total + 1) * share


def bounded(
    ranking: Iterable[HubKey],
    loads: Mapping[HubKey, int],
    shares: Mapping[HubKey, int],
    factor: tuple[int, int],
) -> HubKey | None:
    """The first hub of a ranking with room under the bounded load over all of `shares`.

    Args:
        ranking: hubs, best first.
        loads: devices on each of them.
        shares: weight of each of them, as integers in a common scale.
        factor: c >= 1, as numerator and denominator.
    """
    total = sum(loads[hub] for hub in shares)
    weight = sum(shares.values())
    for hub in ranking:
        if has_room(loads[hub], share=shares[hub], shares=weight, total=total, factor=factor):
            return hub
    return None


def in_share(registration: RegistrationKey, salt: str, threshold: int) -> bool:
    """Whether a device falls into a share of all devices, told by a hash that no placement uses.

    A growing share keeps the devices it had.

    Args:
        registration: the device.
        salt: tells one share from another; devices fall into each independently.
        threshold: the share times 2^64.
    """
    text = f"{salt}\0{registration}".encode("utf-8", "surrogatepass")
    return (
        int.from_bytes(blake2b(text, digest_size=8, person=b"dps-fleet canary").digest(), "big") < threshold
    )
