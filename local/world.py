"""What all emulators of one run share: the time, the randomness and a record of the calls."""

import asyncio
import contextlib
import heapq
import itertools
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Where an emulator gets its time from."""

    def now(self) -> datetime:
        """The date and time, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back, for measuring durations."""

    async def sleep(self, seconds: float) -> None:
        """Return `seconds` later by this clock."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """The machine's date and time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The machine's monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep in real time."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is told to `advance`.

    Sleepers are released in the order of their due times, and each sees exactly its due time.
    """

    TURNS = 25
    """Turns of the event loop given to the released code before the next sleeper is looked at: enough
    for code that awaits no real I/O to reach its next sleep."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """The start plus everything advanced so far."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._elapsed

    @property
    def sleeping(self) -> int:
        """How many sleepers wait for this clock to move."""
        return sum(not released.done() for _, _, released in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has moved the clock by `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        released = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), released))
        await released

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, releasing every sleeper due on the way, new ones among them."""
        target = self._elapsed + seconds
        await self._turn()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, released = heapq.heappop(self._sleepers)
            if released.done():  # its sleeper was cancelled
                continue
            self._elapsed = due
            released.set_result(None)
            await self._turn()
        self._elapsed = target
        await self._turn()

    async def _turn(self) -> None:
        for _ in range(self.TURNS):
            await asyncio.sleep(0)


class ShiftedClock:
    """The machine's time plus what it was advanced by, running as fast as it is told to.

    For services on real sockets: time passes by itself, and `advance` lets hours pass at once. It follows
    the machine's date, so that without an advance and at rate 1 it agrees with every other process.
    """

    def __init__(self, *, rate: float = 1.0, ahead: float = 0.0) -> None:
        """Start at the machine's time.

        Args:
            ahead: seconds to be ahead of it from the start.
            rate: seconds of this clock in one of the machine's; over 0. The world's network and processors
                get slower by as much: at 60, a call of a millisecond takes 60 of them.

        Raises:
            ValueError: the rate is not over 0.
        """
        if not rate > 0:
            raise ValueError(f"rate is {rate}; a clock runs forward: use a number over 0")
        self._rate = rate
        self._began = time.monotonic()
        self._advanced = ahead
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    @property
    def ahead(self) -> float:
        """Seconds by which this clock is ahead of the machine's."""
        return self._advanced + (self._rate - 1) * (time.monotonic() - self._began)

    @property
    def sleeping(self) -> int:
        """How many sleepers wait for this clock."""
        return sum(not released.done() for _, _, released in self._sleepers)

    def now(self) -> datetime:
        """The machine's date and time in UTC, and so much ahead."""
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        """The machine's monotonic seconds, and so much ahead."""
        return time.monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        """Wait until the time has come by this clock, by itself or by `advance`."""
        due = self.monotonic() + seconds
        released = asyncio.get_running_loop().create_future()
        sleeper = (due, next(self._order), released)
        heapq.heappush(self._sleepers, sleeper)
        try:
            while not released.done() and (left := due - self.monotonic()) > 0:
                await asyncio.wait((released,), timeout=min(left / self._rate, _LONGEST_WAIT))
        finally:
            if not released.done():
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)
                released.cancel()

    async def advance(self, seconds: float, *, settle: float | Callable[[], Awaitable[None]] = 0.0) -> None:
        """Let `seconds` pass at once, releasing every sleeper due on the way in order, new ones among them.

        Args:
            seconds: at least 0.
            settle: real seconds given to the released code before the next sleeper is looked at, for code
                that awaits sockets, or what waits until it is through; 0 gives it some turns of the event
                loop.

        Raises:
            ValueError: `seconds` is below 0: waiting code would see time go back.
        """
        if seconds < 0:
            raise ValueError(f"seconds is {seconds}; a clock moves forward: use at least 0")
        target = self.monotonic() + seconds
        await self._settle(settle)
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, released = heapq.heappop(self._sleepers)
            if released.done():
                continue
            self._advanced += max(0.0, due - self.monotonic())
            released.set_result(None)
            await self._settle(settle)
        self._advanced += max(0.0, target - self.monotonic())
        await self._settle(settle)

    async def _settle(self, settle: float | Callable[[], Awaitable[None]]) -> None:
        for _ in range(ManualClock.TURNS):
            await asyncio.sleep(0)
        if callable(settle):
            await settle()
        elif settle > 0:
            await asyncio.sleep(settle)


_LONGEST_WAIT = 3600.0
"""Seconds an event loop is asked to wait at once; some refuse very long waits."""

_skew: ContextVar[float] = ContextVar("skew", default=0.0)


@contextlib.contextmanager
def skewing(seconds: float) -> Iterator[None]:
    """Within the block, and in the tasks started in it, every `SkewableClock` is so many seconds ahead."""
    before = _skew.set(seconds)
    try:
        yield
    finally:
        _skew.reset(before)


class SkewableClock:
    """A clock whose date one call may see otherwise than the next: that of a service whose clock is wrong.

    Durations and sleeps are not skewed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """The inner clock's date and time, and the skew of the call under way."""
        return self._clock.now() + timedelta(seconds=_skew.get())

    def monotonic(self) -> float:
        """The inner clock's seconds."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep by the inner clock."""
        await self._clock.sleep(seconds)


async def within(clock: Clock, seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`, if it comes within `seconds` of `clock`.

    Raises:
        TimeoutError: it did not; `work` was cancelled.
    """
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise TimeoutError
    finally:
        for each in (task, alarm):
            each.cancel()
        await asyncio.gather(task, alarm, return_exceptions=True)


MASK = "****"
_SECRET_NAMES = re.compile(
    r"(?:key|keys|secret|password|token|^code|sas|signature|authorization|connectionstring)$", re.IGNORECASE
)
_SECRET_TEXT = re.compile(
    r"([?&](?:code|sig|key|token)=)[^&\s\"'#]*"
    r"|(SharedAccessKey=)[^;\s\"']*"
    r"|(SharedAccessSignature\s)\S+"
    r"|(Bearer\s)\S+"
    r"|(://)[^/@\s]*(?=@)",
    re.IGNORECASE,
)
_CONTAINERS = frozenset({"symmetrickey"})  # an object of keys, whose members have secret names of their own
_MOST_ITEMS = 50
EXCERPT_ITEMS = 5
"""How many records of a page are kept: ten thousand calls are."""
_MOST_DEPTH = 12
_MOST_TEXT = 4096


def redact(value: Any, depth: int = 0) -> Any:
    """A copy of a JSON value for people to read: no keys, no URL codes, no tokens, long parts cut."""
    if isinstance(value, str):
        text = value if len(value) <= _MOST_TEXT else f"{value[:_MOST_TEXT]}…"
        return _SECRET_TEXT.sub(lambda m: next(part for part in m.groups() if part) + MASK, text)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth >= _MOST_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {name: _redact_member(str(name), inner, depth) for name, inner in value.items()}
    most = EXCERPT_ITEMS if value and isinstance(value[0], Mapping | list | tuple) else _MOST_ITEMS
    return _cut(value[:most], len(value), depth)


def _cut(kept: Sequence[Any], length: int, depth: int) -> list[Any]:
    shown = [redact(inner, depth + 1) for inner in kept]
    return shown if length <= len(kept) else [*shown, f"… {length - len(kept)} more"]


def _redact_member(name: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    holds_keys = name.lower() in _CONTAINERS and isinstance(value, Mapping)
    if _SECRET_NAMES.search(name) and not holds_keys:
        return MASK
    return redact(value, depth + 1)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The start of a list that a journal need not read before somebody reads the journal."""

    length: int
    """Items of the whole list."""
    read: Callable[[], Sequence[Any]]
    """The first of them, as JSON values; it should hold on to no more than those."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that reached or left an emulator; `path` and the bodies carry no secrets."""

    at: datetime
    service: str
    method: str
    path: str
    status: int | None
    """None: there was no answer (a timeout, no connection)."""
    request: Any = None
    response: Any = None


class Journal:
    """The latest calls, oldest first; older ones are forgotten."""

    def __init__(self, limit: int = 10_000) -> None:
        self._calls: deque[Call] = deque(maxlen=limit)

    def __iter__(self) -> Iterator[Call]:
        return map(_told, tuple(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    def of(self, service: str) -> tuple[Call, ...]:
        """The kept calls of one emulated service."""
        return tuple(_told(call) for call in self._calls if call.service == service)

    def record(
        self,
        at: datetime,
        service: str,
        method: str,
        path: str,
        status: int | None,
        *,
        request: Any = None,
        response: Any = None,
    ) -> None:
        """Keep one call; whatever is secret in it is masked before it is kept.

        An `Excerpt` as `response` is kept as it is; it is read, and then masked, each time the journal is.
        """
        kept = response if isinstance(response, Excerpt) else redact(response)
        self._calls.append(Call(at, service, method, redact(path), status, redact(request), kept))


def _told(call: Call) -> Call:
    kept = call.response
    if not isinstance(kept, Excerpt):
        return call
    return replace(call, response=_cut(kept.read()[:EXCERPT_ITEMS], kept.length, 0))


@dataclass(slots=True)
class World:
    """One run's clock, journal and source of randomness (`seed` makes it repeatable; None: new each time)."""

    clock: Clock = field(default_factory=SystemClock)
    seed: int | None = None
    journal: Journal = field(default_factory=Journal)
    random: Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
