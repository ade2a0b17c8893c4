"""Rolls of the webhook key under the switches they consult, and a crash before and after every call.

As for group keys: a read changes nothing, so a death around it leaves what the write before it left. In CI
each crash around each write is walked where DPS masks URLs, and every combination of the switches without a
crash; `./run soak` walks crashes around all calls, under all of them, and every pair, following each state
that they leave once.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from lifecycle.errors import RotationRefused
from lifecycle.rotation.webhook_key.row import Stage, consented
from local.explore import Life, Run, Scenario, explore
from local.switches import SWITCHES, Switches
from tests.lifecycle.explored import Shard, forgetful, in_halves, live, walked
from tests.lifecycle.rotation.webhook_key.invariants import Invariants, Watched
from tests.lifecycle.rotation.webhook_key.rig import DAY, OLD, SECRET, RollRig

OURS = {"dps.mask_webhook_url_on_get", "dps.put_update_returns_keys", "site.key_lag", "site.instances"}
"""Switches that the calls of a roll consult; what devices consult is walked where devices are tested."""


@dataclass(frozen=True)
class Hold:
    """What a process has of the world; `reads` says whether it may die at them too."""

    life: Life
    network: Watched
    rig: RollRig
    reads: bool = True

    @property
    def table(self) -> Any:
        mortal = self.life.port(self.rig.table, "table")
        return mortal if self.reads else _AtWrites(self.life, self.rig.table, mortal)

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        mortal = self.life.transport(self.network)
        return mortal if self.reads else _Sturdy(self.life, self.network, mortal)


class _AtWrites:
    def __init__(self, life: Life, plain: Any, mortal: Any) -> None:
        self._life, self._plain, self._mortal = life, plain, mortal

    def __getattr__(self, name: str) -> Any:
        sturdy = name in ("get", "scan") and not self._life.dead
        return getattr(self._plain if sturdy else self._mortal, name)


class _Sturdy(httpx.AsyncBaseTransport):
    def __init__(self, life: Life, plain: Watched, mortal: httpx.AsyncBaseTransport) -> None:
        self._life, self._plain, self._mortal = life, plain, mortal

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        reads = request.method == "GET" or path.endswith(("/attestationmechanism", "/listkeys", "/query"))
        reads = reads or request.url.host == "app.example"  # a probe changes nothing either
        sturdy = reads and not self._life.dead
        return await (self._plain if sturdy else self._mortal).handle_async_request(request)


Process = Callable[[RollRig, Hold], Awaitable[None]]


def _switches(run: Run, free: set[str], fixed: Mapping[str, Any]) -> Switches:
    switches = Switches(run)
    for each in SWITCHES:
        if each.name not in free:
            switches.set(each.name, fixed.get(each.name, each.options[0]))
    return switches


def scenario(
    process: Process,
    *,
    reads: bool,
    free: set[str],
    fixed: Mapping[str, Any] | None = None,
    until_overlap: bool = False,
) -> Scenario:
    async def run(run: Run) -> None:
        rig = forgetful(RollRig(_switches(run, free, fixed or {})))
        async with contextlib.aclosing(rig):
            await rig.furnish()
            if until_overlap:
                assert (await rig.to_overlap()).stage is Stage.OVERLAP
                await rig.pass_time(8 * DAY)
            invariants = Invariants(rig)

            async def one_life(life: Life) -> None:
                await process(rig, Hold(life, Watched(rig, invariants), rig, reads))

            await live(run, rig, one_life)
            invariants.check()

    return run


async def rolls(rig: RollRig, hold: Hold) -> None:
    """The operator says `start` until the job has it; the app's ticks; and `start` shows that it rests."""
    transport, table = hold.transport, hold.table
    ports = rig.ports(transport, table)
    if (await rig.store.get()).stage is Stage.IDLE:
        found = await rig.plan(ports)
    else:
        found = await rig.plan(canary=("group", "line-a"), replaces=None)
    await rig.roll(transport, table).walk(rig.begin(found))
    await rig.work(transport, table)
    row, _ = await rig.roll(transport, table).walk()
    assert row.stage is Stage.OVERLAP, row
    [new] = rig.keys_held()
    assert new != OLD
    assert rig.vault.peek(SECRET)[-1].value == new
    assert [each for each in rig.vault.peek(f"{SECRET}-pending") if each.enabled] == []
    assert set(rig.at_app().values()) == {OLD, new}


async def retires(rig: RollRig, hold: Hold) -> None:
    """The operator agrees; the last pass is old, so the app makes another; he says so again."""
    transport, table = hold.transport, hold.table

    def agree(row: Any, now: Any) -> Any:
        del now
        try:
            return consented(row, "retire")
        except RotationRefused:
            return row  # done before a crash

    row, _ = await rig.roll(transport, table).walk(agree)
    if row.stage is not Stage.IDLE:
        await rig.work(transport, table)
        row, _ = await rig.roll(transport, table).walk(agree)
    assert (row.stage, row.problem) == (Stage.IDLE, "")
    assert OLD not in rig.at_app().values()
    assert len(rig.at_app()) == 1


async def gives_up(rig: RollRig, hold: Hold) -> None:
    """Whatever was begun is given up."""
    transport, table = hold.transport, hold.table

    def abort(row: Any, now: Any) -> Any:
        del now
        return row if row.stage is Stage.IDLE else consented(row, "abort")

    row, _ = await rig.roll(transport, table).walk(abort)
    assert row.stage is Stage.IDLE
    assert rig.keys_held() == {OLD}
    assert set(rig.at_app().values()) == {OLD}


def given_up(*, reads: bool, free: set[str], fixed: Mapping[str, Any] | None = None) -> Scenario:
    """A roll that no device of the canary confirms; it ends there, or dies before, and is given up."""

    async def run(run: Run) -> None:
        rig = forgetful(RollRig(_switches(run, free, fixed or {})))
        async with contextlib.aclosing(rig):
            await rig.furnish()
            rig.registering = False
            found, begun = await rig.plan(), False
            invariants = Invariants(rig)

            async def one_life(life: Life) -> None:
                nonlocal begun
                hold = Hold(life, Watched(rig, invariants), rig, reads)
                if not begun:
                    begun = True
                    await rig.roll(hold.transport, hold.table).walk(rig.begin(found))
                await gives_up(rig, hold)

            await live(run, rig, one_life)
            invariants.check()

    return run


MASKED = {"dps.mask_webhook_url_on_get": True}
"""The harder position: which key an enrollment has cannot be told."""


async def test_no_crash_around_a_write_of_a_roll_leaves_an_enrollment_on_a_key_that_opens_nothing() -> None:
    report = await explore(scenario(rolls, reads=False, free=set(), fixed=MASKED))
    report.check()
    assert report.runs > 50, report.runs


async def test_a_roll_goes_through_under_every_position_of_its_switches() -> None:
    report = await explore(scenario(rolls, reads=False, free=OURS), crashes=0)
    report.check()
    assert set(report.consulted) >= {"dps.mask_webhook_url_on_get", "site.key_lag", "site.instances"}


async def test_no_crash_around_a_write_of_a_retirement_deletes_a_key_that_is_needed() -> None:
    (await explore(scenario(retires, reads=False, free=set(), fixed=MASKED, until_overlap=True))).check()


async def test_no_crash_around_a_write_of_a_roll_that_is_given_up_leaves_the_canary_without_a_key() -> None:
    (await explore(given_up(reads=False, free=set(), fixed=MASKED))).check()


@pytest.mark.soak
@in_halves
@pytest.mark.parametrize("free", [set(), OURS], ids=["plain", "switched"])
async def test_no_crash_around_any_call_of_a_roll_hurts_under_any_of_its_switches(
    free: set[str], shard: Shard
) -> None:
    await walked(scenario(rolls, reads=not free, free=free), shard=shard)


@pytest.mark.soak
@in_halves
@pytest.mark.parametrize("fixed", [{}, MASKED], ids=["shown", "masked"])
async def test_no_pair_of_crashes_of_a_roll_hurts(fixed: dict[str, Any], shard: Shard) -> None:
    await walked(scenario(rolls, reads=False, free=set(), fixed=fixed), crashes=2, shard=shard)


@pytest.mark.soak
@in_halves
async def test_no_pair_of_crashes_of_a_retirement_hurts(shard: Shard) -> None:
    free = {"dps.mask_webhook_url_on_get"}
    walk = scenario(retires, reads=False, free=free, until_overlap=True)
    await walked(walk, crashes=2, shard=shard)


@pytest.mark.soak
@in_halves
async def test_no_pair_of_crashes_of_giving_up_hurts(shard: Shard) -> None:
    await walked(given_up(reads=False, free={"dps.mask_webhook_url_on_get"}), crashes=2, shard=shard)
