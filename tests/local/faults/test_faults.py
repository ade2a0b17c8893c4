"""What a client meets under each fault, in process and over a real socket alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.faults import (
    Fault,
    Faults,
    Rule,
    answered,
    dropped,
    halved,
    skewed,
    slowed,
    stalled,
    throttled,
)
from local.world import ManualClock, World
from tests.local.faults.place import WIRES, Place, place

SHORT = 0.15
"""Real seconds of patience; the delays are well beyond it."""


@pytest.fixture(params=WIRES)
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with place(request.param, tmp_path) as made:
        yield made


async def test_nothing_is_faulted_without_a_rule(here: Place) -> None:
    assert (await here.put()).status_code == 200
    assert here.told() == []


@pytest.mark.parametrize("retry_after", [None, 7])
async def test_throttled_call_is_refused_as_dps_words_it_and_not_carried_out(
    here: Place, retry_after: int | None
) -> None:
    here.add(throttled(retry_after), method="PUT")
    answer = await here.put()
    assert answer.status_code == 429
    assert answer.headers.get("retry-after") == (str(retry_after) if retry_after else None)
    assert answer.headers["x-ms-error-code"] == "429001"
    assert answer.json()["errorCode"] == 429001
    assert not here.carried_out()
    assert (await here.put()).status_code == 200


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("after", [False, True])
async def test_error_comes_before_or_after_the_call_was_carried_out(
    here: Place, status: int, after: bool
) -> None:
    here.add(answered(status, after=after))
    answer = await here.put()
    assert (answer.status_code, answer.json()["errorCode"]) == (status, status * 1000)
    assert here.carried_out() is after


@pytest.mark.parametrize("after", [False, True])
async def test_dropped_connection_is_an_error_before_or_after_the_call_was_carried_out(
    here: Place, after: bool
) -> None:
    here.add(dropped(after=after))
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await here.put()
    assert here.carried_out() is after
    assert (await here.put("g2")).status_code == 200, "only that connection was dropped"


async def test_half_a_reply_is_an_error_though_the_call_was_carried_out(here: Place) -> None:
    here.add(halved())
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await here.put()
    assert here.carried_out()


async def test_client_gives_up_on_a_slow_call_that_is_carried_out_late_all_the_same(here: Place) -> None:
    here.add(slowed(SHORT * 2))
    with pytest.raises(httpx.ReadTimeout):
        await here.put(patience=SHORT)
    assert not here.carried_out()
    async with asyncio.timeout(10):
        while not here.carried_out():  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.01)


async def test_client_gives_up_on_a_late_answer_to_a_call_that_was_carried_out_at_once(here: Place) -> None:
    here.add(slowed(SHORT * 20, after=True))
    with pytest.raises(httpx.ReadTimeout):
        await here.put(patience=SHORT)
    assert here.carried_out()


async def test_patient_client_gets_the_answer_of_a_slow_call(here: Place) -> None:
    here.add(slowed(0.02))
    here.add(slowed(0.02, after=True))
    started = here.world.clock.monotonic()
    assert (await here.put()).status_code == 200
    assert here.world.clock.monotonic() - started >= 0.04


@pytest.mark.parametrize("after", [False, True])
async def test_stalled_call_is_never_answered(here: Place, after: bool) -> None:
    here.add(stalled(after=after))
    with pytest.raises(httpx.ReadTimeout):
        await here.put(patience=SHORT)
    assert here.carried_out() is after


@pytest.mark.parametrize(("seconds", "status"), [(3500, 200), (3700, 401), (-3700, 200)])
async def test_token_is_judged_by_the_clock_of_a_skewed_service(
    here: Place, seconds: float, status: int
) -> None:
    """The token is good for an hour."""
    here.add(skewed(seconds))
    assert (await here.put()).status_code == status
    assert (await here.put("g2")).status_code == 200, "the skew was for one call"


async def test_every_fault_is_told_to_the_journal(here: Place) -> None:
    here.add(slowed(0.01), path="/enrollmentGroups/*")
    here.add(throttled(3), path="/enrollmentGroups/*")
    await here.put()
    assert here.told() == [
        ("PUT", "/enrollmentGroups/g1", {"kind": "slow", "seconds": 0.01, "after": False}),
        (
            "PUT",
            "/enrollmentGroups/g1",
            {"kind": "status", "status": 429, "retry_after": 3, "after": False},
        ),
    ]
    entry = here.world.journal.of(Faults.SERVICE)[1]
    assert (entry.status, entry.request) == (429, {"service": "dps", "rule": 2})


# Which calls a rule meets.


async def statuses(here: Place, calls: int) -> list[int]:
    return [(await here.call("GET", f"/enrollmentGroups/none-{n}")).status_code for n in range(calls)]


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Place]:
    async with place("in process", tmp_path) as made:
        yield made


async def test_rule_meets_the_nth_call_and_as_many_as_it_says(inside: Place) -> None:
    inside.add(answered(503), nth=2, count=2)
    assert await statuses(inside, 5) == [404, 503, 503, 404, 404]


async def test_rule_without_a_count_meets_every_call_until_it_is_removed(inside: Place) -> None:
    rule = inside.add(answered(500), count=None)
    assert await statuses(inside, 3) == [500] * 3
    assert inside.faults.remove(rule)
    assert not inside.faults.remove(rule)
    assert await statuses(inside, 1) == [404]


async def test_probability_is_drawn_from_the_seed_of_the_world(tmp_path: Path) -> None:
    runs = []
    for seed in (1, 1, 2):
        async with place("in process", tmp_path, World(seed=seed)) as made:
            made.add(answered(503), count=None, probability=0.5)
            runs.append(await statuses(made, 40))
    assert runs[0] == runs[1] != runs[2]
    assert 8 < runs[0].count(503) < 32


@pytest.mark.parametrize(
    ("where", "met"),
    [
        ({"service": "DPS"}, True),
        ({"service": "vault"}, False),
        ({"method": "get"}, True),
        ({"method": "PUT"}, False),
        ({"path": "/ENROLLMENTGROUPS/*"}, True),
        ({"path": "*none-0"}, True),
        ({"path": "/enrollments/*"}, False),
        ({"path": "/enrollmentGroups/[n]one-0"}, False),
    ],
)
async def test_rule_meets_what_its_patterns_name(inside: Place, where: dict[str, str], met: bool) -> None:
    inside.add(answered(503), **where)
    assert await statuses(inside, 1) == [503 if met else 404]


async def test_rule_holds_within_a_block(inside: Place) -> None:
    with inside.faults.during(Rule(answered(503), count=None)) as armed:
        assert await statuses(inside, 2) == [503, 503]
    assert (armed.matched, armed.met) == (2, 2)
    assert await statuses(inside, 1) == [404]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Fault(kind="odd"), "kind is 'odd'; it may be status, slow"),  # type: ignore[arg-type]
        (lambda: answered(404), "status is 404; it may be 429, 500 or 503"),
        (lambda: slowed(-1), "seconds is -1"),
        (lambda: slowed(0), "seconds is 0; a slow needs"),
        (lambda: slowed(float("nan")), "must be finite"),
        (lambda: throttled(-1), "retry_after is -1"),
        (lambda: halved(-1), "octets is -1"),
        (lambda: Rule(dropped(), nth=0), "nth is 0"),
        (lambda: Rule(dropped(), count=0), "count is 0"),
        (lambda: Rule(dropped(), probability=0), "probability is 0"),
    ],
)
def test_rule_that_cannot_be_is_refused_with_the_fix(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_skew_needs_a_clock_that_can_be_skewed() -> None:
    with pytest.raises(ValueError, match=r"World\(SkewableClock\(clock\)\)"):
        Faults(World(ManualClock())).add(Rule(skewed(5)))


async def test_lifespan_and_websockets_pass(inside: Place) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    inside.add(dropped(), count=None)
    await inside.faults.around("dps", app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
