"""The states that the deaths of one walk leave, so that no state is followed twice."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from types import CoroutineType, FrameType
from typing import Any

from local.explore.paths import NotRepeatable, Opaque
from local.explore.state import View, told

Rest = Sequence[Any]
"""What is yet to run when a process has died, and through it everything that it can reach: the frames that
wait for the process, and what builds the next one."""


class Merged(Exception):
    """A death left a state that is followed elsewhere, so this run need not go on."""


class States:
    """Those that one walk has met, each with how often processes may still die."""

    def __init__(self, views: Mapping[type, View]) -> None:
        self._views = views
        self._met: set[tuple[bytes, int]] = set()

    def now(self, rest: Rest) -> bytes:
        """The state as it is.

        Raises:
            Opaque: see `told`.
        """
        return told(rest, self._views)[0]

    def left(self, rest: Rest) -> bytes:
        """The state that a process left.

        Raises:
            Opaque: see `told`; or a task runs on that nothing of the state holds.
        """
        state, reached = told(rest, self._views)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if id(task) not in reached:
                raise Opaque(f"{task!r} runs on, and the state does not have it")
        return state

    def is_new(self, state: bytes, crashes: int) -> bool:
        """Whether it is met for the first time; from now on it is met."""
        before = len(self._met)
        self._met.add((state, crashes))
        return len(self._met) > before


def rest_of(scenario: Coroutine[Any, Any, None] | None, live: FrameType | None, work: Any) -> Rest:
    """What runs on after a death: the frames from a scenario to that which awaits `live`, and `work`.

    Raises:
        Opaque: `live` is not awaited by the scenario itself, but in another task.
    """
    if not isinstance(scenario, CoroutineType):
        raise Opaque("the scenario is not a coroutine, so what it remembers cannot be told")
    frames: list[Any] = []
    frame = live
    while frame is not None and frame is not scenario.cr_frame:
        frame = frame.f_back
        frames.append(frame)
    if frame is None:
        raise Opaque("the process lives in a task of its own, and what else runs beside it cannot be told")
    return (*frames, work)


def same(before: bytes | None, now: bytes, death: str) -> None:
    """Compare the state that a death left with what it was said to leave.

    Raises:
        NotRepeatable: they differ.
    """
    if before is not None and before != now:
        raise NotRepeatable(
            f"{death} left another state than it was to leave: does the world draw what no seed sets, or "
            "does the process change it beside its calls?"
        )
