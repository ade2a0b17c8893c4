"""How far apart the moments of a schedule may be, at most."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.schedules import longest_gap
from local.host.ncrontab import parse


@pytest.mark.parametrize("schedule", ["", "1.00:00:00", "%AUDIT%", "0 0 2 1 1 *", "0 0 2 1 * 1", "a b c"])
def test_nothing_is_promised_where_it_is_not_told(schedule: str) -> None:
    assert longest_gap(schedule) is None


TIMES = ("*", "0", "17", "*/15", "1,3", "2-5")
expressions = st.tuples(
    st.just("0"),
    st.sampled_from(TIMES),
    st.sampled_from(("*", "2", "*/6", "1,13")),
    st.sampled_from(("*", "1", "31", "1,15")),
    st.just("*"),
    st.sampled_from(("*", "1", "1-5", "0,6")),
).map(" ".join)


@given(expressions, st.integers(0, 400))
def test_no_two_moments_are_further_apart(schedule: str, day: int) -> None:
    gap = longest_gap(schedule)
    if gap is None:
        return
    every = parse(schedule)
    first = every.next_after(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day))
    assert first is not None
    then = every.next_after(first)
    assert then is not None
    assert then - first <= gap
