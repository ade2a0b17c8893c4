"""The decision: where a device goes, and why. Pure: the same input always gives the same answer."""

from typing import TYPE_CHECKING

from allocation.errors import Unread
from allocation.facts import Decision, Facts, Placed, Reason, Rejected, Wait, Why
from allocation.fleet import FleetView, HubState
from allocation.placement import bounded
from allocation.policy import CompiledPolicy, Rule
from allocation.policy.places import Group, Groups
from provisioning.hubs import HubKey

if TYPE_CHECKING:
    from allocation.templates import Extras

NOTHING_OPEN = "no linked hub takes the device now"
NO_POLICY = "the allocation policy has not been read"


def decide(facts: Facts, policy: CompiledPolicy, fleet: FleetView) -> Decision:
    """Place, reject or postpone one device.

    In order: the first rule that matches; the candidates (linked hubs that the rule gives weight and whose
    state allows it, the preferred region's before its fallbacks); the current hub while it is one of them;
    the best of those with room by weighted rendezvous; the current hub if it is linked at all; an avoided
    hub;
    otherwise wait. A device that has a linked hub is never refused for want of a better place: only an
    explicit reject fails it.

    Where the decision hangs on something that the request tells in an unknown shape, a device with a linked
    hub stays there, and any other waits: neither a reject nor a placement is guessed.
    """
    try:
        return outcome(facts, policy, fleet)
    except Unread as unread:
        return undecided(facts, policy, unread)


def undecided(facts: Facts, policy: CompiledPolicy, unread: Unread) -> Decision:
    """Decide a case that hangs on what cannot be told: stay on a linked hub, else wait."""
    return _stay_or_wait(facts, policy.version, "unread", unread.reading + ": " + unread.problem)


def outcome(facts: Facts, policy: CompiledPolicy, fleet: FleetView) -> Decision:
    """Decide as `decide` does, or raise.

    Raises:
        Unread: the decision hangs on what the facts cannot tell.
    """
    rule = policy.rule_for(facts)
    trail = [rule.matched]
    if rule.reject is not None:
        trail.append(Reason("reject", rule.reject))
        return Rejected(rule=rule.name, policy=policy.version, trail=tuple(trail), reason=rule.reject)
    chosen = _Search(facts, policy, fleet, rule, trail).hub()
    if chosen is None:
        trail.append(Reason("wait", NOTHING_OPEN))
        return Wait(rule=rule.name, policy=policy.version, trail=tuple(trail), reason=NOTHING_OPEN)
    return _placed(facts, policy, rule, trail, *chosen)


def _placed(
    facts: Facts, policy: CompiledPolicy, rule: Rule, trail: list[Reason], hub: HubKey, why: Why
) -> Decision:
    """Add twin and payload; a value that they cannot do without rejects the device."""
    host_name = facts.linked_hubs[hub]
    if rule.extras is None:
        return Placed(
            rule=rule.name, policy=policy.version, trail=tuple(trail), hub=hub, host_name=host_name, why=why,
            encoded=b"",
        )  # fmt: skip
    extras: Extras | None = rule.extras.fixed
    if extras is None:
        from allocation.templates import ChosenHub, Missing  # noqa: PLC0415 - loaded with the policy already

        try:
            extras = rule.extras.render(facts, ChosenHub(host_name, policy.regions.get(hub)))
        except Missing as missing:
            reason = f"the rule needs {missing.source}, which the request does not tell"
            trail.append(Reason("reject", reason))
            return Rejected(rule=rule.name, policy=policy.version, trail=tuple(trail), reason=reason)
        if extras.left_out:
            trail.append(Reason("left_out", extras.left_out))
    return Placed(
        rule=rule.name,
        policy=policy.version,
        trail=tuple(trail),
        hub=hub,
        host_name=host_name,
        why=why,
        initial_twin=extras.initial_twin,
        payload=extras.payload,
        encoded=extras.encoded,
    )


class _Search:
    """The search for one device's hub."""

    __slots__ = ("_current", "_facts", "_fleet", "_place", "_policy", "_trail")

    def __init__(
        self, facts: Facts, policy: CompiledPolicy, fleet: FleetView, rule: Rule, trail: list[Reason]
    ) -> None:
        self._facts, self._policy, self._fleet, self._trail = facts, policy, fleet, trail
        self._place = rule.place
        self._current = facts.current_hub if facts.current_hub in facts.linked_hubs else None

    def hub(self) -> tuple[HubKey, Why] | None:
        """The hub and why; None where none takes the device."""
        stages = self._stages()
        gone = self._gone()
        for groups, why in stages:
            if self._stays(groups):
                return self._to(self._facts.current_hub, "stay", f"already on {self._facts.current_hub}")
            if gone is not None:
                self._trail.append(gone)
                gone = None
            if found := self._placed(groups, why, shun=self._fleet.avoided):
                return found
        if self._current is not None:
            return self._to(
                self._current, "no_alternative", f"no other hub takes it: stays on {self._current}"
            )
        if self._fleet.avoided:
            for groups, _ in stages:
                if found := self._placed(groups, "avoided", shun=frozenset()):
                    return found
        return None

    def _stages(self) -> "tuple[tuple[Groups, Why], ...]":
        """What is tried, each stage whole before the next: the canary's hubs, then the rule's."""
        place, facts = self._place, self._facts
        rest: tuple[Groups, Why] = (place.groups_for(facts), "pinned" if place.pinned else "ranked")
        canary = place.canary
        if canary is not None and canary.has(facts.registration):
            self._trail.append(Reason("canary", "in the rule's canary share"))
            return (((canary.to,), "canary"), rest)
        return (rest,)

    def _gone(self) -> Reason | None:
        hub = self._facts.current_hub
        if hub is None:
            return None
        problem = "it may not keep the device" if self._current is not None else "it is not linked"
        return Reason("leave", f"not staying on {hub}: {problem}")

    def _to(self, hub: HubKey | None, why: Why, found: str) -> tuple[HubKey, Why]:
        assert hub is not None
        self._trail.append(Reason(why, found))
        return hub, why

    def _stays(self, groups: Groups) -> bool:
        current = self._current
        return (
            current is not None
            and any(group.weight(current) > 0 for group in groups)
            and self._fleet.takes(current, current=True)
        )

    def _placed(self, groups: Groups, why: Why, *, shun: frozenset[HubKey]) -> tuple[HubKey, Why] | None:
        """The best hub with room of the first group that has one."""
        for at, group in enumerate(groups):
            candidates, full = self._candidates(group, shun)
            if candidates:
                return self._best(group, candidates, full, "overflow" if at else why)
        return None

    def _candidates(
        self, group: Group, shun: frozenset[HubKey]
    ) -> tuple[dict[HubKey, float], dict[HubKey, float]]:
        """The hubs of a group that may have the device, with their weights: with room, and without."""
        states, loads, limits = self._fleet.states, self._fleet.loads, self._policy.limits
        weight = group.weight
        candidates = {hub: w for hub in self._facts.linked_hubs if (w := weight(hub))}
        if states:
            is_open = HubState.OPEN
            candidates = {hub: w for hub, w in candidates.items() if states.get(hub, is_open) is is_open}
        if shun:
            candidates = {hub: w for hub, w in candidates.items() if hub not in shun}
        full: dict[HubKey, float] = {}
        if limits and loads:
            full = {
                hub: w
                for hub, w in candidates.items()
                if (limit := limits.get(hub)) is not None
                and (load := loads.get(hub)) is not None
                and load >= limit
            }
            if full:
                candidates = {hub: w for hub, w in candidates.items() if hub not in full}
        where = f" of {group.label}" if group.label else ""
        self._trail.append(
            Reason("candidates", f"{len(candidates)} of {len(self._facts.linked_hubs)} linked hubs{where}")
        )
        if full:
            self._trail.append(Reason("full", f"at their capacity less headroom: {', '.join(sorted(full))}"))
        return candidates, full

    def _best(
        self, group: Group, candidates: dict[HubKey, float], full: dict[HubKey, float], why: Why
    ) -> tuple[HubKey, Why]:
        lots, registration = self._policy.lots, self._facts.registration
        best = lots.first(registration, candidates)
        assert best is not None
        if self._place.bound is not None:
            loads = self._fleet.loads
            unknown = [hub for hub in candidates if hub not in loads]
            if unknown:
                self._trail.append(Reason("unbounded", f"the load of {min(unknown)} is unknown"))
            else:
                shares = {hub: group.share(hub) for hub in candidates}
                ranking = lots.rank(registration, candidates)
                found = bounded(ranking, loads, shares, self._place.bound) or best
                if found != best:
                    self._trail.append(
                        Reason("bound", f"{best} ranks first and is at its bounded load; next is {found}")
                    )
                    best, why = found, "bounded" if why == "ranked" else why
        if full and why in ("ranked", "bounded") and lots.first(registration, candidates | full) in full:
            why = "overflow"
        share = candidates[best] / sum(candidates.values())
        return self._to(best, why, f"{best} ranks first; its share by weight is {share:.1%}")


def decide_unread(facts: Facts) -> Decision:
    """Decide while no policy could be read: a device that has a linked hub stays, any other waits.

    Placing by guess could put devices where the policy forbids them, and they would then stay there.
    """
    return _stay_or_wait(facts, "", "policy", NO_POLICY)


def withheld(facts: Facts, decision: Decision, problem: str) -> Decision:
    """What a request is told that is not taken at its word (admission.py): nothing it did not bring itself.

    A device that has a linked hub stays, any other waits. An explicit `reject` holds all the same: it is the
    operator's word, and no doubt about the caller makes it less so.
    """
    return decision if isinstance(decision, Rejected) else _stay_or_wait(facts, "", "admission", problem)


def _stay_or_wait(facts: Facts, policy: str, step: str, problem: str) -> Decision:
    trail = [Reason(step, problem)]
    current = facts.current_hub
    if current is None or current not in facts.linked_hubs:
        return Wait(rule="", policy=policy, trail=tuple(trail), degraded=problem, reason=problem)
    trail.append(Reason("stay", f"already on {current}"))
    return Placed(
        rule="",
        policy=policy,
        trail=tuple(trail),
        degraded=problem,
        hub=current,
        host_name=facts.linked_hubs[current],
        why="stay",
    )
