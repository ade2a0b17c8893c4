"""Individual enrollments that are gone: what an audit missed of them, a purge reads by their ids."""

from datetime import timedelta

from lifecycle.audit.snapshot import INDIVIDUALS, LOST, Group, Listed, Snapshots
from lifecycle.purge.rules import Reason
from tests.lifecycle.purge.rig import NAME, PurgeRig


async def kept(rig: PurgeRig, key: str, *ids: str) -> None:
    """What an audit would have kept under that key."""
    snapshots, listing = Snapshots(rig.memory, NAME), key.strip("~|")
    await snapshots.write("audit-1", listing, "1", 0, [Listed(each) for each in ids])
    at = rig.now - timedelta(days=1)
    await snapshots.put(Group(key, "", "audit-1", listing, [["1", 1]], len(ids), at))


async def test_record_of_an_individual_enrollment_that_is_gone_goes_where_no_device_is_behind_it() -> None:
    rig = PurgeRig()
    await rig.group("line-a")
    rig.record("gone", None, device=False)
    rig.record("live", None, seen=timedelta(days=2))
    rig.record("back", None, device=False)
    rig.record("moved-on", "line-a")
    rig.record("never-listed", None, device=False)
    rig.record("there", None, device=False)
    for name in ("back", "there"):
        await rig.individual(name, provisioningStatus="disabled")
    await kept(rig, f"{LOST}audit-1", "gone", "live", "back", "moved-on")
    await kept(rig, INDIVIDUALS, "there")
    await rig.purge("purge-1")
    assert rig.there("gone")
    assert {name: mark.reason for name, mark in (await rig.marks()).items()} == {"gone": Reason.ORPHAN}
    read = rig.calls["dps", "GET", "registrations"]
    assert read == 3, "of those that are lost and in no group's listing"
    await rig.wait(days=2, hours=1)
    await rig.purge("purge-2")
    assert not rig.there("gone")
    assert [
        each for each in ("live", "back", "moved-on", "never-listed", "there") if not rig.there(each)
    ] == []
    for name in ("back", "there"):
        assert rig.service.enrollment(name) is not None
