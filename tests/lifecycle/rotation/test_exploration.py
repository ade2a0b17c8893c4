"""Rotations under every position of every switch they consult, and a crash before and after every call.

A read changes nothing, and calls come one after the other: who dies around a read, or before a write, leaves
the world that the write before it left. So a death after each write is every single crash, and is walked
here under every position of the switches; `./run soak` walks the deaths around every call themselves, and
every pair, following each state that they leave once.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from clients.errors import TableUnavailable
from lifecycle.errors import RotationRefused
from lifecycle.jobs import JobStore
from lifecycle.rotation.consent import consented
from lifecycle.rotation.row import Stage, Use
from lifecycle.rotation.run import KIND
from lifecycle.rotation.store import RotationStore
from lifecycle.rotation.triggers import VaultIdentity, receive
from local.explore import Life, Run, Scenario, explore
from local.switches import Switches
from tests.lifecycle.enrollments.rig import WEBHOOK
from tests.lifecycle.explored import Shard, forgetful, in_halves, live, walked
from tests.lifecycle.rotation.invariants import Invariants, Watched, peeked
from tests.lifecycle.rotation.rig import (
    GROUP,
    PRIMARY,
    SECONDARY,
    SECRET,
    TERMS,
    RotationRig,
)
from tests.lifecycle.toy import FaultyTable

CUSTOM: dict[str, Any] = {
    "allocationPolicy": "custom",
    "customAllocationDefinition": {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"},
}


def near_expiry(rig: RotationRig) -> dict[str, Any]:
    """The event that the vault sends."""
    version = rig.vault.peek(SECRET)[0].id
    return {
        "id": "e-1",
        "source": rig.vault.resource_id,
        "specversion": "1.0",
        "type": "Microsoft.KeyVault.SecretNearExpiry",
        "subject": SECRET,
        "time": "2026-01-01T00:00:00.0000000Z",
        "data": {
            "Id": f"https://evil.example/secrets/{SECRET}/{version}",
            "VaultName": rig.vault.name,
            "ObjectType": "Secret",
            "ObjectName": SECRET,
            "Version": version,
            "NBF": None,
            "EXP": 1,
        },
    }


@dataclass(frozen=True)
class Hold:
    """What a process has of the world; `reads` says whether it may die at them too."""

    life: Life
    network: Watched
    rig: RotationRig
    reads: bool = True

    @property
    def table(self) -> Any:
        mortal = self.life.port(self.rig.table, "table")
        return mortal if self.reads else _AtWrites(self.life, self.rig.table, mortal, ("get", "scan"))

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        mortal = self.life.transport(self.network)
        return mortal if self.reads else _Sturdy(self.life, self.network, mortal)


class _AtWrites:
    def __init__(self, life: Life, plain: Any, mortal: Any, reads: tuple[str, ...]) -> None:
        self._life, self._plain, self._mortal, self._reads = life, plain, mortal, reads

    def __getattr__(self, name: str) -> Any:
        if name in self._reads and not self._life.dead:
            return getattr(self._plain, name)
        return getattr(self._mortal, name)


class _Sturdy(httpx.AsyncBaseTransport):
    def __init__(self, life: Life, plain: Watched, mortal: httpx.AsyncBaseTransport) -> None:
        self._life, self._plain, self._mortal = life, plain, mortal

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        reads = request.method == "GET" or request.url.path.endswith("/attestationmechanism")
        sturdy = reads and not self._life.dead
        return await (self._plain if sturdy else self._mortal).handle_async_request(request)


Process = Callable[[RotationRig, Hold], Awaitable[None]]
Judge = Callable[[RotationRig], Awaitable[None]]


def scenario(
    process: Process,
    judge: Judge,
    *,
    reads: bool = True,
    fixed: Mapping[str, Any] = MappingProxyType({}),
    **members: Any,
) -> Scenario:
    async def run(run: Run) -> None:
        switches = Switches(run)
        for name, position in fixed.items():
            switches.set(name, position)
        rig = forgetful(RotationRig(switches))
        async with contextlib.aclosing(rig):
            await rig.furnish(**members)
            if members:
                rig.webhook_url = WEBHOOK
            invariants = Invariants(rig)

            async def one_life(life: Life) -> None:
                await process(rig, Hold(life, Watched(rig, invariants), rig, reads))

            await live(run, rig, one_life)
            invariants.check()
            await judge(rig)

    return run


async def routine(rig: RotationRig, hold: Hold) -> None:
    """The event is delivered, again after each crash, as Event Grid would; then the ticks go on."""
    table = hold.table
    rotations = RotationStore(table, "dps-1", rig.time)
    jobs = JobStore(table, "dps-1", rig.time, unique=rig.unique)
    await receive(near_expiry(rig), VaultIdentity(rig.vault.name), rotations, jobs, rig.told)
    await rig.work(hold.transport, table)


async def routine_is_through(rig: RotationRig) -> None:
    row = await rig.row()
    assert row.stage is Stage.OVERLAP, row
    assert rig.slots() == {"primary": PRIMARY, "secondary": rig.live()}
    assert len(rig.vault.peek(SECRET)) <= 3
    assert rig.secret_values(f"{SECRET}-pending", enabled=True) == []
    assert rig.secret_values(f"{SECRET}-replaced", enabled=True) == []
    assert (row.slots["primary"].use, row.slots["secondary"].use) == (Use.DEMOTED, Use.ACTIVE)


async def breach(rig: RotationRig, hold: Hold) -> None:
    table = hold.table
    jobs = JobStore(table, "dps-1", rig.time, unique=rig.unique)
    params = {"do": "breach", "group": GROUP, "rotation": "b" * 32}
    await jobs.create("breach-1", KIND, by="operator", params=params)
    await rig.work(hold.transport, table)


async def breach_is_through(rig: RotationRig) -> None:
    row = await rig.row()
    assert (row.stage, row.active) == (Stage.IDLE, "primary"), row
    slots = rig.slots()
    assert rig.enabled()
    assert rig.live() == slots["primary"]
    assert not {PRIMARY, SECONDARY} & set(slots.values())
    assert slots["primary"] != slots["secondary"]
    assert PRIMARY in rig.secret_values(enabled=False)
    assert {PRIMARY, SECONDARY} <= set(rig.secret_values(f"{SECRET}-replaced", enabled=False))
    assert slots["secondary"] in rig.secret_values(f"{SECRET}-pending", enabled=False)
    assert set(rig.secret_values(enabled=True)) == {slots["primary"]}


async def retirement(rig: RotationRig, hold: Hold) -> None:
    """What follows the overlap: the timer's job, the operator's consent, its job."""
    table = hold.table
    rotations = RotationStore(table, "dps-1", rig.time)
    jobs = JobStore(table, "dps-1", rig.time, unique=rig.unique)
    await jobs.create("on", KIND, by="timer", params={"do": "advance", "group": GROUP})
    await rig.work(hold.transport, table)
    try:
        await rotations.change(GROUP, lambda row: consented(row, "retire", rig.clock.now()))
    except RotationRefused:
        assert (await rig.row()).stage is Stage.IDLE  # done before a crash
    await jobs.create("consented", KIND, by="operator", params={"do": "advance", "group": GROUP})
    await rig.work(hold.transport, table)


def retiring() -> Scenario:
    async def run(run: Run) -> None:
        rig = forgetful(RotationRig(Switches(run)))
        async with contextlib.aclosing(rig):
            await rig.furnish()
            await rig.start()
            await rig.work()
            await rig.pass_time(TERMS.overlap + timedelta(hours=1))
            invariants = Invariants(rig)
            await live(
                run, rig, lambda life: retirement(rig, Hold(life, Watched(rig, invariants), rig, reads=False))
            )
            invariants.check()
            row = await rig.row()
            assert (row.stage, row.slots["primary"].use, row.active) == (Stage.IDLE, Use.FREE, "secondary")

    return run


@pytest.mark.parametrize(
    ("process", "judge", "least"),
    [(routine, routine_is_through, 60), (breach, breach_is_through, 100)],
    ids=["routine", "breach"],
)
async def test_no_crash_hurts_under_any_position_of_the_switches(
    process: Process, judge: Judge, least: int
) -> None:
    report = await explore(scenario(process, judge, reads=False, **CUSTOM), deaths=["after"])
    report.check()
    assert set(report.consulted) >= {"dps.mask_webhook_url_on_get", "dps.put_update_returns_keys"}
    assert report.runs >= least, report.runs


class _Lost(FaultyTable):
    """A table that a process loses for good right after its write of a row that `last` is true of."""

    def __init__(self, table: Any, last: Callable[[], bool]) -> None:
        super().__init__(table, lambda _: "answers")
        self._last = last
        self._lost = False

    async def _call(self, name: str, go: Callable[[], Awaitable[Any]]) -> Any:
        del name
        if self._lost:
            raise TableUnavailable("no answer")
        found = await go()
        self._lost = self._last()
        return found


async def test_breach_whose_beginner_and_finisher_both_died_is_not_begun_anew() -> None:
    """A pair that exploration found: dead after the first write of the row, and after the last one."""
    rig = RotationRig()
    await rig.furnish()
    await rig.command(do="breach", rotation="b" * 32)
    for last in (lambda: peeked(rig)["rotation"] != "", lambda: peeked(rig)["rotation"] == ""):
        with contextlib.suppress(TableUnavailable):
            await rig.tick(table=_Lost(rig.table, last))
        await rig.pass_time(timedelta(minutes=10))
    await rig.work()
    await breach_is_through(rig)
    await rig.aclose()


async def test_no_single_crash_of_a_retirement_frees_another_slot() -> None:
    (await explore(retiring(), deaths=["after"])).check()


@pytest.mark.soak
@pytest.mark.parametrize(
    ("process", "judge"),
    [(routine, routine_is_through), (breach, breach_is_through)],
    ids=["routine", "breach"],
)
async def test_no_crash_around_any_call_hurts_under_any_position_of_the_switches(
    process: Process, judge: Judge
) -> None:
    await walked(scenario(process, judge, **CUSTOM))


@pytest.mark.soak
@in_halves
async def test_no_pair_of_crashes_of_a_routine_rotation_loses_a_key(shard: Shard) -> None:
    """Under every switch."""
    await walked(scenario(routine, routine_is_through, **CUSTOM), crashes=2, shard=shard)


@pytest.mark.soak
@in_halves
@pytest.mark.parametrize("masked", [False, True], ids=["shown", "masked"])
async def test_no_pair_of_crashes_of_a_breach_leaves_a_group_on_keys_that_nobody_holds(
    shard: Shard, *, masked: bool
) -> None:
    """Under every switch; which position of the first is in the test's name."""
    fixed = {"dps.mask_webhook_url_on_get": masked}
    await walked(scenario(breach, breach_is_through, fixed=fixed, **CUSTOM), crashes=2, shard=shard)


@pytest.mark.soak
async def test_no_pair_of_crashes_of_a_retirement_frees_another_slot() -> None:
    await walked(retiring(), crashes=2)
