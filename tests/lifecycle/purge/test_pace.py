"""How a purge uses its share of DPS's rate, on the emulated clock."""

from collections import Counter
from datetime import timedelta

import httpx

from lifecycle.jobs import Terms, tick
from lifecycle.purge.job import create
from lifecycle.purge.marks import Mark, Marks
from lifecycle.purge.rules import Reason
from local.dps.limits import Throttle
from tests.lifecycle.enrollments.rig import HUBS
from tests.lifecycle.purge.rig import HUB_A, NAME, POLICY, PurgeRig, aged

SHARE = 600
"""Calls a minute: 60 % of 1,000."""

WHOLE_MINUTES = Terms(slice_seconds=58)


class Paced:
    """A DPS of 1,000 calls a minute, for everybody."""

    def __init__(self, rig: PurgeRig, records: int) -> None:
        self.rig = rig
        self.records = records
        self.minutes: Counter[int] = Counter()
        self.begun = 0.0

    async def count(self, request: httpx.Request) -> None:
        if request.url.host == self.rig.service.host_name:
            self.minutes[int((self.rig.clock.monotonic() - self.begun) // 60)] += 1

    async def run(self, minutes: int) -> None:
        rig, policy = self.rig, aged(POLICY, keep_tags=(), most=1_000_000)
        await rig.group("line-a")
        marks, when = Marks(rig.memory, NAME), rig.now - timedelta(days=3)
        for number in range(self.records):
            name = f"d{number:05}"
            rig.record(name, device=False)
            record = rig.service.registration(name)
            assert record is not None
            await marks.put(
                Mark(name, name, "line-a", Reason.DEVICE_GONE, record.etag, HUB_A, when, "p-0", "")
            )
        rig.before.append(self.count)
        self.begun = rig.clock.monotonic()
        kind, store, rates = rig.kind(rig.ports())
        await create(store, "purge-1", policy, by="test", dry_run=False)
        for minute in range(1, minutes + 1):
            await tick([kind], store, rates, rig.told, terms=WHOLE_MINUTES)
            await rig.clock.advance(max(0.0, self.begun + 60 * minute - rig.clock.monotonic()))


async def test_a_purge_uses_its_share_and_no_more_and_provokes_no_429() -> None:
    rig = PurgeRig(units=dict.fromkeys(HUBS, 1_000))
    throttle = Throttle(1_000, 60.0, rig.clock)

    async def limited(request: httpx.Request) -> None:
        if request.url.host == rig.service.host_name:
            throttle.take()  # raises where it is too much

    rig.before.append(limited)
    paced = Paced(rig, 2_000)
    await paced.run(6)
    busy = [paced.minutes[minute] for minute in range(1, 5)]
    assert min(busy) >= 0.95 * SHARE, busy
    assert max(paced.minutes.values()) <= SHARE


async def test_one_unit_of_a_hub_bounds_how_fast_its_records_go() -> None:
    rig = PurgeRig()
    paced = Paced(rig, 120)
    await paced.run(5)
    reads = rig.calls["hub-a", "GET", "devices"]
    assert 0.9 * 4 * 25 <= reads <= 5 * 25
