"""DeviceDeleted marks a record only while the record and the hub's registry agree with it."""

from typing import Any

import pytest

from local.hub import migrate
from tests.lifecycle.enrollments.rig import HUBS
from tests.lifecycle.purge.hub_events import cloud_event, event_grid, note
from tests.lifecycle.purge.rig import POLICY, PurgeRig


async def rigged() -> PurgeRig:
    rig = PurgeRig()
    await rig.group("line-a")
    rig.record("dev-1")
    return rig


@pytest.mark.parametrize("schema", [event_grid, cloud_event])
async def test_a_device_deleted_at_its_hub_is_marked_once_and_its_record_goes_after_quarantine(
    schema: Any,
) -> None:
    rig = await rigged()
    rig.at(HUBS[0]).remove("dev-1", rig.now)
    assert await note(rig, schema("dev-1")) == "marked"
    first = await rig.marks()
    await rig.wait(hours=1)
    assert await note(rig, schema("dev-1")) == "marked before"
    assert await rig.marks() == first
    await rig.wait(days=POLICY.quarantine_days)
    await rig.purge("purge-1")
    assert not rig.there("dev-1")
    assert [each.group for each in await rig.archived()] == ["line-a"]


async def test_a_device_that_dps_moved_is_not_marked() -> None:
    rig = await rigged()
    migrate("dev-1", rig.at(HUBS[0]), rig.at(HUBS[1]), keys=rig.at(HUBS[0]).new_keys(), now=rig.now)
    rig.record("dev-1", hub=HUBS[1], device=False)
    assert await note(rig, event_grid("dev-1")) == "points elsewhere"
    assert await rig.marks() == {}


async def test_a_late_event_of_a_device_that_is_back_marks_nothing() -> None:
    rig = await rigged()
    assert await note(rig, event_grid("dev-1")) == "device is there"
    assert await rig.marks() == {}


@pytest.mark.parametrize("device", ["nobody", "Dev-1", "dev-1+x"])
async def test_an_event_of_another_device_marks_nothing(device: str) -> None:
    rig = await rigged()
    rig.at(HUBS[0]).remove("dev-1", rig.now)
    assert await note(rig, event_grid(device)) in ("no record", "points elsewhere")
    assert await rig.marks() == {}


async def test_a_mark_of_an_older_record_begins_anew() -> None:
    rig = await rigged()
    rig.at(HUBS[0]).remove("dev-1", rig.now)
    await note(rig, event_grid("dev-1"))
    rig.record("dev-1", device=False)
    await rig.wait(days=1)
    assert await note(rig, event_grid("dev-1")) == "marked"
    assert (await rig.marks())["dev-1"].at == rig.now
