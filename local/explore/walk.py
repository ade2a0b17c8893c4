"""The walk over all paths of a scenario, and the way back to one of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from local.explore.paths import CRASH, Failure, Hung, NotRepeatable, NotThisPath, Path, Report, Taken
from local.explore.run import DEATHS, Death, Run

Scenario = Callable[[Run], Awaitable[None]]
"""Builds a world, lets processes live in it and checks what became of it; raises if that is wrong."""


async def explore(
    scenario: Scenario,
    *,
    crashes: int = 1,
    most_runs: int = 10_000,
    most_failures: int = 1,
    most_choices: int = 10_000,
    run_seconds: float = 60.0,
    deaths: Sequence[Death] = DEATHS,
) -> Report:
    """Walk every path of a scenario, depth first.

    Args:
        scenario: the same answers must make it ask the same questions.
        crashes: how often processes may die in one run: 1, or 2 for every pair, or 0.
        most_runs: budget of runs.
        most_failures: failing runs after which the walk ends.
        most_choices: budget of choices in one run.
        run_seconds: real seconds after which a run counts as hung; a safety net.
        deaths: where processes may die. Of calls that come one after the other "after" alone is enough: who
            dies before a call leaves what the call before it left.

    Raises:
        NotRepeatable: the scenario asked other questions under the same answers.
    """
    report = Report()
    forced: Sequence[Taken] = ()
    while report.runs < most_runs:
        run = Run(forced, crashes=crashes, most_choices=most_choices, deaths=deaths)
        error = await _once(scenario, run, run_seconds)
        report.runs += 1
        if len(run.taken) < len(forced) and not isinstance(error, NotRepeatable):
            raise NotRepeatable(
                f"{forced[len(run.taken)]} was asked for before and is not any more"
            ) from error
        if isinstance(error, NotRepeatable):
            raise error
        for taken in run.taken:
            if not taken.name.startswith(CRASH):
                report.consulted.setdefault(taken.name, taken.options)
        if error is not None:
            report.failures.append(Failure(run.path, error))
            if len(report.failures) >= most_failures:
                return report
        following = _next(run.taken)
        if following is None:
            report.complete = True
            return report
        forced = following
    return report


async def replay(scenario: Scenario, path: Path | str, *, run_seconds: float = 60.0) -> Run:
    """Run one path again; what failed there fails here.

    Args:
        scenario: the one that was explored.
        path: or its text.
        run_seconds: as for `explore`.

    Raises:
        NotThisPath: the path is not one of this scenario's.
        Exception: what the run raised.
    """
    named = _read(str(path))
    run = Run(named=named, crashes=sum(name.startswith(CRASH) for name in named))
    error = await _once(scenario, run, run_seconds)
    if error is not None:
        raise error
    if run.unused():
        raise NotThisPath(f"the scenario never asked for {', '.join(run.unused())}")
    return run


async def _once(scenario: Scenario, run: Run, seconds: float) -> Exception | None:
    net = asyncio.timeout(seconds)
    try:
        async with net:
            await scenario(run)
    except Exception as error:  # noqa: BLE001  whatever a run ends in is its result
        if run.spoilt is None and net.expired():
            return Hung(f"no end within {seconds:g} s; what does it wait for?")
        return run.spoilt or error
    return run.spoilt


def _next(taken: Sequence[Taken]) -> list[Taken] | None:
    """The path after this one, depth first; None after the last."""
    for at in range(len(taken) - 1, -1, -1):
        last = taken[at]
        if last.index + 1 < len(last.options):
            return [*taken[:at], Taken(last.name, last.options, last.index + 1, last.about)]
    return None


def _read(path: str) -> dict[str, str]:
    parts = [part.strip() for part in path.split(";")]
    return dict(part.split("=", 1) for part in parts if "=" in part)
