"""Records of individual enrollments that are gone, and their devices with them: found by what was listed."""

from dataclasses import replace
from itertools import chain

import httpx
import pytest

from lifecycle.audit.finding import Source
from lifecycle.audit.ports import Limits
from lifecycle.audit.retention import forget_old_runs
from lifecycle.audit.snapshot import Snapshots
from lifecycle.jobs import State
from local.dps.records import Registration
from tests.lifecycle.audit.engine_rig import DPS, AuditRig
from tests.lifecycle.audit.test_engine import ORPHAN, Refusing

DAY = 86_400


async def audited_once(lost: int = 1) -> tuple[AuditRig, list[Registration]]:
    """A service that was audited, and then lost some individual enrollments with their devices."""
    rig = AuditRig()
    rig.fill(40, enrollments=16, groups=1)
    await rig.clock.advance(3 * 3600)
    assert await found(rig, "audit:0") == []
    alone = [each for each in rig.service.store.registrations if each.group is None][:lost]
    for each in alone:
        rig.service.store.individuals.delete(each.registration_id.lower())
        rig.remove_device(each.assigned_hub, str(each.device_id))
    return rig, alone


async def found(rig: AuditRig, job: str) -> list[tuple[str, str]]:
    ended = await rig.audit(job)
    assert ended.state is State.DONE, ended.problem
    about = (await rig.report(job)).about
    await rig.clock.advance(DAY)
    return about


async def lost(rig: AuditRig) -> list[str]:
    """The ids that are still remembered of enrollments that are gone."""
    snapshots = Snapshots(rig.tables.audit, DPS)
    return [
        each.id for group in await snapshots.groups() if group.lost async for each in snapshots.ids(group)
    ]


def orphan(record: Registration) -> tuple[str, str]:
    return ORPHAN, f"registration:{record.registration_id.lower()}"


async def test_a_record_is_found_in_each_run_until_it_is_gone_and_then_forgotten() -> None:
    rig, (alone,) = await audited_once()
    for run in ("audit:1", "audit:2"):
        assert await found(rig, run) == [orphan(alone)]
        assert await lost(rig) == [alone.registration_id]
    rig.service.store.registrations.delete(alone.registration_id.lower())
    assert await found(rig, "audit:3") == []
    assert await lost(rig) == []


async def test_where_dps_keeps_no_record_one_read_tells_and_no_further_run_asks() -> None:
    rig, (alone,) = await audited_once()
    rig.service.store.registrations.delete(alone.registration_id.lower())
    reads = f"/registrations/{alone.registration_id}"
    for run in ("audit:1", "audit:2"):
        assert await found(rig, run) == []
        assert len([call for call in rig.calls() if reads in call]) == 1


@pytest.mark.parametrize("how", ["enrolled anew", "in a group"])
async def test_who_is_listed_again_is_no_orphan_and_forgotten(how: str) -> None:
    rig, (alone,) = await audited_once()
    assert await found(rig, "audit:1") == [orphan(alone)]
    store = rig.service.store
    if how == "in a group":
        (group,) = store.groups
        store.registrations.put(alone.registration_id.lower(), replace(alone, group=group.id))
    else:
        store.individuals.put(replace(next(iter(store.individuals)), id=alone.registration_id))
    assert [each for each in await found(rig, "audit:2") if each[0] == ORPHAN] == []
    assert await lost(rig) == []


async def test_each_run_reads_so_many_and_the_next_one_goes_on() -> None:
    rig, alone = await audited_once(lost=6)
    rig.audited = replace(rig.audited, limits=Limits(orphans=2))
    seen = [await found(rig, f"audit:{run}") for run in (1, 2, 3)]
    assert [len(each) for each in seen] == [2, 2, 2]
    assert sorted(chain(*seen)) == sorted(map(orphan, alone))


@pytest.mark.parametrize("path", ["/enrollments/query", "/registrations/fleet-01/query"])
async def test_nothing_follows_from_a_listing_in_part_and_what_was_listed_before_stays(path: str) -> None:
    rig, (alone,) = await audited_once()
    refusing = Refusing(rig.transport(), path, 403)
    for run in ("audit:1", "audit:2"):
        await rig.audit(run, ports=rig.ports(refusing))
        report = await rig.report(run)
        assert Source.REGISTRATIONS not in report.run.sources
        assert report.about == []
        await rig.clock.advance(DAY)
    kept = await Snapshots(rig.tables.audit, DPS).individuals()
    assert kept is not None
    assert kept.run == "audit:0"
    await forget_old_runs(rig.tables.audit, DPS, keep=1, clock=rig.clock, telemetry=rig.heard)
    assert await found(rig, "audit:3") == [orphan(alone)]


class Enrolling(httpx.AsyncBaseTransport):
    """Enrolls a device anew right before its record is read."""

    def __init__(self, rig: AuditRig, record: Registration) -> None:
        self._inner = rig.transport()
        self._rig = rig
        self._record = record

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == f"/registrations/{self._record.registration_id}":
            individuals = self._rig.service.store.individuals
            individuals.put(replace(next(iter(individuals)), id=self._record.registration_id))
        return await self._inner.handle_async_request(request)


async def test_who_is_enrolled_anew_while_the_audit_runs_is_no_orphan() -> None:
    rig, (alone,) = await audited_once()
    await rig.audit("audit:1", ports=rig.ports(Enrolling(rig, alone)))
    report = await rig.report("audit:1")
    assert report.about == []
    (untold,) = [each for each in report.run.not_evaluated if each.check == ORPHAN]
    assert untold.resource == f"registration:{alone.registration_id.lower()}"
    assert await found(rig, "audit:2") == [("DPS-REC-005", orphan(alone)[1])]


async def test_a_second_audit_of_what_did_not_change_costs_what_the_first_did() -> None:
    rig, _ = await audited_once(lost=0)
    first = len(rig.calls())
    assert await found(rig, "audit:1") == []
    assert len(rig.calls()) == 2 * first
