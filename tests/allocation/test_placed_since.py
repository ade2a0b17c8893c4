"""What an instance placed since the last count: distinct, bounded, and never more than DPS can register."""

import random
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from allocation import placed_since
from allocation.placed_since import MOST_REMEMBERED, SETTLING, PlacedSince, allowance
from provisioning.registrations import registration_key
from tests.allocation.making import key

T = datetime(2026, 11, 22, tzinfo=UTC)
A, B = key("a"), key("b")


def since(**ages: float) -> PlacedSince:
    made = PlacedSince()
    made.counted({key(name): T - timedelta(seconds=age) for name, age in ages.items()})
    return made


def test_a_device_is_counted_once_however_often_dps_asks() -> None:
    counted = since(a=0)
    assert [counted.note(registration_key("Dev"), A, T), counted.note(registration_key("dev"), A, T)] == [
        True,
        False,
    ]
    assert counted.on(A) == 1


def test_a_device_that_is_sent_on_counts_on_the_latest_hub_only() -> None:
    counted = since(a=0, b=0)
    counted.note(registration_key("d"), A, T)
    counted.note(registration_key("d"), B, T)
    assert (counted.on(A), counted.on(B)) == (0, 1)


def test_a_hub_that_was_never_counted_has_no_load_to_add_to() -> None:
    counted = since(a=0)
    assert not counted.note(registration_key("d"), B, T)
    assert counted.on(B) == 0


def test_a_new_count_holds_what_was_placed_well_before_it_and_not_what_was_placed_since() -> None:
    counted = since(a=60, b=60)
    counted.note(registration_key("early"), A, T)
    counted.note(registration_key("late"), A, T + SETTLING)
    counted.note(registration_key("other"), B, T)
    counted.counted({A: T + SETTLING, B: T - timedelta(seconds=60)})
    assert (counted.on(A), counted.on(B)) == (1, 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.floats(0, 300), st.integers(0, 2**32))
def test_no_flood_of_forged_ids_raises_a_load_by_more_than_dps_can_register(
    minutes: int, more: float, seed: int
) -> None:
    age = 60.0 * minutes + more
    counted = since(a=age, b=0)
    draw = random.Random(seed)
    for _ in range(200):
        counted.note(registration_key(str(draw.random())), A, T)
    while counted.uncounted == 0:
        counted.note(registration_key(str(draw.random())), A, T)
    assert counted.on(A) == allowance(timedelta(seconds=age) + SETTLING)
    assert counted.on(A) <= placed_since.REGISTRATIONS_PER_MINUTE * ((age + 10) / 60 + 1)
    assert counted.on(B) == 0


def test_memory_is_bounded_and_nothing_that_was_placed_is_forgotten() -> None:
    hours = 3_600.0
    counted = since(a=hours, b=hours)
    placed = 3 * MOST_REMEMBERED // 2
    for number in range(placed):
        counted.note(registration_key(str(number)), (A, B)[number % 2], T + timedelta(milliseconds=number))
    assert counted.on(A) + counted.on(B) == placed
    assert len(counted._each) <= MOST_REMEMBERED
    counted.counted({A: T + timedelta(hours=1), B: T - timedelta(hours=1)})
    assert (counted.on(A), counted.on(B)) == (0, placed // 2)
    counted.counted({A: T + timedelta(hours=1), B: T + timedelta(hours=1)})
    assert (counted.on(A), counted.on(B)) == (0, 0)
