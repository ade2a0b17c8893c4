"""Runs that die and go on: what they come to is what an uninterrupted one comes to."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from allocation import Entry, Ledger
from lifecycle.audit.job import KIND, Audit
from lifecycle.audit.ports import Audited
from lifecycle.audit.snapshot import Snapshots
from lifecycle.jobs import State, resume, tick
from lifecycle.rates import Rates
from local.explore import Life, Run, explore
from local.switches import Switches
from provisioning.hubs import HubKey
from tests.lifecycle.audit.engine_rig import DPS, JOB, QUICK, TERMS, AuditRig, Report, Tables
from tests.lifecycle.audit.test_engine import CUSTOM

HUBS = ("hub-a.azure-devices.net", "hub-b.azure-devices.net")


@dataclass(frozen=True)
class Outcome:
    """What outlives a run, without what it cost and when it was."""

    report: Report
    snapshot: tuple[Any, ...]
    ledger: tuple[Any, ...]


async def planted(registrations: int, *, enrollments: int = 2, page: int = 1000) -> AuditRig:
    """A service that was audited once and then lost a group, a device, a record and ledger rows."""
    rig = AuditRig(hubs=HUBS, page=page)
    rig.fill(registrations, enrollments=enrollments, groups=3)
    store = rig.service.store
    first, second, _ = list(store.groups)
    store.groups.put(replace(first, members={**first.members, **CUSTOM}))
    await rig.clock.advance(3 * 3600)
    assert (await rig.audit("audit:before")).state is State.DONE
    await rig.clock.advance(86400)
    store.groups.delete(second.key)
    mine = [each for each in store.registrations if each.group == first.id]
    rig.remove_device(mine[0].assigned_hub, str(mine[0].device_id))
    store.registrations.delete(mine[1].registration_id)
    # One device's row is there; the first audit's own rows are taken away.
    books = Ledger(rig.tables.ledger, lambda: "x")
    for entry in [each async for each in books.of_dps(DPS)]:
        assert entry.row is not None
        await rig.tables.ledger.delete(entry.row)
    await books.write(
        Entry(
            dps=DPS,
            registration_id=mine[2].registration_id,
            enrollment_kind="group",
            enrollment_id=first.id,
            at=mine[2].updated - timedelta(seconds=1),
            status=200,
            outcome="placed",
            hub=HubKey(str(mine[2].assigned_hub)),
        )
    )
    return rig


async def outcome(rig: AuditRig) -> Outcome:
    report = await rig.report(JOB)
    snapshots = Snapshots(rig.tables.audit, DPS)
    kept = []
    for group in await snapshots.groups():
        ids = tuple([each async for each in snapshots.ids(group)])
        kept.append((group.key, group.run, group.ids, group.gone_since is None, group.cursor, ids))
    books = Ledger(rig.tables.ledger, lambda: "x")
    entries = [
        (each.registration_id, each.at, each.source, each.hub, each.confirmed_hub)
        async for each in books.of_dps(DPS)
    ]
    # A death before the first save leaves a later beginning, and so another growth per day.
    epoch, quotas = datetime(1970, 1, 1, tzinfo=UTC), report.run.quotas
    told = replace(report.run, started=epoch, quotas=tuple(replace(each, per_day=None) for each in quotas))
    return Outcome(replace(report, run=told), tuple(kept), tuple(entries))


async def live(run: Run, rig: AuditRig, audited: Audited, *, most: int = 400) -> None:
    """Processes that may die, each built anew, until the audit is done."""

    async def process(life: Life) -> None:
        tables = Tables(
            life.port(rig.tables.audit, "audit"),
            life.port(rig.tables.jobs, "jobs"),
            life.port(rig.tables.ledger, "ledger"),
        )
        ports = rig.ports(life.transport(rig.transport()), tables)
        assert ports.jobs is not None
        audit, rates = Audit(ports, audited), Rates(ports.clock)
        for _ in range(most):
            await ports.jobs.create(JOB, KIND, by="test")
            await tick([audit.kind], ports.jobs, rates, rig.heard, terms=TERMS)
            found = await ports.jobs.find(JOB)
            assert found is not None
            if found.state is State.BLOCKED:  # five deaths in a row: somebody looks, and lets it go on
                assert found.problem.endswith("each by its worker's death"), found.problem
                await resume(ports.jobs, JOB, by="test")
            if found.state is State.DONE:
                return
            await rig.clock.advance(60)
        raise AssertionError("the audit does not end")

    await run.live(process)


async def test_no_single_crash_changes_what_a_run_comes_to() -> None:
    whole: list[Outcome] = []

    async def scenario(run: Run) -> None:
        rig = await planted(9, enrollments=1)
        await live(run, rig, replace(rig.audited, limits=QUICK))
        came_to = await outcome(rig)
        whole.append(came_to)
        assert came_to == whole[0]

    report = await explore(scenario, most_runs=2_000)
    report.check()
    assert report.runs > 200
    found = {each.check for each in whole[0].report.findings}
    assert {"DPS-REC-005", "DPS-REC-006", "DPS-REC-008", "DPS-OPS-001"} & found >= {
        "DPS-REC-005",
        "DPS-REC-006",
        "DPS-REC-008",
    }


class Reckless(Run):
    """Kills processes at random, before a call or after it."""

    def __init__(self, random: Random, one_in: int) -> None:
        super().__init__()
        self._random = random
        self._one_in = one_in
        self.deaths = 0

    def fate(self, call: str) -> str:
        del call
        if self._random.randrange(self._one_in):
            return "lives"
        self.deaths += 1
        return self._random.choice(("before", "after"))


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak)])
async def test_five_thousand_records_killed_at_random_come_to_the_same(seed: int) -> None:
    calm = await planted(5_000, enrollments=300, page=100)
    quiet = Reckless(Random(seed), 10**9)
    await live(quiet, calm, calm.audited)
    rig = await planted(5_000, enrollments=300, page=100)
    run = Reckless(Random(seed), 80)
    await live(run, rig, rig.audited)
    assert run.deaths >= 5
    assert await outcome(rig) == await outcome(calm)


def switched(check: Callable[[AuditRig], Any]) -> Callable[[Run], Any]:
    """A clean world under every switch that an audit consults, audited twice."""

    async def scenario(run: Run) -> None:
        rig = AuditRig(hubs=HUBS, switches=Switches(run))
        rig.fill(12, enrollments=3, groups=2)
        await rig.clock.advance(3 * 3600)
        for job in ("audit:1", "audit:2"):
            assert (await rig.audit(job)).state is State.DONE
            report = await rig.report(job)
            check(rig)
            assert report.about == []
            await rig.clock.advance(86400)

    return scenario


async def test_a_clean_service_has_no_finding_under_any_switch() -> None:
    report = await explore(switched(lambda _: None), crashes=0, most_runs=5_000)
    report.check()
    assert {"hub.query_lag", "hub.query_ghosts", "dps.max_page_size"} <= set(report.consulted)


async def test_what_just_happened_is_no_finding_under_any_switch() -> None:
    """Devices come and go right before the audit: queries may lag behind either, or show ghosts."""

    async def scenario(run: Run) -> None:
        rig = AuditRig(hubs=HUBS, switches=Switches(run))
        rig.fill(8, groups=1)
        await rig.clock.advance(3 * 3600)
        gone = rig.record(0)
        rig.service.store.registrations.delete(gone.registration_id)
        rig.remove_device(gone.assigned_hub, str(gone.device_id))
        moved = rig.record(1)
        old, new = str(moved.assigned_hub), next(hub for hub in HUBS if hub != moved.assigned_hub)
        rig.remove_device(old, str(moved.device_id))
        rig.add_device(new, str(moved.device_id))
        store = rig.service.store.registrations
        store.put(moved.registration_id, replace(moved, assigned_hub=new, updated=rig.clock.now()))
        await rig.clock.advance(5)
        assert (await rig.audit("audit:2")).state is State.DONE
        assert (await rig.report("audit:2")).about == []

    report = await explore(scenario, crashes=0, most_runs=5_000)
    report.check()
