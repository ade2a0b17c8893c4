"""What a pass listed is acted on while it is fresh: after a rest, or a day of deleting, it lists again."""

from datetime import timedelta

import httpx

from lifecycle.jobs import State, show, tick
from lifecycle.purge.job import create
from lifecycle.purge.marks import Mark, Marks
from lifecycle.purge.rules import Reason
from lifecycle.purge.state import EVIDENCE, IDLE
from lifecycle.purge.state import State as Checkpoint
from lifecycle.purge.survey import RESTARTS
from local.explore import Life, Run
from local.explore.paths import CRASH
from tests.lifecycle.enrollments.rig import HUBS
from tests.lifecycle.purge.rig import HUB_A, NAME, POLICY, Given, Journal, PurgeRig, aged

WORLD = aged(POLICY, keep_tags=())


class Resting:
    """A run over records whose hub allows 25 looks a minute, so that it takes several slices."""

    def __init__(self, records: int) -> None:
        self.rig = PurgeRig()
        self.names = [f"d{number:03}" for number in range(records)]
        self.listings: list[int] = []
        """Deletes that were made when each listing of a group's records was asked for."""

    async def begin(self) -> None:
        rig = self.rig
        await rig.group("line-a")
        for name in self.names:
            rig.record(name, device=False)
            await self.mark(name)

        async def listed(request: httpx.Request) -> None:
            if request.url.path == "/registrations/line-a/query":
                self.listings.append(len(rig.deletes))

        rig.before.append(listed)
        self.kind, self.store, self.rates = rig.kind(rig.ports())
        await create(self.store, "purge-1", WORLD, by="test", dry_run=False)

    async def mark(self, name: str, age: timedelta = timedelta(days=3)) -> None:
        record = self.rig.service.registration(name)
        assert record is not None
        mark = Mark(name, name, "line-a", Reason.DEVICE_GONE, record.etag, HUB_A, self.rig.now - age, "p", "")
        await Marks(self.rig.memory, NAME).put(mark)

    async def tick(self) -> State:
        await tick([self.kind], self.store, self.rates, self.rig.told)
        return (await show(self.store, "purge-1")).state

    async def until_deleting(self) -> None:
        while not self.rig.deletes:
            assert await self.tick() is State.WAITING
            await self.rig.wait(minutes=1)
        assert len(self.rig.deletes) < len(self.names)

    async def end(self, **pause: float) -> None:
        while await self.tick() is not State.DONE:
            await self.rig.wait(**pause or {"minutes": 1})


async def test_a_run_that_rested_lists_everything_again_before_it_deletes_on() -> None:
    run = Resting(60)
    await run.begin()
    await run.until_deleting()
    gone, rig = len(run.rig.deletes), run.rig
    left = [name for name in run.names if rig.there(name)]
    await rig.wait(seconds=IDLE.total_seconds() + 60)
    for name in left[::2]:  # somebody keeps them now, which only listings can tell
        await rig.individual(name)
    for name in left[1::2]:
        rig.device(name, HUBS[1], seen=None)
    await run.end()
    assert run.listings.count(gone) == 1
    assert len(rig.deletes) == gone
    assert all(rig.there(name) for name in left)


async def test_a_run_that_deletes_for_longer_than_a_day_lists_again_in_between() -> None:
    run = Resting(200)
    await run.begin()
    await run.end(hours=5)
    assert len(run.rig.deletes) == len(run.names)
    between = [count for count in run.listings if 0 < count < len(run.names)]
    assert between, "each slice came five hours after the last: never idle, and more than a day in all"
    assert EVIDENCE > IDLE > timedelta(hours=5)


async def test_a_chunk_that_was_broken_off_long_ago_is_closed_and_nothing_of_it_deleted_unseen() -> None:
    run = Resting(3)
    await run.begin()
    rig = run.rig

    async def broken(request: httpx.Request) -> None:
        """One delete gets through; then DPS is away."""
        if request.method == "DELETE" and rig.deletes:
            raise httpx.ConnectError("no route")

    rig.before.append(broken)
    while not rig.deletes:
        await run.tick()
        await rig.wait(minutes=1)
    rig.before.remove(broken)
    await rig.wait(seconds=IDLE.total_seconds() + 60)
    left = [name for name in run.names if rig.there(name)]
    for name in left:
        await rig.individual(name)
    await run.end()
    assert all(rig.there(name) for name in left)
    assert sorted(each.outcome or "" for each in await rig.archived()) == ["gone", "left", "left"]


async def failing(run: Run) -> None:
    """A listing is refused until the run gives up; another life of it would find DPS well again."""
    rig = PurgeRig(Given(dps={"max_page_size": 3, "continuation_lifetime": 60.0}))
    refused = 0

    async def late(request: httpx.Request) -> None:
        nonlocal refused
        if "x-ms-continuation" in request.headers and refused < RESTARTS + 1:
            refused += 1
            await rig.clock.advance(61)

    try:
        await rig.group("line-a")
        await rig.individual("d0", provisioningStatus="disabled")
        marks = Marks(rig.memory, NAME)
        for number in range(4):
            rig.record(f"d{number}", device=False)
        record = rig.service.registration("d0")
        assert record is not None
        at = rig.now - timedelta(days=9)
        await marks.put(Mark("d0", "d0", "line-a", Reason.DEVICE_GONE, record.etag, HUB_A, at, "p", ""))
        rig.before.append(late)

        async def process(life: Life) -> None:
            ports = rig.ports(life.transport(Journal(rig)), life.port(rig.memory, "table"))
            await rig.purge("purge-1", WORLD, ports=ports, ends=frozenset({State.FAILED, State.DONE}))

        await run.live(process)
        assert rig.deletes == []
        assert [row.key async for row in rig.memory.scan(f"{NAME}|purge|listed|purge-1")] == []
    finally:
        await rig.aclose()


async def test_a_run_that_gave_up_and_died_gives_up_again_and_acts_on_no_half_listing() -> None:
    whole = Run(crashes=1)
    await failing(whole)
    last = len(whole.taken)
    for call in range(last - 9, last + 1):
        await failing(Run(named={f"{CRASH}{call}": "before"}, crashes=1))


async def test_a_run_ends_with_a_whole_pass_that_finds_nothing_to_do() -> None:
    run = Resting(3)
    await run.begin()
    await run.end()
    assert run.listings == [0, 3]
    assert await run.rig.marks() == {}


async def test_what_becomes_due_during_a_run_is_left_to_the_next() -> None:
    """Or a fleet that loses a device now and then would have a run that never ends."""
    run = Resting(60)
    await run.begin()
    await run.mark("d059", age=timedelta(days=POLICY.quarantine_days) - timedelta(seconds=30))
    await run.end()
    assert run.rig.there("d059")
    assert set(await run.rig.marks()) == {"d059"}
    assert len(run.rig.deletes) == 59


def test_a_checkpoint_of_before_reads_as_one_that_never_rested() -> None:
    old = Checkpoint().document()
    for name in ("saved", "weighed", "calls", "recorded"):
        del old[name]
    now = run_at = PurgeRig().now
    assert not Checkpoint.read(old).outdated(now)
    rested = Checkpoint(saved=(run_at - IDLE - timedelta(seconds=1)).isoformat())
    assert rested.outdated(now)
    rested.phase = "end"
    assert not rested.outdated(now)
