"""`next_step` over rows and realities nobody has thought of: it always answers, and never with a danger."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.ports import Row, Scalar
from lifecycle.errors import RotationMoved, RotationRefused
from lifecycle.rotation import row as rows
from lifecycle.rotation.decide import next_step
from lifecycle.rotation.row import (
    BEFORE_PUBLISHING,
    SLOTS,
    Canary,
    CanaryState,
    Mode,
    RotationRow,
    RotationTerms,
    Slot,
    Stage,
    Use,
    Why,
    other,
)
from lifecycle.rotation.step import (
    Keep,
    Place,
    Publish,
    Reality,
    Record,
    Rest,
    SetEnabled,
    Tidy,
    TryCanary,
    Wait,
    WriteAhead,
)
from lifecycle.rotation.store import RotationStore, row_of
from tests.memory_table import MemoryTable

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)

slot_names = st.sampled_from(SLOTS)
slot_sets = st.frozensets(slot_names)
versions = st.sampled_from(["", "v1", "v2"])
times = st.sampled_from([None, NOW - 90 * DAY, NOW - timedelta(minutes=5), NOW, NOW + DAY])
slots = st.builds(Slot, st.sampled_from(Use), times)
terms = st.builds(
    RotationTerms,
    overlap=st.just(30 * DAY),
    validity=st.just(90 * DAY),
    canary=st.booleans(),
    hold=st.booleans(),
)
some_rows = st.builds(
    RotationRow,
    group=st.just("g"),
    secret=st.just("s"),
    terms=terms,
    slots=st.fixed_dictionaries({"primary": slots, "secondary": slots}),
    stage=st.sampled_from(Stage),
    mode=st.sampled_from(Mode),
    rotation=st.sampled_from(["", "r"]),
    replaces=versions,
    target=st.none() | slot_names,
    chosen=st.dictionaries(slot_names, st.just("p1")),
    published=versions,
    until=times,
    consents=st.frozensets(st.sampled_from(["retire", "promote", "abort"])),
    blocked=st.sampled_from(Why),
    resumes=st.sampled_from(Stage),
    problem=st.sampled_from(["", "why"]),
    canary=st.builds(
        Canary,
        state=st.sampled_from(CanaryState),
        dirty=st.booleans(),
        tries=st.integers(0, 6),
        next_try=times,
        last=st.dictionaries(slot_names, st.sampled_from([NOW - 2 * DAY, NOW - timedelta(minutes=5)])),
    ),
    enable_after=st.none() | st.booleans(),
    declined=versions,
)
realities = st.builds(
    Reality,
    group=st.sampled_from(["symmetric", "symmetric", "symmetric", "other", "missing"]),
    same=st.booleans(),
    enabled=st.booleans(),
    writable=st.booleans(),
    filled=slot_sets,
    live=versions,
    live_state=st.sampled_from(["there", "missing", "disabled"]),
    live_in=slot_sets,
    pending=st.dictionaries(slot_names, st.just("p1")),
    placed=slot_sets,
    kept=slot_sets,
    published=versions,
    published_in=slot_sets,
    loose=st.sampled_from([(), (("s-pending", "p1"),)]),
)


def every_row_in_every_reality_has_a_step_that_names_what_it_needs(
    row: RotationRow, reality: Reality
) -> None:
    step = next_step(row, reality, NOW)
    if isinstance(step, Rest | Wait):
        assert step.because
    elif isinstance(step, Record):
        assert step.note
        assert step.row != row, "a step that changes nothing would be taken for ever"
    else:
        assert step.needs


def a_routine_places_a_key_in_a_free_slot_alone_and_beside_the_live_key(
    row: RotationRow, reality: Reality
) -> None:
    step = next_step(row, reality, NOW)
    if not isinstance(step, Place):
        return
    for slot in step.slots:
        assert slot in reality.pending, "a key that is not in the vault"
        assert slot not in reality.filled or slot in reality.kept, "a key that would be lost"
    assert reality.writable
    if row.mode is Mode.ROUTINE:
        [slot] = step.slots
        assert row.slots[slot].use is Use.FREE
        assert row.active == other(slot)
        assert reality.same, "what was said of the slots was said of another group"
        if reality.live_state == "there":
            assert other(slot) in reality.live_in, "the live key would be lost"
    else:
        assert not reality.enabled


def only_a_key_that_a_slot_holds_is_published_and_only_over_the_version_it_replaces(
    row: RotationRow, reality: Reality
) -> None:
    step = next_step(row, reality, NOW)
    if isinstance(step, Publish):
        assert row.stage is Stage.VERIFIED
        assert step.slot in reality.placed
        assert not reality.published
        if row.mode is Mode.ROUTINE:
            assert reality.live == row.replaces
            assert not row.terms.canary or "promote" in row.consents or row.canary.state is CanaryState.PASSED
            assert not row.terms.hold or "promote" in row.consents


def a_group_is_enabled_only_on_the_published_key_and_disabled_only_in_a_breach(
    row: RotationRow, reality: Reality
) -> None:
    step = next_step(row, reality, NOW)
    if isinstance(step, SetEnabled):
        assert row.mode is Mode.BREACH
        if step.enabled:
            assert row.target in reality.live_in
            assert reality.live
            assert reality.live in (row.published, reality.published), "a version of this breach"


def a_slot_becomes_free_by_consent_after_its_overlap_or_in_a_breach(
    row: RotationRow, reality: Reality
) -> None:
    step = next_step(row, reality, NOW)
    if not isinstance(step, Record):
        return
    for name in SLOTS:
        was, is_now = row.slots[name], step.row.slots[name]
        if is_now.use is Use.FREE and was.use is not Use.FREE:
            if row.mode is Mode.BREACH and row.stage is Stage.VERIFIED:
                continue
            assert "retire" in row.consents
            assert was.use is not Use.ACTIVE


def no_canary_registers_twice_within_the_key_cache_with_another_key(
    row: RotationRow, reality: Reality
) -> None:
    step = next_step(row, reality, NOW)
    if isinstance(step, TryCanary):
        last = row.canary.last.get(step.slot)
        again = row.canary.state is CanaryState.REGISTERING
        assert again or last is None or NOW - last >= timedelta(minutes=30)
        assert row.mode is Mode.ROUTINE


def a_key_is_made_only_where_this_rotation_has_none(row: RotationRow, reality: Reality) -> None:
    step = next_step(row, reality, NOW)
    if isinstance(step, WriteAhead):
        assert step.slot not in reality.pending
        assert row.standing in BEFORE_PUBLISHING
    if isinstance(step, Keep):
        assert step.slot in reality.filled - reality.kept
    if isinstance(step, Tidy):
        assert (row.secret, reality.live) not in step.versions


CLAIMS = (
    every_row_in_every_reality_has_a_step_that_names_what_it_needs,
    a_routine_places_a_key_in_a_free_slot_alone_and_beside_the_live_key,
    only_a_key_that_a_slot_holds_is_published_and_only_over_the_version_it_replaces,
    a_group_is_enabled_only_on_the_published_key_and_disabled_only_in_a_breach,
    a_slot_becomes_free_by_consent_after_its_overlap_or_in_a_breach,
    no_canary_registers_twice_within_the_key_cache_with_another_key,
    a_key_is_made_only_where_this_rotation_has_none,
)


@given(some_rows, realities)
@settings(max_examples=1000, deadline=None)
def test_whatever_the_row_and_the_reality_there_is_a_step_and_it_is_no_danger(
    row: RotationRow, reality: Reality
) -> None:
    for claim in CLAIMS:
        claim(row, reality)


@pytest.mark.soak
@given(some_rows, realities)
@settings(max_examples=100_000, deadline=None)
def test_the_same_for_many_more(row: RotationRow, reality: Reality) -> None:
    for claim in CLAIMS:
        claim(row, reality)


@settings(max_examples=200, deadline=None)
@given(some_rows)
async def test_a_row_reads_back_from_the_table_as_it_was_written(row: RotationRow) -> None:
    class Still:
        def now(self) -> datetime:
            return NOW

        def monotonic(self) -> float:
            return 0.0

        async def sleep(self, seconds: float) -> None:
            raise AssertionError

    table = MemoryTable()
    store = RotationStore(table, "DPS-1", Still())
    assert await store.insert(row)
    assert await store.find("G") == row
    changed = await store.change("g", lambda there: replace(there, problem="\u202ehostile\n"))
    assert (await store.all()).rows == (changed,)


def test_a_row_of_another_version_is_left_alone() -> None:
    others: list[dict[str, Scalar]] = [
        {},
        {"form": 2, "row": "{}"},
        {"form": 1, "row": "{"},
        {"form": 1, "row": "[]"},
    ]
    for values in others:
        with pytest.raises(RotationMoved, match="another version"):
            row_of(Row("p", "g", values))


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("mode", list(Mode))
def test_one_rotation_of_a_group_at_a_time(stage: Stage, mode: Mode) -> None:
    row = rows.adopt(
        "g", "s", RotationTerms(30 * DAY, 90 * DAY), active="primary", others="free", by="t", now=NOW
    )
    row = replace(row, stage=stage, mode=mode, rotation="r1", target="secondary")
    if stage is Stage.IDLE:
        assert rows.begun(row, "r2", replaces="", by="t", now=NOW).rotation == "r2"
        return
    with pytest.raises(RotationRefused, match="under way"):
        rows.begun(row, "r2", replaces="", by="t", now=NOW)
    if mode is Mode.BREACH:
        with pytest.raises(RotationRefused, match="already"):
            rows.breached(row, "r2", by="t", now=NOW)
    else:
        assert rows.breached(row, "r2", by="t", now=NOW).targets == ("primary", "secondary")


def test_a_second_version_of_the_published_key_does_not_keep_a_group_disabled_after_a_breach() -> None:
    """A set of the vault whose answer was lost was made again, and then happened after all."""
    row = RotationRow(
        "g",
        "s",
        RotationTerms(),
        {"primary": Slot(Use.ACTIVE), "secondary": Slot(Use.FREE)},
        stage=Stage.PROMOTED,
        mode=Mode.BREACH,
        rotation="r",
        target="primary",
        published="v1",
        enable_after=True,
    )
    late = Reality(
        enabled=False, live="v2", live_state="there", live_in=frozenset(["primary"]), published="v2"
    )
    assert next_step(row, late, NOW) == SetEnabled(enabled=True)
    foreign = replace(late, published="v1")
    step = next_step(row, foreign, NOW)
    assert isinstance(step, Record)
    assert step.row.blocked is Why.CHANGED


def test_a_breach_places_no_published_key_anew_whose_pending_version_is_gone() -> None:
    """It is in the vault all the same; to place it, somebody would have to hold it."""
    row = RotationRow(
        group="g",
        secret="s",
        terms=RotationTerms(),
        slots={"primary": Slot(Use.ACTIVE), "secondary": Slot(Use.FREE)},
        stage=Stage.STAGING,
        mode=Mode.BREACH,
        rotation="r",
        target="primary",
        chosen={"primary": "p1", "secondary": "p2"},
        enable_after=True,
    )
    seen = Reality(
        enabled=False,
        filled=frozenset({"primary", "secondary"}),
        live="v2",
        live_state="there",
        live_in=frozenset({"primary"}),
        pending={"secondary": "p2"},
        kept=frozenset({"primary", "secondary"}),
        published="v2",
        published_in=frozenset({"primary"}),
    )
    assert next_step(row, seen, NOW) == Place(("secondary",))
