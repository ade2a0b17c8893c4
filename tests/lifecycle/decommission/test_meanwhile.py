"""What others do while a group goes, and what gets lost on the way: it comes to the same end, or stops."""

from collections import Counter
from datetime import timedelta

import httpx
import pytest

from lifecycle.jobs import JobRow, JobStore, State, resume
from tests.lifecycle.decommission.rig import FAILED, GROUP, QUIET, SETTLE, DecommissionRig, rigged
from tests.lifecycle.enrollments.rig import HUBS, KEYS
from tests.lifecycle.purge.rig import NAME, Given, Journal


async def test_a_record_that_another_group_got_meanwhile_is_left() -> None:
    rig = await rigged(quiet={}, mover={})

    async def move(request: httpx.Request) -> None:
        """It registers through the other group between the listing and the delete."""
        if request.method == "DELETE" and request.url.path.endswith("/quiet"):
            rig.record("mover", "line-b", seen=timedelta(minutes=1), age=timedelta())

    rig.before.append(move)
    row = await rig.decommission()
    assert rig.there("mover")
    assert await rig.went() == ["quiet"]
    assert row.result["left"] == {"active": 1}
    assert not rig.group_there()


@pytest.mark.parametrize("queryable", [True, False])
@pytest.mark.parametrize("mover", [True, False])
async def test_what_came_while_the_group_went_is_found_by_its_id(queryable: bool, mover: bool) -> None:
    rig = DecommissionRig(Given(dps={"orphans_queryable": queryable}))
    await rig.group(GROUP)
    await rig.group("line-b")
    rig.record("back")
    rig.record("mover")
    done: list[str] = []

    async def meanwhile(request: httpx.Request) -> None:
        if request.method == "DELETE" and request.url.path == f"/enrollmentGroups/{GROUP}" and not done:
            done.append("now")
            rig.record("back", status="disabled", age=timedelta(), hub=None)
            rig.record("mover", "line-b" if mover else GROUP, status="failed", hub=HUBS[0])

    rig.before.append(meanwhile)
    row = await rig.decommission()
    assert done
    assert not rig.there("back")
    assert rig.there("mover") is mover
    assert row.result["left"] == ({"another-group": 1} if mover else {})
    assert rig.broken == []


async def test_groups_that_change_while_it_is_proven_begin_the_proof_anew() -> None:
    rig = DecommissionRig(Given(dps={"orphans_queryable": False}))
    await rig.group(GROUP)
    await rig.group("line-b")
    rig.record("mover")
    dropped: list[str] = []

    async def meanwhile(request: httpx.Request) -> None:
        path = request.url.path
        if request.method == "DELETE" and path == f"/enrollmentGroups/{GROUP}":
            rig.record("mover", "line-b", status="failed", hub=HUBS[0])
        elif path == "/registrations/line-b/query" and not dropped:
            dropped.append("now")
            await rig.drop_group("line-b")
            await rig.clock.advance(5)
        elif path == "/enrollmentGroups/query" and dropped and not rig.group_there("line-b"):
            await rig.group("line-b")

    rig.before.append(meanwhile)
    row = await rig.decommission()
    assert dropped
    assert rig.there("mover")
    assert row.result["left"] == {"another-group": 1}


async def test_a_registration_under_way_holds_a_group_that_was_disabled_long_ago() -> None:
    rig = await rigged(quiet={})
    await rig.status("disabled")
    await rig.wait(hours=1)
    rig.record("slow", status="assigning", age=timedelta(), hub=None)
    seen: list[bool] = []

    async def ends(_: JobRow) -> None:
        if not rig.there("quiet") and not seen:
            seen.append(rig.group_there())
            rig.record("slow", status="failed", age=timedelta(), hub=None)

    await rig.decommission(between=ends)
    assert seen == [True]
    assert await rig.went() == ["quiet", "slow"]
    assert not rig.group_there()


async def test_a_new_device_that_tried_in_between_is_found_where_dps_still_lists_it() -> None:
    rig = await rigged(quiet={})

    async def meanwhile(request: httpx.Request) -> None:
        if request.method == "DELETE" and request.url.path == f"/enrollmentGroups/{GROUP}":
            rig.record("new", status="disabled", age=timedelta(), hub=None)

    rig.before.append(meanwhile)
    await rig.decommission()
    assert not rig.there("new")
    assert await rig.went() == ["new", "quiet"]


async def test_a_registration_under_way_is_waited_for_and_its_device_then_stops_the_deletion() -> None:
    rig = await rigged(quiet={}, slow={"status": "assigning", "age": timedelta(), "hub": None})
    seen: list[bool] = []

    async def ends(_: JobRow) -> None:
        if not rig.there("quiet") and not seen:
            seen.append(rig.group_there())
            rig.record("slow", seen=timedelta(), age=timedelta())

    row = await rig.decommission(ends=FAILED, between=ends)
    assert seen == [True]
    assert "('slow') in use" in row.problem
    assert "Records deleted so far: 1; the group is disabled and was not deleted" in row.problem
    assert rig.there("slow")
    assert rig.group_there()


async def test_the_group_goes_no_sooner_than_registrations_of_before_have_ended() -> None:
    rig = await rigged(quiet={})
    began, gone_at = rig.now, []

    async def note(request: httpx.Request) -> None:
        if request.method == "DELETE" and request.url.path.startswith("/enrollmentGroups/"):
            gone_at.append(rig.now)

    rig.before.append(note)
    await rig.decommission()
    assert gone_at[0] - began >= SETTLE


async def test_somebody_who_enables_the_group_again_stops_it() -> None:
    rig = await rigged(quiet={})

    async def enable(_: JobRow) -> None:
        if not rig.there("quiet"):
            await rig.status("enabled")

    row = await rig.decommission(ends=FAILED, between=enable)
    assert "somebody enabled group 'line-a' again" in row.problem
    assert rig.group_there()


async def test_a_group_made_anew_meanwhile_is_left_alone() -> None:
    rig = await rigged(quiet={})

    async def anew(_: JobRow) -> None:
        if not rig.there("quiet"):
            await rig.drop_group(GROUP)
            await rig.clock.advance(5)
            await rig.group(GROUP)
            rig.record("new", seen=timedelta(), age=timedelta())

    row = await rig.decommission(ends=FAILED, between=anew)
    assert "made anew" in row.problem
    assert rig.group_there()
    assert rig.there("new")


async def test_a_group_made_anew_right_after_its_deletion_keeps_its_devices() -> None:
    rig = await rigged(quiet={})
    again: list[str] = []

    async def anew(request: httpx.Request) -> None:
        if request.url.path == f"/registrations/{GROUP}/query" and not rig.group_there() and not again:
            again.append("now")
            await rig.group(GROUP)
            await rig.adopt()
            rig.record("quiet", seen=timedelta(), age=timedelta())
            rig.record("new", status="failed")

    rig.before.append(anew)
    row = await rig.decommission()
    assert again
    assert rig.there("quiet")
    assert rig.there("new")
    assert rig.group_there()
    assert row.result["madeAnew"] is True
    assert await rig.rotations.find(GROUP) is not None


async def test_a_group_that_somebody_else_deletes_meanwhile_is_cleaned_up_after() -> None:
    rig = await rigged(quiet={}, late={})

    async def drop(request: httpx.Request) -> None:
        if request.method == "DELETE" and request.url.path.endswith("/quiet") and rig.group_there():
            await rig.drop_group(GROUP)

    rig.before.append(drop)
    row = await rig.decommission()
    assert row.result["byOthers"] is True
    assert await rig.went() == ["late", "quiet"]
    assert await rig.kept() == KEYS


class Lossy(httpx.AsyncBaseTransport):
    """Each change is lost once: on the way there, or its answer."""

    def __init__(self, inner: httpx.AsyncBaseTransport, *, answer: bool) -> None:
        self._inner = inner
        self._answer = answer
        self.lost: set[tuple[str, str]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        call = (request.method, request.url.path)
        if request.method not in ("PUT", "DELETE") or call in self.lost:
            return await self._inner.handle_async_request(request)
        self.lost.add(call)
        if self._answer:
            await self._inner.handle_async_request(request)
        raise httpx.ReadTimeout("lost")


@pytest.mark.parametrize("answer", [True, False])
async def test_changes_without_an_answer_are_looked_up_and_made_once(answer: bool) -> None:
    rig = await rigged(**QUIET)
    way = Lossy(Journal(rig), answer=answer)
    row = await rig.decommission(ports=rig.of(way))
    assert len(way.lost) == 3 + 3  # the group disabled and deleted, its keys kept, three records
    assert rig.broken == []
    assert not rig.group_there()
    assert await rig.went() == sorted(QUIET)
    assert await rig.kept() == KEYS
    assert max(Counter(rig.deletes).values()) == 1
    assert row.result["deleted"] == 3


async def test_keys_that_cannot_be_kept_block_it_and_it_goes_on_once_they_can() -> None:
    rig = await rigged(quiet={})
    repaired: list[bool] = []

    async def refuse(request: httpx.Request) -> None:
        if request.url.host.endswith(".vault.azure.net") and request.method == "PUT" and not repaired:
            raise httpx.ReadTimeout("lost")

    rig.before.append(refuse)
    row = await rig.decommission(ends=frozenset({State.BLOCKED}))
    assert "does not hold; it was not deleted; it is disabled" in row.problem
    assert rig.group_there()
    assert rig.there("quiet")
    repaired.append(True)
    await resume(JobStore(rig.memory, NAME, rig.moving), row.id, by="kim")
    await rig.decommission()
    assert not rig.group_there()
    assert await rig.kept() == KEYS
