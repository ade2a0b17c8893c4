"""Runs that die and go on: what they come to is what an uninterrupted one comes to."""

from collections.abc import Awaitable, Callable
from copy import deepcopy
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
from local.explore.run import Point
from local.switches import Switches
from provisioning.hubs import HubKey
from tests.lifecycle.audit.engine_rig import DPS, JOB, QUICK, TERMS, AuditRig, Report, Tables
from tests.lifecycle.audit.test_engine import CUSTOM

HUBS = ("hub-a.azure-devices.net", "hub-b.azure-devices.net")
WRITES = frozenset({"insert", "replace", "put", "delete", "write"})


@dataclass(frozen=True)
class Outcome:
    """What outlives a run, without what it cost and when it was."""

    report: Report
    snapshot: tuple[Any, ...]
    ledger: tuple[Any, ...]


async def planted(registrations: int, *, enrollments: int = 2, page: int = 1000) -> AuditRig:
    """A service that was audited once and then lost enrollments, a device, a record and ledger rows."""
    rig = AuditRig(hubs=HUBS, page=page)
    rig.fill(registrations, enrollments=enrollments, groups=3)
    store = rig.service.store
    first, second, _ = list(store.groups)
    store.groups.put(replace(first, members={**first.members, **CUSTOM}))
    await rig.clock.advance(3 * 3600)
    assert (await rig.audit("audit:before")).state is State.DONE
    await rig.clock.advance(86400)
    store.groups.delete(second.key)
    alone = next(each for each in store.registrations if each.group is None)
    store.individuals.delete(alone.registration_id)
    rig.remove_device(alone.assigned_hub, str(alone.device_id))
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


async def outcome(rig: AuditRig, job: str = JOB) -> Outcome:
    report = await rig.report(job)
    snapshots = Snapshots(rig.tables.audit, DPS)
    kept = []
    individuals = await snapshots.individuals()
    for group in (*([] if individuals is None else [individuals]), *await snapshots.groups()):
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


class Counting(Run):
    """Kills nobody, or processes right after some of the writes to tables.

    Between two of them there are reads alone: who dies there leaves what the write before has left.
    """

    def __init__(self, *deaths_after: int) -> None:
        super().__init__()
        self.writes = 0
        self._deaths_after = deaths_after

    def point(self, call: str) -> Point:
        if call.rpartition(".")[2] not in WRITES:
            return Point("lives")
        self.writes += 1
        return Point("after" if self.writes in self._deaths_after else "lives")


async def test_no_single_crash_changes_what_a_run_comes_to() -> None:
    template = await planted(9)
    audited = replace(template.audited, limits=QUICK)

    async def came_to(run: Counting) -> Outcome:
        rig = deepcopy(template)
        await live(run, rig, audited)
        return await outcome(rig)

    calm = Counting()
    whole = await came_to(calm)
    assert calm.writes > 50
    assert {"DPS-REC-005", "DPS-REC-006", "DPS-REC-008"} <= {each.check for each in whole.report.findings}
    assert {"group", "enrollment"} <= {name for each in whole.report.findings for name in each.evidence}
    for number in range(1, calm.writes + 1):
        run = Counting(number)
        assert await came_to(run) == whole, f"a death after write {number}"
        assert run.writes >= calm.writes, "each run begins with the same world"


@pytest.mark.soak
async def test_no_crash_before_or_after_any_call_changes_what_a_run_comes_to() -> None:
    template = await planted(9)
    whole: list[Outcome] = []

    async def scenario(run: Run) -> None:
        rig = deepcopy(template)
        await live(run, rig, replace(rig.audited, limits=QUICK))
        whole.append(await outcome(rig))
        assert whole[-1] == whole[0]

    report = await explore(scenario, most_runs=2_000)
    report.check()
    assert report.runs > 200


@pytest.mark.soak
@pytest.mark.parametrize("gap", range(1, 13))
async def test_no_pair_of_crashes_changes_what_a_run_comes_to(gap: int) -> None:
    """Every first death, with a second one so many writes later: within the recovery, and behind it."""
    template = await planted(9)
    audited = replace(template.audited, limits=QUICK)
    calm = deepcopy(template)
    counted = Counting()
    await live(counted, calm, audited)
    whole = await outcome(calm)
    for first in range(1, counted.writes + 1):
        rig = deepcopy(template)
        await live(Counting(first, first + gap), rig, audited)
        assert await outcome(rig) == whole, f"deaths after writes {first} and {first + gap}"


class Reckless(Run):
    """Kills processes at random, before a call or after it."""

    def __init__(self, random: Random, one_in: int) -> None:
        super().__init__()
        self._random = random
        self._one_in = one_in
        self.deaths = 0

    def point(self, call: str) -> Point:
        del call
        if self._random.randrange(self._one_in):
            return Point("lives")
        self.deaths += 1
        return Point(self._random.choice(("before", "after")))


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak)])
async def test_five_thousand_records_killed_at_random_come_to_the_same(seed: int) -> None:
    rig = await planted(5_000, enrollments=300, page=100)
    calm = deepcopy(rig)
    await live(Run(), calm, calm.audited)
    run = Reckless(Random(seed), 80)
    await live(run, rig, rig.audited)
    assert run.deaths >= 5
    assert await outcome(rig) == await outcome(calm)


async def each_and_each_pair(scenario: Callable[[Run], Awaitable[None]]) -> set[str]:
    """Run it with every switch as it is first read, each one turned, and each two; the switches' names."""
    waiting: list[dict[str, str]] = [{}]
    seen = {frozenset[tuple[str, str]]()}
    names: set[str] = set()
    while waiting:
        named = waiting.pop()
        run = Run(named=named)
        await scenario(run)
        names |= {each.name for each in run.taken}
        for each in run.taken if len(named) < 2 else ():
            for option in each.options[1:] if each.name not in named else ():
                following = {**named, each.name: option}
                if frozenset(following.items()) not in seen:
                    seen.add(frozenset(following.items()))
                    waiting.append(following)
    assert len(seen) > 30
    return names


async def clean(run: Run) -> None:
    """A clean world under the switches that an audit consults, audited twice."""
    rig = AuditRig(hubs=HUBS, switches=Switches(run))
    rig.fill(12, enrollments=3, groups=2)
    await rig.clock.advance(3 * 3600)
    for job in ("audit:1", "audit:2"):
        assert (await rig.audit(job)).state is State.DONE
        assert (await rig.report(job)).about == [], run.path
        await rig.clock.advance(86400)


async def lively(run: Run) -> None:
    """Devices come and go right before the audit: queries may lag behind either, or show ghosts."""
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
    assert (await rig.report("audit:2")).about == [], run.path


@pytest.mark.parametrize("scenario", [clean, lively])
async def test_no_two_switches_make_a_finding_of_what_is_well(
    scenario: Callable[[Run], Awaitable[None]],
) -> None:
    consulted = await each_and_each_pair(scenario)
    assert {"hub.query_lag", "hub.query_ghosts", "dps.max_page_size"} <= consulted


@pytest.mark.soak
@pytest.mark.parametrize("scenario", [clean, lively])
async def test_no_switches_at_all_make_a_finding_of_what_is_well(
    scenario: Callable[[Run], Awaitable[None]],
) -> None:
    report = await explore(scenario, crashes=0, most_runs=5_000)
    report.check()
