"""The canary: in with the new key or nothing is published, an id for each slot, and nothing left of it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from lifecycle.rotation.canary import PREFIX, CanaryPlaces
from lifecycle.rotation.row import CanaryState, RotationRow, Stage, Why
from local.explore import Life, Run, explore
from local.switches import Switches
from provisioning.enrollments import IndividualEnrollment
from settings import Settings
from tests.lifecycle.enrollments.rig import HUBS
from tests.lifecycle.rotation.invariants import Invariants, Watched
from tests.lifecycle.rotation.rig import GROUP, PRIMARY, TERMS, RotationRig

CANARY = replace(TERMS, canary=True)


def ids() -> dict[str, str]:
    nothing: Any = None
    places = CanaryPlaces(nothing, nothing, nothing, nothing)
    return {"primary": places.id(GROUP, "primary"), "secondary": places.id(GROUP, "secondary")}


def left(rig: RotationRig) -> list[str]:
    """What canaries have left at DPS and at the hubs."""
    records = [name for name in ids().values() if rig.service.store.registrations.get(name)]
    return records + [name for hub in HUBS for name in ids().values() if rig.identity(hub, name)]


def registered(rig: RotationRig) -> list[str]:
    """The canaries that began to register, in order."""
    calls = rig.service.world.journal.of(rig.service.name)
    return [call.path.split("/")[-2] for call in calls if call.path.partition("?")[0].endswith("/register")]


@pytest.fixture
async def rig() -> AsyncIterator[RotationRig]:
    made = RotationRig()
    await made.furnish(terms=CANARY)
    yield made
    await made.aclose()


async def test_a_canary_registers_with_the_new_key_and_leaves_nothing(rig: RotationRig) -> None:
    await rig.start()
    await rig.work()
    row = await rig.row()
    assert (row.stage, row.canary.state, row.canary.dirty) == (Stage.OVERLAP, CanaryState.PASSED, False)
    assert set(registered(rig)) == {ids()["secondary"]}
    assert left(rig) == []


async def test_each_slot_has_a_canary_of_its_own(rig: RotationRig) -> None:
    await rig.roll()
    await rig.start()
    await rig.work()
    assert registered(rig)[-1] == ids()["primary"] != ids()["secondary"]
    assert left(rig) == []


@pytest.mark.parametrize("prefix", ["", "c" * 64])
def test_ids_begin_with_the_prefix_that_is_set_and_have_at_most_128_characters(prefix: str) -> None:
    nothing: Any = None
    setting = Settings.read({"CANARY_PREFIX": prefix}).canary_prefix
    assert setting == (prefix or PREFIX)
    made = CanaryPlaces(nothing, nothing, nothing, nothing, setting).id("g" * 128, "secondary")
    assert made.startswith(f"{setting}-")
    assert len(made) <= 128


async def test_a_canary_that_is_not_let_in_blocks_and_nothing_is_published(rig: RotationRig) -> None:
    there = await rig.dps().groups.with_keys(GROUP)
    assert there
    disabled = type(there).read({**there.document(), "provisioningStatus": "disabled"}).with_keys(there.keys)
    await rig.dps().groups.replace(disabled)
    await rig.start()
    await rig.work()
    row = await rig.row()
    assert (row.stage, row.blocked, row.canary.dirty) == (Stage.BLOCKED, Why.CANARY, False)
    assert rig.live() == PRIMARY
    assert left(rig) == []
    await rig.consent("promote")  # an operator knows better
    assert (await rig.row()).stage is Stage.OVERLAP


async def test_an_id_that_somebody_else_has_is_never_registered(rig: RotationRig) -> None:
    document = {
        "registrationId": ids()["secondary"],
        "attestation": {"type": "symmetricKey"},
    }
    await rig.dps().individuals.create(IndividualEnrollment.read(document))
    await rig.start()
    await rig.work()
    row = await rig.row()
    assert (row.stage, row.blocked) == (Stage.BLOCKED, Why.CANARY)
    assert "somebody else" in row.problem
    assert registered(rig) == []
    assert await rig.dps().individuals.get(ids()["secondary"])


async def test_a_new_key_for_the_same_slot_waits_until_dps_has_forgotten_the_last() -> None:
    switches = Switches()
    switches.set("dps.other_key_refused_seconds", 1800.0)
    rig = RotationRig(switches)
    await rig.furnish(terms=replace(CANARY, hold=True))
    await rig.start()
    await rig.work()
    assert (await rig.row()).blocked is Why.PROMOTE
    await rig.consent("abort")
    began = rig.clock.now()
    await rig.start(insist=True)
    await rig.work(ticks=60)
    row = await rig.row()
    assert (row.blocked, row.canary.state) == (Why.PROMOTE, CanaryState.PASSED)
    assert rig.clock.now() - began >= timedelta(minutes=25)
    assert len(registered(rig)) == 2, "one try each: none was refused by the cache"
    await rig.aclose()


async def test_a_canary_that_dps_does_not_know_yet_tries_again(rig: RotationRig) -> None:
    class Late:
        """A device API that knows the new key from the third try on."""

        def __init__(self, inner: Any) -> None:
            self.inner, self.tries = inner, 0

        async def register(self, name: str, key: Any) -> Any:
            self.tries += 1
            if self.tries < 3:
                from clients.errors import Unauthenticated

                raise Unauthenticated("no", service="DPS", status=401, code="401002")
            return await self.inner.register(name, key)

        async def look_up(self, name: str, key: Any) -> Any:
            return await self.inner.look_up(name, key)

    late: list[Late] = []
    ports = rig.ports

    def with_late(*args: Any) -> Any:
        made = ports(*args)
        assert made.places
        late[:] = late or [Late(None)]
        late[0].inner = made.places.devices
        return replace(made, places=replace(made.places, devices=late[0]))

    rig.ports = with_late  # type: ignore[method-assign, assignment]  # the rig's own seam
    await rig.start()
    await rig.work()
    assert (await rig.row()).stage is Stage.OVERLAP
    assert late[0].tries == 3
    assert left(rig) == []


async def test_no_single_crash_leaves_a_canary_behind_or_registers_anothers_id() -> None:
    async def run(run: Run) -> None:
        rig = RotationRig()
        await rig.furnish(terms=CANARY)
        # Begun and verified without a death: what is of interest here begins with the canary.
        await rig.edit(terms=replace(TERMS, hold=True))
        await rig.start()
        await rig.work()
        await rig.edit(terms=CANARY)
        invariants = Invariants(rig)

        async def process(life: Life) -> None:
            await rig.jobs.create(
                "on", "rotation", by="t", params={"do": "start", "group": GROUP, "insist": True}
            )
            transport = life.transport(Watched(rig, invariants))
            await rig.work(transport, life.port(rig.table, "table"))

        await run.live(process)
        row: RotationRow = await rig.row()
        assert row.stage is Stage.OVERLAP, row
        assert left(rig) == []
        assert set(registered(rig)) == {ids()["secondary"]}
        await rig.aclose()

    (await explore(run, deaths=["after"])).check()


async def test_a_breach_sends_no_canary(rig: RotationRig) -> None:
    await rig.command(do="breach", rotation="b" * 32)
    await rig.work()
    assert (await rig.row()).stage is Stage.IDLE
    assert registered(rig) == []
