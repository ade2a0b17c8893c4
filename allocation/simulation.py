"""What a draft policy would do: devices are decided by the policy in force and by the draft, side by side.

Devices come one after another, as their source has them, and nothing is kept of each: a million of them need
no more memory than a hundred. The model of loads is that order: every device counts before the next is
decided, as on one instance that misses nothing. A device that comes to a hub adds one to its load; one that
leaves takes one away; one that stays was counted already, unless the loads began empty.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from allocation.facts import Decision, Facts, Placed, Rejected, Undecidable
from allocation.fleet import FleetView
from allocation.policy import CompiledPolicy
from allocation.recorded import decide_recorded
from provisioning.hubs import HubKey

EXAMPLES = 20
"""Changes that are kept whole, the first ones."""

MOST_NAMED = 1_000
"""Different reasons, readings and the like that are counted by name; what is beyond is counted together."""

REJECTED, WAITS = "(rejected)", "(waits)"
"""In place of a hub. No host name has brackets."""

OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class Side:
    """What decides on one side of the comparison.

    Attributes:
        policy: the policy.
        fleet: the states of the hubs, and the loads they begin with.
        linked: the hubs linked there, in place of those each device names; None: as it names them.
    """

    policy: CompiledPolicy
    fleet: FleetView
    linked: Mapping[HubKey, str] | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A device that no policy of this app decides.

    Attributes:
        reason: why, the same words for every such device.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """A device that the draft treats otherwise.

    Attributes:
        registration_id: the device, as sent.
        current: the hub it is on; None for none.
        before: the hub that the policy in force gives it; REJECTED or WAITS.
        after: the same of the draft.
        rule: the draft's rule.
        why: the draft's reason, in one word; of a reject its reason.
        trail: the draft's steps.
    """

    registration_id: str
    current: HubKey | None
    before: str
    after: str
    rule: str
    why: str
    trail: tuple[str, ...]


@dataclass(slots=True)
class Summary:
    """What a simulation found so far.

    Attributes:
        devices: that were put in.
        moved: the draft gives another hub than the policy in force.
        newly_rejected: by the draft alone.
        newly_waiting: placed now; under the draft no hub takes them.
        newly_placed: rejected or waiting now, placed by the draft.
        moves: (before, after, rule of the draft, why) -> devices; what `moved` and the three others are of.
        leaving_before: devices that leave the hub they are on when they register again, without the draft.
        leaving_after: with it.
        rejected: reason -> devices that the draft rejects, newly or not.
        undecidable: what the draft (or the policy in force) reads and the source does not tell -> devices.
        skipped: reason -> devices that this app does not decide.
        twins_changed: placed devices that would be handed another initial twin.
        payloads_changed: placed devices that would be handed another payload.
        homes_before: hub -> devices of the source on it, by the policy in force.
        homes_after: by the draft.
        examples: the first changes.
    """

    devices: int = 0
    moved: int = 0
    newly_rejected: int = 0
    newly_waiting: int = 0
    newly_placed: int = 0
    moves: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    leaving_before: int = 0
    leaving_after: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    undecidable: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    twins_changed: int = 0
    payloads_changed: int = 0
    homes_before: Counter[HubKey] = field(default_factory=Counter)
    homes_after: Counter[HubKey] = field(default_factory=Counter)
    examples: list[Change] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """Devices for whom the draft may be a change for the worse or a move: what a limit is held against.

        Those that cannot be decided count: nobody knows that they would stay.
        """
        return self.moved + self.newly_rejected + self.newly_waiting + self.undecidable.total()

    def note(self, current: HubKey | None, before: Decision, after: Decision) -> None:
        """Count one device that both sides decided.

        Args:
            current: the hub it is on.
            before: by the policy in force.
            after: by the draft.
        """
        if isinstance(before, Placed):
            self.homes_before[before.hub] += 1
            self.leaving_before += current not in (None, before.hub)
        match after:
            case Placed():
                self.homes_after[after.hub] += 1
                self.leaving_after += current not in (None, after.hub)
                if not isinstance(before, Placed):
                    self.newly_placed += 1
                    return
                self.moved += before.hub != after.hub
                self.twins_changed += before.initial_twin != after.initial_twin
                self.payloads_changed += before.payload != after.payload
            case Rejected():
                _count(self.rejected, after.reason)
                self.newly_rejected += not isinstance(before, Rejected)
            case _:
                self.newly_waiting += isinstance(before, Placed)


class Simulation:
    """Takes devices one by one."""

    def __init__(self, before: Side, after: Side, *, as_new: bool = False, from_empty: bool = False) -> None:
        """Begin with no device.

        Args:
            before: the policy in force and the fleet as it is.
            after: the draft, and the fleet as it would be.
            as_new: take every device for one that registers for the first time.
            from_empty: every hub begins with no device, whatever the fleets say; else with the fleet's
                loads, in which the devices of the source are counted already, and a hub whose load they do
                not tell stays unknown, as it would be on an instance.
        """
        self.summary = Summary()
        self._as_new = as_new
        self._from_empty = from_empty
        self._before, self._after = _Running(before, from_empty), _Running(after, from_empty)

    def add(self, device: Facts | Undecidable | Skipped) -> Change | None:
        """Decide one device on both sides; the change, if there is one."""
        found = self.summary
        found.devices += 1
        if isinstance(device, Skipped):
            _count(found.skipped, device.reason)
            return None
        if isinstance(device, Undecidable):
            _count(found.undecidable, device.reading)
            return None
        facts = replace(device, current_hub=None) if self._as_new and device.current_hub else device
        before, after = self._before.decide(facts), self._after.decide(facts)
        if isinstance(after, Undecidable) or isinstance(before, Undecidable):
            _count(found.undecidable, (after if isinstance(after, Undecidable) else before).reading)  # type: ignore[union-attr]  # one of the two is
            return None
        self._before.count(facts, before)
        self._after.count(facts, after)
        return self._compared(facts, before, after)

    def loads(self) -> tuple[Mapping[HubKey, int], Mapping[HubKey, int]]:
        """The loads of all hubs where they are known, by the policy in force and by the draft."""
        return self._before.loads, self._after.loads

    def evenness(self) -> tuple[Mapping[str, float], Mapping[str, float]]:
        """How even the source's devices lie, by the policy in force and by the draft; 1.0 is perfectly.

        Over the linked hubs that the policy gives weight. `max_over_mean`: the fullest hub against the
        mean. `max_over_share`: the fullest against its share by weight. Nothing without devices.
        """
        found = self.summary
        return self._before.evenness(found.homes_before), self._after.evenness(found.homes_after)

    def _compared(self, facts: Facts, before: Decision, after: Decision) -> Change | None:
        found = self.summary
        found.note(facts.current_hub, before, after)
        old, new = _fate(before), _fate(after)
        if old == new:
            return None
        why = after.why if isinstance(after, Placed) else after.reason
        _count(found.moves, (old, new, after.rule, why), (OTHERS,) * 4)
        change = Change(
            registration_id=facts.registration_id,
            current=facts.current_hub,
            before=old,
            after=new,
            rule=after.rule,
            why=why,
            trail=tuple(f"{step}: {told}" for step, told in after.trail),
        )
        if len(found.examples) < EXAMPLES:
            found.examples.append(change)
        return change


class _Running:
    """One side with the loads as they have become."""

    def __init__(self, side: Side, from_empty: bool) -> None:  # noqa: FBT001 - of this module alone
        self._policy, self._linked, self._from_empty = side.policy, side.linked, from_empty
        self.loads: dict[HubKey, int] = {} if from_empty else dict(side.fleet.loads)
        self._fleet = replace(side.fleet, loads=self.loads)
        self._seen: set[HubKey] = set()

    def decide(self, facts: Facts) -> Decision | Undecidable:
        if self._linked is not None:
            facts = replace(facts, linked_hubs=self._linked)
        if not facts.linked_hubs.keys() <= self._seen:
            self._seen |= facts.linked_hubs.keys()
            if self._from_empty:
                self.loads |= dict.fromkeys(self._seen - self.loads.keys(), 0)
        return decide_recorded(facts, self._policy, self._fleet)

    def count(self, facts: Facts, decision: Decision) -> None:
        if not isinstance(decision, Placed):
            return
        hub, current, loads = decision.hub, facts.current_hub, self.loads
        if hub in loads and (hub != current or self._from_empty):
            loads[hub] += 1
        if hub != current and not self._from_empty and current is not None and loads.get(current, 0) > 0:
            loads[current] -= 1

    def evenness(self, homes: Mapping[HubKey, int]) -> Mapping[str, float]:
        weights = {hub: weight for hub in self._seen if (weight := self._policy.weight(hub)) > 0}
        on = {hub: homes.get(hub, 0) for hub in weights}
        total, weight = sum(on.values()), sum(weights.values())
        if not total:
            return {}
        return {
            "max_over_mean": max(on.values()) * len(on) / total,
            "max_over_share": max(on[hub] * weight / (total * mine) for hub, mine in weights.items()),
        }


def _fate(decision: Decision) -> str:
    if isinstance(decision, Placed):
        return decision.hub
    return REJECTED if isinstance(decision, Rejected) else WAITS


def _count(counts: Counter[Any], name: Any, others: Any = OTHERS) -> None:
    counts[name if name in counts or len(counts) < MOST_NAMED else others] += 1
