"""A breach: both keys go at once, whatever was under way, and the group is never on keys nobody holds."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from lifecycle.errors import NoSuchEnrollment, RotationRefused
from lifecycle.jobs import State, show
from lifecycle.rotation import commands
from lifecycle.rotation.commands import Rotations
from lifecycle.rotation.consent import consented
from lifecycle.rotation.row import Stage, Use, Why
from local.switches import Switches
from tests.lifecycle.enrollments.rig import HUBS, WEBHOOK
from tests.lifecycle.rotation.rig import DAY, GROUP, PRIMARY, SECONDARY, SECRET, TERMS, RotationRig


@pytest.fixture
async def rig() -> AsyncIterator[RotationRig]:
    made = RotationRig()
    await made.furnish()
    yield made
    await made.aclose()


def rotations(rig: RotationRig) -> Rotations:
    return Rotations(rig.store, rig.jobs, rig.dps().groups, rig.vault_client())


async def breach(rig: RotationRig) -> None:
    await commands.breach(rotations(rig), GROUP, SECRET, TERMS, by="t", rotation=rig.unique)
    await rig.work()


async def test_both_keys_are_new_and_the_old_ones_are_kept_as_disabled_versions(rig: RotationRig) -> None:
    await breach(rig)
    row, slots = await rig.row(), rig.slots()
    assert (row.stage, row.active, row.slots["secondary"].use) == (Stage.IDLE, "primary", Use.FREE)
    assert not {PRIMARY, SECONDARY} & set(slots.values())
    assert rig.live() == slots["primary"]
    assert rig.secret_values(enabled=False) == [PRIMARY]
    assert set(rig.secret_values(f"{SECRET}-replaced", enabled=False)) == {PRIMARY, SECONDARY}
    assert rig.enabled()
    assert await rig.device("dev-1", PRIMARY) == 401
    assert await rig.device("dev-1", rig.live()) == "assigned"


async def test_a_group_that_was_disabled_before_stays_disabled(rig: RotationRig) -> None:
    there = await rig.dps().groups.with_keys(GROUP)
    assert there
    disabled = type(there).read({**there.document(), "provisioningStatus": "disabled"}).with_keys(there.keys)
    await rig.dps().groups.replace(disabled)
    await breach(rig)
    assert (await rig.row()).stage is Stage.IDLE
    assert not rig.enabled()


@pytest.mark.parametrize("hold", [True, False])
async def test_a_breach_takes_the_place_of_whatever_is_under_way(rig: RotationRig, *, hold: bool) -> None:
    await rig.edit(terms=replace(TERMS, hold=hold))
    await rig.start()
    await rig.work()
    under_way = set(rig.slots().values())
    await breach(rig)
    assert (await rig.row()).stage is Stage.IDLE
    assert not under_way & set(rig.slots().values())
    assert under_way <= rig.in_vault()
    assert rig.live() == rig.slots()["primary"]


async def test_a_group_that_was_never_adopted_needs_no_adoption_for_a_breach() -> None:
    rig = RotationRig()
    await rig.furnish(adopted=False, published=False)
    await breach(rig)
    row = await rig.row()
    assert (row.stage, row.active) == (Stage.IDLE, "primary")
    assert rig.live() == rig.slots()["primary"]
    assert {PRIMARY, SECONDARY} <= rig.in_vault()
    await rig.aclose()


async def test_a_breach_of_what_is_not_there_is_refused(rig: RotationRig) -> None:
    with pytest.raises(NoSuchEnrollment):
        await commands.breach(rotations(rig), "nobody", SECRET, TERMS, by="t", rotation=rig.unique)


async def test_asked_for_twice_it_is_one_and_it_cannot_be_aborted(rig: RotationRig) -> None:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", position=True)
    masked = RotationRig(switches)
    definition = {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"}
    await masked.furnish(allocationPolicy="custom", customAllocationDefinition=definition)
    await breach(masked)
    row = await masked.row()
    assert (row.stage, row.blocked) == (Stage.BLOCKED, Why.UNWRITABLE)
    with pytest.raises(RotationRefused, match="only goes forward"):
        consented(row, "abort", masked.clock.now())
    masked.webhook_url = WEBHOOK  # what was missing is set
    await masked.clock.advance(1)
    await breach(masked)
    done = await masked.row()
    assert done.stage is Stage.IDLE
    assert masked.live() == masked.slots()["primary"]
    published = [each for each in masked.vault.peek(SECRET) if "RotationId" in (each.tags or {})]
    assert [(each.tags or {})["RotationId"] for each in published] == [row.rotation]
    await masked.aclose()


async def test_the_job_of_a_breach_that_has_ended_does_not_begin_another(rig: RotationRig) -> None:
    job = await rig.command(do="breach", rotation="b" * 32)
    await rig.work()
    slots = rig.slots()
    assert (await show(rig.jobs, job.id)).state is State.DONE
    await rig.command(do="advance")
    await rig.work()
    assert rig.slots() == slots


async def test_identities_of_before_are_disabled_as_a_job_and_new_ones_left(rig: RotationRig) -> None:
    for n in range(25):
        assert await rig.device(f"dev-{n:02}", PRIMARY) == "assigned"
    await rig.pass_time(DAY)
    began = rig.clock.now()
    await breach(rig)
    await rig.clock.advance(5)
    for n in range(5):
        assert await rig.device(f"dev-{n:02}", rig.live()) == "assigned"
    job = await commands.disable_identities(rotations(rig), GROUP, since=began, why="lost key", by="t")
    await rig.work()
    done = await show(rig.jobs, job.id)
    assert (done.state, done.result) == (State.DONE, {"devices": 25, "disabled": 20})
    for n in range(25):
        found = [rig.identity(hub, f"dev-{n:02}") for hub in HUBS]
        [status] = [each.identity.status for each in found if each]
        assert status == ("enabled" if n < 5 else "disabled")


async def test_a_breach_of_a_group_that_was_deleted_meanwhile_can_be_given_up_and_forgotten(
    rig: RotationRig,
) -> None:
    await commands.breach(rotations(rig), GROUP, SECRET, TERMS, by="t", rotation=rig.unique)
    rig.service.store.groups.delete(GROUP)
    await rig.work()
    assert (await rig.row()).stage is Stage.FAILED
    await rig.consent("abort")
    assert len(await commands.forget(rotations(rig), GROUP)) == 3
