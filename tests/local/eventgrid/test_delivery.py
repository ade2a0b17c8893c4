"""What arrives, when, how often, and what is given up."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.eventgrid import CLOUD_EVENTS, EVENT_GRID, Disorder, Schema, Subscription
from tests.local.eventgrid.rig import CREATED, ENDPOINT, EXPIRED, TOPIC, Grid, running

HOUR = 3600.0
WAITS = [10, 30, 60, 300, 600, 1800, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 12 * HOUR]


async def test_an_event_arrives_in_event_grids_own_schema(eg: Grid) -> None:
    await eg.subscribe()
    when = datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)
    event = eg.publish("secret-1", when=when)
    await eg.clock.advance(0)
    (delivery,) = eg.deliveries
    assert delivery.body == [
        {
            "id": event.id,
            "topic": TOPIC,
            "subject": "secret-1",
            "eventType": CREATED,
            "eventTime": "2026-01-01T12:30:00.1234560Z",
            "data": {"ObjectName": "secret-1", "Version": "1"},
            "dataVersion": "1",
            "metadataVersion": "1",
        }
    ]
    expected = {
        "content-type": "application/json; charset=utf-8",
        "aeg-event-type": "Notification",
        "aeg-subscription-name": "KEEP",
        "aeg-delivery-count": "0",
        "aeg-data-version": "1",
        "aeg-metadata-version": "1",
    }
    assert {name: delivery.headers[name] for name in expected} == expected
    assert eg.grid.pending == 0


async def test_an_event_arrives_as_one_cloud_event(eg: Grid) -> None:
    await eg.subscribe(schema=CLOUD_EVENTS)
    event = eg.publish("secret-1")
    await eg.clock.advance(0)
    (delivery,) = eg.deliveries
    assert delivery.body == {
        "id": event.id,
        "source": TOPIC,
        "specversion": "1.0",
        "type": CREATED,
        "subject": "secret-1",
        "time": "2026-01-01T00:00:00.0000000Z",
        "data": {"ObjectName": "secret-1", "Version": "1"},
    }
    assert delivery.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert delivery.headers["aeg-event-type"] == "Notification"
    assert "aeg-data-version" not in delivery.headers


async def test_only_events_of_the_topic_and_the_wanted_types_arrive(eg: Grid) -> None:
    await eg.subscribe(event_types=frozenset({CREATED}))
    eg.publish("one")
    eg.publish("two", EXPIRED)
    eg.publish("three", topic="/subscriptions/another")
    eg.publish("four", topic=TOPIC.upper())
    await eg.clock.advance(0)
    assert eg.subjects == ["one", "four"]


async def test_every_subscription_gets_the_event_and_an_ended_one_does_not(eg: Grid) -> None:
    await eg.subscribe()
    await eg.subscribe(name="other")
    eg.publish("one")
    eg.grid.unsubscribe("keep")
    eg.publish("two")
    await eg.clock.advance(0)
    names = [(delivery.headers["aeg-subscription-name"], delivery.subject) for delivery in eg.deliveries]
    assert names == [("KEEP", "one"), ("OTHER", "one"), ("OTHER", "two")]


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204])
async def test_success_is_200_to_204(eg: Grid, status: int) -> None:
    eg.answer = lambda: httpx.Response(status)
    await eg.subscribe()
    eg.publish()
    await eg.clock.advance(24 * HOUR)
    assert len(eg.deliveries) == 1
    assert (eg.grid.pending, eg.grid.dead_letters) == (0, ())


@pytest.mark.parametrize("status", [205, 302, 404, 408, 429, 500, 503, None])
async def test_everything_else_is_tried_again_at_the_documented_times(eg: Grid, status: int | None) -> None:
    def out() -> httpx.Response:
        if status is None:
            raise httpx.ConnectError("down")
        return httpx.Response(status)

    eg.answer = out
    await eg.subscribe()
    event = eg.publish()
    await eg.clock.advance(48 * HOUR)
    times = [0.0, *itertools.accumulate(WAITS)]
    assert eg.times == [at for at in times if at < 24 * HOUR]
    assert [delivery.headers["aeg-delivery-count"] for delivery in eg.deliveries] == [
        str(attempt) for attempt in range(len(eg.times))
    ]
    (letter,) = eg.grid.dead_letters
    assert (letter.event, letter.reason, letter.attempts) == (event, "TimeToLiveExceeded", len(eg.times))
    assert letter.outcome == ("NoConnection" if status is None else f"HTTP {status}")
    assert letter.last_attempt - letter.published == timedelta(seconds=eg.times[-1])
    assert eg.grid.pending == 0


@pytest.mark.parametrize("step", range(len(WAITS) - 1))
async def test_each_step_ends_with_the_first_success(eg: Grid, step: int) -> None:
    eg.answer = lambda: httpx.Response(202 if len(eg.deliveries) > step + 1 else 503)
    await eg.subscribe()
    eg.publish()
    await eg.clock.advance(sum(WAITS[: step + 1]) - 1)
    assert len(eg.deliveries) == step + 1
    await eg.clock.advance(1)
    assert len(eg.deliveries) == step + 2
    assert (eg.grid.pending, eg.grid.dead_letters) == (0, ())


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(400, "BadRequest"), (401, "Unauthorized"), (403, "Forbidden"), (413, "RequestEntityTooLarge")],
)
async def test_a_final_status_is_a_dead_letter_at_once(eg: Grid, status: int, outcome: str) -> None:
    eg.answer = lambda: httpx.Response(status)
    await eg.subscribe()
    eg.publish()
    await eg.clock.advance(24 * HOUR)
    assert eg.times == [0]
    (letter,) = eg.grid.dead_letters
    assert (letter.reason, letter.outcome, letter.attempts) == ("Undeliverable", outcome, 1)


async def test_the_most_attempts_end_it(eg: Grid) -> None:
    eg.answer = lambda: httpx.Response(500)
    await eg.subscribe(max_attempts=3)
    eg.publish()
    await eg.clock.advance(24 * HOUR)
    assert eg.times == [0, 10, 40]
    assert [letter.reason for letter in eg.grid.dead_letters] == ["MaxDeliveryAttemptsExceeded"]


async def test_the_time_to_live_is_looked_at_only_before_a_retry(eg: Grid) -> None:
    eg.answer = lambda: httpx.Response(500)
    await eg.subscribe(time_to_live=timedelta(minutes=2))
    eg.publish()
    await eg.clock.advance(399)
    assert (eg.times, eg.grid.dead_letters) == (
        [0, 10, 40, 100],
        (),
    )  # over since 120 s, and nobody has looked
    await eg.clock.advance(1)
    assert [letter.reason for letter in eg.grid.dead_letters] == ["TimeToLiveExceeded"]
    assert len(eg.deliveries) == 4


@pytest.mark.parametrize(
    "limits", [{"max_attempts": 0}, {"max_attempts": 31}, {"time_to_live": timedelta(minutes=1441)}]
)
def test_limits_are_those_of_event_grid(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Event Grid allows"):
        Subscription("keep", TOPIC, ENDPOINT, **limits)


async def test_an_answer_after_30_seconds_is_too_late_for_the_first_retry(eg: Grid) -> None:
    eg.wait = 45
    await eg.subscribe()
    eg.publish()
    await eg.clock.advance(24 * HOUR)
    # 30 s of waiting and 10 s to the retry: a duplicate. Its answer, at 85, takes back the retry at 100.
    assert eg.times == [0, 40]
    assert (eg.grid.pending, eg.grid.dead_letters) == (0, ())


async def test_a_late_success_takes_the_queued_retry_back(eg: Grid) -> None:
    eg.wait = 35
    await eg.subscribe()
    eg.publish()
    await eg.clock.advance(24 * HOUR)
    assert eg.times == [0]
    assert (eg.grid.pending, eg.grid.dead_letters) == (0, ())


async def test_a_late_failure_takes_nothing_back(eg: Grid) -> None:
    eg.wait = 35
    eg.answer = lambda: httpx.Response(202 if len(eg.deliveries) > 1 else 500)
    await eg.subscribe()
    eg.publish()
    await eg.clock.advance(24 * HOUR)
    assert eg.times == [0, 40]


async def test_a_webhook_that_never_answers_is_tried_again(eg: Grid) -> None:
    eg.wait = 1e9
    await eg.subscribe(max_attempts=2)
    eg.publish()
    await eg.clock.advance(24 * HOUR)
    assert eg.times == [0, 40]
    assert [letter.outcome for letter in eg.grid.dead_letters] == ["TimedOut"]
    assert (eg.grid.pending, eg.grid.calling) == (0, 0)


async def test_nothing_is_lost_when_the_host_is_down_for_an_hour(eg: Grid) -> None:
    def up() -> httpx.Response:
        if 600 <= eg.clock.monotonic() < 600 + HOUR:
            del eg.deliveries[-1]
            raise httpx.ConnectError("down")
        return httpx.Response(202)

    eg.answer = up
    await eg.subscribe()
    sent = []
    for number in range(60):
        sent.append(eg.publish(f"secret-{number}").subject)
        await eg.clock.advance(90)
    await eg.clock.advance(2 * HOUR)
    assert sorted(eg.subjects) == sorted(sent)
    assert eg.subjects != sent  # they come again in the order of their retries
    assert (eg.grid.pending, eg.grid.dead_letters) == (0, ())


async def test_one_failing_event_holds_up_no_other(eg: Grid) -> None:
    eg.answer = lambda: httpx.Response(500 if eg.subjects[-1] == "bad" else 202)
    await eg.subscribe()
    for subject in ("bad", "good-1", "good-2"):
        eg.publish(subject)
    await eg.clock.advance(5)
    assert eg.subjects == ["bad", "good-1", "good-2"]
    assert eg.grid.pending == 1


async def test_without_disorder_events_arrive_once_and_in_order(eg: Grid) -> None:
    await eg.subscribe()
    sent = [eg.publish(str(number)).subject for number in range(50)]
    await eg.clock.advance(24 * HOUR)
    assert eg.subjects == sent


async def test_duplicates_on_request(eg: Grid) -> None:
    eg.disturb(duplicate=1, duplicate_after=60)
    await eg.subscribe()
    eg.publish()
    await eg.clock.advance(59)
    assert eg.times == [0]
    await eg.clock.advance(1)
    assert eg.times == [0, 60]
    assert eg.deliveries[0].body == eg.deliveries[1].body
    assert eg.deliveries[1].headers["aeg-delivery-count"] == "1"
    await eg.clock.advance(24 * HOUR)
    assert len(eg.deliveries) == 2


async def test_shuffled_on_request(eg: Grid) -> None:
    eg.disturb(shuffle=60)
    await eg.subscribe()
    sent = [eg.publish(str(number)).subject for number in range(20)]
    await eg.clock.advance(59)
    assert eg.subjects == []
    await eg.clock.advance(1)
    assert eg.subjects != sent
    assert sorted(eg.subjects) == sorted(sent)
    again = [eg.publish(f"later-{number}").subject for number in range(3)]
    await eg.clock.advance(60)
    assert sorted(eg.subjects[20:]) == sorted(again)


async def test_delayed_on_request(eg: Grid) -> None:
    eg.disturb(delay=600)
    await eg.subscribe()
    sent = [eg.publish(str(number)).subject for number in range(20)]
    await eg.clock.advance(600)
    assert eg.subjects != sent
    assert sorted(eg.subjects) == sorted(sent)
    assert 300 < max(eg.times) <= 600


async def test_dropped_on_request_and_told_of_in_the_journal(eg: Grid) -> None:
    eg.disturb(drop=0.5)
    await eg.subscribe()
    sent = [eg.publish(str(number)).subject for number in range(100)]
    await eg.clock.advance(24 * HOUR)
    dropped = [
        call.request["event"]["subject"] for call in eg.world.journal.of("eventgrid") if call.method == "DROP"
    ]
    assert 25 < len(dropped) < 75
    assert sorted(dropped + eg.subjects) == sorted(sent)


async def test_retries_are_late_by_the_jitter(eg: Grid) -> None:
    eg.disturb(jitter=0.5)
    eg.answer = lambda: httpx.Response(503)
    await eg.subscribe()
    eg.publish()
    await eg.clock.advance(12 * HOUR)
    gaps = [later - earlier for earlier, later in itertools.pairwise(eg.times)]
    assert all(wait <= gap <= 1.5 * wait for wait, gap in zip(WAITS, gaps, strict=False))
    assert gaps[0] != WAITS[0]


async def test_one_seed_gives_one_course() -> None:
    courses = []
    for seed in (3, 3, 4):
        async with running(seed) as eg:
            eg.disturb(duplicate=0.5, delay=100, drop=0.2)
            await eg.subscribe()
            for number in range(20):
                eg.publish(str(number))
            await eg.clock.advance(HOUR)
            courses.append([(delivery.at, delivery.subject) for delivery in eg.deliveries])
    assert courses[0] == courses[1] != courses[2]


@pytest.mark.parametrize("knobs", [{"drop": 1.1}, {"duplicate": -0.1}, {"delay": -1}, {"jitter": -1}])
def test_knobs_outside_their_range_are_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        Disorder(**knobs)


knobs = st.builds(
    Disorder,
    duplicate=st.sampled_from([0, 0.5, 1]),
    duplicate_after=st.sampled_from([0.0, 5.0]),
    delay=st.sampled_from([0.0, 50.0]),
    shuffle=st.sampled_from([0.0, 20.0]),
    jitter=st.sampled_from([0.0, 0.2]),
)


@settings(max_examples=40, deadline=None)
@given(disorder=knobs, failures=st.lists(st.booleans(), max_size=30), seed=st.integers(0, 99))
def test_under_any_disorder_but_drop_every_event_arrives(
    disorder: Disorder, failures: list[bool], seed: int
) -> None:
    fails, arrived = iter(failures), list[str]()

    async def run() -> list[str]:
        async with running(seed) as eg:

            def answer() -> httpx.Response:
                if next(fails, False):
                    return httpx.Response(500)
                arrived.append(eg.subjects[-1])
                return httpx.Response(202)

            eg.answer, eg.grid.disorder = answer, disorder
            await eg.subscribe()
            sent = [eg.publish(str(number)).subject for number in range(5)]
            await eg.clock.advance(24 * HOUR)
            assert (eg.grid.pending, eg.grid.dead_letters) == (0, ())
            return sent

    sent = asyncio.run(run())
    assert set(arrived) == set(sent)
    if not disorder.duplicate:
        assert sorted(arrived) == sent


async def test_the_journal_tells_of_each_attempt_without_the_key(eg: Grid) -> None:
    eg.answer = lambda: httpx.Response(503 if len(eg.deliveries) < 2 else 202)
    await eg.subscribe()
    event = eg.publish()
    await eg.clock.advance(10)
    handshake, *calls = eg.world.journal.of("eventgrid")
    assert handshake.request == {"subscription": "keep", "handshake": True}
    assert [(call.status, call.request["attempt"]) for call in calls] == [(503, 0), (202, 1)]
    assert {call.request["event"]["id"] for call in calls} == {event.id}
    assert {call.path for call in (handshake, *calls)} == {ENDPOINT.replace("not-to-be-seen", "****")}
    assert "not-to-be-seen" not in repr(tuple(eg.world.journal))
    assert "not-to-be-seen" not in repr(eg.grid.subscriptions)


@pytest.mark.parametrize("schema", [EVENT_GRID, CLOUD_EVENTS])
async def test_the_end_of_the_grid_gives_up_what_is_pending(eg: Grid, schema: Schema) -> None:
    eg.answer = lambda: httpx.Response(503)
    await eg.subscribe(schema=schema)
    eg.publish()
    await eg.clock.advance(1)
    await eg.grid.aclose()
    await eg.clock.advance(24 * HOUR)
    assert (len(eg.deliveries), eg.grid.pending) == (1, 0)
