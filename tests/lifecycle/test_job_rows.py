"""Jobs, switches and checkpoints as rows, and what is computed of them."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.ports import Row
from clients.table_rules import storable
from lifecycle.errors import CheckpointLost, CheckpointTooLarge, NotAJob, UnreadableJob
from lifecycle.jobs import JobRow, Off, Progress, State, Switch
from lifecycle.jobs.checkpoints import CHECKPOINT_BYTES, digest, joined, packed, parts, unpacked
from lifecycle.jobs.columns import (
    cut,
    job_columns,
    job_of,
    past_key,
    switch_columns,
    switch_of,
)
from lifecycle.jobs.row import Pace, Stored, check_id, check_kind, taken
from tests.lifecycle.toy import START, TERMS, noise

TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  hypothesis adds the zone
TEXTS = st.text(st.characters(codec="utf-8"), max_size=50)
COUNTS = st.integers(0, 2**40)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)
JOBS = st.builds(
    JobRow,
    id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,20}", fullmatch=True),
    kind=st.sampled_from(["audit", "purge"]),
    subject=TEXTS,
    params=st.dictionaries(TEXTS, JSON, max_size=3),
    state=st.sampled_from(State),
    by=TEXTS,
    created=TIMES,
    updated=TIMES,
    not_before=TIMES,
    pace=st.builds(Pace, TIMES, COUNTS, st.none() | st.floats(0, 1e6)),
    progress=st.builds(Progress, COUNTS, st.none() | COUNTS, TEXTS, TEXTS),
    owner=TEXTS,
    until=st.none() | TIMES,
    epoch=COUNTS,
    stamp=TEXTS,
    attempts=COUNTS,
    troubles=COUNTS,
    problem=TEXTS,
    result=st.dictionaries(TEXTS, JSON, max_size=3),
    stored=st.none()
    | st.builds(Stored, st.binary(max_size=100), st.just(""), st.just(0), st.binary(max_size=32))
    | st.builds(Stored, st.none(), st.just("0000000001-000001"), st.integers(1, 74), st.binary(max_size=32)),
)


def job(**changes: object) -> JobRow:
    made = JobRow("j", "audit", "", {}, State.WAITING, "", START, START, START, Pace(START))
    return replace(made, **changes)  # type: ignore[arg-type]  # fields of a row


@given(JOBS)
def test_a_job_comes_back_from_its_row_as_it_was(made: JobRow) -> None:
    row = Row("p", "k", job_columns(made), "etag")
    assert job_of(replace(row, values=storable(row))) == made


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"form": 2},
        {"form": 1},
        job_columns(job()) | {"state": "odd"},
        job_columns(job()) | {"params": "{"},
        job_columns(job()) | {"params": "[1]"},
        job_columns(job()) | {"params": 7},
        job_columns(job()) | {"not_before": "2026-01-01"},
        job_columns(job()) | {"until": "soon"},
        job_columns(job()) | {"attempts": "five"},
        job_columns(job()) | {"epoch": 1.5},
    ],
)
def test_a_row_of_another_version_is_unreadable_and_no_crash(values: dict[str, object]) -> None:
    with pytest.raises(UnreadableJob, match=r"current\|job\|x"):
        job_of(Row("p", "current|job|x", values))  # type: ignore[arg-type]  # hostile


def test_texts_of_any_length_and_half_characters_are_stored_cut() -> None:
    made = job(subject="x" * 100_000, problem="a\ud800b\x00", by="ü" * 5000)
    row = Row("p", "k", job_columns(made))
    found = job_of(replace(row, values=storable(row)))
    assert found.subject == "x" * 999 + "…"
    assert found.problem == "a?b\x00"
    assert cut("short") == "short"


@pytest.mark.parametrize("id_", ["", "-a", "a/b", "a|b", "a b", "ä", "a" * 201, "a\n", "a#", "a?"])
def test_an_id_that_no_key_can_hold_is_refused(id_: str) -> None:
    with pytest.raises(NotAJob, match="job id"):
        check_id(id_)


@pytest.mark.parametrize("kind", ["", "Audit", "a b", "1a", "a" * 41])
def test_a_kind_that_is_no_name_is_refused(kind: str) -> None:
    with pytest.raises(NotAJob, match="job kind"):
        check_kind(kind)


@pytest.mark.parametrize("params", [{"a": "x" * 30_000}, {"a": float("nan")}, {"a": object()}])
def test_params_that_cannot_be_stored_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(NotAJob, match="params"):
        job_columns(job(params=params))


def test_history_keys_put_the_newest_first() -> None:
    times = [START + timedelta(microseconds=step) for step in (0, 1, 1_000_000, 10**14)]
    keys = [past_key(time, "j", "s") for time in times]
    assert keys == sorted(keys, reverse=True)
    assert past_key(times[1]) < keys[1] < keys[0]


# --- the switch


@given(
    st.none() | st.builds(Off, TEXTS, TEXTS, TIMES),
    st.dictionaries(st.sampled_from(["a", "b"]), st.builds(Off, TEXTS, TEXTS, TIMES)),
)
def test_a_switch_comes_back_from_its_row_as_it_was(everything: Off | None, kinds: dict[str, Off]) -> None:
    made = Switch(everything, kinds, "s")
    row = Row("p", "k", switch_columns(made))
    assert switch_of(replace(row, values=storable(row))) == made


def test_no_switch_is_not_set_and_an_unreadable_one_is_set_for_all() -> None:
    assert switch_of(None).off("audit") is None
    for values in ({}, {"kinds": "["}, {"kinds": "{}", "stamp": "s", "everything": "[]"}):
        assert switch_of(Row("p", "k", values)).off("audit") is not None


def test_a_switch_for_one_kind_leaves_the_others() -> None:
    switch = Switch(kinds={"purge": Off("op", "why", START)})
    assert switch.off("purge")
    assert switch.off("audit") is None


# --- checkpoints


@given(JSON | st.binary(max_size=10_000))
def test_a_checkpoint_comes_back_as_it_was(value: object) -> None:
    assert unpacked(packed(value)) == value  # type: ignore[arg-type]  # JSON


def test_a_large_checkpoint_is_compressed_unless_that_does_not_pay() -> None:
    assert len(packed({"ids": ["device"] * 10_000})) < 1000
    assert len(packed(noise(100_000))) == 100_001


def test_a_checkpoint_is_cut_into_rows_that_a_table_takes_and_joined_again() -> None:
    data = noise(2_000_000)
    rows = list(parts(data))
    assert len(rows) == 3
    for values in rows:
        storable(Row("p" * 100, "k" * 200, values))
    assert joined(rows, digest(data)) == data
    for wrong in (rows[:2], rows[::-1], []):
        with pytest.raises(CheckpointLost):
            joined(wrong, digest(data))


def test_a_checkpoint_beyond_the_limit_is_refused_with_its_size() -> None:
    with pytest.raises(CheckpointTooLarge, match="33,554,433"):
        packed(bytes(1) + noise(CHECKPOINT_BYTES))


@pytest.mark.parametrize("data", [b"", b"x", b"j{", b"Jnot zlib", b"j\xff"])
def test_bytes_that_were_not_packed_are_a_lost_checkpoint(data: bytes) -> None:
    with pytest.raises(CheckpointLost):
        unpacked(data)


# --- pace and remaining time


def paced(steps: list[tuple[float, int]]) -> Pace:
    pace = Pace(START)
    for seconds, done in steps:
        pace = pace.after(done, START + timedelta(seconds=seconds))
    return pace


def test_remaining_time_is_what_is_left_at_the_pace() -> None:
    pace = paced([(60, 600), (120, 1200)])
    assert pace.per_second == pytest.approx(10)
    assert job(pace=pace, progress=Progress(1200, 4200)).remaining == timedelta(seconds=300)


def test_remaining_time_is_unknown_without_total_or_pace_and_after_the_end() -> None:
    pace = paced([(60, 600)])
    assert job(pace=pace, progress=Progress(600)).remaining is None
    assert job(progress=Progress(0, 100)).remaining is None
    assert job(pace=paced([(60, 0)]), progress=Progress(0, 100)).remaining is None
    assert job(pace=pace, progress=Progress(600, 600), state=State.DONE).remaining is None


@pytest.mark.parametrize(
    ("after", "told", "follows"),
    [
        (Progress(7, 9, "ids"), "7 of 9 ids", True),
        (Progress(0, 9, "ids", "by id"), "by id: 0 of 9 ids", False),
        (Progress(7, None, "deletes"), "7 deletes", False),
    ],
)
def test_a_phase_is_told_and_its_pace_is_its_own(after: Progress, told: str, follows: bool) -> None:
    assert str(after) == told
    assert after.follows(Progress(5, 9, "ids")) is follows


def test_the_pace_follows_a_change_within_minutes() -> None:
    steps = [(60.0 * n, 600 * n) for n in range(1, 31)]
    slower = [(1800 + 60.0 * n, 18_000 + 60 * n) for n in range(1, 61)]
    assert paced(steps).per_second == pytest.approx(10)
    assert 1 < (paced(steps + slower).per_second or 0) < 1.2


def test_a_long_stop_is_no_part_of_the_pace() -> None:
    before = paced([(60, 600)])
    after = paced([(60, 600), (86_400, 610), (86_460, 1210)])
    assert after.per_second == pytest.approx(before.per_second)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**9)), max_size=20))
def test_the_pace_is_never_negative_whatever_clocks_and_counts_do(steps: list[tuple[float, int]]) -> None:
    pace = paced(steps).per_second
    assert pace is None or pace >= 0


# --- the lease


@given(
    st.floats(0, 60),
    st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
def test_no_clock_within_the_bound_finds_a_job_due_while_its_worker_may_have_a_call_under_way(
    later: float, skews: tuple[float, float]
) -> None:
    holder, reader = (timedelta(seconds=skew) for skew in skews)
    held = taken(
        job(), owner="w", now=START + holder, until=START + holder + timedelta(seconds=TERMS.lease_seconds)
    )
    call_may_be_under_way = later < TERMS.lease_seconds
    skew = timedelta(seconds=TERMS.skew)
    assert not (held.due(START + timedelta(seconds=later) + reader, skew) and call_may_be_under_way)
    assert held.due(START + timedelta(seconds=TERMS.lease_seconds + 2 * TERMS.skew + 0.001) + reader, skew)


def test_params_in_a_row_are_plain_json() -> None:
    assert json.loads(str(job_columns(job(params={"group": "g"}))["params"])) == {"group": "g"}
