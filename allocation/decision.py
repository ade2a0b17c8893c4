"""The decision: where a device goes, and why. Pure: the same input always gives the same answer."""

from typing import Literal

from allocation.facts import Decision, Facts, Placed, Reason, Rejected, Wait
from allocation.fleet import FleetView
from allocation.placement import rank
from allocation.policy import CompiledPolicy
from provisioning.hubs import HubKey

NOTHING_OPEN = "no linked hub takes the device now"
NO_POLICY = "the allocation policy has not been read"


def decide(facts: Facts, policy: CompiledPolicy, fleet: FleetView) -> Decision:
    """Place, reject or postpone one device.

    In order: the first rule that matches; the candidates (linked hubs that the policy gives weight and whose
    state allows it); the current hub while it is one of them; the best of the others by weighted rendezvous;
    the current hub if it is linked at all; otherwise wait. A device that has a linked hub is never refused
    for want of a better place: only an explicit reject fails it.
    """
    rule = policy.rule_for(facts.registration)
    trail = [Reason("match", f"rule {rule.name!r}")]

    if rule.reject is not None:
        trail.append(Reason("reject", rule.reject))
        return Rejected(rule=rule.name, policy=policy.version, trail=tuple(trail), reason=rule.reject)

    def placed(hub: HubKey, why: Literal["stay", "ranked", "no_alternative"]) -> Placed:
        return Placed(
            rule=rule.name,
            policy=policy.version,
            trail=tuple(trail),
            hub=hub,
            host_name=facts.linked_hubs[hub],
            why=why,
            initial_twin=rule.initial_twin,
            payload=rule.payload,
        )

    current = facts.current_hub
    candidates = _candidates(facts, policy, fleet)
    trail.append(Reason("candidates", f"{len(candidates)} of {len(facts.linked_hubs)} linked hubs"))
    if current is not None:
        if current in candidates:
            trail.append(Reason("stay", f"already on {current}"))
            return placed(current, "stay")
        problem = "it may not keep the device" if current in facts.linked_hubs else "it is not linked"
        trail.append(Reason("leave", f"not staying on {current}: {problem}"))

    ranking = rank(facts.registration, candidates)
    if ranking:
        best = ranking[0]
        share = candidates[best] / sum(candidates.values())
        trail.append(Reason("ranked", f"{best} ranks first; its share by weight is {share:.1%}"))
        return placed(best, "ranked")
    if current is not None and current in facts.linked_hubs:
        trail.append(Reason("no_alternative", f"no other hub takes it: stays on {current}"))
        return placed(current, "no_alternative")
    trail.append(Reason("wait", NOTHING_OPEN))
    return Wait(rule=rule.name, policy=policy.version, trail=tuple(trail), reason=NOTHING_OPEN)


def _candidates(facts: Facts, policy: CompiledPolicy, fleet: FleetView) -> dict[HubKey, float]:
    """The hubs that may have the device, with their weights."""
    weights = ((hub, policy.weight(hub)) for hub in facts.linked_hubs)
    return {
        hub: weight
        for hub, weight in weights
        if weight > 0 and fleet.takes(hub, current=hub == facts.current_hub)
    }


def decide_unread(facts: Facts) -> Decision:
    """Decide while no policy could be read: a device that has a linked hub stays, any other waits.

    Placing by guess could put devices where the policy forbids them, and they would then stay there.
    """
    trail = [Reason("policy", NO_POLICY)]
    current = facts.current_hub
    if current is None or current not in facts.linked_hubs:
        return Wait(rule="", policy="", trail=tuple(trail), degraded=NO_POLICY, reason=NO_POLICY)
    trail.append(Reason("stay", f"already on {current}"))
    return Placed(
        rule="",
        policy="",
        trail=tuple(trail),
        degraded=NO_POLICY,
        hub=current,
        host_name=facts.linked_hubs[current],
        why="stay",
    )
