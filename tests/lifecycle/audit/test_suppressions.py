"""Suppressions: for a time, with a reason, and never out of sight."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.audit.finding import Finding, Severity
from lifecycle.audit.report import Suppression
from lifecycle.audit.suppressions import LONGEST_TIME, Suppressing, Suppressions
from lifecycle.errors import InvalidOption
from tests.clocks import HandClock
from tests.lifecycle.audit.sample import NOW, finding
from tests.memory_table import MemoryTable

TEXT = st.text(st.sampled_from("ab*?/.:"), max_size=12)


def suppression(resource: str, *, check: str = "DPS-CRED-001", days: float = 1) -> Suppression:
    return Suppression(check, resource, "why", "jana", NOW, NOW + timedelta(days=days))


def covers(pattern: str, resource: str) -> bool:
    return Suppressing([suppression(pattern)], NOW).of(finding("DPS-CRED-001", resource)) is not None


def clock() -> HandClock:
    made = HandClock()
    made.date = NOW
    return made


def store() -> Suppressions:
    return Suppressions(MemoryTable(), "Plant", clock())


async def test_what_was_put_is_there_until_it_is_removed() -> None:
    suppressions = store()
    made = suppressions.made(
        "DPS-CRED-001",
        "ca:<b>|/\\#?\u202e",
        reason="renewed on Monday",
        by="jana",
        until=NOW + timedelta(days=9),
    )
    await suppressions.put(made)
    assert await suppressions.all() == (made,)
    assert await suppressions.remove(made.check, made.resource)
    assert await suppressions.all() == ()
    assert not await suppressions.remove(made.check, made.resource)


async def test_a_later_one_of_the_same_check_and_resource_takes_its_place() -> None:
    suppressions = store()
    for reason in ("first", "second"):
        await suppressions.put(
            suppressions.made("DPS-CRED-001", "ca:a", reason=reason, by="j", until=NOW + timedelta(days=1))
        )
    assert [each.reason for each in await suppressions.all()] == ["second"]


async def test_several_dps_have_their_own() -> None:
    table, time = MemoryTable(), clock()
    here = Suppressions(table, "plant-a", time)
    await here.put(here.made("DPS-CRED-001", "ca:a", reason="r", by="j", until=NOW + timedelta(days=1)))
    assert await Suppressions(table, "plant-b", time).all() == ()
    assert len(await Suppressions(table, "PLANT-A", time).all()) == 1


@pytest.mark.parametrize(
    ("parameter", "given", "fix"),
    [
        ("until", {"until": NOW}, "to come"),
        ("until", {"until": NOW + LONGEST_TIME + timedelta(seconds=1)}, "within a year"),
        ("reason", {"reason": " \n "}, "empty"),
        ("reason", {"reason": "word " * 80}, "too long"),
        ("reason", {"reason": "its key is c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0="}, "looks like a key"),
        ("by", {"by": ""}, "empty"),
        ("resource", {"resource": ""}, "group:line-a"),
        ("resource", {"resource": "x" * 2000}, "characters"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_fix(
    parameter: str, given: dict[str, object], fix: str
) -> None:
    whole: dict[str, object] = {
        "resource": "ca:a",
        "reason": "why",
        "by": "jana",
        "until": NOW + timedelta(days=1),
        **given,
    }
    resource = whole.pop("resource")
    with pytest.raises(InvalidOption, match=fix) as refused:
        store().made("DPS-CRED-001", resource, **whole)  # type: ignore[arg-type]  # of the table above
    assert refused.value.parameter == parameter
    assert "c2Vjcm" not in str(refused.value)


def test_an_expired_one_does_not_count_and_is_told() -> None:
    over = suppression("ca:a", days=0)
    suppressing = Suppressing([over], NOW)
    assert suppressing.of(finding("DPS-CRED-001", "ca:a")) is None
    assert suppressing.expired == (over,)


def test_one_of_another_check_does_not_count() -> None:
    assert (
        Suppressing([suppression("*", check="DPS-CRED-002")], NOW).of(finding("DPS-CRED-001", "ca:a")) is None
    )


def test_the_one_that_names_the_resource_itself_is_told_before_a_pattern() -> None:
    both = [suppression("ca:*"), suppression("ca:a")]
    found = Suppressing(both, NOW).of(finding("DPS-CRED-001", "ca:a"))
    assert found is both[1]


def test_patterns_match_the_whole_name_and_its_case() -> None:
    assert covers("group:line-*", "group:line-a")
    assert covers("group:line-?", "group:line-a")
    assert covers("*", "anything\nat all")
    assert not covers("group:line-?", "group:line-10")
    assert not covers("line-*", "group:line-a")
    assert not covers("device:hub/A*", "device:hub/a1")
    assert not covers("ca:[ab]*", "ca:a")


def naive(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return naive(pattern[1:], text) or (bool(text) and naive(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and naive(pattern[1:], text[1:])


@given(pattern=TEXT.filter(lambda text: "*" in text or "?" in text), text=TEXT)
def test_patterns_match_as_their_definition_says(pattern: str, text: str) -> None:
    assert covers(pattern, text) == naive(pattern, text)


def test_a_pattern_of_many_stars_costs_no_more_than_its_length() -> None:
    looked = 0

    class Counting(str):
        __slots__ = ()

        def __getitem__(self, at: object) -> str:
            nonlocal looked
            looked += 1
            return str.__getitem__(self, at)  # type: ignore[index]  # whatever the matcher asks

    resource = Counting("a" * 1000)
    suppressing = Suppressing([suppression("a*" * 50 + "b")], NOW)
    assert suppressing.of(Finding("DPS-CRED-001", resource, Severity.LOW)) is None
    assert looked <= 102 * 1001
