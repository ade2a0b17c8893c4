"""What one instance knows: read once, kept fresh, never lost, and its age told."""

import asyncio
import json
from datetime import timedelta

import pytest

from allocation import LoadRow, cordon, drain, uncordon, write_load
from allocation.knowledge import MOST_DPS, PAUSE_SECONDS, Freshness
from allocation.policy import compile_policy, read_document
from clients.ports import Row
from tests.allocation.instance import Instance, State, hub_of
from tests.allocation.making import hub, key
from tests.clocks import HandClock
from tests.patience import until

ONLY_B = {"hubs": [{"name": hub("b")}], "unlisted_hubs": "refuse"}
ONLY_C = {"hubs": [{"name": hub("c")}], "unlisted_hubs": "refuse"}
REFRESH, MAX_AGE = Freshness().refresh, Freshness().max_age
PATIENCE = Freshness(cold_seconds=0.02, stale_seconds=0.02)


async def settled() -> None:
    """Let what runs beside the requests come to its end (compiling takes a thread)."""
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_all_first_requests_wait_for_one_reading() -> None:
    state = State()
    await state.activate(ONLY_B)
    instance, before = Instance.of(state), state.fleet.calls
    answers = await asyncio.gather(*(instance.ask(f"d{number}") for number in range(50)))
    assert {hub_of(answer) for answer in answers} == {hub("b")}
    assert state.fleet.calls == before + 1


async def test_without_an_activation_the_packaged_policy_decides() -> None:
    packaged = compile_policy(read_document(json.dumps(ONLY_C)))
    instance = Instance.of(State(), packaged=packaged)
    assert hub_of(await instance.ask()) == hub("c")
    assert instance.degraded == ""


async def test_a_packaged_policy_that_did_not_load_is_no_policy() -> None:
    instance = Instance.of(State(), packaged=None)
    assert (await instance.ask()).status == 503
    assert hub_of(await instance.ask(current=hub("a"))) == hub("a")


async def test_each_dps_is_known_for_itself() -> None:
    state = State()
    await state.activate(ONLY_B, "one")
    await drain(state.fleet, "two", hub("a"), "kim", HandClock())
    await drain(state.fleet, "two", hub("b"), "kim", HandClock())
    instance = Instance.of(state)
    for number in range(10):
        assert hub_of(await instance.ask(f"d{number}", dps="one")) == hub("b")
        assert hub_of(await instance.ask(f"d{number}", dps="two")) == hub("c")


async def test_made_up_dps_names_take_no_memory() -> None:
    instance = Instance.of(State())
    for number in range(2 * MOST_DPS):
        await instance.ask(dps=f"made-up-{number}")
    assert len(instance.knowledge._of) <= MOST_DPS


async def test_within_the_refresh_age_nothing_is_read() -> None:
    state, clock = State(), HandClock()
    instance = Instance.of(state, clock=clock)
    await instance.ask()
    before = (state.policies.calls, state.fleet.calls)
    clock.move(REFRESH - 1)
    await instance.ask()
    await settled()
    assert (state.policies.calls, state.fleet.calls) == before


async def test_past_the_refresh_age_the_request_is_decided_from_memory_and_the_next_one_knows() -> None:
    state, clock = State(), HandClock()
    instance = Instance.of(state, clock=clock)
    await instance.ask()
    await state.activate(ONLY_B)
    clock.move(REFRESH)
    state.policies.stall()
    state.fleet.stall()
    before = hub_of(await instance.ask("dev-7"))  # answered while the reading stands still
    assert instance.degraded == ""
    state.policies.release()
    state.fleet.release()
    await settled()
    assert {hub_of(await instance.ask(f"d{number}")) for number in range(9)} == {hub("b")}
    assert before == hub_of(await Instance.of(State()).ask("dev-7"))


@pytest.mark.parametrize(
    "idle",
    [
        lambda clock: clock.move(MAX_AGE),
        lambda clock: clock.move(86_400, monotonic=False),  # the machine was suspended
        lambda clock: (
            clock.move(-86_400, monotonic=False),
            clock.move(MAX_AGE, date=False),
        ),  # a date set back
    ],
    ids=["idle", "suspended", "set-back"],
)
async def test_past_the_maximum_age_a_change_is_seen_before_deciding(idle: "object") -> None:
    state, clock = State(), HandClock()
    instance = Instance.of(state, clock=clock)
    await instance.ask()
    for name in "ab":
        await cordon(state.fleet, "", hub(name), "kim", clock)
    assert callable(idle)
    idle(clock)
    answers = [hub_of(await instance.ask(f"d{number}")) for number in range(9)]
    assert set(answers) == {hub("c")}
    assert instance.degraded == ""


async def test_an_instance_that_slept_within_a_reading_gives_that_reading_up() -> None:
    state, clock = State(), HandClock()
    instance = Instance.of(state, clock=clock)
    await instance.ask()
    clock.move(REFRESH)
    state.fleet.stall()
    await instance.ask()  # starts a reading that never ends
    await asyncio.sleep(0)
    await state.activate(ONLY_B)
    clock.move(3_600)
    state.fleet.release()
    assert {hub_of(await instance.ask(f"d{number}")) for number in range(9)} == {hub("b")}


async def test_an_old_view_decides_when_a_new_one_does_not_come_and_says_so() -> None:
    state, clock = State(), HandClock()
    await state.activate(ONLY_B)
    instance = Instance.of(state, clock=clock, freshness=PATIENCE)
    await instance.ask()
    state.policies.stall()
    state.fleet.stall()
    clock.move(MAX_AGE + 10)
    assert hub_of(await instance.ask("new")) == hub("b")
    assert instance.degraded == "policy or hub states were last read 70 s ago"
    state.policies.release()
    state.fleet.release()
    await settled()


@pytest.mark.parametrize("which", ["policies", "fleet"])
async def test_a_reading_that_fails_changes_nothing_is_logged_once_and_is_not_tried_at_once_again(
    which: str,
) -> None:
    state, clock = State(), HandClock()
    await state.activate(ONLY_B)
    await cordon(state.fleet, "", hub("a"), "kim", clock)
    instance = Instance.of(state, clock=clock)
    await instance.ask()
    failing = getattr(state, which)
    failing.down = True
    clock.move(MAX_AGE + 1)
    before = failing.calls
    for number in range(20):
        assert hub_of(await instance.ask(f"d{number}")) == hub("b")
        assert "were last read 61 s ago" in instance.degraded
    assert failing.calls == before + 1
    assert len(instance.heard.of("state_unavailable")) == 1
    clock.move(PAUSE_SECONDS)
    failing.down = False
    assert hub_of(await instance.ask()) == hub("b")
    assert instance.degraded == ""


async def test_a_policy_that_does_not_load_leaves_the_last_good_one_in_force() -> None:
    state, clock = State(), HandClock()
    await state.activate(ONLY_B)
    instance = Instance.of(state, clock=clock)
    await instance.ask()
    bad = await state.activate(ONLY_C)
    [row] = [row async for row in state.policies.scan(f"-|policy|{bad}")]
    await state.policies.put(Row(row.partition, row.key, {**row.values, "text": "{}"}))
    for _ in range(3):
        clock.move(MAX_AGE)
        assert hub_of(await instance.ask("new")) == hub("b")
        assert f"policy {bad} is active and does not load" in instance.degraded
    [told] = {json.dumps(event) for event in instance.heard.of("policy_unavailable")}
    assert bad in told
    await state.policies.put(row)
    clock.move(MAX_AGE)
    assert hub_of(await instance.ask("new")) == hub("c")
    assert instance.degraded == ""


async def test_on_a_cold_instance_a_policy_that_does_not_load_is_no_policy() -> None:
    state = State()
    bad = await state.activate(ONLY_C)
    [row] = [row async for row in state.policies.scan(f"-|policy|{bad}")]
    await state.policies.delete(row)
    instance = Instance.of(state)
    assert (await instance.ask()).status == 503
    assert hub_of(await instance.ask(current=hub("a"))) == hub("a")
    assert "does not load" in instance.degraded


async def test_a_rollback_is_seen_as_any_activation() -> None:
    state, clock = State(), HandClock()
    await state.activate(ONLY_B)
    instance = Instance.of(state, clock=clock)
    assert hub_of(await instance.ask()) == hub("b")
    from allocation import PolicyStore

    await PolicyStore(state.policies, "", clock).rollback("kim")
    clock.move(MAX_AGE)
    assert len({hub_of(await instance.ask(f"d{number}")) for number in range(30)}) == 3


async def test_a_rollback_never_undrains_a_hub() -> None:
    state, clock = State(), HandClock()
    await state.activate({})
    await drain(state.fleet, "", hub("a"), "kim", clock)
    await state.activate(ONLY_B)
    from allocation import PolicyStore

    await PolicyStore(state.policies, "", clock).rollback("kim")
    instance = Instance.of(state, clock=clock)
    found = {hub_of(await instance.ask(f"d{number}", current=hub("a"))) for number in range(30)}
    assert found == {hub("b"), hub("c")}
    await uncordon(state.fleet, "", hub("a"), "kim", clock)
    clock.move(MAX_AGE)
    assert hub_of(await instance.ask("d1", current=hub("a"))) == hub("a")


async def test_loads_are_what_was_counted_and_what_this_instance_placed_since() -> None:
    state, clock = State(), HandClock()
    load = LoadRow(key("a"), devices=100, as_of=clock.now(), source="statistics")
    await write_load(state.fleet, "", load)
    instance = Instance.of(state, clock=clock)
    for _ in range(3):  # DPS asks again
        for number in range(20):
            await instance.ask(f"d{number}", hubs=[hub("a")])
            await instance.ask(f"stays{number}", hubs=[hub("a")], current=hub("a"))
            await instance.ask(f"b{number}", hubs=[hub("b")])
    known = await instance.knowledge.known("", 1)
    assert known.view.loads == {key("a"): 120}
    clock.move(MAX_AGE)
    [read] = [row async for row in state.fleet.scan("-", start="load|")]
    newer = LoadRow(key("a"), devices=120, as_of=clock.now(), etag=read.etag)
    assert await write_load(state.fleet, "", newer)
    await instance.ask()
    assert (await instance.knowledge.known("", 1)).view.loads == {key("a"): 120}


async def test_a_hub_is_avoided_once_its_statistics_failed_for_long_and_never_are_all() -> None:
    state, clock = State(), HandClock()
    since = clock.now() - timedelta(minutes=10)
    await write_load(state.fleet, "", LoadRow(key("a"), failing_since=since, error="no answer"))
    await write_load(state.fleet, "", LoadRow(key("b"), devices=1, as_of=clock.now()))

    async def avoided(minutes: float) -> frozenset[str]:
        instance = Instance.of(state, clock=clock, freshness=Freshness(avoid_after=60 * minutes))
        return frozenset((await instance.knowledge.known("", 1)).view.avoided)

    assert await avoided(0) == set()
    assert await avoided(11) == set()
    assert await avoided(10) == {key("a")}
    [row] = [row async for row in state.fleet.scan("-", start=f"load|{key('b')}")]
    await state.fleet.put(Row(row.partition, row.key, {"failing_since": since}))
    assert await avoided(10) == set()


async def test_a_hub_state_nobody_understands_is_told_and_takes_no_new_device() -> None:
    state = State()
    for name in "ab":
        await state.fleet.put(Row("-", f"state|{key(name)}", {"hub": key(name), "state": "hibernating"}))
    instance = Instance.of(state)
    assert {hub_of(await instance.ask(f"d{number}")) for number in range(9)} == {hub("c")}
    assert hub_of(await instance.ask(current=hub("a"))) == hub("a")
    assert len(instance.heard.of("state_unavailable")) == 2
