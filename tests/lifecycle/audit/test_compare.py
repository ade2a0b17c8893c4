"""New, recurring and resolved: only what a run really read is told from what it did not."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from lifecycle.audit.checks import CHECKS
from lifecycle.audit.compare import compared
from lifecycle.audit.finding import Finding, Source
from lifecycle.audit.report import Judged, Novelty, Run, Suppression, Tally
from lifecycle.audit.suppressions import Suppressing
from tests.lifecycle.audit.sample import EVERY, NOW, MemoryArchive, busy_archive, check, finding, run_at
from tests.lifecycle.audit.sample import suppressions as some_suppressions

EXPIRED = "DPS-CRED-001"
FAILED = "DPS-REC-001"


def ca(name: str) -> Finding:
    return finding(EXPIRED, f"ca:{name}")


async def judged(
    archive: MemoryArchive, run: str = "", suppressions: Iterable[Suppression] = ()
) -> list[Judged]:
    found = await archive.run(run)
    assert found is not None
    comparison = await compared(archive, found, CHECKS, Suppressing(suppressions, NOW))
    return [each async for each in comparison.findings()]


async def novelties(archive: MemoryArchive) -> dict[str, Novelty]:
    return {each.finding.resource: each.novelty for each in await judged(archive)}


async def test_a_first_runs_findings_are_all_new() -> None:
    archive = MemoryArchive()
    archive.add(run_at(), [ca("a"), ca("b")])
    assert await novelties(archive) == {"ca:a": Novelty.NEW, "ca:b": Novelty.NEW}


async def test_findings_are_new_recurring_and_resolved_against_the_run_before() -> None:
    archive = MemoryArchive()
    archive.add(run_at(-1), [ca("gone"), ca("stays")])
    archive.add(run_at(), [ca("stays"), ca("comes")])
    assert await novelties(archive) == {
        "ca:gone": Novelty.RESOLVED,
        "ca:stays": Novelty.RECURRING,
        "ca:comes": Novelty.NEW,
    }


async def test_what_was_not_read_to_its_end_is_neither_new_nor_resolved() -> None:
    archive = MemoryArchive()
    archive.add(run_at(-1), [ca("gone"), ca("stays")])
    lacking = EVERY - (check(EXPIRED).needs | check(EXPIRED).reads)
    archive.add(run_at(sources=lacking), [ca("stays"), ca("comes")])
    assert await novelties(archive) == {
        "ca:gone": Novelty.UNCLEAR,
        "ca:stays": Novelty.RECURRING,
        "ca:comes": Novelty.UNCLEAR,
    }


async def test_a_run_that_could_not_see_it_is_passed_over_for_the_one_before() -> None:
    archive = MemoryArchive()
    archive.add(run_at(-2), [ca("a")])
    archive.add(run_at(-1, sources=EVERY - (check(EXPIRED).needs | check(EXPIRED).reads)), [])
    archive.add(run_at(), [ca("a"), ca("b")])
    assert await novelties(archive) == {"ca:a": Novelty.RECURRING, "ca:b": Novelty.NEW}


async def test_one_source_that_is_missing_leaves_the_other_checks_alone() -> None:
    archive = MemoryArchive()
    archive.add(run_at(-2), [finding(FAILED, "registration:old"), ca("a")])
    archive.add(run_at(-1, sources=EVERY - {Source.REGISTRATIONS}), [ca("a")])
    archive.add(run_at(), [ca("a")])
    assert await novelties(archive) == {"registration:old": Novelty.RESOLVED, "ca:a": Novelty.RECURRING}


async def test_of_what_was_not_all_kept_nothing_is_new_or_resolved() -> None:
    capped = frozenset({EXPIRED})
    archive = MemoryArchive()
    archive.add(run_at(-1, capped=capped), [ca("a"), ca("b")])
    archive.add(run_at(), [ca("b"), ca("c")])
    assert await novelties(archive) == {
        "ca:a": Novelty.RESOLVED,
        "ca:b": Novelty.RECURRING,
        "ca:c": Novelty.UNCLEAR,
    }
    archive.add(run_at(1, capped=capped), [ca("c"), ca("d")])
    assert await novelties(archive) == {
        "ca:b": Novelty.UNCLEAR,
        "ca:c": Novelty.RECURRING,
        "ca:d": Novelty.NEW,
    }


async def test_a_later_run_is_not_what_an_older_one_is_compared_with() -> None:
    archive = MemoryArchive()
    first = archive.add(run_at(-1), [ca("a")])
    archive.add(run_at(), [])
    [only] = await judged(archive, first.id)
    assert only.novelty is Novelty.NEW


async def test_a_suppressed_finding_stays_and_is_not_open() -> None:
    every = await judged(busy_archive(), suppressions=some_suppressions())
    legacy = [each for each in every if each.finding.resource.startswith("group:legacy-")]
    assert len(legacy) == 3
    assert all(each.found and not each.open and each.suppression for each in legacy)


async def test_what_was_counted_and_not_kept_counts_as_open_or_as_suppressed_with_the_rest() -> None:
    archive = MemoryArchive()
    run = archive.add(run_at(capped=frozenset({EXPIRED}), found={EXPIRED: 900}), [ca("a"), ca("b")])
    everything = Suppression(EXPIRED, "*", "why", "j", NOW, run_at(9).started)
    for suppressions, counted in (((), (900, 0)), ((everything,), (0, 900))):
        tally = Tally()
        for each in await judged(archive, suppressions=suppressions):
            tally.add(each)
        tally.close(run, {EXPIRED: check(EXPIRED)})
        assert (tally.whole.open, tally.whole.suppressed) == counted
        assert tally.whole.unkept == 898


@given(before=st.sets(st.integers(0, 30)), now=st.sets(st.integers(0, 30)))
async def test_the_comparison_is_that_of_two_sets(before: set[int], now: set[int]) -> None:
    archive = MemoryArchive()
    archive.add(run_at(-1), [ca(str(each)) for each in before])
    archive.add(run_at(), [ca(str(each)) for each in now])
    every = await judged(archive)
    told = {
        novelty: {int(each.finding.resource[3:]) for each in every if each.novelty is novelty}
        for novelty in Novelty
    }
    assert told == {
        Novelty.NEW: now - before,
        Novelty.RECURRING: now & before,
        Novelty.RESOLVED: before - now,
        Novelty.UNCLEAR: set(),
    }
    assert len(every) == len(now | before)


async def test_a_check_that_only_the_run_knows_is_told_all_the_same() -> None:
    archive = MemoryArchive()
    strange = Finding("DPS-ALLOC-999", "group:a", check(EXPIRED).severity)
    run: Run = archive.add(run_at(), [strange])
    [only] = await judged(archive, run.id)
    assert only.finding == strange
