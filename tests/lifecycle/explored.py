"""Worlds that keep nothing of the past but what is checked, so that an exploration can tell them alike.

What a rig remembers beyond that (every call in a journal, every event, how often what was asked for) would
keep two worlds apart that go on in one way.
"""

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from local.dps import policies
from local.explore import Life, Report, Run, Scenario, View, explore
from local.iothub import auth
from local.world import Journal
from tests.lifecycle.enrollments.cloud import CloudRig


class Apart:
    """A clock for rates alone: who waits for his turn lets no time pass in the world.

    What a pace costs is tested elsewhere; here it would give each call a time of its own.
    """

    def __init__(self) -> None:
        self._elapsed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        self._elapsed += max(0.0, seconds)


class Ids:
    """Texts that nobody else makes, and keys: new ones in each life of a process."""

    def __init__(self) -> None:
        self.lives = 0
        self._made = 0

    def begin(self) -> None:
        """A process begins to live. What another one that died had made and not yet written is forgotten."""
        self.lives += 1
        self._made = 0

    def __call__(self) -> str:
        self._made += 1
        return f"{self.lives:08x}{self._made:024x}"

    def randbytes(self, count: int) -> bytes:
        """As of `random.Random`."""
        return hashlib.shake_256(self().encode()).digest(count)


class _Answers(list[Any]):
    """What the webhook answered: only whether one came since a registration began is ever asked."""


VIEWS: Mapping[type, View] = {
    **{each: lambda _: None for each in (Apart, _Answers, policies.Access, auth.Access, httpx.AsyncClient)},
    Ids: lambda ids: ids.lives,
}
"""Nothing counts of a pace, since each process begins its own; of who may call, since the policies never
change here and the tokens that were found good are a cache; of the client with which DPS calls webhooks."""


class _Unwritten(Journal):
    def record(self, *args: Any, **kwargs: Any) -> None:
        """Nobody reads it."""


class _Unheard(list[Any]):
    def append(self, item: Any) -> None:
        """Nobody asks for it."""


class _Latest(list[Any]):
    def append(self, item: Any) -> None:
        """What was said before is not asked for."""
        self[:] = [item]


class _Uncounted(Counter[Any]):
    def __setitem__(self, key: Any, value: int) -> None:
        """Nobody asks how many."""


def forgetful(rig: Any) -> Any:
    """A rig that keeps no journal, no telemetry and no count of calls, and where a pace takes no time."""
    assert isinstance(rig, CloudRig)
    rig.service.world.journal = _Unwritten()
    told: Any = rig
    told.pace = Apart()
    for name in ("events", "measures", "spans"):
        if hasattr(told.told, name):
            setattr(told.told, name, _Unheard())
    told.unique = told._keys = Ids()
    if hasattr(told, "calls"):
        told.calls = _Uncounted()
    if hasattr(told, "notes"):
        told.notes, told.answers = _Latest(), _Answers()
    return rig


Shard = tuple[int, int]
in_halves = pytest.mark.parametrize("shard", [(1, 2), (2, 2)], ids=["half-1", "half-2"])
"""A walk as two test cases, of which `pytest -n 2` runs both at once."""


async def walked(scenario: Scenario, *, crashes: int = 1, shard: Shard = (1, 1)) -> Report:
    """Walk a scenario to its end, each state once.

    Raises:
        AssertionError: a run failed.
    """
    report = await explore(scenario, crashes=crashes, merge=VIEWS, shard=shard, most_runs=1_000_000)
    report.check()
    return report


async def live(run: Run, rig: Any, process: Callable[[Life], Awaitable[None]]) -> None:
    """Let processes live in a world of `forgetful`, each with ids and keys of its own."""

    async def one(life: Life) -> None:
        rig.unique.begin()
        await process(life)

    await run.live(one)
