"""A fleet that does whatever fleets do, and purges that may die: no live device loses its record."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from local.explore import Life, Run
from local.explore.paths import CRASH
from tests.lifecycle.enrollments.rig import HUBS
from tests.lifecycle.purge.hub_events import cloud_event, event_grid, note
from tests.lifecycle.purge.rig import GONE_HUB, POLICY, Journal, PurgeRig

T = TypeVar("T")
DEVICES = [f"dev-{number}" for number in range(6)]
GROUPS = ["line-a", "line-b"]
POLICY_ = replace(POLICY, exclude=("dev-5",), failed_days=10, disabled_days=10, old_days=60)
QUIET = timedelta(days=POLICY_.quiet_days - 1)
SETTLE = timedelta(hours=POLICY_.settle_hours - 2)
devices, groups, hubs = st.sampled_from(DEVICES), st.sampled_from(GROUPS), st.sampled_from(HUBS)


class Fleet(RuleBasedStateMachine):
    """Devices that register, move, sleep and vanish, groups that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.rig = PurgeRig()
        self.runs = 0

    def teardown(self) -> None:
        self.do(self.rig.aclose())
        self.loop.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(work)

    @initialize()
    def groups_are_made(self) -> None:
        for name in GROUPS:
            self.do(self.rig.group(name))
        for number, device in enumerate(DEVICES):
            self.rig.record(device, GROUPS[number % 2], hub=HUBS[number % 2], age=timedelta(days=45))

    @rule(
        device=devices, through=groups, hub=hubs, status=st.sampled_from(["assigned", "assigned", "failed"])
    )
    def registers(self, device: str, through: str, hub: str, status: str) -> None:
        """A device registers, on whichever hub; from another one it is moved."""
        if self.rig.service.group(through) is not None:
            self.at(device, through, hub, status)

    def at(self, device: str, through: str, hub: str, status: str = "assigned") -> None:
        if status == "assigned":
            for other in HUBS:
                if other != hub:
                    self.rig.at(other).remove(device, self.rig.now)
        self.rig.record(
            device,
            through,
            hub=hub if status == "assigned" else None,
            status=status,
            age=timedelta(0),
            seen=timedelta(0),
        )

    @rule(device=devices, through=groups)
    def moves_to_another_group(self, device: str, through: str) -> None:
        """It registers through that group from now on, and stays at its hub."""
        found = self.rig.service.registration(device)
        there = self.rig.service.group(through) is not None
        if found is not None and found.group != through and found.assigned_hub in HUBS and there:
            self.at(device, through, found.assigned_hub)

    @rule(device=devices, claimed=st.sampled_from([*GROUPS, "made-up"]), hub=hubs)
    def somebody_forges_a_webhook_call(self, device: str, claimed: str, hub: str) -> None:
        """The ledger then says what never was; it lies in the table that purges read and write."""
        self.do(self.rig.webhook_call(device, claimed, hub))

    @rule(
        which=st.integers(0, 50),
        device=devices,
        hub=hubs,
        forged=st.booleans(),
        schema=st.sampled_from([event_grid, cloud_event]),
    )
    def an_event_comes(
        self, which: int, device: str, hub: str, forged: bool, schema: Callable[..., dict[str, Any]]
    ) -> None:
        """A real one, late, again and in any order; or one that somebody made up."""
        told = [each for each in self.rig.deletions if not forged]
        if told:
            device, hub = told[which % len(told)]
        kept = device if self.rig.there(device) and self.must_stay(device) else None
        self.do(note(self.rig, schema(device, hub.partition(".")[0])))
        if kept is not None:
            assert self.rig.there(kept), "an event deletes nothing"

    @rule(device=devices, hub=hubs)
    def is_heard_of(self, device: str, hub: str) -> None:
        if device in self.rig.at(hub).devices:
            self.rig.at(hub).touch(device, self.rig.now)

    @rule(device=devices, hub=hubs)
    def is_deleted_at_its_hub(self, device: str, hub: str) -> None:
        self.rig.at(hub).remove(device, self.rig.now)

    @rule(device=devices, through=groups)
    def was_on_a_hub_that_is_gone(self, device: str, through: str) -> None:
        found = self.rig.service.registration(device)
        if found is None or found.assigned_hub is None:
            self.rig.record(device, through, hub=GONE_HUB, device=False, age=timedelta(days=100))

    @rule(device=devices)
    def is_revoked(self, device: str) -> None:
        if self.rig.service.enrollment(device) is None:
            self.do(self.rig.individual(device, provisioningStatus="disabled"))

    @rule(name=groups)
    def an_audit_lists(self, name: str) -> None:
        ids = [each.registration_id for each in self.rig.service.registrations() if each.group == name]
        if ids and self.rig.service.group(name) is not None:
            self.do(self.rig.remember(name, *ids, run=f"audit-{self.runs}"))

    @rule(name=groups)
    def a_group_is_deleted_or_made_again(self, name: str) -> None:
        there = self.rig.service.group(name) is not None
        self.do(self.rig.drop_group(name) if there else self.rig.group(name))

    @rule(days=st.sampled_from([1, 3, 20, 70]))
    def time_passes(self, days: int) -> None:
        self.do(self.rig.wait(days=days))

    @rule(call=st.one_of(st.none(), st.integers(1, 80)), fate=st.sampled_from(["before", "after"]))
    def a_purge_runs(self, call: int | None, fate: str) -> None:
        """It dies at that call, if it makes so many."""
        self.purge(call, fate)

    @rule(gone=st.lists(devices, unique=True), call=st.one_of(st.none(), st.integers(1, 80)))
    def devices_leave_the_field_and_two_purges_run(self, gone: list[str], call: int | None) -> None:
        for device in gone:
            for hub in HUBS:
                self.rig.at(hub).remove(device, self.rig.now)
        self.purge(None, "before")
        self.do(self.rig.wait(days=3))
        self.purge(call, "after")

    @rule(name=groups)
    def a_group_is_deleted_the_careless_way_and_two_purges_run(self, name: str) -> None:
        self.an_audit_lists(name)
        if self.rig.service.group(name) is not None:
            self.do(self.rig.drop_group(name))
        self.devices_leave_the_field_and_two_purges_run([], None)

    @rule(call=st.integers(0, 30), device=devices, hub=hubs)
    def a_device_registers_while_a_purge_runs(self, call: int, device: str, hub: str) -> None:
        through = next((name for name in GROUPS if self.rig.service.group(name) is not None), None)
        if through is None:
            return
        left = call

        async def interfere(_: httpx.Request) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                self.at(device, through, hub)

        self.rig.before.append(interfere)
        self.purge(None, "before")
        self.rig.before.clear()
        if left < 0:
            assert self.rig.there(device)

    @rule(call=st.integers(0, 40), device=devices, hub=hubs)
    def everything_sleeps_for_hours_while_a_purge_runs(self, call: int, device: str, hub: str) -> None:
        """And somebody's device registers before the purge goes on."""
        left = call

        async def interfere(_: httpx.Request) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                await self.rig.wait(hours=8)
                through = next((name for name in GROUPS if self.rig.service.group(name) is not None), None)
                if through is not None:
                    self.at(device, through, hub)

        self.rig.before.append(interfere)
        self.purge(None, "before")
        self.rig.before.clear()

    def purge(self, call: int | None, fate: str) -> None:
        kept = {device for device in DEVICES if self.rig.there(device) and self.must_stay(device)}
        self.runs += 1
        run = Run(named={} if call is None else {f"{CRASH}{call}": fate}, crashes=0 if call is None else 1)

        async def process(life: Life) -> None:
            ports = self.rig.ports(life.transport(Journal(self.rig)), life.port(self.rig.memory, "table"))
            await self.rig.purge(f"purge-{self.runs}", POLICY_, ports=ports)

        self.do(run.live(process))
        for device in kept:
            assert self.rig.there(device), f"{device} lost its record"

    def must_stay(self, device: str) -> bool:
        record = self.rig.service.registration(device)
        assert record is not None
        return (
            device == "dev-5"
            or self.rig.service.enrollment(device) is not None
            or self.rig.now - record.updated < SETTLE
            or any(self.lives(device, hub) for hub in HUBS)
        )

    def lives(self, device: str, hub: str) -> bool:
        found = self.rig.at(hub).devices.get(device)
        seen = found.connection.last_activity if found else None
        return seen is not None and self.rig.now - seen < QUIET

    @invariant()
    def each_deleted_record_is_in_the_archive_once(self) -> None:
        archived = Counter(
            (each.id, each.document["etag"])
            for each in self.do(self.rig.archived())
            if each.outcome in ("deleted", "gone")
        )
        deleted = Counter((name, etag) for name, etag in self.rig.deletes)
        assert max(deleted.values(), default=0) <= 1
        for each in deleted:
            assert archived[each] == 1

    @invariant()
    def no_enrollment_is_ever_deleted(self) -> None:
        assert not [call for call in self.rig.calls if call[1] == "DELETE" and call[2] != "registrations"]


FAST = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def test_no_live_device_loses_its_record_whatever_happens() -> None:
    run_state_machine_as_test(Fleet, settings=settings(FAST, max_examples=40, stateful_step_count=16))


@pytest.mark.soak
def test_no_live_device_loses_its_record_whatever_happens_for_long() -> None:
    run_state_machine_as_test(
        Fleet, settings=settings(FAST, derandomize=False, max_examples=1_000, stateful_step_count=50)
    )
