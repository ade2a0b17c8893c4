"""A whole decommissioning under every crash before and after any call it makes, and under every switch."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from lifecycle.enrollments import change as changes
from local.explore import Life, Run, Scenario, explore
from local.switches import Switches
from tests.lifecycle.decommission.rig import GROUP, TOLD, DecommissionRig
from tests.lifecycle.enrollments.rig import HUBS, KEYS, WEBHOOK, group
from tests.lifecycle.explored import Shard, forgetful, in_halves, live, walked
from tests.lifecycle.purge.rig import Journal

QUICK = replace(TOLD, policy=replace(TOLD.policy, keep_tags=()))
WORDING = ("dps.put_update_returns_keys", "hub.capital_thumbprints", "hub.numbered_errors")
"""Switches of how things are written, not of what happens."""


async def built(switches: Switches | None = None) -> DecommissionRig:
    """Two quiet devices, one with an enrollment of its own, and a live device of another group.

    While the group is deleted one device comes back in vain, and one gets a place in the other group.
    """
    rig = DecommissionRig(switches)
    rig.webhook_url = WEBHOOK
    await changes.create(rig.groups(), group(enrollmentGroupId=GROUP))
    await rig.group("line-b")
    await rig.individual("own")
    rig.record("live", "line-b", seen=timedelta(hours=1))
    for name in ("quiet", "mover", "own"):
        rig.record(name)
    met: list[str] = []

    async def meanwhile(request: httpx.Request) -> None:
        if request.method == "DELETE" and request.url.path.startswith("/enrollmentGroups/") and not met:
            met.append("now")
            rig.record("quiet", status="disabled", age=timedelta(), hub=None)
            rig.record("mover", "line-b", seen=timedelta(), age=timedelta())

    rig.before.append(meanwhile)
    return rig


async def check(rig: DecommissionRig) -> None:
    """What an uninterrupted run leaves, each change made once."""
    assert rig.broken == []
    assert not rig.group_there()
    assert rig.group_there("line-b")
    assert await rig.kept() == KEYS
    assert rig.there("live")
    assert rig.there("own")
    assert rig.there("mover")
    assert not rig.there("quiet")
    assert rig.identity(HUBS[0], "quiet") is not None
    assert max(Counter(rig.deletes).values()) == 1
    went = await rig.went()
    assert went == ["mover", "quiet", "quiet"]
    versions = [(each.id, each.document["etag"]) for each in await rig.archived()]
    assert len(set(versions)) == len(versions)
    assert await rig.rows_left() == []


def scenario(switches: Callable[[Run], Switches | None] = lambda _: None) -> Scenario:
    async def run(run: Run) -> None:
        rig = forgetful(await built(switches(run)))
        try:

            async def process(life: Life) -> None:
                ports = rig.of(life.transport(Journal(rig)), life.port(rig.memory, "table"))
                row = await rig.decommission(QUICK, ports=ports)
                assert row.result["groupDeleted"] is True

            await live(run, rig, process)
            await check(rig)
        finally:
            await rig.aclose()

    return run


def settled(run: Run) -> Switches:
    """All switches but those of wording."""
    switches = Switches(run)
    for name in WORDING:
        switches.set(name, False)
    return switches


async def test_no_single_crash_loses_a_step_or_repeats_one() -> None:
    report = await explore(scenario())
    report.check()
    assert report.runs > 150


@pytest.mark.soak
@in_halves
async def test_no_single_crash_under_any_switch_loses_a_step_or_repeats_one(shard: Shard) -> None:
    await walked(scenario(settled), shard=shard)


@pytest.mark.soak
@in_halves
async def test_no_pair_of_crashes_loses_a_step_or_repeats_one(shard: Shard) -> None:
    await walked(scenario(), crashes=2, shard=shard)


async def test_no_switch_of_the_services_hurts_a_device() -> None:
    report = await explore(scenario(settled), crashes=0)
    report.check()
    assert {"dps.orphans_queryable", "dps.mask_webhook_url_on_get"} <= report.consulted.keys()
