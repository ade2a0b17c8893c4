"""The events that time brings: near expiry and expiry of current versions, by the world's clock."""

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from local.vault.behaviour import VaultBehaviour
from local.vault.events import EXPIRED, NEAR_EXPIRY
from local.vault.store import Secret, Secrets, State, Version
from local.world import World

Raise = Callable[[str, Secret, Version], None]

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Due:
    """An event that time will bring, unless the version is another by then."""

    when: float
    """Seconds since 1970."""
    kind: str
    name: str
    """Of the secret."""
    version: str


class ExpiryWatch:
    """Raises each event once for a version, when its time has come or, if that had passed, soon.

    It sleeps on the world's clock and decides by what that says when it wakes, so a clock that jumps far
    ahead, or that oversleeps, only makes events late; none is lost or doubled, and they come in the order
    of their times.
    """

    def __init__(self, secrets: Secrets, world: World, behaviour: VaultBehaviour, emit: Raise) -> None:
        self._secrets = secrets
        self._world = world
        self._behaviour = behaviour
        self._emit = emit
        self._order = itertools.count()
        self._due: list[tuple[float, int, str, str, str]] = []
        self._raised: set[tuple[str, str]] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def consider(self, secret: Secret) -> None:
        """Take up a secret that was set, updated or recovered."""
        version = secret.current
        if version.expires is not None:
            now = self._now()
            # One on its way back must be there when its event looks for it.
            back = now if secret.until is None else secret.until.timestamp() + 1
            for kind, due in self._times(version):
                when = max(due if due > now else now + self._behaviour.late_event_seconds, back)
                heapq.heappush(self._due, (when, next(self._order), kind, secret.name, version.id))
            self._changed.set()
        self.run()

    def run(self) -> None:
        """Start watching, if that has not happened and an event loop runs."""
        if self._task is None or self._task.done():
            with contextlib.suppress(RuntimeError):  # no loop yet: the first request starts it
                self._task = asyncio.get_running_loop().create_task(self._watch())

    def due(self) -> list[Due]:
        """The events to come, in the order they will."""
        return [Due(when, kind, name, version) for when, _, kind, name, version in sorted(self._due)]

    def raised(self) -> Iterable[tuple[str, str]]:
        """Kind and version of the events that have been raised."""
        return frozenset(self._raised)

    def restore_due(self, due: Due) -> None:
        """Expect an event that was to come in an earlier life of this vault."""
        heapq.heappush(self._due, (due.when, next(self._order), due.kind, due.name, due.version))
        self._changed.set()

    def restore_raised(self, kind: str, version: str) -> None:
        """Take it that an event was raised in an earlier life of this vault."""
        self._raised.add((kind, version))

    async def aclose(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _now(self) -> float:
        """A millisecond ahead, so that what rounding makes a little early counts as due."""
        return self._world.clock.now().timestamp() + 0.001

    def _times(self, version: Version) -> list[tuple[str, float]]:
        """Both events of a version with the times their rule gives."""
        expires = float(version.expires or 0)
        near = expires - self._behaviour.near_expiry_days * _DAY
        return [(NEAR_EXPIRY, near), (EXPIRED, expires)]

    async def _watch(self) -> None:
        while True:
            self._changed.clear()
            self._raise_due()
            await self._until_next()

    async def _until_next(self) -> None:
        if not self._due:
            await self._changed.wait()
            return
        seconds = max(self._due[0][0] - self._now(), 0.0)
        sleep = asyncio.ensure_future(self._world.clock.sleep(seconds))
        change = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((sleep, change), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (sleep, change):
                each.cancel()
            await asyncio.gather(sleep, change, return_exceptions=True)

    def _raise_due(self) -> None:
        now = self._now()
        while self._due and self._due[0][0] <= now:
            _, _, kind, name, version_id = heapq.heappop(self._due)
            found = self._still(kind, name, version_id, now)
            if found is not None and (kind, version_id) not in self._raised:
                self._raised.add((kind, version_id))
                self._emit(kind, *found)

    def _still(self, kind: str, name: str, version_id: str, now: float) -> tuple[Secret, Version] | None:
        """The secret and version, if the event still says the truth of them."""
        secret = self._secrets.find(name)
        if secret is None or secret.state is not State.LIVE or secret.current_id != version_id:
            return None
        version = secret.current
        if version.expires is None or dict(self._times(version))[kind] > now:
            return None  # an update moved it; the update was considered too
        if version.expiry_patched and not self._behaviour.patched_exp_counts:
            return None
        if not version.enabled and not self._behaviour.disabled_raises_events:
            return None
        if kind == NEAR_EXPIRY and version.expires <= now:
            return None  # it has expired, which is told by the other event
        return secret, version
