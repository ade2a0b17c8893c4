"""How far the walk gets in what time; the figures are printed and not judged."""

import time

import pytest

from local.explore import explore
from tests.local.explore.toy import Bug, scenario_with


@pytest.mark.soak
@pytest.mark.parametrize(
    ("bug", "crashes"),
    [
        ("none", 1),
        ("none", 2),
        ("none", 3),
        ("publish before place", 1),
        ("put without keys", 2),
        ("no write-ahead", 2),
        ("tires", 2),
    ],
)
async def test_exploration_of_the_toy(bug: Bug, crashes: int) -> None:
    started = time.perf_counter()
    report = await explore(scenario_with(bug), crashes=crashes, most_runs=100_000, most_failures=100_000)
    print(
        f"\n{bug}, {crashes} crashes: {report.runs} runs, {len(report.failures)} of them failed, "
        f"{time.perf_counter() - started:.2f} s"
    )
    assert report.complete
    assert bool(report.failures) is (bug != "none")


@pytest.mark.soak
@pytest.mark.parametrize("bug", ["put without keys", "no write-ahead", "tires"])
async def test_merged_walk_of_every_triple_finds_what_the_full_one_finds(bug: Bug) -> None:
    full = await explore(scenario_with(bug), crashes=3, most_runs=100_000, most_failures=100_000)
    merged = await explore(scenario_with(bug), crashes=3, merge={}, most_failures=100_000)
    print(f"\n{bug}: {full.runs} runs, or {merged.runs} and {merged.merged} merged")
    assert {str(each.error) for each in merged.failures} == {str(each.error) for each in full.failures}
    assert merged.runs < full.runs / 2
