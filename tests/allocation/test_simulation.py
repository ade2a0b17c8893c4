"""A simulation says what would happen: nobody moves without a cause, and each move has its reason."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation.decision import decide
from allocation.errors import BadDevice, PolicyError
from allocation.facts import Facts, Placed, Undecidable, linked
from allocation.fleet import ALL_OPEN, FleetView, HubState
from allocation.fleet_file import read_fleet_file
from allocation.ledger import Entry
from allocation.policy import EVERY_HUB_ALIKE, CompiledPolicy
from allocation.recorded import record
from allocation.replay import FACTS, LINKED, Enrolled, of_entry, of_lines
from allocation.simulation import EXAMPLES, OTHERS, REJECTED, Change, Side, Simulation, Skipped
from provisioning.enrollments import EnrollmentGroup
from provisioning.registrations import Registration
from tests.allocation.making import body, facts, hub, key
from tests.allocation.test_promises import NAMES, asking, few_devices, policy, views, whole_policies
from tests.clocks import HandClock

HUBS = linked([hub(name) for name in "abc"])
MODEL = [{"path": "model", "eq": "x"}]


def simulated(
    before: CompiledPolicy,
    after: CompiledPolicy,
    asked: Iterable[Facts | Undecidable | Skipped],
    view: FleetView = ALL_OPEN,
    later: FleetView | None = None,
    **options: Any,
) -> tuple[Simulation, list[Change]]:
    simulation = Simulation(Side(before, view), Side(after, view if later is None else later), **options)
    return simulation, [change for each in asked if (change := simulation.add(each))]


def fleet_of(count: int, current: str | None = None) -> list[Facts]:
    return [facts(f"dev-{number:04}", current=current) for number in range(count)]


@given(
    whole_policies,
    views,
    st.lists(st.sampled_from(NAMES[:12]), min_size=1, unique=True),
    few_devices,
    st.none() | st.sampled_from(NAMES[:12]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_policy_in_force_against_itself_moves_nobody(
    rules: CompiledPolicy,
    view: FleetView,
    names: list[str],
    asked: list[str],
    current: str | None,
    as_new: bool,
    from_empty: bool,
) -> None:
    every = [asking(device, names, current) for device in asked]
    simulation, changes = simulated(rules, rules, every, view, as_new=as_new, from_empty=from_empty)
    found = simulation.summary
    assert (changes, found.changed, found.moves, found.twins_changed) == ([], 0, {}, 0)
    assert found.devices == len(asked)
    before, after = simulation.loads()
    assert before == after


@given(
    whole_policies,
    whole_policies,
    st.lists(st.sampled_from(NAMES[:12]), min_size=1, unique=True),
    few_devices,
)
@settings(max_examples=60, deadline=None)
def test_moves_are_what_happens_when_the_draft_is_in_force(
    active: CompiledPolicy, draft: CompiledPolicy, names: list[str], asked: list[str]
) -> None:
    """Devices are placed by the policy in force, one by one; then each registers again by the draft."""
    homes: dict[str, Any] = {}
    loads = dict.fromkeys(map(key, names), 0)
    for device in asked:
        placed = decide(asking(device, names), active, FleetView(loads=loads))
        if isinstance(placed, Placed):
            homes[device] = placed.hub
            loads[placed.hub] += 1
    every = [replace(asking(device, names), current_hub=home) for device, home in homes.items()]
    _, changes = simulated(active, draft, every, FleetView(loads=dict(loads)))
    happened = {}
    for each in every:
        decision = decide(each, draft, FleetView(loads=loads))
        assert isinstance(decision, Placed)
        if decision.hub != each.current_hub:
            happened[each.registration_id] = decision.hub
            loads[decision.hub] += 1
            assert each.current_hub is not None
            loads[each.current_hub] -= 1
    stays = decide_all(every, active)
    told = {change.registration_id: change.after for change in changes}
    # What the policy in force moves by itself (a canary that was full) is none of the draft's.
    assert told == {device: home for device, home in happened.items() if stays[device] != home}


def decide_all(every: list[Facts], rules: CompiledPolicy) -> dict[str, Any]:
    loads: dict[Any, int] = {}
    for each in every:
        if each.current_hub is not None:
            loads[each.current_hub] = loads.get(each.current_hub, 0) + 1
    for hub_name in {name for each in every for name in each.linked_hubs}:
        loads.setdefault(hub_name, 0)
    found = {}
    for each in every:
        decision = decide(each, rules, FleetView(loads=loads))
        assert isinstance(decision, Placed)
        found[each.registration_id] = decision.hub
        if decision.hub != each.current_hub and each.current_hub is not None:
            loads[decision.hub] += 1
            loads[each.current_hub] -= 1
    return found


def test_a_new_weight_moves_devices_only_towards_its_hub_and_says_why() -> None:
    draft = policy(hubs=[{"name": hub("a"), "weight": 3}])
    simulation, changes = simulated(EVERY_HUB_ALIKE, draft, fleet_of(600))
    found = simulation.summary
    assert {change.after for change in changes} == {hub("a")}
    assert found.moved == len(changes) == found.moves.total()
    assert set(found.moves) == {(hub(name), hub("a"), "default", "ranked") for name in "bc"}
    assert len(found.examples) == EXAMPLES
    assert changes[0].trail[-1].startswith("ranked: a.azure-devices.net ranks first")
    # 3 of 5 parts instead of 1 of 3, within five standard deviations
    assert abs(found.homes_after[key("a")] - 360) < 5 * (600 * 0.6 * 0.4) ** 0.5
    before, after = simulation.evenness()
    assert before["max_over_share"] < 1.2
    assert 1.5 < after["max_over_mean"] < 2.1
    assert after["max_over_share"] < 1.2


def test_devices_with_a_hub_stay_unless_they_are_taken_for_new() -> None:
    draft = policy(hubs=[{"name": hub("a"), "weight": 100}])
    assert simulated(EVERY_HUB_ALIKE, draft, fleet_of(100, "b"))[1] == []
    assert len(simulated(EVERY_HUB_ALIKE, draft, fleet_of(100, "b"), as_new=True)[1]) > 50


def test_a_drain_is_tried_by_a_fleet_file_and_the_loads_follow() -> None:
    imagined = read_fleet_file(f"hubs: [{{name: {hub('b')}, state: draining, devices: 100}}]")
    view = FleetView(loads={key(name): 50 for name in "abc"})
    simulation, changes = simulated(
        EVERY_HUB_ALIKE, EVERY_HUB_ALIKE, fleet_of(40, "b"), imagined.before(view), imagined.after(view)
    )
    assert {change.before for change in changes} == {hub("b")}
    assert len(changes) == 40
    assert (simulation.summary.leaving_before, simulation.summary.leaving_after) == (0, 40)
    before, after = simulation.loads()
    assert before == {key("a"): 50, key("b"): 100, key("c"): 50}
    assert after[key("b")] == 60
    assert after[key("a")] + after[key("c")] == 140


def test_hubs_that_would_be_linked_stand_in_for_those_a_device_names() -> None:
    imagined = read_fleet_file(json.dumps({"linked": [hub("a"), hub("d")]}))
    simulation = Simulation(
        Side(EVERY_HUB_ALIKE, ALL_OPEN), Side(EVERY_HUB_ALIKE, ALL_OPEN, imagined.linked_hubs)
    )
    for each in fleet_of(100, "b"):
        simulation.add(each)
    assert simulation.summary.moved == 100
    assert set(simulation.summary.homes_after) == {key("a"), key("d")}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hubs: [{name: a, state: closed}]", "hubs.0.state"),
        ("hubs: [{name: a, weight: 2}]", "hubs.0.weight"),
        ("hubs: [{name: a, devices: -1}]", "hubs.0.devices"),
        ("linked: a", "linked"),
        ("a: [", "fleet file: not YAML"),
    ],
)
def test_a_fleet_file_that_is_none_is_refused_by_its_path(text: str, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        read_fleet_file(text)


def test_capacity_is_filled_in_the_order_devices_come() -> None:
    draft = policy(hubs=[{"name": hub("a"), "capacity": 10, "headroom": 0}])
    simulation, _ = simulated(EVERY_HUB_ALIKE, draft, fleet_of(300), from_empty=True)
    assert simulation.summary.homes_after[key("a")] == 10
    assert simulation.loads()[1][key("a")] == 10
    unknown, changes = simulated(EVERY_HUB_ALIKE, draft, fleet_of(300))
    assert changes == []  # as on an instance that does not know its load
    assert unknown.loads() == ({}, {})


def test_a_bound_is_kept_over_the_whole_sequence() -> None:
    draft = policy(default={"place": {"bounded_load": 1.0}})
    simulation, _ = simulated(EVERY_HUB_ALIKE, draft, fleet_of(300), from_empty=True)
    assert set(simulation.summary.homes_after.values()) == {100}
    assert simulation.evenness()[1]["max_over_mean"] == 1.0


def test_rejects_waits_and_those_placed_again_are_told_apart() -> None:
    draft = policy(
        unlisted_hubs="refuse",
        hubs=[{"name": hub("a")}, {"name": hub("z")}],
        rules=[
            {"name": "stolen", "when": {"registration_id": "*-0000"}, "reject": {"reason": "stolen"}},
            {"name": "none", "when": {"registration_id": "*-0001"}, "place": {"hubs": [hub("z")]}},
        ],
    )
    simulation, _ = simulated(EVERY_HUB_ALIKE, draft, fleet_of(50))
    found = simulation.summary
    assert (found.newly_rejected, found.newly_waiting, found.rejected) == (1, 1, {"stolen": 1})
    assert any(after == REJECTED for _, after, _, _ in found.moves)
    assert found.changed == found.moved + 2
    back, _ = simulated(draft, EVERY_HUB_ALIKE, fleet_of(50))
    assert (back.summary.newly_placed, back.summary.newly_rejected) == (2, 0)


def test_twins_and_payloads_that_would_change_are_counted() -> None:
    one = policy(default={"twin": {"tags": {"kind": "a"}}})
    other = policy(default={"twin": {"tags": {"kind": "b"}}, "payload": {"hello": "x"}})
    found = simulated(one, other, fleet_of(10))[0].summary
    assert (found.moved, found.twins_changed, found.payloads_changed) == (0, 10, 10)


def test_what_a_draft_reads_and_nobody_recorded_is_undecidable_and_named() -> None:
    draft = policy(rules=[{"name": "r", "when": {"payload": MODEL}}])
    lines = [json.dumps({"registrationId": f"d{number}"}) for number in range(5)]
    every = [*of_lines(lines, "jsonl", "", HUBS), Undecidable(FACTS), Skipped("not ours")]
    found = simulated(EVERY_HUB_ALIKE, draft, every)[0].summary
    assert found.undecidable == {"payload.model": 5, FACTS: 1}
    assert found.skipped == {"not ours": 1}
    assert (found.devices, found.changed) == (7, 6)


def test_reasons_are_counted_in_bounded_memory() -> None:
    simulation, _ = simulated(
        EVERY_HUB_ALIKE, EVERY_HUB_ALIKE, (Skipped(f"reason {number}") for number in range(3_000))
    )
    assert len(simulation.summary.skipped) == 1_001
    assert simulation.summary.skipped[OTHERS] == 2_000


def test_files_of_every_kind_tell_the_same_device() -> None:
    read = {"read": {"payload.model": "x"}, "unread": []}
    recorded = {
        "dps": "", "id": "Dev-1", "hubs": list(HUBS.values()), "current": hub("b"), "kind": "group",
        "enrollment": "g1", **read,
    }  # fmt: skip
    whole = body("Dev-1", current=hub("b"))
    whole["deviceRuntimeContext"]["payload"] = {"model": "x"}
    plain = {
        "registrationId": "Dev-1", "currentHub": hub("B"), "enrollmentGroupId": "g1",
        "payload": {"model": "x"},
    }  # fmt: skip
    listed = {
        "registrationId": "Dev-1",
        "assignedHub": hub("b"),
        "enrollmentGroupId": "g1",
        "status": "assigned",
    }
    table = ["registration,hub,group,payload\n", f'Dev-1,{hub("b")},g1,"{{""model"": ""x""}}"\n']
    rules = policy(rules=[{"name": "x", "when": {"payload": MODEL}}])
    jsonl = of_lines(map(json.dumps, (recorded, whole, plain)), "jsonl", "", HUBS)
    for each in (*jsonl, *of_lines(table, "csv", "", HUBS)):
        assert isinstance(each, Facts)
        assert (each.registration, each.current_hub, each.enrollment_id) == ("dev-1", key("b"), "g1")
        assert each.linked_hubs == HUBS
        assert decide(each, rules, ALL_OPEN).rule == "x"
    [bare] = of_lines([json.dumps(listed)], "jsonl", "", HUBS)
    assert isinstance(bare, Facts)
    assert simulated(rules, rules, [bare])[0].summary.undecidable == {"payload.model": 1}


def test_an_empty_cell_is_missing_and_a_column_that_is_not_there_is_unknown() -> None:
    rules = policy(rules=[{"name": "x", "when": {"payload": [{"path": "model", "exists": False}]}}])
    [told] = of_lines(["registrationId,payload\n", "d,\n"], "csv", "", HUBS)
    assert simulated(rules, rules, [told])[0].summary.undecidable == {}
    [untold] = of_lines(["registrationId\n", "d\n"], "csv", "", HUBS)
    assert simulated(rules, rules, [untold])[0].summary.undecidable == {"payload.model": 1}
    [nowhere] = of_lines(["registrationId\n", "d\n"], "csv", "", {})
    assert nowhere == Undecidable(LINKED)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("not json", "line 1: not JSON"),
        ("[1]", "line 1: not a JSON object"),
        ("{}", "registrationId: missing"),
        ('{"registrationId": 5}', "registrationId: not a text"),
        ('{"registrationId": "d", "linkedHubs": "a"}', "linkedHubs: not a list"),
        ('{"registrationId": "d", "tags": []}', "tags: not a JSON object"),
        ('{"deviceRuntimeContext": {}}', "registrationId"),
        ('{"read": {}, "unread": []}', "line 1: recorded facts"),
    ],
)
def test_a_line_that_is_no_device_is_refused_by_its_number(line: str, told: str) -> None:
    with pytest.raises(BadDevice, match=told):
        list(of_lines([line], "jsonl", "", HUBS))


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["registrationId,currentHub\n", "d\n"], "line 2: another number of cells"),
        (["registrationId\n", "d,e\n"], "line 2: another number of cells"),
        (["registrationId,payload\n", "d,{x\n"], "line 2: payload: not JSON"),
        (["registrationId\n", '"d\n'], "not CSV"),
    ],
)
def test_a_row_that_is_no_device_is_refused_by_its_number(lines: list[str], told: str) -> None:
    with pytest.raises(BadDevice, match=told):
        list(of_lines(lines, "csv", "", HUBS))


def entry(**more: Any) -> Entry:
    base: dict[str, Any] = {
        "dps": "", "registration_id": "d", "enrollment_kind": "group", "enrollment_id": "g",
        "at": HandClock().now(), "status": 200, "outcome": "placed",
        "facts": dict(record(facts("d"), EVERY_HUB_ALIKE)),
    }  # fmt: skip
    return Entry(**base | more)


def test_a_ledger_row_puts_the_device_where_it_was_sent_or_confirmed() -> None:
    sent, confirmed = of_entry(entry(hub=key("b"))), of_entry(entry(hub=key("b"), confirmed_hub=key("c")))
    assert isinstance(sent, Facts)
    assert isinstance(confirmed, Facts)
    assert (sent.current_hub, confirmed.current_hub) == (key("b"), key("c"))
    assert of_entry(entry(facts=None)) == Undecidable(FACTS)
    assert of_entry(entry(facts={"id": 1})) == Undecidable(FACTS)
    rejected = of_entry(entry(outcome="rejected"))
    assert isinstance(rejected, Facts)
    assert rejected.current_hub is None


def group(**more: Any) -> EnrollmentGroup:
    return EnrollmentGroup.read(
        {
            "enrollmentGroupId": "g",
            "attestation": {"type": "symmetricKey"},
            "allocationPolicy": "custom",
            "initialTwin": {"tags": {"site": "north"}},
            **more,
        }
    )


def registered(**more: Any) -> Registration:
    return Registration.read({"registrationId": "d", "status": "assigned", "assignedHub": hub("b"), **more})


def test_a_registration_tells_its_hub_and_what_its_enrollment_says() -> None:
    device = Enrolled(group(), "", HUBS).device(registered())
    assert isinstance(device, Facts)
    assert (device.current_hub, device.enrollment_id, device.linked_hubs) == (key("b"), "g", HUBS)
    tagged = policy(rules=[{"name": "north", "when": {"enrollment_tags": {"site": "north"}}}])
    assert decide(device, tagged, ALL_OPEN).rule == "north"
    # A device with a key has no certificate; what it sends is not known.
    signed = {"certificate": {"subject": {"CN": "x"}}}
    rules = policy(rules=[{"name": "x", "when": signed}, {"name": "p", "when": {"payload": MODEL}}])
    assert simulated(rules, rules, [device])[0].summary.undecidable == {"payload.model": 1}
    x509 = Enrolled(group(attestation={"type": "x509"}), "", HUBS).device(registered())
    assert simulated(rules, rules, [x509])[0].summary.undecidable == {"certificate.subject.CN": 1}


def test_a_registration_of_an_enrollment_that_never_reprovisions_has_one_hub() -> None:
    never = group(reprovisionPolicy={"updateHubAssignment": False, "migrateDeviceData": False})
    device = Enrolled(never, "", HUBS).device(registered())
    assert isinstance(device, Facts)
    assert set(device.linked_hubs) == {key("b")}
    named = Enrolled(group(iotHubs=[hub("a")]), "", HUBS).device(registered())
    assert isinstance(named, Facts)
    assert set(named.linked_hubs) == {key("a")}
    assert Enrolled(group(), "", {}).device(registered()) == Undecidable(LINKED)


@pytest.mark.parametrize(
    ("member", "told"),
    [
        ({"provisioningStatus": "disabled"}, "disabled"),
        ({"allocationPolicy": "hashed"}, "allocation policy is hashed"),
        ({"iotHubs": [5]}, "not as DPS describes it"),
    ],
)
def test_devices_that_this_app_is_not_asked_about_are_skipped(member: dict[str, Any], told: str) -> None:
    device = Enrolled(group(**member), "", HUBS).device(registered())
    assert isinstance(device, Skipped)
    assert told in device.reason


def test_a_drained_state_is_no_hub_of_the_draft_alone() -> None:
    later = FleetView(states={key("a"): HubState.DRAINING})
    _, changes = simulated(EVERY_HUB_ALIKE, EVERY_HUB_ALIKE, fleet_of(60), ALL_OPEN, later)
    assert {change.before for change in changes} == {hub("a")}
