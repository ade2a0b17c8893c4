"""The end of a roll: when the old key goes, and what keeps it; with one DPS and with several."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from allocation import read_uses
from lifecycle.errors import RotationRefused
from lifecycle.rotation.webhook_key.follow import check_alone, join, lead_of
from lifecycle.rotation.webhook_key.observe import left_behind
from lifecycle.rotation.webhook_key.row import RollRow, Stage, consented, followed
from local.switches import Switches
from provisioning.enrollments import EnrollmentGroup
from tests.lifecycle.enrollments.rig import group
from tests.lifecycle.rotation.webhook_key.rig import BASE, DAY, FUNCTION, OLD, SECRET, TERMS, RollRig
from tests.lifecycle.rotation.webhook_key.test_roll import masking, retire
from tests.memory_table import MemoryTable


async def test_the_old_key_stays_until_it_has_rested() -> None:
    rig = RollRig()
    await rig.furnish()
    await rig.to_overlap()
    row, _ = await retire(rig)
    assert (row.stage, "must rest until" in row.problem) == (Stage.OVERLAP, True)
    await rig.pass_time(6 * DAY)
    # Somebody with an old export gives an enrollment the old key, and a device comes through it.
    definition = {"webhookUrl": f"{BASE}?code={OLD}", "apiVersion": "2021-10-01"}
    late = EnrollmentGroup.read(group(enrollmentGroupId="late", customAllocationDefinition=definition))
    await rig.dps().groups.create(late)
    rig.uses.count(OLD, "dps-1", 200)
    await rig.uses.flush()
    await rig.pass_time(6 * DAY)
    row, _ = await retire(rig)
    assert (row.stage, "must rest until" in row.problem) == (Stage.OVERLAP, True)
    await rig.pass_time(2 * DAY)
    await retire(rig)
    await rig.work()
    assert OLD not in rig.keys_held()
    row, _ = await retire(rig)
    assert OLD in rig.at_app().values(), "a pass has found something: the rest begins anew"
    await rig.pass_time(8 * DAY)
    row, _ = await retire(rig)
    assert row.stage is Stage.IDLE
    assert OLD not in rig.at_app().values()
    await rig.aclose()


def agree(row: RollRow, now: Any) -> RollRow:
    del now
    return consented(row, "retire")


async def give_old(rig: RollRig, name: str = "late") -> None:
    """Somebody makes a group with the old key; nobody uses it."""
    definition = {"webhookUrl": f"{BASE}?code={OLD}", "apiVersion": "2021-10-01"}
    document = group(enrollmentGroupId=name, customAllocationDefinition=definition)
    await rig.dps().groups.create(EnrollmentGroup.read(document))


@pytest.mark.parametrize("switches", [Switches, masking], ids=["shown", "masked"])
async def test_an_enrollment_that_got_the_old_key_an_hour_ago_and_was_not_used_loses_no_device(
    switches: Any,
) -> None:
    rig = RollRig(switches())
    await rig.furnish()
    await rig.to_overlap()
    await rig.pass_time(8 * DAY)
    rig.notes.clear()
    await rig.roll().walk()  # a fresh pass, as by the day
    await give_old(rig)
    row, _ = await retire(rig)
    await rig.work()
    assert OLD not in rig.keys_held()
    assert rig.keys_held() <= set(rig.at_app().values())
    # Where the URL is seen, its finding stops the deletion; where it is masked, the pass wrote it.
    assert (row.stage is Stage.IDLE) == (switches is masking)
    assert (OLD in rig.at_app().values()) == (switches is not masking)
    await rig.aclose()


class Before(httpx.AsyncBaseTransport):
    """Something happens right before a key is deleted at the app."""

    def __init__(self, rig: RollRig, happens: Any) -> None:
        self._on = rig.transport()
        self._happens = happens

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE" and "/keys/" in request.url.path:
            await self._happens()
        return await self._on.handle_async_request(request)


@pytest.mark.parametrize("switches", [Switches, masking], ids=["shown", "masked"])
async def test_what_got_the_old_key_behind_the_last_pass_gets_the_new_one_after_the_deletion(
    switches: Any,
) -> None:
    rig = RollRig(switches())
    await rig.furnish()
    await rig.to_overlap()
    await rig.pass_time(8 * DAY)
    row, _ = await rig.roll(Before(rig, lambda: give_old(rig))).walk(agree)
    assert row.stage is Stage.IDLE
    assert OLD in rig.keys_held()
    await rig.work()
    [new] = rig.at_app().values()
    assert rig.keys_held() == {new}
    assert (await rig.store.get()).stage is Stage.IDLE
    await rig.aclose()


async def test_a_command_that_slept_deletes_nothing_on_what_was_seen_before() -> None:
    rig = RollRig()
    await rig.furnish()
    await rig.to_overlap()
    await rig.pass_time(8 * DAY)
    sleeps, seen = [0], len(rig.told.named("webhook_key_pass"))
    ticks = rig.tick

    async def asleep() -> None:
        await ticks()
        if not sleeps[0]:
            sleeps[0] = 1
            await rig.pass_time(timedelta(minutes=5))
            await give_old(rig)

    roll = rig.roll()
    rig.time.app = asleep
    row, _ = await roll.walk(agree)
    assert sleeps == [1]
    assert len(rig.told.named("webhook_key_pass")) - seen >= 2, "the pass from before it slept was no proof"
    assert OLD in rig.at_app().values()
    assert row.stage is not Stage.IDLE
    await rig.aclose()


async def test_a_pass_that_another_command_asked_for_is_no_proof() -> None:
    rig = RollRig()
    await rig.furnish()
    await rig.to_overlap()
    await rig.pass_time(8 * DAY)
    died = rig.roll()

    class Died(Exception):
        pass

    async def dies() -> None:
        raise Died

    rig.time.app = dies
    with pytest.raises(Died):
        await died.walk(agree)
    await rig.work()
    before = await rig.store.get()
    assert before.proof == before.final != ""
    await give_old(rig)
    row, _ = await rig.roll().walk()  # `start`, a week later: the consent still stands
    assert OLD in rig.at_app().values()
    assert row.final != before.final or row.stage is Stage.SPREADING
    await rig.aclose()


async def follow(rig: RollRig, name: str) -> RollRow:
    """`rotate webhook-key start --follow dps-1`, by the operator of another DPS; its app works too."""
    rig.names.append(name)
    ports = rig.ports(dps_name=name)
    lead = await lead_of(ports, "dps-1", SECRET)
    await join(ports, "dps-1", lead.roll)

    def edit(row: RollRow, now: Any) -> RollRow:
        place = replace(row, secret=SECRET, site="site", function=FUNCTION, bases=(BASE,), terms=TERMS)
        return followed(place, lead, "dps-1", rig.unique(), by="operator", now=now)

    return (await rig.roll(dps_name=name).walk(edit))[0]


async def test_the_old_key_stays_until_each_dps_that_calls_the_app_has_got_through() -> None:
    rig = RollRig()
    await rig.furnish()
    rig.uses.count(OLD, "factory-2", 200)  # its devices register once a year
    await rig.uses.flush()
    new = str((await rig.to_overlap()).new_name)
    await rig.pass_time(30 * DAY)
    row, _ = await retire(rig)
    assert (row.stage, "(factory-2)" in row.problem) == (Stage.OVERLAP, True)
    # One enrollment of it has the new key. Another may not, and register next year.
    rig.uses.count(rig.at_app()[new], "factory-2", 200)
    await rig.uses.flush()
    row, _ = await retire(rig)
    assert (row.stage, "--follow" in row.problem) == (Stage.OVERLAP, True)
    assert left_behind(row, await read_uses(rig.table), "DPS-1") == ("factory-2",)
    assert OLD in rig.at_app().values()
    assert (await follow(rig, "factory-2")).stage is Stage.SPREADING
    await rig.pass_time(8 * DAY)
    row, _ = await retire(rig)
    assert "goes along has the new key (factory-2)" in row.problem, "its app has not worked yet"
    await rig.work()
    row, _ = await retire(rig)
    assert "must rest until" in row.problem, "its enrollments have had the new key for a moment only"
    await rig.pass_time(8 * DAY)
    row, _ = await retire(rig)
    assert row.stage is Stage.IDLE, row.problem
    assert OLD not in rig.at_app().values()
    theirs = await rig.ports(dps_name="factory-2").peer("factory-2").rolls.get()
    assert (theirs.stage, theirs.ended != "") == (Stage.IDLE, True)
    await rig.work()
    await rig.aclose()


async def test_the_last_pass_is_one_of_every_dps_of_the_roll() -> None:
    rig = RollRig()
    await rig.furnish()
    await rig.to_overlap()
    await follow(rig, "factory-2")
    await rig.work()
    await rig.pass_time(8 * DAY)
    await rig.roll(dps_name="factory-2").walk()
    rig.told.events.clear()
    await retire(rig)
    done = [each["job"] for each in rig.told.named("job_ended")]
    assert len(done) == 2
    assert len(set(done)) == 1
    await rig.aclose()


async def test_a_roll_that_goes_along_is_retired_by_the_one_it_follows() -> None:
    rig = RollRig()
    await rig.furnish()
    rig.uses.count(OLD, "factory-2", 200)
    await rig.uses.flush()
    ports = rig.ports(dps_name="factory-2")
    with pytest.raises(RotationRefused, match="to go along with"):
        await lead_of(ports, "dps-1", SECRET)
    await rig.to_overlap()
    rig.uses.count(OLD, "dps-1", 200)
    await rig.uses.flush()
    with pytest.raises(RotationRefused, match="start --follow dps-1"):
        await check_alone(ports, "SITE")
    with pytest.raises(RotationRefused, match="its own roll"):
        await lead_of(rig.ports(), "dps-1", SECRET)
    with pytest.raises(RotationRefused, match="does not hold the new key"):
        await lead_of(ports, "dps-1", "nothing-here")
    await follow(rig, "factory-2")
    await rig.work()
    with pytest.raises(RotationRefused, match="by a command for that DPS"):
        await rig.roll(dps_name="factory-2").walk(agree)
    row, rest = await rig.roll(dps_name="factory-2").walk()
    assert (row.stage, "of DPS dps-1 deletes" in rest.because) == (Stage.OVERLAP, True)
    with pytest.raises(RotationRefused, match="cannot follow"):
        followed(RollRow(), row, "factory-2", "x", by="", now=rig.clock.now())
    await rig.aclose()


async def test_without_counts_the_old_key_goes_only_if_that_is_said() -> None:
    rig = RollRig()
    await rig.furnish()
    await rig.to_overlap()
    await rig.pass_time(8 * DAY)
    held = rig.table
    assert isinstance(held, MemoryTable)
    held._partitions.pop("-|webhook-key-use")
    rig.registering = False
    row, _ = await retire(rig)
    assert "counts no uses" in row.problem
    row, _ = await retire(rig, "retire", "uncounted")
    assert row.stage is Stage.IDLE
    await rig.aclose()
