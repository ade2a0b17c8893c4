"""Hubs that say of many devices at once that they were deleted: written down, and looked at in their turn."""

import random
from typing import Any

import httpx
import pytest

from lifecycle import events
from lifecycle.jobs import JobRow, State, show, stop, tick
from lifecycle.purge.gone import KEEP
from lifecycle.purge.heard import Heard, HeardStore, ask
from lifecycle.purge.job import create
from local.explore import Life, Run, explore
from local.hub import migrate
from tests.lifecycle.enrollments.rig import HUBS
from tests.lifecycle.purge.hub_events import cloud_event, event_grid
from tests.lifecycle.purge.rig import NAME, POLICY, Journal, PurgeRig, aged
from tests.lifecycle.purge.test_pace import SHARE, Limited

UNITS = dict.fromkeys(HUBS, 1_000)


class Listening:
    """The app: it writes events down, and each minute its timer asks for a look and works."""

    def __init__(self, rig: PurgeRig, way: httpx.AsyncBaseTransport | None = None) -> None:
        self.rig = rig
        self.store = HeardStore(rig.memory, NAME)
        self.kind, self.jobs, self.rates = rig.kind(rig.ports(way or Journal(rig)))

    async def hear(self, *raw: dict[str, Any]) -> None:
        for each in raw:
            event = events.read([each])
            await self.store.put(Heard(events.device_deleted(event), event.id, self.rig.now))

    async def minute(self) -> None:
        begun = self.rig.clock.monotonic()
        await ask(self.jobs, self.store)
        await tick([self.kind], self.jobs, self.rates, self.rig.told)
        await self.rig.clock.advance(max(0.0, begun + 60 - self.rig.clock.monotonic()))

    async def minutes(self, count: int) -> None:
        for _ in range(count):
            await self.minute()

    def noted(self) -> list[str]:
        return [str(fields["noted"]) for name, fields in self.rig.told.events if name == "device_deleted"]

    async def job(self) -> JobRow:
        [job] = (await self.jobs.current()).jobs
        return job


async def rigged(*names: str, units: dict[str, int] | None = None) -> PurgeRig:
    rig = PurgeRig(units=units)
    await rig.group("line-a")
    for name in names:
        rig.record(name)
    return rig


async def test_a_flood_of_deletions_takes_no_more_of_dps_than_a_purge_may_and_loses_none() -> None:
    names = [f"d{number:04}" for number in range(700)]
    rig = await rigged(*names, units=UNITS)
    kept = set(names[::50])
    for name in names:
        if name not in kept:
            rig.at(HUBS[0]).remove(name, rig.now)
    way = Limited(rig)
    app = Listening(rig, way)
    flood = [schema(name) for name in names for schema in (event_grid, cloud_event)]
    random.Random(1).shuffle(flood)
    await app.hear(*flood[:1_000])
    assert way.minutes.total() == 0, "what is told of is not looked at while the hub waits for an answer"
    await create(app.jobs, "purge-1", aged(POLICY, keep_tags=()), by="test", dry_run=True)
    await app.minutes(2)
    await app.hear(*flood[1_000:])  # late
    await app.minutes(12)
    assert set(await rig.marks()) == set(names) - kept
    assert max(way.minutes.values()) <= SHARE
    assert way.refused.total() == 0
    assert not await app.store.any()
    assert (await app.jobs.current()).jobs == ()
    assert (await show(app.jobs, "purge-1")).state is State.DONE


async def test_a_hub_of_one_unit_is_asked_no_more_than_a_purge_may() -> None:
    names = [f"d{number:03}" for number in range(120)]
    rig = await rigged(*names)
    for name in names:
        rig.at(HUBS[0]).remove(name, rig.now)
    app = Listening(rig)
    await app.hear(*(event_grid(name) for name in names))
    await app.minutes(3)
    assert 0.9 * 2 * 25 <= rig.calls["hub-a", "GET", "devices"] <= 3 * 25
    await app.minutes(3)
    assert set(await rig.marks()) == set(names)


async def test_what_was_marked_meanwhile_costs_its_hub_no_call() -> None:
    rig = await rigged("dev-1")
    rig.at(HUBS[0]).remove("dev-1", rig.now)
    await rig.purge("purge-1")
    marks, app = await rig.marks(), Listening(rig)
    await app.hear(event_grid("dev-1"))
    rig.calls.clear()
    await app.minute()
    assert app.noted() == ["marked before"]
    assert await rig.marks() == marks
    assert rig.calls == {("dps", "GET", "registrations"): 1}


async def test_events_out_of_order_of_devices_that_moved_came_back_or_never_were_mark_nothing() -> None:
    rig = await rigged("moved", "back", "Dev-1")
    migrate("moved", rig.at(HUBS[0]), rig.at(HUBS[1]), keys=rig.at(HUBS[0]).new_keys(), now=rig.now)
    rig.record("moved", hub=HUBS[1], device=False)
    app = Listening(rig)
    names = ["moved", "back", "nobody", "dev-1", "dev+1"]
    await app.hear(*(schema(name) for schema in (cloud_event, event_grid) for name in names))
    await app.minute()
    assert sorted(app.noted()) == ["device is there", "no record", "no record", *["points elsewhere"] * 2]
    assert await rig.marks() == {}


async def test_a_device_that_is_deleted_again_while_its_first_event_is_looked_at_is_looked_at_again() -> None:
    rig = await rigged("dev-1")
    app = Listening(rig)

    looks = 0

    async def again(request: httpx.Request) -> None:
        nonlocal looks
        if request.url.path != "/devices/dev-1":
            return
        looks += 1
        if looks == 1:
            await app.hear(event_grid("dev-1"))
        else:
            rig.at(HUBS[0]).remove("dev-1", rig.now)

    rig.before.append(again)
    await app.hear(event_grid("dev-1"))
    await app.minute()
    assert app.noted() == ["device is there", "marked"]


async def test_a_hub_that_does_not_answer_is_asked_again_later_and_given_up_after_days() -> None:
    rig = await rigged("dev-1", "dev-2")
    for name in ("dev-1", "dev-2"):
        rig.at(HUBS[0]).remove(name, rig.now)
    app = Listening(rig)

    async def down(request: httpx.Request) -> None:
        if request.url.host == HUBS[0]:
            raise httpx.ConnectError("no route")

    rig.before.append(down)
    await app.hear(event_grid("dev-1"))
    await app.minutes(3)
    assert (await app.job()).state is State.WAITING
    assert app.noted() == []
    rig.before.clear()
    await app.minutes(15)
    assert app.noted() == ["marked"]
    rig.before.append(down)
    await app.hear(event_grid("dev-2"))
    await app.minutes(11)
    await rig.wait(seconds=KEEP.total_seconds())
    await app.minute()
    assert app.noted() == ["marked", "not known"]
    assert not await app.store.any()
    assert set(await rig.marks()) == {"dev-1"}


async def test_an_answer_of_dps_that_cannot_be_read_holds_up_no_other_event() -> None:
    rig = await rigged("dev-1")
    rig.at(HUBS[0]).remove("dev-1", rig.now)

    class Odd(httpx.AsyncBaseTransport):
        inner = Journal(rig)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/registrations/odd":
                return httpx.Response(200, json={"registrationId": "another"})
            return await self.inner.handle_async_request(request)

    app = Listening(rig, Odd())
    await app.hear(*map(event_grid, ("odd", "dev-1")))
    await app.minutes(2)
    assert app.noted() == ["marked"]


@pytest.mark.parametrize("state", [State.WAITING, State.STOPPED])
async def test_one_job_at_a_time_looks_and_a_run_is_no_reason_not_to(state: State) -> None:
    rig = await rigged()
    app = Listening(rig)
    assert await ask(app.jobs, app.store) is None
    await app.hear(event_grid("dev-1"))
    await create(app.jobs, "purge-1", POLICY, by="test")
    made = await ask(app.jobs, app.store)
    assert made is not None
    assert made.new
    if state is State.STOPPED:
        await stop(app.jobs, made.job.id, by="kim")
    await rig.wait(hours=1)
    assert await ask(app.jobs, app.store) is None


async def test_what_is_heard_right_after_a_job_ended_is_looked_at_in_the_next_minutes() -> None:
    rig = await rigged("dev-1", "dev-2")
    app = Listening(rig)
    for name in ("dev-1", "dev-2"):
        rig.at(HUBS[0]).remove(name, rig.now)
        await app.hear(event_grid(name))
        await app.minute()
    assert set(await rig.marks()) == {"dev-1"}
    await app.minutes(10)
    assert set(await rig.marks()) == {"dev-1", "dev-2"}


async def test_a_death_at_any_call_loses_no_event() -> None:
    async def run(run: Run) -> None:
        rig = await rigged("dev-1", "dev-2")
        try:
            for name in ("dev-1", "dev-2"):
                rig.at(HUBS[0]).remove(name, rig.now)
            store = HeardStore(rig.memory, NAME)
            for name in ("dev-1", "dev-2"):
                event = events.read(event_grid(name))
                await store.put(Heard(events.device_deleted(event), event.id, rig.now))

            async def process(life: Life) -> None:
                ports = rig.ports(life.transport(Journal(rig)), life.port(rig.memory, "table"))
                kind, jobs, rates = rig.kind(ports)
                for _ in range(40):
                    await ask(jobs, HeardStore(ports.table, NAME))
                    await tick([kind], jobs, rates, rig.told)
                    await rig.clock.advance(60)
                    if not await store.any() and not (await jobs.current()).jobs:
                        return
                raise AssertionError("it does not end")

            await run.live(process)
            assert set(await rig.marks()) == {"dev-1", "dev-2"}
        finally:
            await rig.aclose()

    report = await explore(run)
    report.check()
    assert report.runs > 20


async def test_ids_that_differ_in_case_are_two_devices_of_a_hub() -> None:
    rig = await rigged()
    app = Listening(rig)
    await app.hear(event_grid("dev-1"), event_grid("Dev-1"), cloud_event("dev-1"))
    assert sorted([each.said.device async for _, each in app.store.all()]) == ["Dev-1", "dev-1"]
