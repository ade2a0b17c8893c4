"""What bounds a run: waits that come to an end, hubs that fail now and then."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from lifecycle.decommission.job import create, decommission_kind, pace_of
from lifecycle.decommission.records import UNSURE
from lifecycle.jobs import JobStore, State, resume, show, tick
from lifecycle.purge.plan import Pace
from lifecycle.rates import Rates
from tests.lifecycle.decommission.rig import GROUP, TOLD, DecommissionRig, rigged
from tests.lifecycle.enrollments.rig import HUBS
from tests.lifecycle.purge.rig import NAME, POLICY, Given, Journal


async def test_a_device_that_registers_for_ever_blocks_it_instead_of_holding_it_for_ever() -> None:
    rig = await rigged(quiet={}, eager={"status": "assigning", "age": timedelta(), "hub": None})

    stopped: list[bool] = []

    async def again(request: httpx.Request) -> None:
        if request.url.path == f"/registrations/{GROUP}/query" and not stopped:
            rig.record("eager", status="assigning", age=timedelta(), hub=None)

    rig.before.append(again)
    row = await rig.decommission(ends=frozenset({State.BLOCKED}))
    assert "registration under way" in row.problem
    assert "'eager'" in row.problem
    assert rig.group_there()
    assert not rig.there("quiet")
    stopped.append(True)
    rig.record("eager", status="failed", age=timedelta(), hub=None)
    await resume(JobStore(rig.memory, NAME, rig.moving), row.id, by="kim")
    await rig.decommission()
    assert not rig.group_there()


async def test_a_hub_that_fails_now_and_then_ends_no_run_that_gets_on() -> None:
    count = UNSURE + 5
    rig = await rigged(**{f"quiet-{number:02}": {} for number in range(count)})
    since: dict[str, datetime] = {}

    async def fail_a_while(request: httpx.Request) -> None:
        """The registry is not there for the first reads of each device."""
        path = request.url.path
        if request.url.host != HUBS[0] or not path.startswith("/devices/quiet"):
            return
        if rig.now - since.setdefault(path, rig.now) < timedelta(seconds=40):
            raise httpx.ConnectError("down")

    rig.before.append(fail_a_while)
    row = await rig.decommission(replace(TOLD, policy=replace(POLICY, keep_tags=())))
    assert len(since) == count
    assert row.result["deleted"] == count
    assert not rig.group_there()


async def test_a_plan_reckons_with_the_units_of_each_hub() -> None:
    rig = await rigged(**{f"quiet-{number:03}": {} for number in range(60)})
    ports, plans = rig.of(), []
    for units in (1, 20):
        rates = Rates(rig.moving, units={HUBS[0]: units})
        kind, store = decommission_kind(ports, pace_of(rates)), JobStore(rig.memory, NAME, rig.moving)
        job = f"plan-{units}"
        await create(store, job, replace(TOLD, dry_run=True), by="test")
        while (await show(store, job)).state is not State.DONE:
            await tick([kind], store, rates, rig.told)
            await rig.clock.advance(60)
        plans.append((await show(store, job)).result["plan"])
    assert [plan["minutes"] for plan in plans] == [11, 2]
    assert [plan["goes"] for plan in plans] == [60, 60]


def test_a_slow_hub_bounds_a_pace_and_queries_go_as_fast_as_all_hubs_together() -> None:
    pace = Pace(dps=100, reads=6, queries=3, hubs={"big": (60, 30)})
    assert pace.minutes({"BIG": 120, "small": 60}, 33) == (10, 1)
    assert pace.minutes({"big": 120}, 60) == (2, 2)
    assert pace.minutes({}, 6) == (0, 2)


async def test_a_deleted_groups_listing_that_comes_to_no_end_leaves_its_ids_to_be_read() -> None:
    rig = DecommissionRig(Given(dps={"max_page_size": 2, "continuation_lifetime": 5.0}))
    await rig.group(GROUP)
    names = [f"quiet-{number}" for number in range(4)]
    for name in names:
        rig.record(name)
    back: list[str] = []

    async def forgets(request: httpx.Request) -> None:
        path = request.url.path
        if request.method == "DELETE" and path == f"/enrollmentGroups/{GROUP}" and not back:
            back.extend(names)
            for name in names:
                rig.record(name, seen=timedelta(), age=timedelta())
        elif back and path == f"/registrations/{GROUP}/query" and "x-ms-continuation" in request.headers:
            await rig.clock.advance(6)

    rig.before.append(forgets)
    row = await rig.decommission()
    assert back
    assert not rig.group_there()
    assert (row.result["groupDeleted"], row.result["left"]) == (True, {"active": 4})
    assert await rig.rows_left() == []


async def test_a_hub_that_is_down_when_the_group_is_gone_is_waited_for() -> None:
    rig = DecommissionRig(Given(dps={"orphans_queryable": False}))
    await rig.group(GROUP)
    rig.record("quiet")
    since: list[datetime] = []

    async def meanwhile(request: httpx.Request) -> None:
        if request.method == "DELETE" and request.url.path == f"/enrollmentGroups/{GROUP}" and not since:
            since.append(rig.now)
            rig.record("quiet", status="failed")
        if since and request.url.host == HUBS[0] and rig.now - since[0] < timedelta(minutes=4):
            raise httpx.ConnectError("down")

    rig.before.append(meanwhile)
    row = await rig.decommission()
    assert since
    assert row.result["left"] == {}
    assert not rig.there("quiet")


class Wrong(httpx.AsyncBaseTransport):
    """Something between us and DPS that knows no such path, for a while."""

    def __init__(self, inner: httpx.AsyncBaseTransport, path: str, document: Any) -> None:
        self._inner = inner
        self._path = path
        self._document = document
        self.asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == self._path and self.asked < 3:
            self.asked += 1
            return httpx.Response(404, json=self._document)
        return await self._inner.handle_async_request(request)


@pytest.mark.parametrize("document", [{}, {"errorCode": 404204, "message": "no such group"}])
async def test_a_listing_that_is_not_found_although_its_group_is_there_proves_nothing(document: Any) -> None:
    rig = DecommissionRig(Given(dps={"orphans_queryable": False}))
    await rig.group(GROUP)
    await rig.group("line-b")
    rig.record("mover")
    done: list[str] = []

    async def meanwhile(request: httpx.Request) -> None:
        if request.method == "DELETE" and request.url.path == f"/enrollmentGroups/{GROUP}" and not done:
            done.append("now")
            rig.record("mover", "line-b", status="failed", hub=HUBS[0])

    rig.before.append(meanwhile)
    way = Wrong(Journal(rig), "/registrations/line-b/query", document)
    row = await rig.decommission(ports=rig.of(way))
    assert (done, way.asked) == (["now"], 3)
    assert rig.broken == []
    assert rig.there("mover")
    assert row.result["left"] == {"another-group": 1}
