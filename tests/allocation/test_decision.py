"""Decisions: legal, steady, and never a refusal that nobody asked for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocation.decision import decide, decide_unread
from allocation.facts import Facts, Placed, Rejected, Wait
from allocation.fleet import ALL_OPEN, FleetView, HubState
from allocation.policy import EVERY_HUB_ALIKE, CompiledPolicy, compile_policy
from allocation.policy.document import PolicyDocument
from tests.allocation.making import facts, hub, key


def policy(**document: Any) -> CompiledPolicy:
    return compile_policy(PolicyDocument.model_validate(document))


names = st.sampled_from("abcdefgh")
states = st.dictionaries(names, st.sampled_from(HubState)).map(
    lambda by_name: FleetView({key(name): state for name, state in by_name.items()})
)
policies = st.builds(
    lambda weights, unlisted: policy(
        hubs=[{"name": hub(name), "weight": weight} for name, weight in weights.items()],
        unlisted_hubs=unlisted,
    ),
    st.dictionaries(names, st.sampled_from([0, 0.5, 1, 3])),
    st.sampled_from(["allow", "refuse"]),
)
requests = st.builds(
    facts,
    st.text(min_size=1, max_size=20),
    st.lists(names, min_size=1, max_size=8, unique=True),
    st.none() | names,
)


@given(requests, policies, states)
def test_a_placed_device_goes_to_a_linked_hub_by_the_name_dps_gave_it(
    request: Facts, rules: CompiledPolicy, fleet: FleetView
) -> None:
    decision = decide(request, rules, fleet)
    assert decision == decide(request, rules, fleet)
    if isinstance(decision, Placed):
        assert request.linked_hubs[decision.hub] == decision.host_name


@given(requests, policies, states)
def test_a_device_with_a_linked_hub_is_never_refused(
    request: Facts, rules: CompiledPolicy, fleet: FleetView
) -> None:
    if request.current_hub in request.linked_hubs:
        assert isinstance(decide(request, rules, fleet), Placed)
        assert isinstance(decide_unread(request), Placed)


@given(requests, policies, states)
def test_no_device_goes_newly_to_a_hub_that_is_not_open(
    request: Facts, rules: CompiledPolicy, fleet: FleetView
) -> None:
    decision = decide(request, rules, fleet)
    if isinstance(decision, Placed) and decision.hub != request.current_hub:
        assert fleet.states.get(decision.hub, HubState.OPEN) is HubState.OPEN
        assert rules.weight(decision.hub) > 0


@given(requests, policies)
def test_no_device_moves_off_an_open_linked_hub_of_weight(request: Facts, rules: CompiledPolicy) -> None:
    current = request.current_hub
    if current in request.linked_hubs and current is not None and rules.weight(current) > 0:
        decision = decide(request, rules, ALL_OPEN)
        assert isinstance(decision, Placed)
        assert (decision.hub, decision.why) == (current, "stay")


@given(requests, states)
def test_every_decision_gives_its_reasons(request: Facts, fleet: FleetView) -> None:
    decision = decide(request, EVERY_HUB_ALIKE, fleet)
    assert decision.trail[0].step == "match"
    assert decision.trail[-1].step in {"stay", "ranked", "no_alternative", "wait"}


def test_a_cordoned_hub_keeps_its_devices_and_gets_no_new_one() -> None:
    fleet = FleetView({key("a"): HubState.CORDONED})
    stays = decide(facts(hubs="ab", current="a"), EVERY_HUB_ALIKE, fleet)
    assert isinstance(stays, Placed)
    assert stays.hub == key("a")
    for device in map(str, range(50)):
        new = decide(facts(device, hubs="ab"), EVERY_HUB_ALIKE, fleet)
        assert isinstance(new, Placed)
        assert new.hub == key("b")


def test_a_draining_hub_lets_go_of_its_devices_where_they_have_a_place() -> None:
    fleet = FleetView({key("a"): HubState.DRAINING})
    moves = decide(facts(hubs="ab", current="a"), EVERY_HUB_ALIKE, fleet)
    assert isinstance(moves, Placed)
    assert (moves.hub, moves.why) == (key("b"), "ranked")
    stays = decide(facts(hubs="a", current="a"), EVERY_HUB_ALIKE, fleet)
    assert isinstance(stays, Placed)
    assert (stays.hub, stays.why) == (key("a"), "no_alternative")


def test_a_new_device_waits_when_no_hub_is_open() -> None:
    fleet = FleetView({key("a"): HubState.DISABLED})
    assert isinstance(decide(facts(hubs="a"), EVERY_HUB_ALIKE, fleet), Wait)


def test_a_device_whose_hub_is_unlinked_moves_and_the_reason_says_so() -> None:
    decision = decide(facts(hubs="bc", current="a"), EVERY_HUB_ALIKE, ALL_OPEN)
    assert isinstance(decision, Placed)
    assert decision.hub in (key("b"), key("c"))
    assert "leave: not staying on a.azure-devices.net: it is not linked" in [
        f"{reason.step}: {reason.found}" for reason in decision.trail
    ]


def test_hub_names_compare_without_case_and_are_answered_as_sent() -> None:
    request = facts(hubs=["A"], current="a")
    decision = decide(request, EVERY_HUB_ALIKE, ALL_OPEN)
    assert isinstance(decision, Placed)
    assert (decision.why, decision.host_name) == ("stay", "A.azure-devices.net")


def test_a_reject_rule_fails_even_a_device_that_has_a_hub() -> None:
    rules = policy(
        rules=[{"name": "stolen", "when": {"registration_id": "BAD-*"}, "reject": {"reason": "stolen"}}]
    )
    decision = decide(facts("bad-7", current="a"), rules, ALL_OPEN)
    assert isinstance(decision, Rejected)
    assert (decision.rule, decision.reason) == ("stolen", "stolen")
    assert isinstance(decide(facts("good-7"), rules, ALL_OPEN), Placed)


def test_the_first_rule_that_matches_gives_twin_and_payload() -> None:
    rules = policy(
        rules=[
            {
                "name": "edge",
                "when": {"registration_id": "edge-?"},
                "twin": {"tags": {"site": "x"}},
                "payload": {"n": 1},
            },
            {"name": "rest", "twin": {"desired": {"interval": 60}}},
        ]
    )
    edge = decide(facts("edge-1"), rules, ALL_OPEN)
    rest = decide(facts("edge-10"), rules, ALL_OPEN)
    assert isinstance(edge, Placed)
    assert isinstance(rest, Placed)
    assert edge.initial_twin == {"tags": {"site": "x"}, "properties": {"desired": {}}}
    assert edge.payload == {"n": 1}
    assert rest.initial_twin == {"tags": {}, "properties": {"desired": {"interval": 60}}}
    assert rest.payload is None


def test_without_a_policy_a_new_device_waits_and_the_answer_is_marked_degraded() -> None:
    decision = decide_unread(facts())
    assert isinstance(decision, Wait)
    assert decision.degraded


@pytest.mark.parametrize("unlisted", ["allow", "refuse"])
def test_a_hub_the_policy_does_not_name_takes_devices_only_where_allowed(unlisted: str) -> None:
    rules = policy(hubs=[{"name": hub("a")}], unlisted_hubs=unlisted)
    chosen = set()
    for device in map(str, range(60)):
        decision = decide(facts(device, hubs="ab"), rules, ALL_OPEN)
        assert isinstance(decision, Placed)
        chosen.add(decision.hub)
    assert chosen == ({key("a"), key("b")} if unlisted == "allow" else {key("a")})
