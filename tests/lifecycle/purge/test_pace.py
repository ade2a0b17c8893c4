"""How a purge uses its shares of DPS's and the hubs' rates, on the emulated clock, ticked each minute."""

from collections import Counter
from datetime import timedelta

import httpx
import pytest

from lifecycle.enrollments import change as changes
from lifecycle.jobs import State, show, tick
from lifecycle.purge.job import create
from lifecycle.purge.marks import Mark, Marks
from lifecycle.purge.rules import Reason
from lifecycle.rates import PER_MINUTE, SHARES, Rate, adjusted
from local.dps.errors import DpsError
from local.dps.limits import Throttle
from local.iothub.service import HubService
from local.iothub.throttles import Budget, RateBudget
from tests.lifecycle.enrollments.rig import HUBS, group
from tests.lifecycle.purge.rig import HUB_A, NAME, PLAIN, POLICY, Journal, PurgeRig, aged

SHARE = 600
"""Calls a minute: 60 % of 1,000."""


class Limited(httpx.AsyncBaseTransport):
    """The way to a DPS that counts, answers 429 when it is too much, and has other users beside."""

    def __init__(self, rig: PurgeRig, *, limit: int = 1_000, others: int = 0) -> None:
        self.rig = rig
        self.minutes: Counter[int] = Counter()
        """Calls of the purge, by minute."""
        self.refused: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.storm = (0.0, 0.0)
        """From when to when every call is answered 429."""
        self._inner = Journal(rig)
        self._throttle = Throttle(limit, 60.0, rig.clock)
        self._others, self._made = others, 0
        self.begun = rig.clock.monotonic()

    @property
    def seconds(self) -> float:
        return self.rig.clock.monotonic() - self.begun

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == self.rig.service.host_name:
            while self._made < self.seconds * self._others / 60:
                self._made += 1
                self._take("others")
            self.minutes[int(self.seconds // 60)] += 1
            stormy = self.storm[0] <= self.seconds < self.storm[1]
            if not self._take("purge", refuse=stormy):
                return httpx.Response(429, headers=self.headers, json={"errorCode": 429001})
        return await self._inner.handle_async_request(request)

    def _take(self, who: str, *, refuse: bool = False) -> bool:
        try:
            if not refuse:
                self._throttle.take()
                return True
        except DpsError:
            pass
        self.refused[who] += 1
        return False


async def stale(rig: PurgeRig, records: int) -> None:
    """Records whose devices are gone, marked by an earlier run."""
    await changes.create(rig.groups(), group(**PLAIN, iotHubs=[HUBS[0]]))
    marks, when = Marks(rig.memory, NAME), rig.now - timedelta(days=3)
    for number in range(records):
        name = f"d{number:05}"
        rig.record(name, device=False)
        record = rig.service.registration(name)
        assert record is not None
        await marks.put(Mark(name, name, "line-a", Reason.DEVICE_GONE, record.etag, HUB_A, when, "p-0", ""))


async def ticks(rig: PurgeRig, minutes: int, way: httpx.AsyncBaseTransport | None = None) -> State:
    """The timer, as it is deployed: each minute, none while the one before is under way."""
    kind, store, rates = rig.kind(rig.ports(way))
    await create(store, "purge-1", aged(POLICY, keep_tags=(), most=1_000_000), by="test", dry_run=False)
    begun = rig.clock.monotonic()
    for minute in range(1, minutes + 1):
        await tick([kind], store, rates, rig.told)
        await rig.clock.advance(max(0.0, begun + 60 * minute - rig.clock.monotonic()))
    return (await show(store, "purge-1")).state


async def test_a_purge_uses_its_share_and_leaves_the_rest_to_others_without_a_429() -> None:
    rig = PurgeRig(units=dict.fromkeys(HUBS, 1_000))
    await stale(rig, 1_500)
    way = Limited(rig, others=1_000 - SHARE)
    await ticks(rig, 5, way)
    busy = [way.minutes[minute] for minute in range(1, 5)]
    assert min(busy) >= 0.95 * SHARE, busy
    assert max(way.minutes.values()) <= SHARE
    assert way.refused["others"] == 0
    assert way.refused["purge"] < 0.01 * sum(way.minutes.values())
    [made] = [fields["throttled"] for name, fields in rig.told.events if name == "purge_ended"] or [0]
    assert made == way.refused["purge"]


@pytest.mark.parametrize("retry_after", [None, 20])
async def test_a_storm_of_429s_slows_a_purge_which_recovers_and_ends_as_it_would_have(
    retry_after: int | None,
) -> None:
    rig = PurgeRig(units=dict.fromkeys(HUBS, 1_000), shares=adjusted(SHARES, {"purge": {Rate.DPS: 0.1}}))
    share, records = 100, 700
    await stale(rig, records)
    way = Limited(rig)
    way.storm, way.headers = (120.0, 300.0), {} if retry_after is None else {"retry-after": str(retry_after)}
    assert await ticks(rig, 24, way) is State.DONE
    before, during = way.minutes[1], [way.minutes[minute] for minute in (3, 4)]
    climbing = [way.minutes[minute] for minute in range(6, 9)]
    after = [way.minutes[minute] for minute in range(12, 15)]
    assert before >= 0.95 * share
    assert max(during) <= share / 5, "it keeps asking, far less often"
    assert climbing == sorted(climbing)
    assert climbing[0] < 0.75 * share, "its rate comes back over minutes, not at once"
    assert min(after) >= 0.95 * share
    assert max(way.minutes.values()) <= share
    assert len(rig.deletes) == len(set(rig.deletes)) == records
    assert Counter(each.outcome for each in await rig.archived()) == {"deleted": records}
    [ended] = [fields for name, fields in rig.told.events if name == "purge_ended"]
    assert ended["throttled"] == way.refused["purge"] > 0


async def test_one_unit_of_a_hub_bounds_how_fast_its_records_go() -> None:
    rig = PurgeRig()
    await stale(rig, 120)
    await ticks(rig, 5)
    reads = rig.calls["hub-a", "GET", "devices"]
    assert 0.9 * 4 * 25 <= reads <= 5 * 25


class Watched:
    """A hub's budget of registry operations as DPS sees it."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.taken = 0
        self.waited = 0

    def take(self, count: int = 1) -> float:
        wait = self._budget.take(count)
        self.taken += wait == 0
        self.waited += wait > 0
        return wait


async def test_a_purge_is_never_why_a_hub_lets_a_registration_of_dps_wait() -> None:
    """DPS takes from the same budget. It has all that the purge's share leaves, and needs all of it."""
    rig = PurgeRig()
    await stale(rig, 120)
    hub = HubService(rig.at(HUBS[0]), world=rig.service.world, throttled=True)
    rig.hubs[HUBS[0]] = hub
    rig.at(HUBS[0]).registry_budget = watched = Watched(hub.throttles.identity)
    per_minute = int(PER_MINUTE[Rate.HUB_REGISTRY] * (1 - SHARES["purge"][Rate.HUB_REGISTRY]))
    rest, made = RateBudget(per_minute, 60.0, rig.clock), 0

    async def registrations(_: httpx.Request) -> None:
        """Devices register as soon as the rest of the rate has room, all at once where it has much."""
        nonlocal made
        while rest.take() == 0:
            made += 1
            state = await rig.register(f"new-{made}")
            assert state["status"] == "assigned", state

    rig.before.append(registrations)
    await ticks(rig, 5)
    assert watched.waited == 0
    assert watched.taken == made >= 4 * per_minute
    assert rig.calls["hub-a", "GET", "devices"] >= 0.9 * 4 * 25
