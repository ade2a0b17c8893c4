"""What somebody can do who has a function key, and what not: docs/threat-model.md points here."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation import LoadRow, cordon, read_fleet, write_load
from allocation.knowledge import MOST_DPS
from allocation.request import LONGEST_ID
from tests.allocation.instance import Instance, State, hub_of
from tests.allocation.making import body, hub, key
from tests.clocks import HandClock

DPS = "factory"
ids = st.text(min_size=1, max_size=12)
forged = st.builds(
    body,
    device=st.sampled_from(["dev-1", "DEV-2"]) | ids,
    hubs=st.lists(st.sampled_from([hub(name) for name in "abcxyz"]), min_size=1, max_size=6),
    current=st.none() | st.sampled_from([hub(name) for name in "abcx"]),
    enrollmentGroup=st.fixed_dictionaries({"enrollmentGroupId": st.sampled_from(["g1", "g2"]) | ids}),
)


async def fleet(clock: HandClock) -> State:
    state = State()
    named = [{"name": hub(name), "capacity": 2_000, "headroom": 0} for name in "abc"]
    await state.activate({"hubs": named, "rules": [{"name": "r", "place": {"bounded_load": 1.25}}]}, DPS)
    await counted(state, clock)
    return state


async def counted(state: State, clock: HandClock, devices: int = 100) -> None:
    """The jobs count the hubs."""
    loads = (await read_fleet(state.fleet, DPS)).loads
    for hub_key in map(key, "abc"):
        etag = loads[hub_key].etag if hub_key in loads else None
        load = LoadRow(hub=hub_key, devices=devices, as_of=clock.now(), etag=etag)
        assert await write_load(state.fleet, DPS, load)


@given(st.lists(st.tuples(forged, st.sampled_from([DPS, "", "made-up"])), max_size=20))
@settings(max_examples=60, deadline=None)
async def test_forged_requests_move_no_device(requests: list[tuple[dict[str, Any], str]]) -> None:
    clock = HandClock()
    instance = Instance.of(await fleet(clock), clock=clock)
    for request, dps in requests:
        await instance.allocator.answer(json.dumps(request).encode(), dps)
    for name in "abc":
        assert hub_of(await instance.ask("dev-1", dps=DPS, current=hub(name))) == hub(name)


async def test_a_flood_of_forged_devices_sends_newcomers_elsewhere_for_a_minute_and_moves_none() -> None:
    clock = HandClock()
    state = await fleet(clock)
    instance = Instance.of(state, clock=clock)
    for number in range(1_500):
        await instance.ask(f"forged-{number}", dps=DPS, hubs=[hub("a")])
    assert hub_of(await instance.ask("dev-1", dps=DPS, current=hub("a"))) == hub("a")
    newcomers = {hub_of(await instance.ask(f"new-{number}", dps=DPS)) for number in range(30)}
    assert newcomers == {hub("b"), hub("c")}
    # The next count says what is really there.
    clock.move(90)
    await counted(state, clock)
    await instance.ask("wakes-up", dps=DPS)
    newcomers = {hub_of(await instance.ask(f"later-{number}", dps=DPS)) for number in range(30)}
    assert newcomers == {hub("a"), hub("b"), hub("c")}


async def test_forged_requests_open_no_closed_hub_and_change_no_state() -> None:
    clock = HandClock()
    state = await fleet(clock)
    await cordon(state.fleet, DPS, hub("a"), "kim", clock)
    before = [row async for row in state.fleet.scan(DPS)]
    policies = [row async for row in state.policies.scan(f"{DPS}|policy")]
    assert before
    assert policies
    instance = Instance.of(state, clock=clock)
    for number in range(50):
        assert hub_of(await instance.ask(f"forged-{number}", dps=DPS)) != hub("a")
    assert [row async for row in state.fleet.scan(DPS)] == before
    assert [row async for row in state.policies.scan(f"{DPS}|policy")] == policies


async def test_made_up_dps_do_not_push_out_the_one_whose_devices_register() -> None:
    clock = HandClock()
    state = await fleet(clock)
    instance = Instance.of(state, clock=clock)
    await instance.ask(dps=DPS)
    read = state.fleet.calls
    for number in range(3 * MOST_DPS):
        await instance.ask(dps=f"made-up-{number}")
        await instance.ask(dps=DPS)
    assert state.fleet.calls == read + 3 * MOST_DPS
    assert len(instance.knowledge._of) == MOST_DPS


LONG = "x" * (LONGEST_ID + 1)


@pytest.mark.parametrize(
    ("dps", "request_body"),
    [
        (LONG, body()),
        (DPS, body(device=LONG)),
        (DPS, body(hubs=[LONG])),
        (DPS, body(current=LONG)),
        (DPS, body(enrollmentGroup={"enrollmentGroupId": LONG})),
        (DPS, body(enrollmentGroup=None, individualEnrollment={"registrationId": LONG})),
    ],
)
async def test_no_long_text_reaches_log_ledger_or_answer(dps: str, request_body: dict[str, Any]) -> None:
    state = State()
    instance = Instance.of(state)
    answer = await instance.allocator.answer(json.dumps(request_body).encode(), dps)
    assert answer.status in (200, 503)
    assert LONG not in answer.body.decode()
    assert LONG not in repr(instance.heard.events)
    rows = [row async for row in state.ledger.scan("-|groups")]
    assert LONG not in repr(rows)


@pytest.mark.parametrize("size", [LONGEST_ID, 200])
async def test_texts_within_the_limit_are_taken(size: int) -> None:
    instance = Instance.of(State())
    answer = await instance.ask("x" * size, enrollmentGroup={"enrollmentGroupId": "g" * size})
    assert answer.status == 200
    [told] = instance.heard.of("allocation")
    assert told["enrollment"] == "group:" + "g" * size
