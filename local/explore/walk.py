"""The walk over all paths of a scenario, and the way back to one of them."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from local.explore.paths import (
    CRASH,
    Failure,
    Hung,
    NotRepeatable,
    NotThisPath,
    Opaque,
    Path,
    Report,
    Taken,
    path_of,
)
from local.explore.run import DEATHS, Death, Life, Run
from local.explore.state import View
from local.explore.states import States

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
    merge: Mapping[type, View] | None = None,
    shard: tuple[int, int] = (1, 1),
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
        merge: not None: deaths that leave one state are followed once. A state is all that the rest of the
            run can reach: what the scenario has in its variables, what processes are built from, and how
            often they may still die. The mapping has views for `local.explore.state.told`; an empty one
            leaves nothing out. So what a scenario or its invariants remember keeps states apart.
        shard: which part of the walk, and of how many: each takes every so many-th of the first crashes, with
            all that follows. The first takes the paths without a crash too.

    Raises:
        Opaque: with `merge`: the world holds something whose content cannot be told.
        NotRepeatable: the scenario asked other questions under the same answers.
    """
    which, shards = shard
    if not 1 <= which <= shards or (shards > 1 and not crashes):
        raise ValueError(
            f"shard is {shard} of a walk of {crashes} crashes: shards are 1 to N, and split crashes"
        )
    report, forks = Report(), _Forks(which, shards)
    states = None if merge is None else States({Run: _nothing, Life: _nothing, **merge})
    forced: Sequence[Taken] = ()
    while report.runs < most_runs:
        run = Run(forced, crashes=crashes, most_choices=most_choices, deaths=deaths, states=states)
        error = await _once(scenario, run, run_seconds)
        _check_repeated(forced, run.taken, error)
        for taken in run.taken:
            if not taken.name.startswith(CRASH):
                report.consulted.setdefault(taken.name, taken.options)
        if (which == 1 or _crashed(run.taken)) and _counted(report, run, error) >= most_failures:
            return report
        following = forks.next(run.taken)
        report.merged += forks.merged
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
            asking = scenario(run)
            run.scenario = asking if inspect.iscoroutine(asking) else None
            await asking
    except Exception as error:  # noqa: BLE001  whatever a run ends in is its result
        if run.spoilt is None and net.expired():
            return Hung(f"no end within {seconds:g} s; what does it wait for?")
        return run.spoilt or error
    return run.spoilt


def _counted(report: Report, run: Run, error: Exception | None) -> int:
    """Enter a run; how many have failed."""
    report.runs += 1
    if run.merged:
        report.merged += 1
    elif error is not None:
        report.failures.append(Failure(path_of(run.taken), error))
    return len(report.failures)


def _check_repeated(forced: Sequence[Taken], taken: Sequence[Taken], error: Exception | None) -> None:
    if isinstance(error, NotRepeatable | Opaque):
        raise error
    if len(taken) < len(forced):
        raise NotRepeatable(f"{forced[len(taken)]} was asked for before and is not any more") from error


@dataclass(slots=True)
class _Forks:
    """Where a walk goes on."""

    which: int
    shards: int
    merged: int = 0
    """Options that were passed over in the latest step, since they leave a state that another one left."""
    _first_crashes: int = 0

    def next(self, taken: Sequence[Taken]) -> list[Taken] | None:
        """The path after this one, depth first; None after the last."""
        self.merged = 0
        for at in range(len(taken) - 1, -1, -1):
            last = taken[at]
            for index in range(last.index + 1, len(last.options)):
                if index in last.merged:
                    self.merged += self._mine(taken[:at])
                elif not self._others(last, taken[:at]):
                    return [*taken[:at], replace(last, index=index)]
        return None

    def _mine(self, before: Sequence[Taken]) -> bool:
        return self.which == 1 or _crashed(before)

    def _others(self, taken: Taken, before: Sequence[Taken]) -> bool:
        """Whether an option is for another shard to follow."""
        if not taken.name.startswith(CRASH) or _crashed(before):
            return False
        self._first_crashes += 1
        return self._first_crashes % self.shards != self.which % self.shards


def _crashed(taken: Sequence[Taken]) -> bool:
    return any(each.index and each.name.startswith(CRASH) for each in taken)


def _nothing(_: object) -> None:
    """What counts of a run is how often processes may still die, which the walk knows; a life has ended."""


def _read(path: str) -> dict[str, str]:
    parts = [part.strip() for part in path.split(";")]
    return dict(part.split("=", 1) for part in parts if "=" in part)
