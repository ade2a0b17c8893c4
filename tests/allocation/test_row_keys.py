"""Keys: what a text can and cannot do to one."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from allocation.row_keys import AFTER, dps_field, field, key, moment, newest_first
from clients.table_rules import check_key

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
texts = st.text(max_size=400) | st.text(alphabet="abcABC-._:|=/\\#?%}\ud800\x00é", max_size=1_200)


@given(texts, texts, texts)
def test_any_texts_make_a_key_that_table_storage_takes(dps: str, group: str, device: str) -> None:
    check_key("partition key", key(dps_field(dps), "group", field(group)))
    check_key("row key", key(field(device), newest_first(datetime.now(UTC)), "0123abcd"))


@given(texts, texts)
def test_texts_that_differ_in_more_than_case_have_different_fields(one: str, other: str) -> None:
    assert (field(one) == field(other)) == (one.lower() == other.lower())


@given(texts)
def test_no_text_ends_its_field_early(text: str) -> None:
    assert not {"|", AFTER} & set(field(text))


def test_an_id_of_dps_reads_as_it_is() -> None:
    assert field("Line-A.press_01:x") == "line-a.press_01:x"


def test_a_dps_without_a_name_has_a_key_that_no_named_one_can_have() -> None:
    assert dps_field("") == "-"


moments = st.integers(0, 7 * 10**15).map(lambda number: EPOCH + timedelta(microseconds=number))


@given(moments, moments)
def test_the_later_moment_sorts_first_and_is_read_back(one: datetime, other: datetime) -> None:
    assert (newest_first(one) < newest_first(other)) == (one > other)
    assert moment(newest_first(one)) == one
    assert len(newest_first(one + timedelta(microseconds=1))) == 16
