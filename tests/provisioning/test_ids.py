"""The ids that DPS takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.ids import InvalidId, check_enrollment_id, check_known_id, check_registration_id


@pytest.mark.parametrize("good", ["a", "A-1", "dev:7_b.c", "a-", "0", "a" * 128])
def test_what_dps_takes_is_taken_and_its_case_kept(good: str) -> None:
    assert check_registration_id(good) == check_enrollment_id(good) == check_known_id(good, "id") == good


@pytest.mark.parametrize("bad", ["", "-a", "a.", "a_", ":a", "a b", "a/b", "é", "a\n", "a" * 129, "٣"])
def test_what_dps_does_not_take_is_told_with_parameter_and_fix(bad: str) -> None:
    with pytest.raises(InvalidId, match=r"registration_id is .* use 1 to 128"):
        check_registration_id(bad)
    with pytest.raises(InvalidId, match=r"enrollment_id is .* use 1 to 128"):
        check_enrollment_id(bad)


@pytest.mark.parametrize("old", ["a.", "-a", "_"])
def test_an_id_that_may_exist_is_looked_for(old: str) -> None:
    assert check_known_id(old, "id") == old


@pytest.mark.parametrize("bad", [".", "..", "a/..", "a?b", "a#b", "a%2e"])
def test_an_id_is_never_another_path(bad: str) -> None:
    with pytest.raises(InvalidId):
        check_known_id(bad, "id")


@given(st.text(st.characters(codec=None)))
def test_messages_are_printable_and_short(text: str) -> None:
    for check in (check_registration_id, lambda given: check_known_id(given, "id")):
        said = ""
        try:
            check(text)
        except InvalidId as error:
            said = str(error)
        assert said.isascii()
        assert said.isprintable()
        assert len(said) < 800
