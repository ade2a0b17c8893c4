"""A routine rotation from end to end, over emulators."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from lifecycle.errors import InvalidOption, NotAdopted, RotationRefused
from lifecycle.rotation.commands import Rotations, adopt, breach, forget
from lifecycle.rotation.consent import consented
from lifecycle.rotation.row import RotationTerms, Slot, Stage, Use, Why
from local.switches import Switches
from provisioning.enrollments import EnrollmentGroup
from provisioning.keys import SymmetricKey, SymmetricKeys
from tests.lifecycle.enrollments.rig import WEBHOOK, group
from tests.lifecycle.rotation.rig import DAY, GROUP, PLAIN, PRIMARY, SECONDARY, SECRET, TERMS, RotationRig


@pytest.fixture
async def rig() -> AsyncIterator[RotationRig]:
    made = RotationRig()
    await made.furnish()
    yield made
    await made.aclose()


async def test_a_rotation_puts_a_new_key_into_the_free_slot_and_publishes_it(rig: RotationRig) -> None:
    await rig.start()
    await rig.work()
    row = await rig.row()
    assert row.stage is Stage.OVERLAP, row
    new = rig.live()
    assert rig.slots() == {"primary": PRIMARY, "secondary": new}
    newest = rig.vault.peek(SECRET)[-1]
    assert newest.tags == {
        "CredentialId": "secondary",
        "ProviderAddress": "/subscriptions/s/provisioningServices/rig/enrollmentGroups/line-a",
        "ValidityPeriodDays": "90",
        "RotationId": row.rotation,
    }
    assert newest.expires
    assert round((newest.expires - rig.clock.now().timestamp()) / 86400) == 90
    assert rig.secret_values(f"{SECRET}-pending", enabled=True) == []
    assert rig.secret_values(f"{SECRET}-replaced") == [SECONDARY]
    assert (row.slots["primary"].use, row.slots["secondary"].use) == (Use.DEMOTED, Use.ACTIVE)


async def test_the_old_slot_is_free_after_the_overlap_and_by_consent_alone(rig: RotationRig) -> None:
    await rig.start()
    await rig.work()
    await rig.pass_time(29 * DAY)
    await rig.advance()
    await rig.work()
    assert (await rig.row()).stage is Stage.OVERLAP
    with pytest.raises(RotationRefused, match="within its overlap"):
        consented(await rig.row(), "retire", rig.clock.now())
    await rig.pass_time(2 * DAY)
    await rig.advance()
    await rig.work()
    assert (await rig.row()).stage is Stage.RETIRING
    assert [each["asks"] for each in rig.told.named("rotation_waits")] == ["retire consent needed"]
    await rig.consent("retire")
    row = await rig.row()
    assert row.stage is Stage.IDLE
    assert (row.slots["primary"].use, row.slots["secondary"].use) == (Use.FREE, Use.ACTIVE)
    assert rig.slots()["primary"] == PRIMARY  # it opens DPS until the next rotation overwrites it


async def test_the_next_rotation_goes_back_to_the_slot_that_was_retired(rig: RotationRig) -> None:
    await rig.roll()
    first = rig.live()
    await rig.start()
    await rig.work()
    second = rig.live()
    assert rig.slots() == {"primary": second, "secondary": first}
    assert PRIMARY in rig.secret_values()
    assert len({PRIMARY, first, second}) == 3


async def test_a_slot_that_devices_may_use_blocks_until_somebody_consents(rig: RotationRig) -> None:
    await rig.edit(slots={**(await rig.row()).slots, "secondary": Slot(Use.DEMOTED, rig.clock.now())})
    await rig.start()
    await rig.work()
    row = await rig.row()
    assert (row.stage, row.blocked) == (Stage.BLOCKED, Why.RETIRE)
    assert rig.slots() == {"primary": PRIMARY, "secondary": SECONDARY}
    assert rig.secret_values(f"{SECRET}-pending") == []
    assert rig.told.named("rotation_blocked")
    with pytest.raises(RotationRefused, match="in its overlap"):
        consented(row, "retire", rig.clock.now())
    await rig.pass_time(30 * DAY)
    await rig.consent("retire")
    assert (await rig.row()).stage is Stage.OVERLAP
    assert rig.slots() == {"primary": PRIMARY, "secondary": rig.live()}


async def test_a_verified_key_waits_for_promotion_where_that_is_held(rig: RotationRig) -> None:
    await rig.edit(terms=replace(TERMS, hold=True))
    await rig.start()
    await rig.work()
    row = await rig.row()
    assert (row.stage, row.blocked, rig.live()) == (Stage.BLOCKED, Why.PROMOTE, PRIMARY)
    await rig.consent("promote")
    assert (await rig.row()).stage is Stage.OVERLAP
    assert rig.live() == rig.slots()["secondary"]


async def test_an_aborted_rotation_leaves_the_live_key_and_is_not_begun_by_the_timer(
    rig: RotationRig,
) -> None:
    await rig.edit(terms=replace(TERMS, hold=True))
    await rig.start()
    await rig.work()
    await rig.consent("abort")
    row = await rig.row()
    assert (row.stage, row.active, rig.live()) == (Stage.IDLE, "primary", PRIMARY)
    assert row.slots["secondary"].use is Use.FREE
    assert rig.secret_values(f"{SECRET}-pending", enabled=True) == []
    await rig.start()
    await rig.work()
    assert (await rig.row()).stage is Stage.IDLE
    await rig.start(insist=True)
    await rig.work()
    assert (await rig.row()).blocked is Why.PROMOTE


async def test_a_published_rotation_is_not_aborted(rig: RotationRig) -> None:
    await rig.start()
    await rig.work()
    with pytest.raises(RotationRefused, match="nothing to abort"):
        consented(await rig.row(), "abort", rig.clock.now())
    await rig.edit(consents=frozenset({"abort"}))  # as a consent that came a moment too late
    await rig.advance()
    await rig.work()
    row = await rig.row()
    assert (row.stage, row.consents) == (Stage.OVERLAP, frozenset())


async def test_a_start_for_another_version_than_the_live_one_begins_nothing(rig: RotationRig) -> None:
    await rig.start(version="0" * 32)
    await rig.work()
    assert (await rig.row()).stage is Stage.IDLE
    assert rig.secret_values(f"{SECRET}-pending") == []


async def test_a_group_whose_live_secret_is_not_in_the_active_slot_is_left_alone(rig: RotationRig) -> None:
    rig.vault.put(SECRET, SECONDARY, tags={})
    await rig.start()
    await rig.work()
    row = await rig.row()
    assert (row.stage, row.blocked) == (Stage.BLOCKED, Why.CHANGED)
    assert rig.slots() == {"primary": PRIMARY, "secondary": SECONDARY}


async def test_a_version_that_somebody_else_publishes_meanwhile_is_not_overridden(rig: RotationRig) -> None:
    await rig.edit(terms=replace(TERMS, hold=True))
    await rig.start()
    await rig.work()
    rig.vault.put(SECRET, PRIMARY)
    await rig.consent("promote")
    row = await rig.row()
    assert (row.stage, row.blocked) == (Stage.BLOCKED, Why.CHANGED)
    assert rig.live() == PRIMARY


async def test_a_slot_that_somebody_else_overwrites_is_not_published(rig: RotationRig) -> None:
    await rig.edit(terms=replace(TERMS, hold=True))
    await rig.start()
    await rig.work()
    there = await rig.dps().groups.with_keys(GROUP)
    assert there
    assert there.keys
    await rig.dps().groups.replace(
        there.with_keys(SymmetricKeys(there.keys.primary, SymmetricKey.parse(SECONDARY)))
    )
    await rig.consent("promote")
    row = await rig.row()
    assert (row.stage, row.blocked) == (Stage.BLOCKED, Why.CHANGED)
    assert rig.live() == PRIMARY


async def test_a_group_that_is_gone_fails_and_can_be_given_up(rig: RotationRig) -> None:
    await rig.dps().groups.delete(GROUP, '"*"')
    rig.service.store.groups.delete(GROUP)
    await rig.start()
    await rig.work()
    row = await rig.row()
    assert (row.stage, row.problem) == (Stage.FAILED, "the group is not there")
    await rig.consent("abort")
    assert (await rig.row()).stage is Stage.IDLE


async def test_a_group_that_was_made_anew_keeps_both_its_keys() -> None:
    rig = RotationRig()
    await rig.furnish(published=False, adopted=False)
    said = replace(TERMS, hold=True)
    work = Rotations(rig.store, rig.jobs, rig.dps().groups, rig.vault_client())
    await adopt(work, GROUP, SECRET, said, active="primary", others="free", again=False, by="kim")
    await rig.pass_time(DAY)
    rig.service.store.groups.delete(GROUP)
    await rig.furnish(published=False, adopted=False)  # by hand; its devices use either key
    await rig.start()
    await rig.work()
    row = await rig.row()
    assert (row.stage, row.blocked, "made anew" in row.problem) == (Stage.BLOCKED, Why.CHANGED, True)
    assert rig.slots() == {"primary": PRIMARY, "secondary": SECONDARY}
    await rig.consent("abort")
    await adopt(work, GROUP, SECRET, said, active="primary", others="free", again=True, by="kim")
    await rig.start()
    await rig.work()
    assert (await rig.row()).blocked is Why.PROMOTE
    await rig.aclose()


async def test_a_rotation_that_can_never_be_retired_is_given_up_and_overwrites_nothing(
    rig: RotationRig,
) -> None:
    await rig.start()
    await rig.work()
    await rig.pass_time(31 * DAY)
    await rig.advance()
    await rig.work()
    found = await rig.dps().groups.with_keys(GROUP)  # somebody exchanges both keys by hand
    assert found is not None
    await rig.dps().groups.replace(found.with_keys(SymmetricKeys(rig.new_key(), rig.new_key())))
    held = rig.slots()
    await rig.consent("retire")
    assert (await rig.row()).blocked is Why.CHANGED
    await rig.consent("abort")
    row = await rig.row()
    assert row.stage is Stage.IDLE
    assert {name: slot.use for name, slot in row.slots.items()} == {
        "primary": Use.DEMOTED,
        "secondary": Use.ACTIVE,
    }
    assert rig.slots() == held
    await rig.start()
    await rig.work()
    assert rig.slots() == held


def rotations(rig: RotationRig) -> Rotations:
    return Rotations(rig.store, rig.jobs, rig.dps().groups, rig.vault_client())


async def test_the_row_of_a_group_is_forgotten_only_when_the_group_is_gone(rig: RotationRig) -> None:
    await rig.start()
    await rig.work()
    with pytest.raises(RotationRefused, match="is at the DPS"):
        await forget(rotations(rig), GROUP)
    rig.service.store.groups.delete(GROUP)
    kept = rig.in_vault()
    assert await forget(rotations(rig), GROUP) == (SECRET, f"{SECRET}-pending", f"{SECRET}-replaced")
    assert await rig.store.find(GROUP) is None
    assert rig.in_vault() == kept
    assert {PRIMARY, SECONDARY} <= kept
    with pytest.raises(NotAdopted):
        await forget(rotations(rig), GROUP)


async def test_a_row_that_alone_knows_of_a_key_is_not_forgotten(rig: RotationRig) -> None:
    await rig.edit(terms=replace(TERMS, hold=True))
    await rig.start()
    await rig.work()
    rig.service.store.groups.delete(GROUP)
    with pytest.raises(RotationRefused, match="its row alone knows of it"):
        await forget(rotations(rig), GROUP)
    await rig.consent("abort")
    assert len(await forget(rotations(rig), GROUP)) == 3


async def test_a_canary_that_may_be_left_keeps_the_row(rig: RotationRig) -> None:
    row = await rig.row()
    await rig.edit(canary=replace(row.canary, dirty=True))
    rig.service.store.groups.delete(GROUP)
    with pytest.raises(RotationRefused, match="a canary at a hub"):
        await forget(rotations(rig), GROUP)


async def test_two_groups_never_write_one_secret(rig: RotationRig) -> None:
    other = group(**PLAIN, enrollmentGroupId="line-b")
    other = {name: value for name, value in other.items() if value is not None}
    await rig.dps().groups.create(EnrollmentGroup.read(other))
    work = rotations(rig)
    for name in (SECRET, f"{SECRET}-pending", f"{SECRET}-REPLACED", SECRET.upper()):
        with pytest.raises(RotationRefused, match="name another secret"):
            await adopt(work, "line-b", name, TERMS, active="primary", others="free", again=False, by="kim")
        with pytest.raises(RotationRefused, match="name another secret"):
            await breach(work, "line-b", name, TERMS, by="kim", rotation=rig.unique)
    assert (await rig.jobs.current()).jobs == ()


async def test_the_first_rotation_needs_no_live_secret() -> None:
    rig = RotationRig()
    await rig.furnish(published=False)
    await rig.start()
    await rig.work()
    assert (await rig.row()).stage is Stage.OVERLAP
    assert rig.live() == rig.slots()["secondary"]
    await rig.aclose()


async def test_a_group_without_a_secondary_key_gets_its_first_there() -> None:
    rig = RotationRig()
    attestation = {"type": "symmetricKey", "symmetricKey": {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}}
    await rig.furnish(attestation=attestation)
    there = await rig.dps().groups.with_keys(GROUP)
    assert there
    assert there.keys
    await rig.dps().groups.replace(there.with_keys(SymmetricKeys(there.keys.primary)))
    only_one = not rig.slots()["secondary"]
    await rig.start()
    await rig.work()
    assert rig.slots() == {"primary": PRIMARY, "secondary": rig.live()}
    assert bool(rig.secret_values(f"{SECRET}-replaced")) is not only_one
    await rig.aclose()


@pytest.mark.parametrize("known", [True, False])
async def test_a_masked_webhook_is_put_back_or_blocks_and_is_never_written_masked(*, known: bool) -> None:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", position=True)
    rig = RotationRig(switches)
    definition = {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"}
    await rig.furnish(allocationPolicy="custom", customAllocationDefinition=definition)
    rig.webhook_url = WEBHOOK if known else None
    await rig.start()
    await rig.work()
    row = await rig.row()
    stored = rig.service.store.groups.get(GROUP)
    assert stored
    assert stored.members["customAllocationDefinition"]["webhookUrl"] == WEBHOOK
    if known:
        assert row.stage is Stage.OVERLAP
    else:
        assert (row.stage, row.blocked) == (Stage.BLOCKED, Why.UNWRITABLE)
        assert rig.slots()["secondary"] == SECONDARY
    await rig.aclose()


async def test_a_deleted_secret_that_has_the_name_blocks_with_what_to_do(rig: RotationRig) -> None:
    rig.vault.put(f"{SECRET}-pending", "old")
    rig.vault.secrets.delete(f"{SECRET}-pending")
    await rig.start()
    await rig.work()
    row = await rig.row()
    assert (row.stage, row.blocked) == (Stage.BLOCKED, Why.UNWRITABLE)
    assert "recover or purge" in row.problem
    await rig.pass_time(DAY)
    rig.vault.secrets.recover(f"{SECRET}-pending")
    await rig.pass_time(DAY)
    await rig.start(insist=True)
    await rig.work()
    assert (await rig.row()).stage is Stage.OVERLAP


@pytest.mark.parametrize(
    ("overlap", "validity", "fits"),
    [(30, 61, True), (30, 60, False), (0.05, 31, True), (1, 31, False), (0.01, 90, False)],
)
def test_a_validity_that_would_end_within_the_overlap_is_refused(
    *, overlap: float, validity: float, fits: bool
) -> None:
    if fits:
        RotationTerms(overlap * DAY, validity * DAY)
        return
    with pytest.raises(InvalidOption, match=r"overlap|validity"):
        RotationTerms(overlap * DAY, validity * DAY)
