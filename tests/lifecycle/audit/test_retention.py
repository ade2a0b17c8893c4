"""Old audits go, the newest and those that are still needed stay."""

from dataclasses import replace

from lifecycle.audit.retention import forget_old_runs
from lifecycle.audit.runs import RunStore, Stored
from lifecycle.audit.snapshot import Snapshots
from tests.lifecycle.audit.engine_rig import DPS, HUBS, AuditRig


async def audits(count: int) -> AuditRig:
    """So many runs, a day apart, of a service with a fault."""
    rig = AuditRig()
    rig.fill(20, groups=1)
    rig.add_device(HUBS[0], "by-hand")
    for number in range(count):
        await rig.clock.advance(86_400)
        await rig.audit(f"audit:{number}")
    return rig


async def forgotten(rig: AuditRig, keep: int, seconds: float = 30.0) -> int:
    return await forget_old_runs(
        rig.tables.audit, DPS, keep=keep, clock=rig.clock, telemetry=rig.heard, seconds=seconds
    )


async def runs(rig: AuditRig) -> list[str]:
    return [run.id for run in await rig.store.runs()]


async def test_the_newest_audits_stay_and_older_ones_go_with_their_findings() -> None:
    rig = await audits(4)
    assert await forgotten(rig, 2) == 2
    assert await runs(rig) == ["audit:3", "audit:2"]
    for number, kept in enumerate((False, False, True, True)):
        assert bool([each async for each in rig.store.findings(f"audit:{number}", "")]) is kept
    assert rig.heard.of("audits_forgotten") == [{"dps": DPS, "runs": 2}]
    assert await forgotten(rig, 2) == 0
    assert len(rig.heard.of("audits_forgotten")) == 1


async def test_an_audit_whose_listing_is_a_groups_last_stays() -> None:
    rig = await audits(1)
    rig.service.store.groups.delete(next(iter(rig.service.store.groups)).key)
    for number in (1, 2, 3):
        await rig.clock.advance(86_400)
        await rig.audit(f"audit:{number}")
    assert {group.run for group in await Snapshots(rig.tables.audit, DPS).groups()} == {"audit:0"}
    assert await forgotten(rig, 2) == 1
    assert await runs(rig) == ["audit:3", "audit:2", "audit:0"]


async def test_an_audit_that_has_not_ended_stays() -> None:
    rig = await audits(3)
    [newest, *_] = await rig.store.runs()
    started = replace(newest, id="audit:open", ended=None, started=newest.started.replace(year=2025))
    await RunStore(rig.tables.audit, DPS).begin(Stored(started))
    assert await forgotten(rig, 2) == 1
    assert "audit:open" in [each.run.id async for each in rig.store.all(10)]


async def test_what_there_was_no_time_for_goes_the_next_time() -> None:
    rig = await audits(4)
    assert await forgotten(rig, 2, seconds=0.0) == 0
    assert await forgotten(rig, 2) == 2
