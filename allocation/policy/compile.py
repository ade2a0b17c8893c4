"""The compiled policy: what a decision reads, with the cost of configuration paid once."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from allocation.evidence import Reading
from allocation.facts import Facts, Reason
from allocation.placement import Lots
from allocation.policy.places import EVERYWHERE, Placing
from provisioning.hubs import HubKey, hub_key

if TYPE_CHECKING:
    from allocation.policy.document import Outcome, PolicyDocument
    from allocation.policy.matching import Readings, Test
    from allocation.templates import ExtrasTemplate


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to be matched.

    Attributes:
        name: as the policy names it.
        matched: the first step of every decision by this rule.
        applies: whether its `when` holds for a device; None matches every device.
        reject: the reason to fail the registration, or None to place the device.
        place: where its devices may go.
        extras: its twin and payload; None where it has neither.
    """

    name: str
    matched: Reason
    applies: "Test | None" = field(default=None, compare=False)
    reject: str | None = None
    place: Placing = field(default=EVERYWHERE, compare=False)
    extras: "ExtrasTemplate | None" = field(default=None, compare=False)

    def applies_to(self, facts: Facts) -> bool:
        """Whether this rule's `when` holds for the device."""
        return self.applies is None or self.applies(facts)


def _matched(name: str) -> Reason:
    return Reason("match", f"rule {name!r}")


DEFAULT_RULE = Rule("default", _matched("default"))


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A policy as decisions read it. Two of one version are equal.

    Attributes:
        version: tells this content from every other.
        weights: hub -> weight, for the hubs it names.
        unlisted_weight: the weight of every other linked hub; 0 keeps devices off them.
        rules: in order; the last one matches every device.
        readings: what it reads of the evidence, by name.
        limits: hub -> the load from which on it gets no new device: capacity less headroom.
        regions: hub -> region as the document spells it, for templates.
        lots: draws devices' lots for hubs.
    """

    version: str
    weights: Mapping[HubKey, float] = field(compare=False)
    unlisted_weight: float = field(compare=False)
    rules: tuple[Rule, ...] = field(compare=False)
    readings: Mapping[str, Reading] = field(default_factory=dict, compare=False, repr=False)
    limits: Mapping[HubKey, int] = field(default_factory=dict, compare=False)
    regions: Mapping[HubKey, str] = field(default_factory=dict, compare=False)
    lots: Lots = field(default_factory=Lots, compare=False, repr=False)

    @property
    def reads(self) -> frozenset[str]:
        """Names of what the policy reads of a request beyond its hubs, device and enrollment."""
        return frozenset(self.readings)

    def weight(self, hub: HubKey) -> float:
        """The hub's weight under this policy."""
        return self.weights.get(hub, self.unlisted_weight)

    def rule_for(self, facts: Facts) -> Rule:
        """The first rule that applies to the device.

        Raises:
            Unread: a rule before it hangs on what the facts cannot tell.
        """
        for rule in self.rules:
            if rule.applies is None or rule.applies(facts):
                return rule
        return DEFAULT_RULE


EVERY_HUB_ALIKE = CompiledPolicy(version="packaged", weights={}, unlisted_weight=1.0, rules=(DEFAULT_RULE,))
"""The policy that ships with the app: every linked hub, equal weights, nobody rejected."""


def version_of(canonical: str) -> str:
    """The version of a policy, told from its canonical form: 12 hex digits of its SHA-256."""
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def compile_policy(document: "PolicyDocument") -> CompiledPolicy:
    """Prepare a checked document for decisions."""
    from allocation.policy.document import DEFAULT_HEADROOM, canonical  # noqa: PLC0415 - as __init__ says
    from allocation.policy.matching import condition  # noqa: PLC0415
    from allocation.policy.places import Places  # noqa: PLC0415

    readings: Readings = {}
    places = Places(document, readings)

    def rule(name: str, applies: "Test | None", outcome: "Outcome") -> Rule:
        extras = outcome.extras()
        readings.update({each.name: each for each in extras.readings})
        return Rule(
            name=name,
            matched=_matched(name),
            applies=applies,
            reject=outcome.reject.reason if outcome.reject else None,
            place=places.compile(name, outcome.place),
            extras=None if outcome.twin is None and outcome.payload is None else extras,
        )

    rules = [rule(each.name, condition(each.when, readings), each) for each in document.rules]
    rules.append(rule("default", None, document.default))
    headroom = DEFAULT_HEADROOM * document.provisioning_services
    return CompiledPolicy(
        version=version_of(canonical(document)),
        weights={hub_key(hub.name): hub.weight for hub in document.hubs},
        unlisted_weight=1.0 if document.unlisted_hubs == "allow" else 0.0,
        rules=tuple(rules),
        readings=readings,
        limits={
            hub_key(hub.name): hub.capacity - (headroom if hub.headroom is None else hub.headroom)
            for hub in document.hubs
            if hub.capacity is not None
        },
        regions={hub_key(hub.name): hub.region for hub in document.hubs if hub.region is not None},
    )
