"""One run of a scenario: its choices, and the processes that live and die in it."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, cast

import httpx

from local.explore.paths import CRASH, NotRepeatable, NotThisPath, Opaque, Path, Taken, TooLong, path_of
from local.explore.states import Merged, Rest, States, rest_of, same

T = TypeVar("T")
P = TypeVar("P")

_TURNS = 10
"""Turns of the event loop in which what a call set off in the world is done."""
_LIVES, _BEFORE, _AFTER = "lives", "before", "after"

Death = Literal["before", "after"]
"""When a process dies: before one of its calls is made, or when its answer is there."""
DEATHS: tuple[Death, ...] = ("before", "after")


class Run:
    """One run of a scenario."""

    def __init__(
        self,
        forced: Sequence[Taken] = (),
        *,
        named: Mapping[str, str] | None = None,
        crashes: int = 0,
        most_choices: int = 10_000,
        deaths: Sequence[Death] = DEATHS,
        states: States | None = None,
    ) -> None:
        """Make one; `explore` and `replay` do.

        Args:
            forced: what the first choices must be.
            named: instead: options by the names of choices; all others take the first.
            crashes: how often processes may die.
            most_choices: budget.
            deaths: see `explore`.
            states: those that the walk has met; None: it does not compare them.
        """
        self._states = states
        self._rest: Rest = ()
        self.scenario: Coroutine[Any, Any, None] | None = None
        """What asks this run."""
        self._fates = (_LIVES, *deaths)
        self.taken: list[Taken] = []
        self.spoilt: Exception | None = None
        """Why this run says nothing of the scenario; kept here, since the code under test may catch it."""
        self.merged = False
        """Whether it ended early, in a state that is followed elsewhere."""
        self._forced = forced
        self._named = dict(named or {})
        self._crashes_left = crashes
        self._most_choices = most_choices
        self._counts: dict[str, int] = {}
        self._calls = 0

    def choose(self, name: str, options: Sequence[Any]) -> Any:
        """One of the options: the first, until the walk comes to the others.

        The same name may be asked for again and is then another choice.
        """
        self._counts[name] = asked = self._counts.get(name, 0) + 1
        return options[self._take(name if asked == 1 else f"{name}#{asked}", tuple(map(_label, options)))]

    async def live(self, work: Callable[["Life"], Awaitable[T]]) -> T:
        """Run a process that may die, and one built anew for each that did, until one ends by itself.

        Args:
            work: builds the process on what its `Life` gives it and runs it. It is awaited in a task of its
                own, which is cancelled when the process dies.

        Raises:
            Exception: what `work` raised while its process was alive.
            Merged: the process died and left a state that is followed elsewhere.
        """
        if self._states is not None:
            self._rest = rest_of(self.scenario, inspect.currentframe(), work)
        while True:
            life = Life(self)
            task = asyncio.ensure_future(work(life))
            death = asyncio.ensure_future(life.death.wait())
            try:
                await asyncio.wait((task, death), return_when=asyncio.FIRST_COMPLETED)
                if not life.dead:
                    return await task
            finally:
                await life.end(task, death)
            await self.settle()
            self._died(life)

    def unused(self) -> tuple[str, ...]:
        """Choices of a path to replay that were not asked for."""
        return tuple(self._named)

    @property
    def path(self) -> Path:
        """What was chosen so far.

        Raises:
            Opaque: the walk compares states; who looks at the path knows more of the past than they hold.
        """
        if self._states is not None:
            raise Opaque(
                "where states are merged, a scenario must not look at its path: it would tell them apart"
            )
        return path_of(self.taken)

    def point(self, call: str) -> "Point":
        """Whether a process dies before a call, after it, or lives."""
        self._calls += 1
        if not self._crashes_left:
            return Point(_LIVES)
        at = len(self.taken)
        chosen = self._fates[self._take(f"{CRASH}{self._calls}", self._fates, call)]
        self._crashes_left -= chosen != _LIVES
        return Point(chosen, at, first=at >= len(self._forced))

    async def settle(self) -> None:
        """Let the world come to rest, which goes on while a process is dead: what it leaves is told then."""
        for _ in range(_TURNS if self._states is not None else 0):
            await asyncio.sleep(0)

    def tell(self, point: "Point", death: Death) -> None:
        """Take down the state that a death would leave here and now.

        If a switch was asked for since the point was come to, its other positions may leave other states:
        then nobody knows without a run.
        """
        if self._states is None or not point.first:
            return
        if not all(each.name.startswith(CRASH) for each in self.taken[point.at + 1 :]):
            return
        taken = self.taken[point.at]
        if death not in taken.options:
            return
        try:
            index, state = taken.options.index(death), self._states.now(self._rest)
        except Opaque as error:
            self.spoilt = error
            raise
        states = [*(taken.states or [None] * len(taken.options))]
        states[index] = state
        met = not self._states.is_new(state, self._crashes_left - 1)
        self.taken[point.at] = replace(
            taken, states=tuple(states), merged=taken.merged | ({index} if met else set())
        )

    def _died(self, life: "Life") -> None:
        """See what a death left.

        Raises:
            Merged: a state that is followed elsewhere.
            NotRepeatable: another one than was said.
        """
        if self._states is None:
            return
        assert life.died_at is not None
        taken, state = self.taken[life.died_at], self._states.left(self._rest)
        said = taken.states[taken.index] if taken.states else None
        if said is None:
            first = len(self.taken) >= len(self._forced)
            if first and not self._states.is_new(state, self._crashes_left):
                self.merged = True
                raise Merged(str(taken))
            return
        try:
            same(said, state, str(taken))
        except NotRepeatable as error:
            self.spoilt = error
            raise

    def _take(self, name: str, options: tuple[str, ...], about: str = "") -> int:
        at = len(self.taken)
        if at >= self._most_choices:
            self.spoilt = TooLong(f"more than {at} choices: does it end? raise most_choices if it does")
            raise self.spoilt
        index = 0
        if at < len(self._forced):
            forced = self._forced[at]
            if (forced.name, forced.options) != (name, options):
                self.spoilt = NotRepeatable(
                    f"choice {at + 1} was {forced.name} of {forced.options} before and is {name} of {options}"
                )
                raise self.spoilt
            self.taken.append(forced)  # with what is known of the states that it leaves
            return forced.index
        if name in self._named:
            wanted = self._named.pop(name)
            if wanted not in options:
                self.spoilt = NotThisPath(f"{name} has no option {wanted}; it has {', '.join(options)}")
                raise self.spoilt
            index = options.index(wanted)
        self.taken.append(Taken(name, options, index, about))
        return index


@dataclass(frozen=True, slots=True)
class Point:
    """A call that a process may die at."""

    fate: str
    at: int = -1
    """The place among the choices of the run; -1: none had to be made."""
    first: bool = False
    """Whether the walk comes to it for the first time."""


class Life:
    """What one process has of the world; when it dies, none of it works again."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.death = asyncio.Event()
        self.died_at: int | None = None
        """The choice that it died of."""
        self._under_way = 0
        self._stuck: set[asyncio.Task[Any]] = set()

    async def end(self, *tasks: asyncio.Future[Any]) -> None:
        """Cancel tasks, and those in which a call of the dead process hangs."""
        ending = [*tasks, *self._stuck]
        for each in ending:
            each.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    @property
    def dead(self) -> bool:
        """Whether the process has died."""
        return self.death.is_set()

    def transport(self, inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        """The process's hold on the network: each request is a call it may die at."""
        return _MortalTransport(self, inner)

    def port(self, port: P, name: str) -> P:
        """The process's hold on any object with async methods: each of their calls is one it may die at.

        An async generator is one call: the process may die before its first item or after its last.
        """
        return cast("P", _MortalPort(self, port, name))

    async def call(self, about: str, go: Callable[[], Awaitable[T]]) -> T:
        """Make one call out of the process.

        Raises:
            httpx.ConnectError: the process is dead.
        """
        point = await self._begin(about)
        try:
            try:
                result = await go()
            except Exception:
                await self._end(point)
                raise
            await self._end(point)
            return result
        finally:
            self._under_way -= 1

    async def _begin(self, about: str) -> Point:
        if self.dead:
            raise httpx.ConnectError("the process is dead")
        point = self._run.point(about)
        if point.fate == _BEFORE:
            await self._die(point)
        if not self._under_way:
            self._run.tell(point, "before")
        self._under_way += 1
        return point

    async def _end(self, point: Point) -> None:
        if self.dead:  # another call of the process died meanwhile
            await self._hang()
        if point.fate == _AFTER:
            await self._die(point)
        await self._run.settle()
        if self._under_way == 1:
            self._run.tell(point, "after")

    async def _die(self, point: Point) -> None:
        self.died_at = point.at
        self.death.set()
        await self._hang()

    async def _hang(self) -> None:
        """Nothing of a dead process goes on; whoever waits here is cancelled at its end."""
        task = asyncio.current_task()
        assert task is not None
        self._stuck.add(task)
        await asyncio.Event().wait()


class _MortalTransport(httpx.AsyncBaseTransport):
    def __init__(self, life: Life, inner: httpx.AsyncBaseTransport) -> None:
        self._life = life
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async def go() -> httpx.Response:
            response = await self._inner.handle_async_request(request)
            # Read here: a call is over when its answer is there, and not when its headers are.
            assert isinstance(response.stream, httpx.AsyncByteStream)
            body = b"".join([part async for part in response.stream])
            await response.aclose()
            return httpx.Response(
                response.status_code, headers=response.headers, stream=httpx.ByteStream(body)
            )

        # Without the query: a scenario's paths must not carry a webhook's code.
        return await self._life.call(f"{request.method} {request.url.host}{request.url.path}", go)


class _MortalPort:
    def __init__(self, life: Life, port: Any, name: str) -> None:
        self._life = life
        self._port = port
        self._name = name

    def __getattr__(self, member: str) -> Any:
        value = getattr(self._port, member)
        life, about = self._life, f"{self._name}.{member}"
        if inspect.isasyncgenfunction(value):

            async def items(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                point = await life._begin(about)  # noqa: SLF001  two halves of one call
                try:
                    async for item in value(*args, **kwargs):
                        life._under_way -= 1  # noqa: SLF001  it is the process's turn, nothing is sent
                        try:
                            yield item
                        finally:
                            life._under_way += 1  # noqa: SLF001
                    await life._end(point)  # noqa: SLF001
                finally:
                    life._under_way -= 1  # noqa: SLF001

            return items
        if inspect.iscoroutinefunction(value):

            async def call(*args: Any, **kwargs: Any) -> Any:
                return await life.call(about, lambda: value(*args, **kwargs))

            return call
        return value


def _label(option: Any) -> str:
    return option if isinstance(option, str) else repr(option)
