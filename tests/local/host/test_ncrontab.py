"""NCRONTAB: a table of single cases, and a walker that knows nothing of the search."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.host.ncrontab import Schedule, ScheduleError, parse


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        ("0 */5 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:05:00"),
        ("0 */5 * * * *", "2026-01-01T00:04:59.999999", "2026-01-01T00:05:00"),
        ("*/5 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:05:00"),
        ("* * * * * *", "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
        ("0 0 * * * *", "2026-01-01T23:30:00", "2026-01-02T00:00:00"),
        ("30 15 10 * * *", "2026-01-01T10:15:30", "2026-01-02T10:15:30"),
        ("0 30 9 * * 1-5", "2026-11-20T12:00:00", "2026-11-23T09:30:00"),
        ("0 30 9 * * MON-FRI", "2026-11-20T12:00:00", "2026-11-23T09:30:00"),
        ("0 30 9 * * fri-mon", "2026-11-20T12:00:00", "2026-11-23T09:30:00"),
        ("0 0 0 * * 0", "2026-11-20T00:00:00", "2026-11-22T00:00:00"),
        ("0 0 0 * * Sunday", "2026-11-20T00:00:00", "2026-11-22T00:00:00"),
        ("0 0 0 * * S", "2026-11-20T00:00:00", "2026-11-22T00:00:00"),
        ("0 0 0 * * sa", "2026-11-20T00:00:00", "2026-11-21T00:00:00"),
        ("0 0 0 1 J *", "2026-02-01T00:00:00", "2027-01-01T00:00:00"),
        ("0 0 0 1 Jul *", "2026-02-01T00:00:00", "2026-07-01T00:00:00"),
        ("0 0 0 13 * 5", "2026-01-01T00:00:00", "2026-02-13T00:00:00"),
        ("0 0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
        ("0 0 0 31 * *", "2026-04-01T00:00:00", "2026-05-31T00:00:00"),
        ("0 50/4 * * * *", "2026-01-01T00:50:00", "2026-01-01T00:54:00"),
        ("0 50/4 * * * *", "2026-01-01T00:58:00", "2026-01-01T01:50:00"),
        ("0 50-10/20 * * * *", "2026-01-01T00:31:00", "2026-01-01T00:50:00"),
        ("0 */0 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:01:00"),
        ("0 5/-3 * * * *", "2026-01-01T00:06:00", "2026-01-01T00:07:00"),
        ("0 10,20,30-32 * * * *", "2026-01-01T00:20:00", "2026-01-01T00:30:00"),
        ("  0  0   0 1 1 *  ", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("0 0 12 1 1 *", "2026-01-01T11:59:59", "2026-01-01T12:00:00"),
    ],
)
def test_next_occurrence_is(expression: str, start: str, expected: str) -> None:
    assert parse(expression).next_after(at(start)) == at(expected)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * * *",
        "@daily",
        "60 * * * * *",
        "* 60 * * * *",
        "* * 24 * * *",
        "* * * 0 * *",
        "* * * 32 * *",
        "* * * * 13 *",
        "* * * * * 7",
        "0 0 0 ? * *",
        "0 0 0 L * *",
        "0 0 0 15W * *",
        "0 0 0 * * 1#2",
        "0 0 0 * * 5L",
        "0 1, * * * *",
        "0 ,1 * * * *",
        "0 -1 * * * *",
        "0 1--2 * * * *",
        "0 */x * * * *",
        "0 *-5 * * * *",
        "0 5/ * * * *",
        "0 1_0 * * * *",
        "0 \u0661 * * * *",
        "0 jan * * * *",
        "0 0 0 1 January1 *",
        "0 99999999999 * * * *",
        "0\t0\t0\t1\t1\t*",
        "00:05:00",
    ],
)
def test_not_an_expression(expression: str) -> None:
    with pytest.raises(ScheduleError):
        parse(expression)


@pytest.mark.parametrize("expression", ["0 0 0 30 2 *", "0 0 0 31 4,6,9,11 *", "0 0 0 30-31 feb 1"])
def test_a_day_that_no_month_has_ends_in_none(expression: str) -> None:
    assert parse(expression).next_after(at("2026-01-01T00:00:00")) is None


def test_every_weekday_of_29_february_is_found_even_across_2100() -> None:
    for weekday in range(7):
        found = parse(f"0 0 0 29 2 {weekday}").next_after(at("2072-03-01T00:00:00"))
        assert found is not None
        assert found.isoweekday() % 7 == weekday


def test_the_end_of_the_calendar_ends_in_none() -> None:
    assert parse("0 0 0 1 1 *").next_after(at("9999-06-01T00:00:00")) is None


def walk(schedule: Schedule, start: datetime, steps: int) -> datetime | None:
    """Second by second, with the rule read straight off the fields."""
    moment = start.replace(microsecond=0)
    for _ in range(steps):
        moment += timedelta(seconds=1)
        if (
            moment.second in schedule.seconds
            and moment.minute in schedule.minutes
            and moment.hour in schedule.hours
            and moment.day in schedule.days
            and moment.month in schedule.months
            and (moment.weekday() + 1) % 7 in schedule.weekdays
        ):
            return moment
    return None


def values(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high).map(str)
    part = st.one_of(
        st.just("*"),
        number,
        st.builds("{}-{}".format, number, number),
        st.builds("{}/{}".format, number, st.integers(1, 20)),
        st.builds("*/{}".format, st.integers(1, 20)),
    )
    return st.lists(part, min_size=1, max_size=3).map(",".join)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(values(0, 59), values(0, 59), values(0, 23), values(1, 31), values(1, 12), values(0, 6)),
    st.datetimes(datetime(2023, 1, 1), datetime(2032, 12, 31)),  # noqa: DTZ001  hypothesis wants naive bounds
)
def test_search_agrees_with_a_walk_second_by_second(fields: tuple[str, ...], start: datetime) -> None:
    schedule, start, day = parse(" ".join(fields)), start.replace(tzinfo=UTC), 86_400
    found = schedule.next_after(start)
    walked = walk(schedule, start, day // 2)
    if walked is not None:
        assert found == walked
    elif found is not None:
        # Further off than a walk should go: it must fit the rule, and nothing just before it may.
        assert walk(schedule, found - timedelta(seconds=1), 1) == found
        assert found - start > timedelta(seconds=day // 2 - 1)
        before = max(start, found - timedelta(seconds=day // 4))
        assert walk(schedule, before, int((found - before).total_seconds()) - 1) is None
