"""The claims hold, and each of them can fail: copies of the core with a planted bug are caught."""

from pathlib import Path

import pytest

from tests.allocation import claims
from tests.allocation.worlds import REAL, mutated


@pytest.mark.parametrize("claim", claims.CLAIMS)
def test_claim_holds(claim: str) -> None:
    claims.CLAIMS[claim](REAL)


PLACEMENT, DECISION = "allocation/placement.py", "allocation/decision.py"
PLACES, FLEET = "allocation/policy/places.py", "allocation/fleet.py"

BUGS = {
    "the weight has the wrong sign": (
        PLACEMENT,
        "((highest >> 11) + 0.5) * 2.0**-53) / weight",
        "((highest >> 11) + 0.5) * 2.0**-53) * weight",
        "shares_follow_the_weights",
    ),
    "the weight is ignored": (
        PLACEMENT,
        "((highest >> 11) + 0.5) * 2.0**-53) / weight",
        "((highest >> 11) + 0.5) * 2.0**-53)",
        "shares_follow_the_weights",
    ),
    "hubs are numbered by their place in the list": (
        PLACEMENT,
        "drawn = [states[hub].copy() for hub in weights]",
        "drawn = [self._state(str(at)).copy() for at, hub in enumerate(weights)]",
        "the_order_of_linked_hubs_does_not_matter",
    ),
    "hash modulo the number of hubs": (
        PLACEMENT,
        "numbers.index(max(numbers))",
        "numbers[0] % len(numbers)",
        "removing_a_hub_moves_its_own_devices_only",
    ),
    "the bound lets one more in": (
        PLACEMENT,
        "factor[0] * (total + 1) * share",
        "factor[0] * (total + 1) * share + shares * factor[1]",
        "no_placement_exceeds_the_bound_and_one_is_always_found",
    ),
    "the bound forgets the device itself": (
        PLACEMENT,
        "factor[0] * (total + 1) * share",
        "factor[0] * total * share",
        "a_bound_turns_away_only_what_would_exceed_it",
    ),
    "the bound ignores weights": (
        PLACEMENT,
        "return load * shares * factor[1] < factor[0] * (total + 1) * share",
        "return load * factor[1] < factor[0] * (total + 1)",
        "a_bound_turns_away_only_what_would_exceed_it",
    ),
    "the bound sees no load": (
        DECISION,
        "bounded(ranking, loads, shares,",
        "bounded(ranking, dict.fromkeys(loads, 0), shares,",
        "no_placement_exceeds_the_bound_and_one_is_always_found",
    ),
    "the canary reuses the placement's hash": (
        PLACEMENT,
        'blake2b(text, digest_size=8, person=b"dps-fleet canary").digest()',
        'blake2b(b"a.azure-devices.net\\0" + registration.encode(), digest_size=8).digest()',
        "a_canary_has_its_share_whatever_the_placement",
    ),
    "the canary is the other way round": (
        PLACEMENT,
        '"big") < threshold',
        '"big") >= threshold',
        "a_canary_has_its_share_whatever_the_placement",
    ),
    "the canary's hubs are everybody's": (
        PLACES,
        "for hub, weight in candidates.items() if hub not in to}",
        "for hub, weight in candidates.items()}",
        "a_canary_has_its_share_whatever_the_placement",
    ),
    "drain is ignored": (
        DECISION,
        "states.get(hub, is_open) is is_open}",
        "True}",
        "a_hub_that_is_not_open_gets_no_new_device",
    ),
    "a draining hub keeps its devices": (
        FLEET,
        "return state is HubState.OPEN or (current and state is HubState.CORDONED)",
        "return state is HubState.OPEN or current",
        "a_draining_hub_lets_go_and_a_cordoned_one_keeps",
    ),
    "a cordoned hub lets go": (
        FLEET,
        "return state is HubState.OPEN or (current and state is HubState.CORDONED)",
        "return state is HubState.OPEN",
        "a_draining_hub_lets_go_and_a_cordoned_one_keeps",
    ),
    "devices do not stay": (
        DECISION,
        "if self._stays(groups):",
        "if False:",
        "a_device_stays_while_nothing_changes",
    ),
    "a device with nowhere to go is told to wait": (
        DECISION,
        "if self._current is not None:\n            return self._to(",
        "if False:\n            return self._to(",
        "a_device_with_a_linked_hub_is_never_refused",
    ),
    "a device stays on a hub that is not linked": (
        DECISION,
        "facts.current_hub if facts.current_hub in facts.linked_hubs else None",
        "facts.current_hub",
        "a_device_goes_to_a_linked_hub_only",
    ),
    "the headroom is forgotten": (
        "allocation/policy/compile.py",
        "hub.capacity - (headroom if hub.headroom is None else hub.headroom)",
        "hub.capacity",
        "a_hub_at_its_capacity_less_headroom_gets_no_new_device",
    ),
    "the capacity is off by one": (
        DECISION,
        "load >= limit",
        "load > limit",
        "a_hub_at_its_capacity_less_headroom_gets_no_new_device",
    ),
    "the fallback widens the candidates": (
        PLACES,
        "inside = {hub: w for hub, w in everything.weights.items() if self._regions.get(hub) == each}",
        "inside = {hub: self._hubs[hub].weight for hub, w in self._regions.items() if w == each}",
        "nothing_a_device_says_or_a_fallback_widens_the_candidates",
    ),
    "fallbacks go by name": (
        PLACES,
        "dict.fromkeys(self._fallbacks.get(region, ()))",
        "sorted(self._fallbacks.get(region, ()))",
        "a_full_region_gives_way_to_its_fallbacks_in_order",
    ),
    "an avoided hub gets devices": (
        DECISION,
        "if shun:",
        "if False:",
        "an_avoided_hub_gets_new_devices_only_where_nothing_else_takes_them",
    ),
    "an avoided hub gets none at all": (
        DECISION,
        "if self._fleet.avoided:",
        "if False:",
        "an_avoided_hub_gets_new_devices_only_where_nothing_else_takes_them",
    ),
    "hub names compare with case": (
        "provisioning/hubs.py",
        '.rstrip(".").lower()',
        '.rstrip(".")',
        "hub_names_compare_without_case",
    ),
    "a pinned device stays elsewhere": (
        DECISION,
        "any(group.weight(current) > 0 for group in groups)",
        "True",
        "a_pinned_device_goes_nowhere_else",
    ),
    "an unknown certificate is none": (
        "allocation/evidence.py",
        "or len(text) > LONGEST_CERTIFICATE:\n        return _UNREADABLE",
        "or len(text) > LONGEST_CERTIFICATE:\n        return None",
        "a_shape_nobody_knows_neither_rejects_nor_places",
    ),
    "the lots of two hubs are one": (
        PLACEMENT,
        "drawn = [self._state(hub).copy() for hub in weights]",
        "drawn = [self._state(hub[-3:]).copy() for hub in weights]",
        "shares_follow_the_weights",
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    file, old, new, claim = BUGS[bug]
    with (
        mutated(tmp_path, file, old, new) as world,
        pytest.raises((AssertionError, KeyError, ZeroDivisionError)),
    ):
        claims.CLAIMS[claim](world)
