"""Events and the daily timer: what asks for a rotation, once, and what asks for nothing."""

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from clients.errors import TableUnavailable, Unavailable
from lifecycle.jobs import State, show
from lifecycle.rotation.row import Slot, Stage, Use
from lifecycle.rotation.triggers import Alarm, Ignored, Intent, VaultIdentity, daily, receive
from provisioning.enrollments import EnrollmentGroup
from tests.lifecycle.enrollments.rig import group
from tests.lifecycle.rotation.rig import DAY, GROUP, PRIMARY, SECRET, TERMS, RotationRig
from tests.lifecycle.rotation.test_exploration import near_expiry
from tests.lifecycle.toy import FaultyTable


@pytest.fixture
async def rig() -> AsyncIterator[RotationRig]:
    made = RotationRig()
    await made.furnish()
    yield made
    await made.aclose()


async def deliver(rig: RotationRig, raw: Any, *, resource: str = "") -> Any:
    vault = VaultIdentity(rig.vault.name, resource)
    return await receive(raw, vault, rig.store, rig.jobs, rig.told)


async def look(rig: RotationRig) -> int:
    """The daily timer."""
    return await daily(rig.store, rig.vault_client(), rig.dps().groups, rig.jobs, rig.told)


async def jobs(rig: RotationRig) -> list[str]:
    return [job.id for job in (await rig.jobs.current()).jobs]


def changed(rig: RotationRig, **data: Any) -> dict[str, Any]:
    event = near_expiry(rig)
    return {**event, "data": {**event["data"], **data}}


async def test_an_event_delivered_fifty_times_is_one_job_and_one_rotation(rig: RotationRig) -> None:
    event = near_expiry(rig)
    for turn in range(50):
        assert isinstance(await deliver(rig, {**event, "id": f"e-{turn}"}), Intent)
        if turn % 10 == 0:
            await rig.tick()
            await rig.clock.advance(60)
    await rig.work()
    assert len(rig.vault.peek(SECRET)) == 2
    assert (await rig.row()).stage is Stage.OVERLAP


async def test_a_late_event_of_a_version_that_is_not_live_any_more_begins_nothing(rig: RotationRig) -> None:
    late = near_expiry(rig)
    await rig.roll()
    versions = len(rig.vault.peek(SECRET))
    await deliver(rig, late)
    await rig.work()
    row = await rig.row()
    assert (row.stage, len(rig.vault.peek(SECRET))) == (Stage.IDLE, versions)


async def test_what_is_not_ours_is_acknowledged_and_nothing_is_started(rig: RotationRig) -> None:
    event = near_expiry(rig)
    other = event["source"].replace(rig.vault.name, "kv-other")
    table = [
        {**event, "type": "Microsoft.KeyVault.SecretNewVersionCreated"},
        {**event, "type": "Microsoft.Unknown"},
        {**event, "source": other},
        {**event, "source": ""},
        {**event, "source": f"https://evil.example/microsoft.keyvault/vaults/{rig.vault.name}x"},
        changed(rig, VaultName="kv-other"),
        {**changed(rig, ObjectName="some-password"), "subject": "some-password"},
        changed(rig, Version="latest"),
        changed(rig, ObjectType="Certificate"),
        "hostile",
        None,
    ]
    for raw in table:
        assert isinstance(await deliver(rig, raw), Ignored), raw
    assert await jobs(rig) == []
    assert len(rig.told.named("rotation_event_ignored")) == len(table)


async def test_a_configured_vault_is_known_by_its_whole_resource_id(rig: RotationRig) -> None:
    event = near_expiry(rig)
    assert isinstance(await deliver(rig, event, resource=rig.vault.resource_id.upper()), Intent)
    elsewhere = rig.vault.resource_id.replace("subscriptions/", "subscriptions/other-")
    assert isinstance(await deliver(rig, event, resource=elsewhere), Ignored)


async def test_an_expired_secret_is_an_alarm(rig: RotationRig) -> None:
    event = {**near_expiry(rig), "type": "Microsoft.KeyVault.SecretExpired"}
    assert isinstance(await deliver(rig, event), Alarm)
    assert rig.told.named("rotation_expired")
    assert await jobs(rig) == []


async def test_a_table_that_is_down_makes_event_grid_send_again(rig: RotationRig) -> None:
    from lifecycle.jobs import JobStore
    from lifecycle.rotation.store import RotationStore

    down = FaultyTable(rig.table, lambda _: "lost before")
    vault = VaultIdentity(rig.vault.name)
    with pytest.raises(TableUnavailable):
        await receive(
            near_expiry(rig),
            vault,
            RotationStore(down, "dps-1", rig.time),
            JobStore(down, "dps-1", rig.time),
            rig.told,
        )


async def test_the_timer_begins_what_a_lost_event_should_have(rig: RotationRig) -> None:
    assert await look(rig) == 0
    assert await jobs(rig) == []  # the event has a day's precedence
    await rig.pass_time(2 * DAY)
    for _ in range(3):
        await look(rig)
    assert len(await jobs(rig)) == 1
    await rig.work()
    assert (await rig.row()).stage is Stage.OVERLAP


async def test_the_timer_goes_on_with_what_stands_still_and_tells_who_is_waited_for(rig: RotationRig) -> None:
    await rig.edit(slots={**(await rig.row()).slots, "secondary": Slot(Use.DEMOTED, rig.clock.now())})
    await rig.start()
    await rig.work()
    rig.told.events.clear()
    await look(rig)
    await rig.work()
    assert [each["asks"] for each in rig.told.named("rotation_waits")] == ["retire consent needed"]


async def test_the_timer_tells_of_a_group_that_no_event_will_ever_come_for(rig: RotationRig) -> None:
    rig.vault.put(SECRET, PRIMARY)
    await look(rig)
    assert rig.told.named("rotation_unpublished")
    await rig.pass_time(31 * DAY)
    rig.vault.put(SECRET, PRIMARY, expires=int(rig.clock.now().timestamp()) - 5)
    await look(rig)
    assert rig.told.named("rotation_expired")


async def test_a_group_that_the_timer_cannot_look_at_does_not_stop_the_others(rig: RotationRig) -> None:
    row = await rig.row()
    document = {**group(enrollmentGroupId="a-first"), "allocationPolicy": "hashed"}
    del document["customAllocationDefinition"]
    await rig.dps().groups.create(EnrollmentGroup.read(document))
    await rig.store.insert(replace(row, group="a-first", secret="no name of a secret"))
    await rig.pass_time(2 * DAY)
    assert await look(rig) == 1
    assert rig.told.named("rotation_unseen")[0]["group"] == "a-first"
    assert len(await jobs(rig)) == 1


async def test_an_event_that_met_another_rotation_is_made_up_for_by_the_timer(rig: RotationRig) -> None:
    """Its job has ended by the time the slot is free; the timer's has another id."""
    await rig.edit(terms=replace(TERMS, overlap=59 * DAY))
    await rig.start()
    await rig.work()
    await rig.pass_time(60 * DAY)  # the new version is near its expiry while nobody retires the old slot
    version = rig.vault.peek(SECRET)[-1].id
    await deliver(rig, changed(rig, Version=version))
    await rig.work()
    assert (await rig.row()).stage is Stage.RETIRING
    assert (await show(rig.jobs, f"rotate:{GROUP}:{version}")).state is State.DONE
    await rig.consent("retire")
    await rig.pass_time(2 * DAY)
    await look(rig)
    await rig.work()
    row = await rig.row()
    assert (row.stage, row.replaces) == (Stage.OVERLAP, version)


async def test_duplicates_timers_and_operators_in_any_order_make_one_rotation() -> None:
    for seed in range(5):
        rig = RotationRig()
        await rig.furnish()
        await rig.pass_time(2 * DAY)
        chance = random.Random(seed)
        event = near_expiry(rig)

        async def operator(rig: RotationRig = rig) -> None:
            if (await rig.row()).stage is Stage.IDLE:
                await rig.start(insist=True)

        async def timer(rig: RotationRig = rig) -> None:
            await look(rig)

        async def grid(rig: RotationRig = rig, event: Any = event) -> None:
            await deliver(rig, event)

        doings = [grid] * 12 + [timer] * 3 + [operator] * 2 + [rig.tick] * 6
        chance.shuffle(doings)
        for doing in doings:
            await doing()
            await rig.clock.advance(timedelta(seconds=chance.randrange(90)).total_seconds())
        await rig.work()
        assert len(rig.vault.peek(SECRET)) == 2, f"seed {seed}"
        await rig.aclose()


def fell(rig: RotationRig) -> set[str]:
    """What was told of rotations."""
    return {name for name, _ in rig.told.events if name.startswith("rotation_")}


@pytest.mark.parametrize("stage", [Stage.IDLE, Stage.FAILED, Stage.BLOCKED])
async def test_a_group_that_is_gone_waits_for_nobody(rig: RotationRig, stage: Stage) -> None:
    rig.vault.put(SECRET, PRIMARY)  # without expiry
    await rig.edit(stage=stage)
    await look(rig)
    assert "rotation_unpublished" in fell(rig)
    before = await jobs(rig)
    rig.service.store.groups.delete(GROUP)
    rig.told.events.clear()
    await rig.pass_time(DAY)
    assert await look(rig) == 0
    assert fell(rig) == {"rotation_gone"}
    assert "rotate forget" in str(rig.told.named("rotation_gone"))
    assert await jobs(rig) == before
    assert (await rig.row()).stage is stage


async def test_a_gone_group_is_no_trouble_though_its_secret_cannot_be_looked_at(rig: RotationRig) -> None:
    row = await rig.row()
    await rig.store.insert(replace(row, group="a-first", secret="no name of a secret"))
    assert await look(rig) == 0
    assert fell(rig) == {"rotation_gone"}


async def test_a_dps_that_does_not_answer_hides_nothing(rig: RotationRig) -> None:
    rig.vault.put(SECRET, PRIMARY)
    rig.service.store.groups.delete(GROUP)
    await daily(rig.store, rig.vault_client(), Silent(), rig.jobs, rig.told)
    assert fell(rig) == {"rotation_unpublished"}


class Silent:
    """A DPS that does not answer."""

    async def get(self, enrollment_id: str) -> EnrollmentGroup | None:
        raise Unavailable(f"no answer of {enrollment_id}", service="DPS")


async def test_what_a_canary_of_a_gone_group_left_is_cleaned_up(rig: RotationRig) -> None:
    row = await rig.row()
    await rig.edit(canary=replace(row.canary, dirty=True))
    rig.service.store.groups.delete(GROUP)
    await look(rig)
    assert len(await jobs(rig)) == 1
    assert not await rig.store.forget(GROUP)
    await rig.work()
    assert not (await rig.row()).canary.dirty


async def test_a_row_is_forgotten_once_and_never_one_that_moved(rig: RotationRig) -> None:
    moves: list[str] = []

    class Moving(FaultyTable):
        async def delete(self, row: Any) -> Any:
            if not moves:
                moves.append("now")
                await rig.edit(declined="v-1")
            return await super().delete(row)

    from lifecycle.rotation.store import RotationStore

    store = RotationStore(Moving(rig.table, lambda _: ""), "dps-1", rig.time)
    assert await store.forget(GROUP.upper())
    assert moves
    assert await rig.store.find(GROUP) is None
    assert not await store.forget(GROUP)


class Hanging:
    """A vault that takes calls and gives no answer."""

    def __init__(self, rig: RotationRig) -> None:
        self._rig = rig

    def __getattr__(self, name: str) -> Any:
        async def call(*_: Any, **__: Any) -> Any:
            await self._rig.clock.advance(90)
            raise Unavailable("no answer", service="the vault")

        return call


async def test_a_vault_that_gives_no_answer_ends_the_daily_look_in_time_and_hides_no_group(
    rig: RotationRig,
) -> None:
    row = await rig.row()
    for number in range(99):
        await rig.store.insert(replace(row, group=f"line-{number}", secret=f"secret-{number}"))
    began = rig.clock.monotonic()
    vault: Any = Hanging(rig)
    assert await daily(rig.store, vault, Silent(), rig.jobs, rig.told) == 100
    assert rig.clock.monotonic() - began < 15 * 60
    assert [name for name, _ in rig.told.events].count("rotation_unseen") == 100
