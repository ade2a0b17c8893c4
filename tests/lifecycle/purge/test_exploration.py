"""A whole run of the purge under every crash before and after any call it makes, and under every switch."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta

import httpx
import pytest

from clients.errors import NotFound
from lifecycle.purge.marks import Mark, Marks
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.rules import Reason
from local.explore import Life, Run, Scenario, explore
from local.hub import migrate
from local.switches import Switches
from tests.lifecycle.enrollments.rig import HUBS
from tests.lifecycle.explored import Shard, forgetful, in_halves, live, walked
from tests.lifecycle.purge.hub_events import event_grid, note
from tests.lifecycle.purge.rig import HUB_A, NAME, POLICY, Journal, PurgeRig, aged

WORLD = aged(POLICY, keep_tags=())


async def built(switches: Switches | None = None) -> PurgeRig:
    """A live device, one whose device is gone, and an orphan; the last two marked long enough ago."""
    rig = PurgeRig(switches)
    await rig.group("line-a")
    await rig.group("old-line")
    rig.record("live", seen=timedelta(hours=1))
    rig.record("stale", device=False)
    rig.record("orphan", "old-line", device=False)
    rig.record("orphan-live", "old-line", seen=timedelta(hours=1))
    await rig.remember("old-line", "orphan", "orphan-live")
    await rig.drop_group("old-line")
    return rig


async def marked(rig: PurgeRig) -> None:
    """As an earlier run would have left it."""
    marks, when = Marks(rig.memory, NAME), rig.now - timedelta(days=3)
    for name, group, reason in (
        ("stale", "line-a", Reason.DEVICE_GONE),
        ("orphan", "old-line", Reason.ORPHAN),
    ):
        record = rig.service.registration(name)
        assert record is not None
        await marks.put(Mark(name, name, group, reason, record.etag, HUB_A, when, "purge-1", "purge-1:1:0"))


async def check(rig: PurgeRig, *, orphan: bool = True) -> None:
    """What went is what was to go, each once, and written down once."""
    assert rig.there("live")
    assert rig.there("orphan-live")
    assert not rig.there("stale")
    assert rig.there("orphan") is not orphan
    assert max(Counter(rig.deletes).values(), default=0) <= 1
    gone = [each.id for each in await rig.archived() if each.outcome in ("deleted", "gone")]
    assert sorted(gone) == (["orphan", "stale"] if orphan else ["stale"])
    assert await rig.marks() == {}
    assert [row.key async for row in rig.memory.scan(f"{NAME}|purge|listed|purge-2")] == []


def scenario(policy: PurgePolicy = WORLD) -> Scenario:
    async def run(run: Run) -> None:
        rig = forgetful(await built())
        try:
            await marked(rig)

            async def process(life: Life) -> None:
                await rig.purge(
                    "purge-2",
                    policy,
                    ports=rig.ports(life.transport(Journal(rig)), life.port(rig.memory, "table")),
                )

            await live(run, rig, process)
            await check(rig)
        finally:
            await rig.aclose()

    return run


async def test_no_single_crash_loses_a_delete_or_repeats_one() -> None:
    report = await explore(scenario())
    report.check()
    assert report.runs > 100


@pytest.mark.soak
@in_halves
async def test_no_pair_of_crashes_loses_a_delete_or_repeats_one(shard: Shard) -> None:
    await walked(scenario(), crashes=2, shard=shard)


async def test_no_switch_of_the_services_hurts_a_live_device() -> None:
    async def run(run: Run) -> None:
        rig = await built(Switches(run))
        try:
            for number in range(1, 3):
                await rig.purge(f"purge-{number}", WORLD)
                await rig.wait(days=3)
            await check(rig)
        finally:
            await rig.aclose()

    report = await explore(run, crashes=0)
    report.check()
    assert report.runs > 16


CONSULTED = {
    "dps.continuation_lifetime",
    "dps.max_page_size",
    "dps.orphans_queryable",
    "hub.max_page_size",
    "hub.move_sends_deleted",
    "hub.query_ghosts",
    "hub.query_lag",
}


async def moved(rig: PurgeRig) -> None:
    """DPS moves a device; the hub that it left may say that it was deleted, twice, and queries may lag."""
    a, b = rig.at(HUBS[0]), rig.at(HUBS[1])
    migrate("live", a, b, keys=a.new_keys(), now=rig.now)
    rig.record("live", hub=HUBS[1], seen=timedelta(0))
    for device, hub in rig.deletions * 2:
        await note(rig, event_grid(device, hub.partition(".")[0]))


async def test_no_combination_of_unknown_behaviours_hurts_a_live_device_or_spares_a_stale_one() -> None:
    """Orphans out of reach, small pages, tokens that expire, moves that delete, queries that lag."""

    async def run(run: Run) -> None:
        switches = Switches(run)
        for name in ("hub.capital_thumbprints", "hub.numbered_errors"):  # walked above
            switches.set(name, False)
        rig = await built(switches)
        try:
            for number in range(6):  # so that small pages are several
                rig.record(f"silent-{number}", hub=HUBS[1])

            async def slowly(request: httpx.Request) -> None:
                """A group's second page is asked for late, once."""
                if "x-ms-continuation" in request.headers and request.url.host == rig.service.host_name:
                    rig.before.clear()
                    await rig.wait(seconds=61)

            with suppress(NotFound):  # an operator looks, which a purge never relies on
                _ = [page async for page in rig.dps().registrations.pages("old-line", size=100)]
            await rig.purge("purge-1", WORLD)
            await rig.wait(days=3)
            await moved(rig)
            rig.before.append(slowly)
            await rig.purge("purge-2", WORLD)
            await check(rig)
            assert sum(rig.there(f"silent-{number}") for number in range(6)) == 6
        finally:
            await rig.aclose()

    report = await explore(run, crashes=0)
    report.check()
    assert report.consulted.keys() == CONSULTED
    assert report.complete
