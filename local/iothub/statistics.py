"""How many devices a hub says it has, which need not be how many it has."""

import math
from collections import deque
from typing import Any, NamedTuple

from local.hub import IotHub
from local.iothub.behaviour import HubBehaviour
from local.iothub.packing import is_connected, is_enabled
from local.world import Clock

_GRAIN = 10
"""Moments a second that late counts tell apart: seeding a million devices must not fill the memory."""
_MOST_MOMENTS = 3600 * _GRAIN


class _Counts(NamedTuple):
    total: int
    peak: int
    """The most there ever were."""
    disabled: int


class Statistics:
    """Counts that are kept, not made: reading them costs nothing.

    The behaviour is asked when somebody reads; what it might want of the past hour is kept until then.
    """

    def __init__(self, hub: IotHub, clock: Clock, behaviour: HubBehaviour) -> None:
        self._clock = clock
        self._behaviour = behaviour
        self._total = self._peak = self._disabled = self._connected = 0
        for packed in hub.devices.records():
            self._count(packed, 1)
        self._peak = self._total
        self._late = self._now()
        self._coming: deque[tuple[int, _Counts]] = deque()
        hub.watch(self._note)

    def devices(self) -> dict[str, Any]:
        """The body of `GET /statistics/devices`."""
        lag = self._behaviour.statistics_lag
        counts = self._now() if lag <= 0 else self._as_of(self._clock.monotonic() - lag)
        total = counts.peak if self._behaviour.statistics_never_fall else counts.total
        return {
            "totalDeviceCount": total,
            "enabledDeviceCount": total - counts.disabled,
            "disabledDeviceCount": counts.disabled,
        }

    def service(self) -> dict[str, Any]:
        """The body of `GET /statistics/service`."""
        return {"connectedDeviceCount": self._connected}

    def _as_of(self, moment: float) -> _Counts:
        while self._coming and self._coming[0][0] <= moment * _GRAIN:
            self._late = self._coming.popleft()[1]
        return self._late

    def _note(self, _device_id: str, before: bytes | None, after: bytes | None) -> None:
        self._count(before, -1)
        self._count(after, 1)
        self._peak = max(self._peak, self._total)
        at = math.ceil(self._clock.monotonic() * _GRAIN)  # rounded up: never told too early
        if self._coming and self._coming[-1][0] == at:
            self._coming.pop()
        self._coming.append((at, self._now()))
        if len(self._coming) > _MOST_MOMENTS:
            self._late = self._coming.popleft()[1]

    def _count(self, packed: bytes | None, step: int) -> None:
        if packed is not None:
            self._total += step
            self._disabled += 0 if is_enabled(packed) else step
            self._connected += step if is_connected(packed) else 0

    def _now(self) -> _Counts:
        return _Counts(self._total, self._peak, self._disabled)
