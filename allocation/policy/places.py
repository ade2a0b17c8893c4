"""A rule's `place`, compiled: for every preferred region, the hubs in the order in which they are tried."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any

from allocation.facts import Facts
from allocation.placement import in_share
from allocation.policy.matching import Readings, read
from provisioning.hubs import HubKey, hub_key
from provisioning.registrations import RegistrationKey

if TYPE_CHECKING:
    from allocation.policy.document import Choice, Hub, Place, PolicyDocument


def region_key(name: str) -> str:
    """The form of a region's name under which regions are compared: `West Europe` is `westeurope`."""
    return name.replace(" ", "").lower()


@dataclass(frozen=True, slots=True)
class Group:
    """Hubs that are tried together.

    Attributes:
        weights: hub -> weight, each above 0.
        unlisted: the weight of a linked hub that the policy does not name; 0 where it takes no part.
        known: the hubs that the policy names, in this group or not.
        label: how a reason names the group; "" for the rule's hubs as a whole.
        shares: the weights as integers in a common scale, for bounds that are exact.
        unlisted_share: `unlisted` in that scale.
    """

    weights: Mapping[HubKey, float]
    unlisted: float
    known: frozenset[HubKey]
    label: str = ""
    shares: Mapping[HubKey, int] = field(default_factory=dict)
    unlisted_share: int = 0

    def weight(self, hub: HubKey) -> float:
        """The hub's weight in this group; 0 where it does not belong to it."""
        weight = self.weights.get(hub)
        if weight is not None:
            return weight
        return 0.0 if not self.unlisted or hub in self.known else self.unlisted

    def share(self, hub: HubKey) -> int:
        """That weight as an integer."""
        share = self.shares.get(hub)
        return self.unlisted_share if share is None else share


def group(
    weights: Mapping[HubKey, float], unlisted: float, known: Iterable[HubKey], label: str = ""
) -> Group:
    """A group of the hubs that have weight."""
    some = {hub: weight for hub, weight in weights.items() if weight > 0}
    exact = {hub: Fraction(repr(weight)) for hub, weight in some.items()}
    scale = lcm(*(each.denominator for each in exact.values()))
    return Group(
        some,
        unlisted,
        frozenset(known),
        label,
        {hub: int(each * scale) for hub, each in exact.items()},
        int(unlisted) * scale,
    )


Groups = tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class CanaryShare:
    """The share of a rule's devices that goes to `to`.

    Attributes:
        salt: tells the share of this rule from others.
        threshold: the share times 2^64.
        to: where they go.
    """

    salt: str
    threshold: int
    to: Group

    def has(self, registration: RegistrationKey) -> bool:
        """Whether the device is one of the share."""
        return in_share(registration, self.salt, self.threshold)


@dataclass(frozen=True, slots=True)
class Placing:
    """How a rule places.

    Attributes:
        groups: what is tried in order, where no region is preferred.
        regions: preferred region -> what is tried in order.
        region: tells the preferred region of a device; None where the rule has none.
        canary: the share that goes elsewhere, if there is one.
        bound: the factor of the bounded load, as numerator and denominator.
        pinned: whether the one group is a single hub that the rule names.
    """

    groups: Groups
    regions: Mapping[str, Groups] = field(default_factory=dict)
    region: Callable[[Facts], str | None] | None = None
    canary: CanaryShare | None = None
    bound: tuple[int, int] | None = None
    pinned: bool = False

    def groups_for(self, facts: Facts) -> Groups:
        """What is tried in order for a device outside the canary share."""
        if self.region is None:
            return self.groups
        preferred = self.region(facts)
        return self.regions.get(preferred, self.groups) if preferred is not None else self.groups


EVERYWHERE = Placing((Group({}, 1.0, frozenset()),))
"""Every linked hub alike."""


class Places:
    """Compiles the `place` of each rule of one document."""

    def __init__(self, document: "PolicyDocument", readings: Readings) -> None:
        self._readings = readings
        self._unlisted = 1.0 if document.unlisted_hubs == "allow" else 0.0
        self._hubs: dict[HubKey, Hub] = {hub_key(hub.name): hub for hub in document.hubs}
        self._fallbacks = {
            region_key(region): [region_key(each) for each in listed]
            for region, listed in document.regions.items()
        }
        self._regions = {
            hub: region_key(found.region) for hub, found in self._hubs.items() if found.region is not None
        }

    def compile(self, rule: str, place: "Place") -> Placing:
        """Compile one rule's `place`."""
        if place.pinned is not None:
            # A pin is the operator's word: it needs no weight, and the hub no entry in the list.
            return Placing((group({hub_key(place.pinned): 1.0}, 0.0, self._hubs),), pinned=True)
        candidates, unlisted = self.chosen(place)
        canary = None
        if place.canary is not None:
            to, _ = self.chosen(place.canary.to)
            canary = CanaryShare(
                rule, round(place.canary.share * 2**64), group(to, 0.0, self._hubs, "the canary's hubs")
            )
            candidates = {hub: weight for hub, weight in candidates.items() if hub not in to}
        everything = group(candidates, unlisted, {*self._hubs, *(canary.to.weights if canary else ())})
        factor = Fraction(repr(place.bounded_load)) if place.bounded_load is not None else None
        return Placing(
            groups=(everything,),
            regions={} if place.region is None else self._by_region(everything, place.when_full),
            region=self._preferred(place.region),
            canary=canary,
            bound=(factor.numerator, factor.denominator) if factor is not None else None,
        )

    def chosen(self, choice: "Choice") -> tuple[dict[HubKey, float], float]:
        """The hubs a choice means, with their weights; and the weight of hubs the policy does not name."""
        if choice.hubs is None:
            named = {hub: found.weight for hub, found in self._hubs.items()}
        else:
            keys = map(hub_key, choice.hubs)
            named = {key: self._hubs[key].weight if key in self._hubs else self._unlisted for key in keys}
        if choice.tags is None:
            return named, self._unlisted if choice.hubs is None else 0.0
        wanted = set(choice.tags)
        tagged = {hub for hub, found in self._hubs.items() if wanted <= set(found.tags)}
        return {hub: weight for hub, weight in named.items() if hub in tagged}, 0.0

    def _by_region(self, everything: Group, when_full: str) -> dict[str, Groups]:
        """What is tried in order for each region with hubs or fallbacks: never more than `everything`."""
        return {
            region: tuple(self._tried(region, everything, when_full))
            for region in {*self._fallbacks, *self._regions.values()}
        }

    def _tried(self, region: str, everything: Group, when_full: str) -> Iterable[Group]:
        ring = [region]
        if when_full == "next_region":
            ring += [each for each in dict.fromkeys(self._fallbacks.get(region, ())) if each != region]
        for each in ring:
            inside = {hub: w for hub, w in everything.weights.items() if self._regions.get(hub) == each}
            yield group(inside, 0.0, everything.known, f"region {each}")
        if when_full == "any":
            rest = {hub: w for hub, w in everything.weights.items() if self._regions.get(hub) != region}
            yield group(rest, everything.unlisted, everything.known, "any other hub")

    def _preferred(self, told: Any) -> Callable[[Facts], str | None] | None:
        if told is None:
            return None
        if isinstance(told, str):
            fixed = region_key(told)
            return lambda _: fixed
        found = read(told.from_, self._readings)
        default = region_key(told.default) if told.default is not None else None
        known = {*self._fallbacks, *self._regions.values()}

        def preferred(facts: Facts) -> str | None:
            value = facts.evidence.read(found)
            region = region_key(value) if isinstance(value, str) else None
            return region if region in known else default

        return preferred
