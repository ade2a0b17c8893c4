"""What a valid policy gets wrong: hubs nobody knows, rules nobody reaches, twins nobody gets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from allocation.policy.conditions import When
from allocation.policy.document import (
    DEFAULT_HEADROOM,
    Choice,
    Outcome,
    PolicyDocument,
    RegionFrom,
    RuleDocument,
)
from allocation.policy.places import Places, region_key
from provisioning.hubs import HubKey, hub_key


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    Attributes:
        severity: error: some device meets it, and certainly not as meant; warning: likely not meant.
        path: where in the document, `rules.2.place.hubs.0`.
        value: what stands there, as text.
        problem: what is wrong with it.
        fix: what to do.
    """

    severity: Literal["error", "warning"]
    path: str
    value: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.value!r} {self.problem}; {self.fix}"


def lint(document: PolicyDocument) -> tuple[Problem, ...]:
    """Find what a valid policy gets wrong, in the document's order."""
    return tuple(_Linter(document).problems())


class _Linter:
    def __init__(self, document: PolicyDocument) -> None:
        self._document = document
        self._known = {hub_key(hub.name): hub for hub in document.hubs}
        self._tags = {tag for hub in document.hubs for tag in hub.tags}
        self._regions = {region_key(hub.region) for hub in document.hubs if hub.region is not None}
        self._places = Places(document, {})

    def problems(self) -> Iterator[Problem]:
        yield from self._hubs()
        yield from self._fallbacks()
        yield from self._unreachable()
        for at, rule in enumerate(self._document.rules):
            yield from self._outcome(f"rules.{at}", rule)
            yield from self._twin(f"rules.{at}", rule)
        yield from self._outcome("default", self._document.default)

    def _hubs(self) -> Iterator[Problem]:
        for at, hub in enumerate(self._document.hubs):
            default = DEFAULT_HEADROOM * self._document.provisioning_services
            headroom = default if hub.headroom is None else hub.headroom
            if hub.capacity is not None and hub.capacity <= headroom:
                yield Problem(
                    "error",
                    f"hubs.{at}.capacity",
                    str(hub.capacity),
                    f"leaves no room beside the headroom of {headroom}: the hub gets no new device",
                    "raise the capacity, or give a smaller headroom",
                )
            if hub.headroom is not None and hub.capacity is None:
                yield Problem(
                    "warning",
                    f"hubs.{at}.headroom",
                    str(hub.headroom),
                    "does nothing without a capacity",
                    "give a capacity or take it out",
                )
            if hub.headroom is not None and hub.capacity is not None and hub.headroom < default:
                yield Problem(
                    "warning",
                    f"hubs.{at}.headroom",
                    str(hub.headroom),
                    "is less than what can be placed while the hub's load is not known anew",
                    f"give {default}, or expect the capacity to be exceeded by as much as that",
                )

    def _fallbacks(self) -> Iterator[Problem]:
        for region, listed in self._document.regions.items():
            path = f"regions.{region}"
            if region_key(region) not in self._regions:
                yield self._no_hubs("warning", path, region)
            for at, each in enumerate(listed):
                if region_key(each) not in self._regions:
                    yield self._no_hubs("warning", f"{path}.{at}", each)

    def _no_hubs(self, severity: Literal["error", "warning"], path: str, region: str) -> Problem:
        return Problem(
            severity, path, region, "is a region without hubs", "give hubs this region, or take it out"
        )

    def _unreachable(self) -> Iterator[Problem]:
        rules = self._document.rules
        for at, rule in enumerate(rules):
            above = next((each for each in rules[:at] if _implied(each.when, rule.when)), None)
            if above is not None:
                yield Problem(
                    "error",
                    f"rules.{at}",
                    rule.name,
                    f"is never reached: rule {above.name!r} before it matches every device that it matches",
                    "move it up, or take it out",
                )
        above = next((rule for rule in rules if _implied(rule.when, When())), None)
        if above is not None and self._document.default != Outcome():
            yield Problem(
                "warning",
                "default",
                "default",
                f"is never reached: rule {above.name!r} matches every device",
                "take one of them out",
            )

    def _outcome(self, path: str, outcome: Outcome) -> Iterator[Problem]:
        if outcome.reject is not None:
            return
        place = outcome.place
        if place.pinned is not None:
            yield from self._named(f"{path}.place.pinned", place.pinned)
            return
        yield from self._choice(f"{path}.place", place)
        if place.canary is not None:
            yield from self._choice(f"{path}.place.canary.to", place.canary.to)
        region = place.region.default if isinstance(place.region, RegionFrom) else place.region
        if region is not None and region_key(region) not in self._regions:
            at = ".default" if isinstance(place.region, RegionFrom) else ""
            yield self._no_hubs("error", f"{path}.place.region{at}", region)
        if place.region is None and "when_full" in place.model_fields_set:
            yield Problem(
                "warning",
                f"{path}.place.when_full",
                place.when_full,
                "does nothing without a preferred region",
                "give place.region, or take it out",
            )

    def _choice(self, path: str, choice: Choice) -> Iterator[Problem]:
        for at, name in enumerate(choice.hubs or ()):
            yield from self._named(f"{path}.hubs.{at}", name)
        for at, tag in enumerate(choice.tags or ()):
            if tag not in self._tags:
                yield Problem(
                    "error", f"{path}.tags.{at}", tag, "is a tag of no hub", "give it to hubs, or take it out"
                )
        weights, unlisted = self._places.chosen(choice)
        if not unlisted and not any(weight > 0 for weight in weights.values()):
            yield Problem(
                "error",
                path,
                ", ".join((*(choice.hubs or ()), *(choice.tags or ()))),
                "leaves no hub with a weight: no new device is placed",
                "choose hubs of weight above 0",
            )

    def _named(self, path: str, name: str) -> Iterator[Problem]:
        if hub_key(name) not in self._known:
            allowed = self._document.unlisted_hubs == "allow"
            yield Problem(
                "warning" if allowed else "error",
                path,
                name,
                "is no hub of this policy",
                "list it under hubs" if allowed else "list it under hubs: unlisted hubs are refused",
            )

    def _twin(self, path: str, rule: RuleDocument) -> Iterator[Problem]:
        """DPS uses an initial twin on a first assignment, or on a move that resets it (documented)."""
        current = rule.when.current_hub
        if rule.twin is None or current is None or current == "absent":
            return
        place = rule.place
        only: set[HubKey] | None = {hub_key(place.pinned)} if place.pinned else None
        if only is None and place.hubs is not None and place.canary is None:
            only = set(map(hub_key, place.hubs))
        never = current != "present" and only == {hub_key(current)}
        yield Problem(
            "error" if never else "warning",
            f"{path}.twin",
            rule.name,
            "never applies: these devices stay on the hub they have"
            if never
            else "applies only to devices that move, and only where the enrollment resets them "
            "(updateHubAssignment true, migrateDeviceData false): they all have a hub",
            "take the twin out, or match first registrations (current_hub: absent)",
        )


def _implied(earlier: When, later: When) -> bool:
    """Whether a device that the later condition matches is sure to match the earlier one.

    Each thing that the earlier one asks for, the later one asks for alike. Less than logic could tell, and
    never wrong.
    """
    default = When()
    return all(
        getattr(earlier, name) in (getattr(default, name), getattr(later, name)) for name in When.model_fields
    )
