"""What queries see of a hub's devices: the registry itself, or a picture of it that comes late."""

import heapq
import itertools
from collections import deque
from typing import NamedTuple, Protocol

from local.dps.ordering import Ordering, Page
from local.hub import IotHub
from local.iothub.behaviour import HubBehaviour
from local.iothub.packing import unpack
from local.world import Clock


class Index(Protocol):
    """Packed devices to query."""

    def __len__(self) -> int:
        """How many there are."""

    def packed(self, device_id: str) -> bytes | None:
        """One of them."""

    def page(self, after: int, limit: int) -> Page[bytes]:
        """Up to `limit` of them behind a position."""


def index_of(hub: IotHub, clock: Clock, behaviour: HubBehaviour) -> Index:
    """The index of a hub.

    A plain behaviour without lags needs no picture. A stand-in, whose switches are resolved as they are
    read, is asked at the first query.
    """
    if type(behaviour) is HubBehaviour and max(behaviour.query_lag, behaviour.query_ghosts) <= 0:
        return hub.devices
    return LateIndex(hub, clock, behaviour)


class _Change(NamedTuple):
    at: float
    device_id: str
    before: bytes | None
    after: bytes | None


class LateIndex:
    """A picture of a hub's devices to which each change comes some seconds late.

    Until the first query changes are only noted; then it is known how late each is to be seen.
    """

    def __init__(self, hub: IotHub, clock: Clock, behaviour: HubBehaviour) -> None:
        self._hub = hub
        self._clock = clock
        self._behaviour = behaviour
        self._noted: deque[_Change] = deque()
        self._picture: _Picture | None = None
        self._on_time = False
        hub.watch(self._note)

    def __len__(self) -> int:
        return len(self._seen())

    def packed(self, device_id: str) -> bytes | None:
        """See `Index`."""
        return self._seen().packed(device_id)

    def page(self, after: int, limit: int) -> Page[bytes]:
        """See `Index`."""
        return self._seen().page(after, limit)

    def _note(self, device_id: str, before: bytes | None, after: bytes | None) -> None:
        change = _Change(self._clock.monotonic(), device_id, before, after)
        if self._picture is not None:
            self._picture.expect(change)
        elif not self._on_time:
            self._noted.append(change)

    def _seen(self) -> Index:
        if self._picture is None and not self._on_time:
            lag = self._behaviour.query_lag
            ghosts = max(lag, self._behaviour.query_ghosts)
            self._on_time = ghosts <= 0
            if not self._on_time:
                self._picture = _Picture(self._hub, lag, ghosts, self._noted)
            self._noted = deque()
        if self._picture is None:
            return self._hub.devices
        self._picture.catch_up(self._clock.monotonic())
        return self._picture


class _Picture:
    def __init__(self, hub: IotHub, lag: float, ghosts: float, changes: deque[_Change]) -> None:
        self._lag = lag
        self._ghosts = ghosts
        self._order = Ordering[bytes]()
        self._number = itertools.count()
        self._coming: list[tuple[float, int, _Change]] = []
        for packed in hub.devices.records():
            self._order.put(unpack(packed).identity.device_id, packed)
        for change in reversed(changes):  # back to how it was before the first of them
            self._show(change.device_id, change.before)
        for change in changes:
            self.expect(change)

    def __len__(self) -> int:
        return len(self._order)

    def packed(self, device_id: str) -> bytes | None:
        return self._order.get(device_id)

    def page(self, after: int, limit: int) -> Page[bytes]:
        return self._order.page(after, limit)

    def expect(self, change: _Change) -> None:
        due = change.at + (self._ghosts if change.after is None else self._lag)
        heapq.heappush(self._coming, (due, next(self._number), change))

    def catch_up(self, now: float) -> None:
        while self._coming and self._coming[0][0] <= now:
            change = heapq.heappop(self._coming)[2]
            # A deletion that comes to be seen after the device was made again is none.
            if change.after is not None or self._same_generation(change):
                self._show(change.device_id, change.after)

    def _show(self, device_id: str, packed: bytes | None) -> None:
        if packed is None:
            self._order.discard(device_id)
        else:
            self._order.put(device_id, packed)

    def _same_generation(self, change: _Change) -> bool:
        found = self._order.get(change.device_id)
        return found is not None and _generation(found) == _generation(change.before)


def _generation(packed: bytes | None) -> str | None:
    return None if packed is None else unpack(packed).identity.generation_id
