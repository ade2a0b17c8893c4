"""Devices that register again and again, whatever else goes on, each with the key that it has."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx

from local.clients import CallFailedError, Device
from local.demo.judge import Check

PAUSE_SECONDS = 0.5
"""Between two rounds."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A registration that was not to be."""

    device: str
    slot: str
    why: str


@dataclass(slots=True)
class Traffic:
    """Rounds of registrations: in each, every device of the fleet registers once.

    Attributes:
        http: the devices' way to DPS.
        id_scope: of the DPS.
        fleet: device id -> the device with its present key.
        slots: device id -> the slot that its key was derived from.
    """

    http: httpx.AsyncClient
    id_scope: str
    fleet: dict[str, Device] = field(default_factory=dict)
    slots: dict[str, str] = field(default_factory=dict)
    assigned: Counter[str] = field(default_factory=Counter)
    """Slot -> registrations that ended well, since the last look."""
    refused: list[Refused] = field(default_factory=list)
    """The others, since the last look."""
    _gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    _rounds: asyncio.Condition = field(default_factory=asyncio.Condition)
    _done: int = 0

    def give(self, device: Device, slot: str) -> None:
        """A device has this key from now on."""
        self.fleet[device.registration_id] = device
        self.slots[device.registration_id] = slot

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Within the block devices register all the time."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @asynccontextmanager
    async def resting(self) -> AsyncIterator[None]:
        """Within the block nobody registers: a token does not outlive the days that pass in it."""
        async with self._gate:
            yield

    async def rounds(self, count: int = 1) -> None:
        """Wait until so many rounds began and ended from now on."""
        async with self._rounds:
            until = self._done + count + 1  # the one under way began before
            await self._rounds.wait_for(lambda: self._done >= until)

    def seen(self) -> tuple[Mapping[str, int], list[Refused]]:
        """What came of registrations since the last look."""
        told = dict(self.assigned), list(self.refused)
        self.assigned.clear()
        self.refused.clear()
        return told

    async def _run(self) -> None:
        while True:
            async with self._gate:
                await asyncio.gather(*map(self._register, tuple(self.fleet.values())))
            async with self._rounds:
                self._done += 1
                self._rounds.notify_all()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _register(self, device: Device) -> None:
        name, slot = device.registration_id, self.slots[device.registration_id]
        try:
            state = await device.register(self.http, self.id_scope)
        except CallFailedError as error:
            self.refused.append(Refused(name, slot, f"status {error.status}"))
            return
        if state["status"] == "assigned":
            self.assigned[slot] += 1
        else:
            self.refused.append(Refused(name, slot, state["status"]))


def nobody_refused(promise: str, assigned: Mapping[str, int], refused: list[Refused]) -> Check:
    """Devices registered, and not one of them was turned away."""
    counts = ", ".join(f"{count} by the {slot} key" for slot, count in sorted(assigned.items()))
    told = f"{counts or 'none'}; {len(refused)} refused"
    if refused:
        first = refused[0]
        told += f", as {first.device} with the {first.slot} key: {first.why}"
    return Check(promise, bool(assigned) and not refused, told)
