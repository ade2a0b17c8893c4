"""A service filled without HTTP: the same each time, true to itself, and read as any other."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.asgi import dump
from local.dps.keys import SymmetricKeys
from local.dps.records import RecordList, Registration, pack, unpack
from local.dps.seed import Seeded, seed
from local.dps.service import ProvisioningService
from local.hub import IotHub
from local.world import ManualClock, World
from tests.local.dps.rig import HUBS, Rig

COUNT = 3_000


def filled(source: int = 0, **options: Any) -> tuple[ProvisioningService, Seeded]:
    world = World(ManualClock(), seed=1)
    service = ProvisioningService(hubs=[IotHub(host, seed=1) for host in HUBS], world=world)
    return service, seed(service, source=source, **options)


def everything(service: ProvisioningService) -> list[Any]:
    store = service.store
    enrollments = [(each.wire(keys=True)) for each in (*store.groups, *store.individuals)]
    return [*enrollments, *store.registrations, *(hub.devices for hub in service.hubs)]


def test_the_same_seed_makes_the_same_service_and_another_does_not() -> None:
    first, second, other = (everything(filled(n, registrations=500, enrollments=50)[0]) for n in (3, 3, 4))
    assert first == second
    assert first != other


def test_counts_add_up() -> None:
    service, told = filled(registrations=COUNT, enrollments=400, groups=3)
    store = service.store
    assert (told.registrations, len(store.registrations)) == (COUNT, COUNT)
    assert (told.enrollments, len(store.individuals), len(store.groups)) == (400, 400, 3)
    assert told.statuses == Counter(record.status for record in store.registrations)
    assert set(told.statuses) == {"assigned", "failed", "disabled", "unassigned"}
    assert told.statuses["assigned"] > COUNT * 0.9
    through = Counter(record.group for record in store.registrations)
    assert through[None] == 300
    assert [len(store.registrations.of_group(group) or ()) for group in told.groups] == [
        through[group] for group in told.groups
    ]
    assert told.devices == sum(len(hub.devices) for hub in service.hubs)


def test_records_agree_with_hubs_and_enrollments() -> None:
    service, told = filled(registrations=COUNT, enrollments=400)
    on_hubs = 0
    for record in service.registrations():
        assert record.created <= record.updated <= service.world.clock.now()
        own = service.enrollment(record.registration_id)
        enrollment = own if record.group is None else service.group(record.group)
        assert enrollment is not None
        assert (record.assigned_hub is None) == (record.device_id is None)
        if record.assigned_hub is None or record.device_id is None:
            assert record.status != "assigned"
            continue
        on_hubs += 1
        hub = service.hub(record.assigned_hub)
        assert hub is not None
        held = enrollment.keys or SymmetricKeys()
        expected = held if own else held.derived(record.registration_id)
        device = hub.devices[record.device_id].identity
        assert (device.keys.primary, device.keys.secondary) == (expected.primary, expected.secondary)
    assert on_hubs == told.devices > COUNT * 0.9


def test_hubs_stay_empty_where_no_devices_are_asked_for() -> None:
    service, told = filled(registrations=100, devices=False)
    assert told.devices == 0 == sum(len(hub.devices) for hub in service.hubs)


def test_only_an_empty_service_with_hubs_is_filled() -> None:
    service, _ = filled(registrations=1)
    with pytest.raises(ValueError, match="not empty"):
        seed(service)
    with pytest.raises(ValueError, match="no hubs"):
        seed(ProvisioningService())
    with pytest.raises(ValueError, match="101 enrollment groups"):
        filled(groups=101)


async def test_a_walk_of_20_000_records_returns_each_once_while_others_are_deleted() -> None:
    async with Rig() as rig:
        told = seed(rig.dps, registrations=20_000, groups=1, devices=False)
        before = {record.registration_id for record in rig.dps.registrations()}
        seen: list[str] = []
        deleted: set[str] = set()
        token: str | None = ""
        while token is not None:
            headers = {"x_ms_continuation": token} if token else {}
            answer = await rig.call("POST", f"/registrations/{told.groups[0]}/query", **headers)
            found = [record["registrationId"] for record in answer.json()]
            seen += found
            token = answer.headers.get("x-ms-continuation")
            if len(seen) % 5_000 == 0:  # one that was seen, and one that may be yet to come
                for name in (found[-1], f"fleet-01-{20_000 - len(deleted):07d}"):
                    assert (await rig.call("DELETE", f"/registrations/{name}")).status_code in (204, 404)
                    deleted.add(name)
        assert len(seen) == len(set(seen))
        assert before - deleted <= set(seen) <= before


TEXT = st.text(max_size=12)
RECORDS = st.builds(
    Registration,
    registration_id=TEXT,
    group=st.none() | TEXT,
    created=st.datetimes(timezones=st.just(ManualClock().now().tzinfo)),
    updated=st.datetimes(timezones=st.just(ManualClock().now().tzinfo)),
    etag=TEXT,
    status=TEXT,
    substatus=st.none() | TEXT,
    assigned_hub=st.none() | TEXT,
    device_id=st.none() | TEXT,
    error_code=st.none() | st.integers(),
    error_message=st.none() | TEXT,
    payload=st.none() | st.dictionaries(TEXT, TEXT | st.integers() | st.none()),
)


@settings(max_examples=100, deadline=None)
@given(records=st.lists(RECORDS, max_size=4))
def test_packed_records_read_and_render_as_they_were(records: list[Registration]) -> None:
    packed = [pack(record) for record in records]
    assert [unpack(each, record.group) for each, record in zip(packed, records, strict=True)] == records
    assert RecordList(packed).render() == dump([record.wire() for record in records])


def test_a_group_made_again_in_another_spelling_leaves_old_records_theirs() -> None:
    service, _ = filled(registrations=2, groups=1, devices=False)
    table = service.store.registrations
    first, second = table
    respelled = unpack(pack(second), "FLEET-01")
    table.put(second.registration_id, respelled)
    assert [record.group for record in table] == ["fleet-01", "FLEET-01"]
    table.put(second.registration_id, second)
    assert [record.group for record in table] == ["fleet-01", "fleet-01"]
    moved = unpack(pack(first), "other")
    table.put(first.registration_id, moved)
    assert list(table) == [moved, second]
    assert [len(table.of_group(name) or ()) for name in ("fleet-01", "other")] == [1, 1]


async def test_journal_redacts_the_pages_it_is_asked_for() -> None:
    async with Rig() as rig:
        seed(rig.dps, registrations=9, groups=1, devices=False)
        table = rig.dps.store.registrations
        record = next(iter(table))
        table.put(
            record.registration_id,
            Registration(
                **{**_fields(record), "payload": {"apiKey": "hide-me", "url": "https://x/?code=hide-me"}}
            ),
        )
        answer = await rig.call("POST", "/registrations/fleet-01/query")
        assert "hide-me" in answer.text
        (call,) = rig.world.journal.of(rig.dps.name)
        assert call.response[0]["payload"] == {"apiKey": "****", "url": "https://x/?code=****"}
        assert call.response[5:] == ["… 4 more"]
        assert "hide-me" not in repr(list(rig.world.journal))
        assert json.dumps(call.response)


def _fields(record: Registration) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Registration.__slots__}
