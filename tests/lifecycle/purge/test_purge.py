"""Whole runs over the emulators: what goes, what stays, what is written down, what it costs."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from clients.arm import Unknown
from clients.telemetry import EVENTS, METRICS
from lifecycle.jobs import State, show, tick
from lifecycle.purge.archive import PAYLOAD
from lifecycle.purge.job import create
from local.hub import migrate
from tests.lifecycle.enrollments.rig import HUBS
from tests.lifecycle.purge.rig import GONE_HUB, LONG, NAME, POLICY, Given, PurgeRig, aged


async def rigged(**devices: dict[str, Any]) -> PurgeRig:
    """A group with a live device, and records made of what each name says."""
    rig = PurgeRig()
    await rig.group("line-a")
    rig.record("live", seen=timedelta(hours=1))
    for name, members in devices.items():
        rig.record(name, **members)
    return rig


STALE: dict[str, dict[str, Any]] = {
    "device-gone": {"device": False},
    "unlinked-hub": {"hub": GONE_HUB},
    "failed": {"hub": None, "status": "failed"},
}


@pytest.mark.parametrize(("reason", "members"), STALE.items())
async def test_a_stale_record_is_marked_in_one_run_and_deleted_in_a_later_one(
    reason: str, members: dict[str, Any]
) -> None:
    rig = await rigged(stale=members)
    first = await rig.purge("purge-1")
    assert first.result is not None
    assert (first.result["deleted"], rig.there("stale")) == (0, True)
    assert {name: mark.reason for name, mark in (await rig.marks()).items()} == {"stale": reason}
    await rig.wait(days=1)
    await rig.purge("purge-early")
    assert rig.there("stale")
    await rig.wait(days=2)
    last = await rig.purge("purge-2")
    assert last.result is not None
    assert (last.result["deleted"], last.result["passes"]) == (1, 2)
    assert not rig.there("stale")
    assert rig.there("live")
    assert [(each.id, each.reason, each.outcome) for each in await rig.archived()] == [
        ("stale", reason, "deleted")
    ]
    assert await rig.marks() == {}


@pytest.mark.parametrize("behaviour", [True, False])
async def test_orphans_of_a_group_deleted_the_careless_way_go_and_a_live_look_alike_stays(
    behaviour: bool,
) -> None:
    rig = PurgeRig(Given(dps={"orphans_queryable": behaviour}))
    await rig.group("line-a")
    await rig.group("old-line")
    rig.record("orphan-gone", "old-line", device=False)
    rig.record("orphan-silent", "old-line")
    rig.record("orphan-live", "old-line", seen=timedelta(days=2))
    rig.record("orphan-new", "old-line", device=False, age=timedelta(hours=3))
    rig.record("moved-on", "line-a")
    rig.record("alone", None)
    await rig.individual("alone", provisioningStatus="disabled")
    await rig.remember(
        "old-line", "orphan-gone", "orphan-silent", "orphan-live", "orphan-new", "moved-on", "alone", "lost"
    )
    await rig.drop_group("old-line")
    ended = await rig.purge_for_good()
    assert not rig.there("orphan-gone")
    assert not rig.there("orphan-silent")
    for name in ("orphan-live", "moved-on", "alone"):
        assert rig.there(name), name
    assert ended.result is not None
    assert ended.result["deleted"] == 2
    assert set(await rig.marks()) <= {"orphan-new"}
    held = rig.service.enrollment("alone")
    assert held is not None


KEPT: dict[str, dict[str, Any]] = {
    "excluded": {"device": False},
    "fresh": {"device": False, "age": timedelta(hours=5)},
    "assigning": {"status": "assigning", "device": False},
    "active-failed": {"status": "failed", "seen": timedelta(days=5)},
    "tagged-failed": {"status": "failed", "tags": {"purge": "never"}},
    "young-failed": {"status": "failed", "age": timedelta(days=5)},
    "assigned-silent": {},
    "unassigned": {"status": "unassigned", "hub": None},
}


async def test_each_guard_keeps_its_record() -> None:
    rig = await rigged(**KEPT)
    rig.record("elsewhere", device=False)
    rig.device("elsewhere", HUBS[1], seen=LONG)
    rig.record("single", device=False)
    await rig.individual("single")
    policy = aged(POLICY, exclude=("excl*",), failed_days=30)
    await rig.purge_for_good(policy)
    for name in (*KEPT, "elsewhere", "single", "live"):
        assert rig.there(name), name
    assert rig.deletes == []


async def test_a_silent_device_goes_only_where_age_is_looked_for() -> None:
    rig = await rigged(old={}, awake={"seen": timedelta(days=80)})
    await rig.purge_for_good(aged(POLICY, old_days=90))
    assert not rig.there("old")
    assert rig.there("awake")


async def test_a_dry_run_changes_nothing_and_tells_what_it_would_do() -> None:
    rig = await rigged(stale={"device": False})
    await rig.purge("purge-1")
    await rig.wait(days=3)
    marks = await rig.marks()
    row = await rig.purge("plan-1", dry_run=True)
    assert rig.deletes == []
    assert await rig.marks() == marks
    assert row.result is not None
    plan = row.result["plan"]
    assert (plan["population"], plan["stale"], plan["due"]) == (
        2,
        {"device-gone": {"line-a": 1}},
        {"device-gone": 1},
    )
    assert plan["samples"] == {"device-gone": ["stale"]}
    assert plan["price"] > 0
    assert plan["minutes"] >= 1
    assert "hub" in plan["effects"]["device-gone"]


@pytest.mark.parametrize("cap", [{"most": 1}, {"most_percent": 40.0}])
async def test_over_a_cap_nothing_is_deleted(cap: dict[str, Any]) -> None:
    rig = await rigged(one={"device": False}, two={"device": False})
    await rig.purge("purge-1")
    await rig.wait(days=3)
    row = await rig.purge("purge-2", aged(POLICY, **cap), ends=frozenset({State.FAILED}))
    assert "raise purge.most" in row.problem
    assert rig.deletes == []
    assert [row.key async for row in rig.memory.scan(f"{NAME}|purge|listed|purge-2")] == []


async def test_a_mark_comes_off_when_the_record_heals() -> None:
    rig = await rigged(back={"device": False}, again={"device": False})
    await rig.purge("purge-1")
    assert set(await rig.marks()) == {"back", "again"}
    rig.device("back", HUBS[0], seen=timedelta(0))
    rig.record("again", device=False)  # registered anew, long ago: another ETag
    await rig.wait(days=3)
    await rig.purge("purge-2")
    assert rig.there("back")
    assert rig.there("again")
    marks = await rig.marks()
    assert set(marks) == {"again"}
    assert marks["again"].run == "purge-2"


async def test_a_record_or_device_that_moves_between_the_look_and_the_delete_is_left() -> None:
    rig = await rigged(stale={"device": False})
    await rig.purge("purge-1")
    await rig.wait(days=3)

    async def interfere(request: httpx.Request) -> None:
        if request.method == "DELETE":
            rig.before.clear()
            rig.record("stale", seen=timedelta(0), age=timedelta(0))

    rig.before.append(interfere)
    row = await rig.purge("purge-2")
    assert rig.there("stale")
    assert row.result is not None
    assert row.result["left"] == {"moved": 1}
    assert [each.outcome for each in await rig.archived()] == ["left"]


async def test_a_device_that_queries_miss_is_found_by_the_direct_read() -> None:
    rig = await rigged(stale={"device": False})
    await rig.purge("purge-1")
    await rig.wait(days=3)

    async def interfere(request: httpx.Request) -> None:
        """The device is made right after the queries."""
        if request.url.host == HUBS[0] and request.method == "GET":
            rig.before.clear()
            rig.device("stale", HUBS[0], seen=None)

    rig.before.append(interfere)
    await rig.purge("purge-2")
    assert rig.there("stale")
    assert await rig.marks() == {}


async def test_without_the_linked_hubs_nothing_counts_as_unlinked() -> None:
    rig = await rigged(
        far={"hub": GONE_HUB}, failed={"hub": None, "status": "failed"}, gone={"device": False}
    )
    for known in (False, True):
        rig.linked = frozenset() if known else Unknown("no DPS_RESOURCE_ID")
        await rig.purge(f"purge-{known}")
        assert set(await rig.marks()) <= {"gone"}


async def test_a_hub_that_does_not_answer_keeps_its_records() -> None:
    rig = await rigged(stale={"device": False})

    class Dead:
        async def __call__(self, request: httpx.Request) -> None:
            if request.url.host == HUBS[0]:
                raise httpx.ConnectError("no route")

    await rig.purge("purge-1")
    await rig.wait(days=3)
    rig.before.append(Dead())
    row = await rig.purge("purge-2")
    assert rig.there("stale")
    assert set(await rig.marks()) == {"stale"}  # nothing is known of it, so it has not healed
    assert row.result is not None
    assert any("was not asked" in each for each in row.result["plan"]["notes"])


async def test_a_listing_that_does_not_end_deletes_nothing() -> None:
    rig = await rigged(stale={"device": False})
    await rig.group("line-b")
    await rig.purge("purge-1")
    await rig.wait(days=3)

    async def fails(request: httpx.Request) -> None:
        if request.url.path.startswith("/registrations/line-b/query"):
            raise httpx.ConnectError("no route")

    rig.before.append(fails)
    kind, store, rates = rig.kind(rig.ports())
    await create(store, "purge-2", POLICY, by="test", dry_run=False)
    for _ in range(4):
        await tick([kind], store, rates, rig.told)
        await rig.clock.advance(900)
    assert rig.deletes == []
    rig.before.clear()
    await rig.purge("purge-2")
    assert not rig.there("stale")


async def test_a_group_that_goes_during_the_pass_begins_it_anew() -> None:
    rig = await rigged(stale={"device": False})
    await rig.group("line-b")
    rig.record("of-b", "line-b", device=False)
    await rig.purge("purge-1")
    await rig.wait(days=3)

    async def drop(request: httpx.Request) -> None:
        if request.url.path.startswith("/registrations/line-b/query"):
            rig.before.clear()
            await rig.drop_group("line-b")

    rig.before.append(drop)
    await rig.purge("purge-2")
    assert not rig.there("stale")
    assert rig.there("of-b")  # no audit ever kept it, so nothing is concluded of it


async def test_expired_continuations_and_small_pages_change_nothing() -> None:
    rig = PurgeRig(Given(dps={"max_page_size": 3, "continuation_lifetime": 60.0}))
    await rig.group("line-a")
    for number in range(20):
        rig.record(f"d{number:02}", device=number % 4 != 0)

    expired = 0

    async def slowly(request: httpx.Request) -> None:
        """In the middle of each listing the continuation grows old, once."""
        nonlocal expired
        if "x-ms-continuation" in request.headers and rig.calls["dps", "POST", "registrations"] % 9 == 4:
            expired += 1
            await rig.clock.advance(61)

    rig.before.append(slowly)
    row = await rig.purge("purge-1")
    assert expired
    assert row.result is not None
    assert row.result["plan"]["population"] == 20  # nothing of the listing that was begun anew counts
    await rig.wait(days=3)
    await rig.purge("purge-2")
    assert {each.registration_id for each in rig.service.registrations()} == {
        f"d{number:02}" for number in range(20) if number % 4
    }
    assert len(rig.deletes) == 5


async def test_a_listing_whose_continuations_are_always_refused_ends_the_run() -> None:
    rig = PurgeRig(Given(dps={"max_page_size": 3, "continuation_lifetime": 60.0}))
    await rig.group("line-a")
    for number in range(9):
        rig.record(f"d{number}", device=False)

    async def late(request: httpx.Request) -> None:
        if "x-ms-continuation" in request.headers:
            await rig.clock.advance(61)

    rig.before.append(late)
    row = await rig.purge("purge-1", ends=frozenset({State.FAILED}))
    assert "faster than this run asks" in row.problem
    assert await rig.marks() == {}


async def test_a_record_of_another_version_than_the_marked_one_is_left() -> None:
    rig = await rigged(stale={"device": False})
    await rig.purge("purge-1")
    await rig.wait(days=3)

    async def interfere(request: httpx.Request) -> None:
        """It is as stale as before, but another: whoever made it began anew."""
        if request.url.path == "/registrations/stale":
            rig.before.clear()
            rig.record("stale", device=False)

    rig.before.append(interfere)
    row = await rig.purge("purge-2")
    assert rig.there("stale")
    assert row.result is not None
    assert row.result["left"] == {"moved": 1}


async def test_a_device_that_is_back_before_a_broken_off_chunk_goes_on_keeps_its_record() -> None:
    rig = await rigged(back={"device": False}, stale={"device": False})
    await rig.purge("purge-1")
    await rig.wait(days=3)

    until = rig.now + timedelta(minutes=10)

    async def broken(request: httpx.Request) -> None:
        """For ten minutes no delete gets through; meanwhile the device is back."""
        if request.method == "DELETE" and rig.now < until:
            rig.device("back", HUBS[0], seen=timedelta(0))
            raise httpx.ConnectError("no route")

    rig.before.append(broken)
    row = await rig.purge("purge-2")
    assert rig.there("back")
    assert row.result is not None
    assert row.result["deleted"] == 1
    assert {each.id: each.outcome for each in await rig.archived()} == {"back": "left", "stale": "deleted"}


async def test_a_run_makes_no_more_calls_than_its_records_need() -> None:
    rig = PurgeRig(Given(dps={"max_page_size": 100}))
    await rig.group("line-a")
    for number in range(1_000):
        rig.record(f"d{number:04}", device=number % 5 != 0)
    await rig.purge("purge-1")
    await rig.wait(days=3)
    rig.calls.clear()
    row = await rig.purge("purge-2")
    assert row.result is not None
    assert row.result["deleted"] == 200
    listing = 10 + 3  # pages of a pass: records; groups at its begin and its end, and individuals
    assert rig.dps_calls() <= 1.02 * 2 * listing + 2 * 200
    evidence = 10 + 10 + 8  # of each device its own hub, of the suspects the other; and of the rest again
    assert sum(n for (where, _, _), n in rig.calls.items() if where != "dps") <= evidence + 200
    assert row.result["plan"]["dpsCalls"] >= rig.dps_calls()


async def test_a_run_tells_its_figures_as_an_event_and_as_metrics() -> None:
    rig = await rigged(stale={"device": False}, back={"device": False})
    await rig.purge("purge-1")
    await rig.wait(days=3)

    async def interfere(request: httpx.Request) -> None:
        """One of them is back right before its delete."""
        if request.method == "DELETE" and request.url.path.endswith("/back"):
            rig.before.clear()
            rig.record("back", seen=timedelta(0), age=timedelta(0))

    rig.before.append(interfere)
    rig.calls.clear()
    await rig.purge("purge-2")
    marked, deleted = [fields for name, fields in rig.told.events if name == "purge_ended"]
    assert (marked["planned"], marked["marked"], marked["deleted"], marked["archived"]) == (2, 2, 0, 0)
    assert (deleted["due"], deleted["deleted"], deleted["left"], deleted["archived"]) == (2, 1, 1, 2)
    assert (deleted["kept"], deleted["left_why"], deleted["throttled"]) == ({"sound": 1}, {"moved": 1}, 0)
    assert deleted["dps_calls"] == rig.dps_calls()
    assert deleted["hub_calls"] == rig.calls.total() - rig.dps_calls()
    assert {"purge_ended"} <= EVENTS.keys()
    assert {name for name, _ in rig.told.measures if name.startswith("purge.")} <= METRICS.keys()
    assert ("purge.deleted", 1) in rig.told.measures


async def test_a_run_that_its_caps_stop_tells_its_figures_and_why() -> None:
    rig = await rigged(one={"device": False}, two={"device": False})
    await rig.purge("purge-1")
    await rig.wait(days=3)
    await rig.purge("purge-2", aged(POLICY, most=1), ends=frozenset({State.FAILED}))
    told = [fields for name, fields in rig.told.events if name == "purge_ended"][-1]
    assert (told["due"], told["deleted"]) == (2, 0)
    assert "raise purge.most" in str(told["problem"])


async def test_a_payload_is_not_archived() -> None:
    rig = await rigged(stale={"device": False})
    found = rig.service.registration("stale")
    assert found is not None
    rig.service.store.registrations.put("stale", replace(found, payload={"token": "hidden"}))
    await rig.purge_for_good()
    (entry,) = await rig.archived()
    assert entry.document["payload"] == PAYLOAD
    assert "hidden" not in str(rig.memory)


async def test_a_device_that_dps_moves_is_not_taken_for_gone() -> None:
    rig = await rigged(stale={"seen": LONG})
    await rig.purge("purge-1")
    migrate(
        "stale",
        rig.at(HUBS[0]),
        rig.at(HUBS[1]),
        keys=rig.at(HUBS[0]).new_keys(),
        now=rig.now,
    )
    await rig.purge("purge-2")
    await rig.wait(days=3)
    await rig.purge("purge-3")
    assert rig.there("stale")


async def test_a_policy_that_is_none_ends_the_run_before_any_call() -> None:
    rig = await rigged()
    kind, store, rates = rig.kind(rig.ports())
    await store.create("bad", "purge", by="test", params={"policy": {"quiet_days": 0}})
    await tick([kind], store, rates, rig.told)
    row = await show(store, "bad")
    assert row.state is State.FAILED
    assert "purge.quiet_days" in row.problem
    assert rig.calls.total() == 0
