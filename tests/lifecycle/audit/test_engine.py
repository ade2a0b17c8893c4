"""What a run of the audit comes to: findings where something is wrong, none where nothing is."""

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from allocation import Entry, Ledger
from clients.arm import Unknown
from lifecycle.audit.finding import Source
from lifecycle.audit.ports import Limits
from lifecycle.audit.snapshot import Snapshots
from lifecycle.jobs import State, Terms
from provisioning.hubs import HubKey
from tests.lifecycle.audit.engine_rig import DPS, HUBS, AuditRig, Report

MISSING, STRANGER, TWO_HUBS, ORPHAN = "DPS-REC-005", "DPS-REC-006", "DPS-REC-007", "DPS-REC-008"


async def world(registrations: int = 60, enrollments: int = 8, groups: int = 2) -> AuditRig:
    rig = AuditRig()
    rig.fill(registrations, enrollments=enrollments, groups=groups)
    await rig.clock.advance(3 * 3600)
    return rig


async def audited(rig: AuditRig, job: str = "audit:1") -> Report:
    ended = await rig.audit(job)
    assert ended.state is State.DONE, ended.problem
    return await rig.report(job)


async def test_a_clean_service_has_no_finding_and_costs_no_call_too_many() -> None:
    rig = await world()
    report = await audited(rig)
    assert report.about == []
    assert {Source.ENROLLMENTS, Source.KEYS, Source.REGISTRATIONS, Source.HUBS} <= report.run.sources
    # groups, individuals, two groups' records, their keys; of each hub a page and its statistics.
    assert len(rig.calls()) == 1 + 1 + 2 + 2 + 3 * 2
    assert rig.announced == ["audit:1"]


async def test_a_device_that_its_hub_does_not_have_is_found_by_its_registration() -> None:
    rig = await world()
    record = rig.record(3)
    rig.remove_device(record.assigned_hub, record.device_id or record.registration_id)
    report = await audited(rig)
    assert report.about == [(MISSING, f"registration:{record.registration_id}")]


async def test_a_device_without_a_record_is_found_at_its_hub() -> None:
    rig = await world()
    record = next(each for each in rig.service.store.registrations if each.group)
    rig.service.store.registrations.delete(record.registration_id)
    report = await audited(rig)
    assert report.about == [(STRANGER, f"device:{record.assigned_hub}/{record.device_id}")]


async def test_a_device_in_two_hubs_is_found_with_the_other_hub() -> None:
    rig = await world()
    record = rig.record(5)
    other = next(hub for hub in HUBS if hub != record.assigned_hub)
    rig.add_device(other, str(record.device_id))
    report = await audited(rig)
    assert report.about == [(TWO_HUBS, f"registration:{record.registration_id}")]
    assert report.findings[0].evidence["others"] == (other,)


@pytest.mark.parametrize("made_anew", [False, True])
async def test_records_of_a_deleted_group_are_found_by_what_the_last_run_listed(made_anew: bool) -> None:
    rig = await world()
    assert (await audited(rig)).about == []
    store = rig.service.store
    group = next(iter(store.groups))
    mine = {each.registration_id for each in store.registrations if each.group == group.id}
    await rig.clock.advance(3600)
    store.groups.delete(group.key)
    if made_anew:
        # Another group of that id; what it lists are the old one's records, so they are no orphans.
        store.groups.put(replace(group, created=rig.clock.now(), updated=rig.clock.now()))
    report = await audited(rig, "audit:2")
    expected = [] if made_anew else sorted((ORPHAN, f"registration:{each}") for each in mine)
    assert sorted(each for each in report.about if each[0] == ORPHAN) == expected
    assert not [each for each in report.about if each[0] == STRANGER], "DPS has their records"
    again = await audited(rig, "audit:3")
    assert sorted(each for each in again.about if each[0] == ORPHAN) == expected


async def test_a_purged_orphan_is_forgotten_and_the_group_with_its_last_one() -> None:
    rig = await world()
    await audited(rig)
    store = rig.service.store
    group = next(iter(store.groups))
    store.groups.delete(group.key)
    await audited(rig, "audit:2")
    mine = [each for each in store.registrations if each.group == group.id]
    kept = {each.group: each for each in await Snapshots(rig.tables.audit, DPS).groups()}
    assert kept[group.id].gone_since is not None
    assert kept[group.id].ids == len(mine)
    for record in mine[1:]:
        store.registrations.delete(record.registration_id)
        rig.remove_device(record.assigned_hub, str(record.device_id))
    report = await audited(rig, "audit:3")
    assert [each for each in report.about if each[0] == ORPHAN] == [
        (ORPHAN, f"registration:{mine[0].registration_id}")
    ]
    store.registrations.delete(mine[0].registration_id)
    await audited(rig, "audit:4")
    assert group.id not in {each.group for each in await Snapshots(rig.tables.audit, DPS).groups()}


async def test_each_run_reads_the_orphans_that_the_last_one_left_out() -> None:
    rig = await world()
    await audited(rig)
    store = rig.service.store
    group = next(iter(store.groups))
    store.groups.delete(group.key)
    mine = {f"registration:{each.registration_id}" for each in store.registrations if each.group == group.id}
    rig.audited = replace(rig.audited, limits=Limits(orphans=15))
    found: set[str] = set()
    for run in range(len(mine) // 15 + 1):
        report = await audited(rig, f"audit:2-{run}")
        now = {resource for check, resource in report.about if check == ORPHAN}
        assert len(now) == 15
        assert not now & found or run == len(mine) // 15
        found |= now
    assert found == mine


async def test_the_snapshot_holds_each_groups_ids_with_hub_and_etag() -> None:
    rig = await world()
    await audited(rig)
    await rig.clock.advance(86400)
    await audited(rig, "audit:2")
    snapshots = Snapshots(rig.tables.audit, DPS)
    groups = await snapshots.groups()
    assert [each.run for each in groups] == ["audit:2"] * 2
    for group in groups:
        records = {
            each.registration_id: each
            for each in rig.service.store.registrations
            if each.group == group.group
        }
        listed = [each async for each in snapshots.ids(group)]
        assert {each.id: (each.hub, each.etag) for each in listed} == {
            name: (record.assigned_hub, record.etag) for name, record in records.items()
        }
    # Nothing is left of what only the runs themselves needed.
    for run in ("audit:1", "audit:2"):
        rows = [row.key async for row in rig.tables.audit.scan(f"{DPS}|audit|kept|{run}")]
        assert all(key.startswith(("c|g", "c|i")) for key in rows)
        assert bool(rows) == (run == "audit:2")


class Slow(httpx.AsyncBaseTransport):
    """Takes so many seconds for each call."""

    def __init__(self, rig: AuditRig, seconds: float) -> None:
        self._inner = rig.transport()
        self._rig = rig
        self._seconds = seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._rig.clock.advance(self._seconds)
        return await self._inner.handle_async_request(request)


async def test_a_run_of_many_slices_comes_to_what_a_run_of_one_does() -> None:
    rig = AuditRig(page=7)
    rig.fill(60, enrollments=20, groups=9, clean=False)
    for group in list(rig.service.store.groups):  # each is a finding then, of the first one listed too
        members = {name: value for name, value in group.members.items() if name != "allocationPolicy"}
        rig.service.store.groups.put(replace(group, members=members))
    await rig.clock.advance(3 * 3600)
    missing = rig.record(3)
    rig.remove_device(missing.assigned_hub, missing.device_id or missing.registration_id)
    whole = await audited(rig)
    slices = 0

    def count() -> None:
        nonlocal slices
        slices += 1

    ports = rig.ports(Slow(rig, 20))
    await rig.audit("audit:2", ports=ports, terms=Terms(slice_seconds=60), each_tick=count)
    again = await rig.report("audit:2")
    assert slices > 10
    assert {"DPS-ALLOC-012", "DPS-REC-001", MISSING} <= {check for check, _ in whole.about}
    assert again.about == whole.about
    assert again.run.found == whole.run.found
    assert again.run.certificates == whole.run.certificates


class Refusing(httpx.AsyncBaseTransport):
    """Answers some calls with an error of DPS's shape, and passes the others on."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        path: str,
        status: int,
        *,
        continuation: bool = False,
        times: int = 10**6,
        host: str = "",
    ) -> None:
        self._inner = inner
        self._host = host
        self._path = path
        self._status = status
        self._continuation = continuation
        self._times = times
        self.refused = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        meant = self._path in request.url.path and self._host in request.url.host
        meant = meant and self.refused < self._times
        if meant and ("x-ms-continuation" in request.headers or not self._continuation):
            self.refused += 1
            body = {"errorCode": self._status * 1000, "trackingId": "t", "message": "no"}
            return httpx.Response(self._status, json=body)
        return await self._inner.handle_async_request(request)


@pytest.mark.parametrize("status", [403, 503])
async def test_a_listing_that_did_not_end_replaces_no_snapshot_and_nothing_follows_from_it(
    status: int,
) -> None:
    rig = await world()
    await audited(rig)
    before = await Snapshots(rig.tables.audit, DPS).groups()
    store = rig.service.store
    first, second = list(store.groups)
    store.groups.delete(second.key)  # its records are orphans, but nobody may say so now
    refusing = Refusing(rig.transport(), f"/registrations/{first.id}/query", status)
    ended = await rig.audit("audit:2", ports=rig.ports(refusing))
    assert ended.state is State.DONE
    report = await rig.report("audit:2")
    assert Source.REGISTRATIONS not in report.run.sources
    assert first.id in report.run.reasons[Source.REGISTRATIONS]
    assert report.about == []
    assert {ORPHAN, STRANGER} <= {each.check for each in report.run.not_evaluated}
    assert await Snapshots(rig.tables.audit, DPS).groups() == before
    later = await audited(rig, "audit:3")
    assert {check for check, _ in later.about} == {ORPHAN}


async def test_a_hub_that_cannot_be_listed_makes_none_of_its_devices_missing() -> None:
    rig = await world()
    for record in list(rig.service.store.registrations):
        rig.remove_device(record.assigned_hub, str(record.device_id))
    refusing = Refusing(rig.transport(), "/devices/query", 403)
    await rig.audit("audit:1", ports=rig.ports(refusing))
    report = await rig.report("audit:1")
    assert Source.HUBS not in report.run.sources
    assert report.about == []


async def test_without_the_management_plane_no_hub_is_unlinked_and_none_is_read() -> None:
    rig = await world()
    rig.arm.page_is = Unknown("no rights")
    report = await audited(rig)
    assert report.about == []
    assert report.run.reasons[Source.HUBS] == "no rights"
    assert not [call for call in rig.calls() if "/devices" in call]


@pytest.mark.parametrize("path", ["/registrations/fleet-01/query", "/enrollments/query", "/devices/query"])
@pytest.mark.parametrize("times", [1, 100])
async def test_a_refused_continuation_begins_the_listing_anew_and_counts_nothing_twice(
    path: str, times: int
) -> None:
    rig = AuditRig(page=7)
    rig.fill(60, enrollments=20, groups=2, clean=False)
    await rig.clock.advance(3 * 3600)
    record = next(each for each in rig.service.store.registrations if each.group)
    rig.service.store.registrations.delete(record.registration_id)
    whole = await audited(rig)
    assert whole.findings
    refusing = Refusing(rig.transport(), path, 400, continuation=True, times=times)
    await rig.audit("audit:2", ports=rig.ports(refusing))
    again = await rig.report("audit:2")
    assert refusing.refused == (1 if times == 1 else 9 if "devices" in path else 3)  # of three hubs each
    if times == 1:
        assert replace(again.run, id=whole.run.id, started=whole.run.started) == whole.run
        assert again.about == whole.about
    else:
        assert again.run.sources < whole.run.sources
        assert set(again.about) <= set(whole.about)
    snapshots = Snapshots(rig.tables.audit, DPS)
    for kept in await snapshots.groups():  # nothing of a listing that was given up is in the next one's
        records = rig.service.store.registrations
        mine = {each.registration_id for each in records if each.group == kept.group}
        assert {each.id async for each in snapshots.ids(kept)} == mine


async def test_a_hub_that_is_listed_anew_takes_back_nothing_that_another_one_showed() -> None:
    rig = AuditRig(page=7)
    rig.fill(60, groups=1)
    await rig.clock.advance(3 * 3600)
    for hub in HUBS:
        rig.add_device(hub, f"stranger-at-{hub}")
    twice = next(each for each in rig.service.store.registrations if each.assigned_hub == HUBS[1])
    rig.add_device(HUBS[0], str(twice.device_id))
    refusing = Refusing(rig.transport(), "/devices/query", 400, continuation=True, times=1, host=HUBS[1])
    rig.audited = replace(rig.audited, limits=Limits(save=3600))  # so that nothing is saved in between
    terms = Terms(slice_seconds=3000, lease_seconds=3600)
    await rig.audit("audit:1", ports=rig.ports(refusing), terms=terms)
    assert refusing.refused == 1
    assert sorted((await rig.report("audit:1")).about) == [
        *((STRANGER, f"device:{hub}/stranger-at-{hub}") for hub in HUBS),
        (TWO_HUBS, f"registration:{twice.registration_id}"),
    ]


async def test_the_ledger_is_confirmed_by_dpss_records_and_gets_what_it_lacks() -> None:
    rig = await world(registrations=12, enrollments=0, groups=1)
    store = rig.service.store
    (group,) = store.groups
    store.groups.put(replace(group, members={**group.members, **CUSTOM}))
    records = list(store.registrations)
    books = Ledger(rig.tables.ledger, lambda: "x")
    answered = records[: len(records) // 2]
    for record in answered:
        await books.write(
            Entry(
                dps=DPS,
                registration_id=record.registration_id.upper(),
                enrollment_kind="group",
                enrollment_id=group.id,
                at=record.updated - timedelta(seconds=2),
                status=200,
                outcome="placed",
                hub=HubKey(str(record.assigned_hub)),
            )
        )
    await audited(rig)
    entries = [each async for each in books.of_dps(DPS)]
    assert len(entries) == len(records)
    for entry in entries:
        assert entry.confirmed_hub == entry.hub
        assert entry.confirmed_at is not None
    added = {each.registration_id for each in entries if each.source == "audit"}
    assert added == {each.registration_id for each in records} - {each.registration_id for each in answered}
    figures = (await rig.store.stored(1))[0].figures
    assert (figures.notes["ledger_confirmed"], figures.notes["ledger_added"]) == (
        len(answered),
        len(records) - len(answered),
    )
    await rig.clock.advance(86400)
    await audited(rig, "audit:2")
    notes = (await rig.store.stored(1))[0].figures.notes
    assert not {"ledger_confirmed", "ledger_added"} & set(notes), "the second run writes nothing"


CUSTOM = {
    "allocationPolicy": "custom",
    "customAllocationDefinition": {
        "webhookUrl": "https://app.example/api/allocate?code=canary-function-key",
        "apiVersion": "2021-10-01",
    },
}


async def test_growth_and_history_come_from_earlier_runs() -> None:
    rig = await world()
    await audited(rig)
    for number in range(10):
        record = rig.record(number)
        rig.service.store.registrations.delete(record.registration_id)
        rig.remove_device(record.assigned_hub, record.device_id or record.registration_id)
    await rig.clock.advance(2 * 86400)
    report = await audited(rig, "audit:2")
    assert Source.HISTORY in report.run.sources
    growth = (await rig.store.stored(1))[0].figures.growth
    assert growth["registrations"] == pytest.approx(-5, abs=0.1)
    assert growth["symmetric_groups"] == 0


async def test_more_findings_than_are_kept_are_counted() -> None:
    rig = AuditRig()
    rig.fill(400, groups=1, clean=False)
    await rig.clock.advance(3 * 3600)
    whole = await audited(rig)
    rig.audited = replace(rig.audited, limits=Limits(rows=2))
    capped = await audited(rig, "audit:2")
    assert capped.run.found == whole.run.found
    assert capped.run.capped
    assert len(capped.findings) < len(whole.findings)
