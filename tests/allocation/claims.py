"""What the placement promises, each claim a check on a world with fixed devices.

test_claims.py puts all of them to the real core, and to copies with a planted bug, each of which must fail
one.
"""

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from tests.allocation.making import hub
from tests.allocation.worlds import World

HUBS = [hub(name) for name in "abcde"]
DEVICES = [f"dev-{number:04}" for number in range(600)]


def weighted(world: World, weights: dict[str, float], **more: Any) -> Any:
    return world.policy(hubs=[{"name": name, "weight": weight} for name, weight in weights.items()], **more)


def placed(world: World, policy: Any, hubs: list[str] = HUBS, fleet: Any = None) -> dict[str, str | None]:
    return {device: world.place(world.facts(device, hubs), policy, fleet) for device in DEVICES}


def a_device_goes_to_a_linked_hub_only(world: World) -> None:
    policy = world.policy(rules=[{"name": "r", "place": {"hubs": [hub("z"), hub("a")]}}])
    assert set(placed(world, policy, [hub("a"), hub("b")]).values()) == {hub("a")}
    assert world.place(world.facts("d", HUBS, hub("z")), world.policy()) in HUBS


def shares_follow_the_weights(world: World) -> None:
    """The bound of Chernoff with union, below 1 % for these numbers."""
    weights = {hub("a"): 1.0, hub("b"): 3.0}
    within = 0.35
    assert 2 * 2 * math.exp(-(within**2) * len(DEVICES) / 4 / 3) < 0.01
    load = Counter(placed(world, weighted(world, weights), list(weights)).values())
    for name, weight in weights.items():
        assert abs(load[name] - len(DEVICES) * weight / 4) <= within * len(DEVICES) * weight / 4


def removing_a_hub_moves_its_own_devices_only(world: World) -> None:
    policy = world.policy()
    before, after = placed(world, policy), placed(world, policy, HUBS[1:])
    assert all(after[device] == name for device, name in before.items() if name != HUBS[0])


def more_weight_moves_devices_only_towards_that_hub(world: World) -> None:
    before = placed(world, weighted(world, dict.fromkeys(HUBS, 1.0)))
    after = placed(world, weighted(world, dict.fromkeys(HUBS, 1.0) | {hub("c"): 2.0}))
    assert all(after[device] in (name, hub("c")) for device, name in before.items())
    assert before != after


def the_order_of_linked_hubs_does_not_matter(world: World) -> None:
    policy = weighted(world, {name: 1.0 + at for at, name in enumerate(HUBS)})
    assert placed(world, policy) == placed(world, policy, HUBS[::-1])
    bound = world.policy(default={"place": {"bounded_load": 1.0}})
    fleet = world.fleet(loads=dict.fromkeys(HUBS, 10) | {hub("b"): 0})
    assert placed(world, bound, HUBS, fleet) == placed(world, bound, HUBS[::-1], fleet)


def a_hub_that_is_not_open_gets_no_new_device(world: World) -> None:
    for state in ("cordoned", "draining", "disabled"):
        fleet = world.fleet(states={hub("a"): state})
        assert hub("a") not in placed(world, world.policy(), HUBS, fleet).values()


def a_draining_hub_lets_go_and_a_cordoned_one_keeps(world: World) -> None:
    for device in DEVICES[:50]:
        facts = world.facts(device, HUBS, hub("a"))
        assert world.place(facts, world.policy(), world.fleet(states={hub("a"): "draining"})) != hub("a")
        assert world.place(facts, world.policy(), world.fleet(states={hub("a"): "cordoned"})) == hub("a")


def a_device_stays_while_nothing_changes(world: World) -> None:
    full = world.fleet(loads=dict.fromkeys(HUBS, 1_000))
    for policy in (
        world.policy(),
        world.policy(default={"place": {"bounded_load": 1.0}}),
        world.policy(hubs=[{"name": name, "capacity": 10, "headroom": 0} for name in HUBS]),
    ):
        for number, device in enumerate(DEVICES[:50]):
            current = HUBS[number % 5]
            assert world.place(world.facts(device, HUBS, current), policy, full) == current


def a_device_with_a_linked_hub_is_never_refused(world: World) -> None:
    everything_full = {"hubs": [{"name": name, "capacity": 0, "headroom": 0} for name in HUBS]}
    loads = dict.fromkeys(HUBS, 5)
    for policy, fleet in (
        (world.policy(**everything_full), world.fleet(loads=loads, states={hub("a"): "draining"})),
        (world.policy(), world.fleet(states=dict.fromkeys(HUBS, "disabled"))),
        (world.policy(unlisted_hubs="refuse"), world.fleet()),
        (world.policy(default={"place": {"pinned": hub("z")}}), world.fleet()),
    ):
        assert world.place(world.facts("d", HUBS, hub("a")), policy, fleet) == hub("a")


def no_placement_exceeds_the_bound_and_one_is_always_found(world: World) -> None:
    weights = {hub("a"): 1.0, hub("b"): 2.5, hub("c"): 0.7}
    for factor in (1.0, 1.1, 1.25):
        policy = weighted(world, weights, default={"place": {"bounded_load": factor}})
        loads = dict.fromkeys(weights, 0)
        for device in DEVICES[:300]:
            total = sum(loads.values())
            name = world.place(world.facts(device, weights), policy, world.fleet(loads=loads))
            assert name is not None
            loads[name] += 1
            assert loads[name] <= allowed(
                factor, total, weights[name], sum(map(exact, weights.values()), Fraction())
            )


def a_bound_turns_away_only_what_would_exceed_it(world: World) -> None:
    """At c = 1 a hub that is no fuller than the mean has room for one more: the first such one takes it."""
    policy = world.policy(default={"place": {"bounded_load": 1.0}})
    fleet = world.fleet(loads=dict.fromkeys(HUBS, 7))
    assert placed(world, policy, HUBS, fleet) == placed(world, world.policy())
    uneven = world.fleet(loads={hub("a"): 1, hub("b"): 2, hub("c"): 0})
    bounded, plain = placed(world, policy, HUBS[:3], uneven), placed(world, world.policy(), HUBS[:3])
    assert {bounded[device] for device, name in plain.items() if name == hub("a")} == {hub("a")}
    assert hub("b") not in bounded.values()


def exact(number: float) -> Fraction:
    return Fraction(repr(number))


def allowed(factor: float, total: int, weight: float, weights: Fraction) -> int:
    """ceil(c * (n + 1) * w / W)."""
    return math.ceil(exact(factor) * (total + 1) * exact(weight) / weights)


def a_hub_at_its_capacity_less_headroom_gets_no_new_device(world: World) -> None:
    policy = world.policy(hubs=[{"name": hub("a"), "capacity": 100, "headroom": 10}])
    for load, takes in ((89, True), (90, False), (100, False)):
        fleet = world.fleet(loads={hub("a"): load, hub("b"): 0})
        assert (hub("a") in placed(world, policy, [hub("a"), hub("b")], fleet).values()) is takes


def a_canary_has_its_share_whatever_the_placement(world: World) -> None:
    def canary(share: float) -> Any:
        place = {"canary": {"share": share, "to": {"hubs": [hub("e")]}}}
        return world.policy(hubs=[{"name": name} for name in HUBS], default={"place": place})

    policy, wider = canary(0.2), canary(0.4)
    plain = placed(world, world.policy(), HUBS[:4])
    share, more = placed(world, policy), placed(world, wider)
    canaries = {device for device, name in share.items() if name == hub("e")}
    assert canaries < {device for device, name in more.items() if name == hub("e")}
    assert all(name == plain[device] for device, name in share.items() if device not in canaries)
    for name in HUBS[:4]:
        there = [device for device, home in plain.items() if home == name]
        of_them = sum(device in canaries for device in there) / len(there)
        # five standard deviations
        assert abs(of_them - 0.2) < 5 * math.sqrt(0.2 * 0.8 / len(there))


def nothing_a_device_says_or_a_fallback_widens_the_candidates(world: World) -> None:
    regions = {"north": "a", "south": "b", "east": "c"}
    for when_full in ("next_region", "any", "wait"):
        policy = world.policy(
            hubs=[{"name": hub(h), "region": r, "capacity": 5, "headroom": 0} for r, h in regions.items()],
            regions={"north": ["south"], "south": ["east"], "east": ["north"]},
            rules=[
                {
                    "name": "r",
                    "place": {
                        "hubs": [hub("a"), hub("b")],
                        "region": {"from": "payload.region"},
                        "when_full": when_full,
                    },
                }
            ],
        )
        for said in (*regions, "mars", None, 7, {"x": 1}):
            for full in ("", "a", "b", "ab"):
                fleet = world.fleet(loads={hub(h): 9 if h in full else 0 for h in "abcde"})
                facts = world.facts("d", HUBS, context={"payload": {"region": said}})
                assert world.place(facts, policy, fleet) in (hub("a"), hub("b"), None)


def a_full_region_gives_way_to_its_fallbacks_in_order(world: World) -> None:
    policy = world.policy(
        hubs=[{"name": hub(name), "region": name, "capacity": 5, "headroom": 0} for name in "abc"],
        unlisted_hubs="refuse",
        regions={"a": ["c", "b"]},
        default={"place": {"region": "a"}},
    )
    for full, expected in (("", "a"), ("a", "c"), ("ac", "b"), ("abc", None)):
        fleet = world.fleet(loads={hub(name): 5 if name in full else 0 for name in "abc"})
        assert set(placed(world, policy, HUBS, fleet).values()) == {expected and hub(expected)}


def an_avoided_hub_gets_new_devices_only_where_nothing_else_takes_them(world: World) -> None:
    fleet = world.fleet(avoided=[hub("a")])
    assert hub("a") not in placed(world, world.policy(), HUBS, fleet).values()
    assert set(placed(world, world.policy(), [hub("a")], fleet).values()) == {hub("a")}
    assert world.place(world.facts("d", HUBS, hub("a")), world.policy(), fleet) == hub("a")


def hub_names_compare_without_case(world: World) -> None:
    policy = world.policy(hubs=[{"name": hub("A").upper()}], unlisted_hubs="refuse")
    facts = world.facts("d", ["A.Azure-Devices.NET", hub("b")], "a.azure-devices.net")
    decision = world.decide(facts, policy)
    assert (getattr(decision, "why", ""), getattr(decision, "host_name", "")) == (
        "stay",
        "A.Azure-Devices.NET",
    )


def a_pinned_device_goes_nowhere_else(world: World) -> None:
    policy = world.policy(default={"place": {"pinned": hub("b")}})
    assert set(placed(world, policy).values()) == {hub("b")}
    assert world.place(world.facts("d", HUBS, hub("a")), policy) == hub("b")


def a_shape_nobody_knows_neither_rejects_nor_places(world: World) -> None:
    reject = {"name": "stolen", "when": {"certificate": {"thumbprint": "ab" * 20}}, "reject": {"reason": "x"}}
    policy = world.policy(rules=[reject])
    odd: dict[str, Any] = {"x509": {"certificate": "new shape"}}
    assert world.place(world.facts("d", HUBS, hub("a"), context=odd), policy) == hub("a")
    assert type(world.decide(world.facts("d", HUBS, context=odd), policy)).__name__ == "Wait"
    assert world.place(world.facts("d", HUBS), policy) is not None


CLAIMS: dict[str, Callable[[World], None]] = {
    claim.__name__: claim
    for claim in (
        a_device_goes_to_a_linked_hub_only,
        shares_follow_the_weights,
        removing_a_hub_moves_its_own_devices_only,
        more_weight_moves_devices_only_towards_that_hub,
        the_order_of_linked_hubs_does_not_matter,
        a_hub_that_is_not_open_gets_no_new_device,
        a_draining_hub_lets_go_and_a_cordoned_one_keeps,
        a_device_stays_while_nothing_changes,
        a_device_with_a_linked_hub_is_never_refused,
        no_placement_exceeds_the_bound_and_one_is_always_found,
        a_bound_turns_away_only_what_would_exceed_it,
        a_hub_at_its_capacity_less_headroom_gets_no_new_device,
        a_canary_has_its_share_whatever_the_placement,
        nothing_a_device_says_or_a_fallback_widens_the_candidates,
        a_full_region_gives_way_to_its_fallbacks_in_order,
        an_avoided_hub_gets_new_devices_only_where_nothing_else_takes_them,
        hub_names_compare_without_case,
        a_pinned_device_goes_nowhere_else,
        a_shape_nobody_knows_neither_rejects_nor_places,
    )
}
