"""After a registration with one key, DPS may refuse a device's other keys for a while."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from local.dps.attested import Attested
from local.dps.behaviour import Behaviour
from local.dps.device_auth import LatestKeys
from local.dps.keys import derive_key
from tests.local.dps.rig import OTHER_KEY, PRIMARY, SECONDARY, Rig, symmetric

SECONDS = 1800


@pytest_asyncio.fixture
async def holding() -> AsyncIterator[Rig]:
    async with Rig(Behaviour(other_key_refused_seconds=SECONDS)) as made:
        yield made


async def outcome(rig: Rig, key: str) -> int:
    """200, or the error code of the registration."""
    answer = await rig.start("dev-1", key)
    return 200 if answer.status_code == 202 else int(answer.json()["errorCode"])


@pytest.mark.parametrize("grouped", [True, False])
async def test_the_other_slots_key_is_refused_until_the_time_is_over(holding: Rig, grouped: bool) -> None:
    first, second = PRIMARY, SECONDARY
    if grouped:
        await holding.put_group()
        first, second = (derive_key(each, "dev-1") for each in (first, second))
    else:
        await holding.put_enrollment()
    assert await outcome(holding, first) == 200
    await holding.clock.advance(SECONDS - 1)
    assert await outcome(holding, second) == 401002
    assert (await holding.look_up("dev-1", second)).status_code == 401
    await holding.clock.advance(1)
    assert await outcome(holding, second) == 200
    assert await outcome(holding, first) == 401002, "now that one is the other"


async def test_each_registration_starts_the_time_anew_and_a_refused_one_does_not(holding: Rig) -> None:
    await holding.put_enrollment()
    assert await outcome(holding, PRIMARY) == 200
    await holding.clock.advance(1000)
    assert await outcome(holding, PRIMARY) == 200
    await holding.clock.advance(1000)
    assert await outcome(holding, SECONDARY) == 401002
    await holding.clock.advance(800)
    assert await outcome(holding, SECONDARY) == 200


async def test_a_key_that_only_changes_its_slot_is_no_other_and_a_new_one_is(holding: Rig) -> None:
    await holding.put_enrollment()
    assert await outcome(holding, PRIMARY) == 200
    change = {"registrationId": "dev-1", "attestation": symmetric(OTHER_KEY, PRIMARY)}
    assert (await holding.call("PUT", "/enrollments/dev-1", change, if_match="*")).status_code == 200
    assert await outcome(holding, PRIMARY) == 200
    assert await outcome(holding, OTHER_KEY) == 401002


async def test_devices_have_their_own_times(holding: Rig) -> None:
    await holding.put_enrollment()
    await holding.put_enrollment("dev-2")
    assert await outcome(holding, PRIMARY) == 200
    assert (await holding.start("dev-2", SECONDARY)).status_code == 202


async def test_a_device_may_change_keys_at_once_under_the_plain_reading(rig: Rig) -> None:
    await rig.put_enrollment()
    assert [await outcome(rig, key) for key in (PRIMARY, SECONDARY, PRIMARY)] == [200] * 3


async def test_what_is_older_than_an_hour_is_forgotten_and_no_key_is_told(holding: Rig) -> None:
    await holding.put_group()
    keys = LatestKeys(holding.clock, Behaviour(other_key_refused_seconds=SECONDS))
    device = holding.dps.group("g1")
    assert device is not None
    for number in range(50):
        keys.note(Attested(f"d{number}", device, signed_with=PRIMARY))
    assert PRIMARY not in repr(vars(keys))
    await holding.clock.advance(LatestKeys.LONGEST + 1)
    keys.note(Attested("late", device, signed_with=PRIMARY))
    assert list(vars(keys)["_latest"]) == ["late"]
