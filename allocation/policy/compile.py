"""The compiled policy: what a decision reads, with the cost of configuration paid once."""

import fnmatch
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioning.hubs import HubKey, hub_key
from provisioning.registrations import RegistrationKey

if TYPE_CHECKING:
    from allocation.policy.document import PolicyDocument, RuleDocument


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to be matched.

    Attributes:
        matches: over the registration id in its comparable form; None matches every device.
        reject: the reason to fail the registration, or None to place the device.
        initial_twin: in the wire's form, or None for the enrollment's own.
    """

    name: str
    matches: re.Pattern[str] | None = None
    reject: str | None = None
    initial_twin: Mapping[str, Any] | None = None
    payload: Mapping[str, Any] | None = None

    def applies_to(self, registration: RegistrationKey) -> bool:
        """Whether this rule's `when` holds for the device."""
        return self.matches is None or self.matches.match(registration) is not None


DEFAULT_RULE = Rule("default")


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A policy as decisions read it.

    Attributes:
        version: tells this text from every other.
        weights: hub -> weight, for the hubs it names.
        unlisted_weight: the weight of every other linked hub; 0 keeps devices off them.
        rules: in order; the last one matches every device.
    """

    version: str
    weights: Mapping[HubKey, float]
    unlisted_weight: float
    rules: tuple[Rule, ...]

    def weight(self, hub: HubKey) -> float:
        """The hub's weight under this policy."""
        return self.weights.get(hub, self.unlisted_weight)

    def rule_for(self, registration: RegistrationKey) -> Rule:
        """The first rule that applies to the device."""
        return next((rule for rule in self.rules if rule.applies_to(registration)), DEFAULT_RULE)


EVERY_HUB_ALIKE = CompiledPolicy(version="packaged", weights={}, unlisted_weight=1.0, rules=(DEFAULT_RULE,))
"""The policy that ships with the app: every linked hub, equal weights, nobody rejected."""


def compile_policy(document: "PolicyDocument") -> CompiledPolicy:
    """Prepare a checked document for decisions."""
    canonical = document.model_dump_json(exclude_defaults=True)
    return CompiledPolicy(
        version=hashlib.sha256(canonical.encode()).hexdigest()[:12],
        weights={hub_key(hub.name): hub.weight for hub in document.hubs},
        unlisted_weight=1.0 if document.unlisted_hubs == "allow" else 0.0,
        rules=(*(_rule(rule) for rule in document.rules), DEFAULT_RULE),
    )


def _rule(document: "RuleDocument") -> Rule:
    glob = document.when.registration_id
    twin = document.twin
    return Rule(
        name=document.name,
        # fnmatch's translation matches in linear time: its stars are atomic groups.
        matches=re.compile(fnmatch.translate(glob.lower())) if glob is not None else None,
        reject=document.reject.reason if document.reject else None,
        initial_twin={"tags": twin.tags, "properties": {"desired": twin.desired}} if twin else None,
        payload=document.payload,
    )
