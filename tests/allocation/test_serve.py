"""The webhook as a whole: whatever comes in, an answer of the design's table goes out."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allocation import Allocator, Budget, FixedKnowledge, Freshness, Knowledge, Ledger, cordon
from allocation.facts import Decision, Facts
from allocation.knowledge import PAUSE_SECONDS, Known
from allocation.policy import EVERY_HUB_ALIKE
from allocation.request import CHECK_ID
from allocation.serve import LATE_WRITES, WRITES_AT_ONCE
from clients.clock import SystemClock
from clients.http import CONNECTIONS
from tests.allocation.instance import Instance, State, hub_of
from tests.allocation.making import body, hub
from tests.clocks import HandClock
from tests.heard import Heard
from tests.patience import until


class Broken:
    """Knowledge with a bug."""

    async def known(self, dps: str, seconds: float) -> Known:
        raise RuntimeError("a text that quotes the request: SECRET")

    def placed(self, facts: Facts, decision: Decision) -> None:
        raise AssertionError


def allocator(heard: Heard, knowledge: Knowledge | None = None) -> Allocator:
    return Allocator(
        knowledge=knowledge or FixedKnowledge(EVERY_HUB_ALIKE), clock=SystemClock(), telemetry=heard
    )


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=15,
)
member_names = st.sampled_from(
    ["registrationId", "REGISTRATIONID", "currentIotHubHostName", "currentIoTHubHostname", "payload", "x509"]
)
hub_lists = st.lists(st.text(max_size=30) | st.sampled_from([hub("a"), hub("B")]), max_size=8)
near_requests = st.fixed_dictionaries(
    {},
    optional={
        "deviceRuntimeContext": st.dictionaries(member_names, st.text(max_size=30) | json_values)
        | json_values,
        "linkedHubs": hub_lists | json_values,
        "LINKEDHUBS": hub_lists,
        "enrollmentGroup": json_values,
        "individualEnrollment": json_values,
    },
)
bodies = st.one_of(
    st.binary(max_size=300),
    near_requests.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.builds(
        lambda value, at, junk: (raw := json.dumps(value).encode())[: at % (len(raw) + 1)] + junk,
        near_requests,
        st.integers(0, 1_000),
        st.binary(max_size=5),
    ),
)


async def check(raw: bytes) -> None:
    reply = await allocator(Heard()).answer(raw)
    assert reply.status in (200, 400, 413, 503), reply
    told = json.loads(reply.body)
    if reply.status == 200:
        request = json.loads(raw)
        hubs = request["linkedHubs"] if "linkedHubs" in request else request["LINKEDHUBS"]
        assert told["iotHubHostName"] in hubs
    else:
        assert "iotHubHostName" not in told
        assert told["error"]


@given(bodies)
@settings(max_examples=3_000, deadline=None)
@example(json.dumps(body(device="\ud800")).encode())
@example(json.dumps(body(hubs=["\udfff"], current="\udfff")).encode())
@example(b'{"linkedHubs":["x"],"linkedHubs":["y"],"deviceRuntimeContext":{"registrationId":"d"}}')
@example(b"\x00")
@example(b"1e999")
@example(b" " * 10_000_000)
async def test_hostile_bodies_get_an_answer_of_the_table_and_no_foreign_hub(raw: bytes) -> None:
    await check(raw)


@pytest.mark.soak
@given(bodies)
@settings(max_examples=100_000, deadline=None)
async def test_a_hundred_thousand_hostile_bodies_get_an_answer_of_the_table(raw: bytes) -> None:
    await check(raw)


async def test_a_placed_device_gets_200_and_its_decision_is_logged_whole() -> None:
    heard = Heard()
    reply = await allocator(heard).answer(json.dumps(body(current=hub("B"))).encode(), "factory")
    assert json.loads(reply.body) == {"iotHubHostName": hub("b")}
    [(name, fields)] = heard.events
    assert name == "allocation"
    assert fields["registration_id"] == "dev-1"
    assert fields["dps"] == "factory"
    assert (fields["outcome"], fields["hub"], fields["why"]) == ("placed", hub("b"), "stay")
    assert "stay: already on b.azure-devices.net" in fields["trail"]
    assert [(metric, dimensions) for metric, _, dimensions in heard.measures] == [
        ("allocation_ms", {"outcome": "placed", "status": "200"}),
        ("allocations", {"outcome": "placed", "rule": fields["rule"], "hub": hub("b")}),
    ]


async def test_each_answer_is_one_span_that_says_what_the_event_says_but_the_trail() -> None:
    heard = Heard()
    at = allocator(heard)
    await at.answer(json.dumps(body(current=hub("B"))).encode(), "factory")
    await at.answer(b"no JSON", "factory")
    placed, refused = heard.spans
    assert placed[0] == refused[0] == "allocation"
    assert placed[1] >= 0
    told = dict(heard.events[0][1])
    del told["trail"]
    assert placed[2] == told
    assert {"rule", "hub", "policy", "degraded", "outcome", "status"} <= set(told)
    assert refused[2] == {"outcome": "refused", "dps": "factory", "status": heard.events[1][1]["status"]}


async def test_a_refused_body_is_logged_by_its_field_and_never_quoted() -> None:
    heard = Heard()
    reply = await allocator(heard).answer(b'{"deviceRuntimeContext": "SECRET"}')
    assert reply.status == 503
    assert heard.events[0][0] == "allocation_refused"
    assert "SECRET" not in str(heard.events) + reply.body.decode()


async def test_a_bug_of_ours_is_retriable_and_tells_no_secret() -> None:
    heard = Heard()
    reply = await allocator(heard, Broken()).answer(json.dumps(body()).encode())
    assert reply.status == 503
    [(name, fields)] = heard.events
    assert name == "allocation_broken"
    assert fields["error"] == "RuntimeError"
    assert "SECRET" not in str(fields) + reply.body.decode()


@pytest.mark.parametrize("sent", [b"{}", b"\xff", json.dumps(body()).encode()])
async def test_a_name_of_any_length_in_the_route_makes_no_long_line(sent: bytes) -> None:
    heard = Heard()
    await allocator(heard).answer(sent, "n" * 200_000)
    assert heard.events
    assert "n" * 1_025 not in str(vars(heard))


@pytest.mark.parametrize(("current", "status"), [(None, 503), (hub("a"), 200), (hub("gone"), 503)])
async def test_without_a_policy_devices_stay_and_new_ones_are_told_to_come_again(
    current: str | None, status: int
) -> None:
    reply = await allocator(Heard(), FixedKnowledge(None)).answer(json.dumps(body(current=current)).encode())
    assert reply.status == status


# --- the ledger and the budget

SHORT = Budget(request=1.0, ledger=0.02)


async def rows(state: State) -> list[Any]:
    ledger = Ledger(state.ledger.inner, str)
    return [entry async for entry in ledger.of_dps("")]


async def test_each_answer_is_a_row_that_tells_what_was_answered_and_why() -> None:
    state = State()
    instance = Instance.of(state)
    await instance.ask("placed", current=hub("B"))
    state.policies.down = True
    cold = Instance.of(state)
    assert (await cold.ask("cold")).status == 503
    found = {entry.registration_id: entry for entry in await rows(state)}
    placed = found["placed"]
    assert (placed.status, placed.outcome, placed.hub, placed.why) == (200, "placed", hub("b"), "stay")
    assert (placed.rule, placed.policy, placed.source) == ("default", EVERY_HUB_ALIKE.version, "webhook")
    assert (placed.enrollment_kind, placed.enrollment_id) == ("group", "g1")
    assert any(step.startswith("stay: ") for step in placed.trail)
    assert placed.facts is not None
    assert placed.facts["current"] == hub("b")
    assert (found["cold"].status, found["cold"].outcome, found["cold"].policy) == (503, "wait", "")
    assert found["cold"].degraded
    assert not instance.heard.of("ledger_gap")


async def test_a_ledger_that_is_down_costs_no_device_and_each_gap_is_logged_and_counted() -> None:
    state = State()
    instance = Instance.of(state)
    state.ledger.down = True
    for number in range(5):
        assert (await instance.ask(f"d{number}")).status == 200
    gaps = instance.heard.of("ledger_gap")
    assert [gap["registration_id"] for gap in gaps] == [f"d{number}" for number in range(5)]
    assert gaps[0]["problem"] == "the table is down"
    assert instance.heard.counted("ledger_gaps") == 5


async def test_a_ledger_that_is_slow_is_not_waited_for_and_its_row_may_still_arrive() -> None:
    state = State()
    instance = Instance.of(state, budget=SHORT)
    state.ledger.stall()
    assert (await instance.ask("late")).status == 200
    assert [gap["registration_id"] for gap in instance.heard.of("ledger_gap")] == ["late"]
    state.ledger.release()
    await until(lambda: instance.heard.counted("ledger_late") == 1)
    assert [entry.registration_id for entry in await rows(state)] == ["late"]
    assert len(instance.heard.of("ledger_gap")) == 1


async def test_rows_that_wait_for_a_dead_table_do_not_pile_up() -> None:
    state = State()
    # On a busy machine hundreds of first calls at once would wait too long for what is known.
    instance = Instance.of(state, budget=Budget(request=60.0, ledger=0.001))
    await instance.ask("first")
    state.ledger.stall()
    answers = await asyncio.gather(*(instance.ask(f"d{number}") for number in range(LATE_WRITES)))
    answers.append(await instance.ask("more"))
    assert {answer.status for answer in answers} == {200}
    assert instance.heard.counted("ledger_gaps") == LATE_WRITES + 1
    assert instance.heard.of("ledger_gap")[-1]["problem"] == "too many rows are being written already"
    state.ledger.release()
    await until(lambda: instance.heard.counted("ledger_late") == LATE_WRITES)


async def test_a_table_that_never_answers_leaves_connections_for_reading_the_state() -> None:
    # One HTTP client carries both. With all of its connections in rows under way, no policy and no hub state
    # could be read: what is known grows old, and a new instance has nothing to place devices by.
    state = State()
    instance = Instance.of(state, budget=Budget(ledger=0.001))
    state.ledger.stall()
    many = 2 * CONNECTIONS
    answers = await asyncio.gather(*(instance.ask(f"d{number}") for number in range(many)))
    assert {answer.status for answer in answers} == {200}
    assert state.ledger.calls == WRITES_AT_ONCE <= CONNECTIONS / 2
    state.ledger.release()
    await until(lambda: instance.heard.counted("ledger_late") == many)
    assert len(await rows(state)) == many


async def test_an_answer_to_a_check_of_the_webhook_says_so() -> None:
    instance = Instance.of(State())
    answers = [await instance.ask(device) for device in (CHECK_ID, "dev-1")]
    assert [(answer.status, answer.check) for answer in answers] == [(200, True), (200, False)]


async def test_a_recorder_with_a_bug_costs_a_row_and_no_device() -> None:
    def broken(facts: Facts, policy: Any) -> Any:
        raise RuntimeError("SECRET")

    heard = Heard()
    state = State()
    answering = Allocator(
        knowledge=FixedKnowledge(EVERY_HUB_ALIKE),
        clock=SystemClock(),
        telemetry=heard,
        ledger=Ledger(state.ledger, str),
        record=broken,
    )
    reply = await answering.answer(json.dumps(body()).encode())
    assert reply.status == 200
    assert [gap["problem"] for gap in heard.of("ledger_gap")] == ["RuntimeError"]


async def test_with_everything_stalled_a_request_is_answered_within_its_budget() -> None:
    state = State()
    for table in state.all:
        table.stall()
    instance = Instance.of(
        state, budget=Budget(request=0.06, ledger=0.02), freshness=Freshness(cold_seconds=60)
    )
    started = asyncio.get_running_loop().time()
    assert (await instance.ask()).status == 503
    assert hub_of(await instance.ask(current=hub("a"))) == hub("a")
    # Two requests of 60 ms; the reading's own limit and the table's are seconds.
    assert asyncio.get_running_loop().time() - started < 2
    for table in state.all:
        table.release()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("cold_packaged", [False, True])
async def test_cold_without_state(cold_packaged: bool) -> None:
    """A cold instance in a storage outage, with hub-a cordoned and a rule that rejects: both unknown to it.

    Nobody is placed against a word that could not be read, nobody on a hub loses it, nobody is failed.
    """
    state = State()
    await state.activate(
        {
            "rules": [
                {"name": "stolen", "when": {"registration_id": "stolen-*"}, "reject": {"reason": "stolen"}}
            ]
        }
    )
    await cordon(state.fleet, "", hub("a"), "kim", SystemClock())
    state.down()
    clock = HandClock()
    instance = Instance.of(state, clock=clock, cold_packaged=cold_packaged)
    for device in ("new-1", "stolen-1"):
        for current in ("a", "b"):
            assert hub_of(await instance.ask(device, current=hub(current))) == hub(current)
        for current_name in (None, hub("unlinked")):
            answer = await instance.ask(device, current=current_name)
            assert answer.status == (200 if cold_packaged else 503)
        assert instance.degraded
    if cold_packaged:
        assert "decided by the packaged policy" in instance.degraded
    assert instance.heard.of("state_unavailable")
    assert instance.heard.counted("ledger_gaps") == 8
    state.down(down=False)
    clock.move(PAUSE_SECONDS)
    assert (await instance.ask("stolen-1", current=hub("b"))).status == 403
    assert {hub_of(await instance.ask(f"n{number}")) for number in range(30)} == {hub("b"), hub("c")}
    assert hub_of(await instance.ask("new-1", current=hub("a"))) == hub("a")
    assert not instance.degraded
