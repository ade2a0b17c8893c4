"""Events come when the clock says so, once for a version, and of the current version only."""

import pytest

from local.vault import EXPIRED, NEAR_EXPIRY, NEW_VERSION, VaultBehaviour, VaultEvent
from tests.local.vault.rig import DAY, Rig


async def test_every_new_version_is_told_at_once(rig: Rig) -> None:
    made = [await rig.set("Name", value) for value in "ab"]
    assert [event.kind for event in rig.events] == [NEW_VERSION] * 2
    assert [event.id for event in rig.events] == [each["id"] for each in made]
    assert {event.name for event in rig.events} == {"Name"}


async def test_the_data_is_that_of_the_documented_samples(rig: Rig) -> None:
    await rig.set(attributes={"nbf": 1, "exp": 4_000_000_000})
    await rig.set()
    first, second = rig.events
    assert first.data == {
        "Id": f"https://kv-local.vault.azure.net/secrets/s1/{first.version}",
        "VaultName": "kv-local",
        "ObjectType": "Secret",
        "ObjectName": "s1",
        "Version": first.version,
        "NBF": 1,
        "EXP": 4_000_000_000,
    }
    assert (second.data["NBF"], second.data["EXP"]) == (None, None)


async def test_near_expiry_comes_30_days_before_and_expiry_on_the_day(rig: Rig) -> None:
    version = await rig.set_expiring(60 * DAY)
    await rig.clock.advance(30 * DAY - 1)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == []
    await rig.clock.advance(1)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == [(NEAR_EXPIRY, version)]
    await rig.clock.advance(30 * DAY - 1)
    assert rig.told(EXPIRED) == []
    await rig.clock.advance(1)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == [(NEAR_EXPIRY, version), (EXPIRED, version)]


async def test_a_version_made_near_its_end_is_told_within_minutes(rig: Rig) -> None:
    version = await rig.set_expiring(10 * DAY)
    await rig.clock.advance(119)
    assert rig.told(NEAR_EXPIRY) == []
    await rig.clock.advance(1)
    assert rig.told(NEAR_EXPIRY) == [(NEAR_EXPIRY, version)]


async def test_a_version_that_was_over_when_made_is_only_told_as_expired(rig: Rig) -> None:
    version = await rig.set_expiring(-DAY)
    await rig.clock.advance(1000)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == [(EXPIRED, version)]


async def test_a_far_jump_of_the_clock_loses_and_doubles_nothing(rig: Rig) -> None:
    versions = {name: await rig.set_expiring(days * DAY, name) for name, days in [("a", 100), ("b", 50)]}
    await rig.clock.advance(1000 * DAY)
    await rig.clock.advance(1000 * DAY)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == [
        (NEAR_EXPIRY, versions["b"]),
        (EXPIRED, versions["b"]),
        (NEAR_EXPIRY, versions["a"]),
        (EXPIRED, versions["a"]),
    ]


class Oversleeping:
    """A clock whose sleepers wake late: when it has jumped past several times at once."""

    def __init__(self, rig: Rig) -> None:
        self.now = rig.clock.now
        self.monotonic = rig.clock.monotonic
        self._clock = rig.clock

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds + 300 * DAY)


async def test_a_watch_that_oversleeps_tells_what_is_still_true(rig: Rig) -> None:
    rig.world.clock = Oversleeping(rig)
    first = await rig.set_expiring(100 * DAY, "a")
    await rig.set_expiring(50 * DAY, "b")
    await rig.clock.advance(400 * DAY)
    assert sorted(rig.told(NEAR_EXPIRY, EXPIRED)) == sorted(
        [(EXPIRED, first), (EXPIRED, rig.vault.peek("b")[0].id)]
    )


async def test_a_replaced_version_is_not_told_any_more(rig: Rig) -> None:
    await rig.set_expiring(60 * DAY)
    await rig.clock.advance(10 * DAY)
    second = await rig.set_expiring(90 * DAY)
    await rig.clock.advance(59 * DAY)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == []
    await rig.clock.advance(DAY)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == [(NEAR_EXPIRY, second)]


async def test_a_replaced_version_is_not_told_as_its_successor_a_second_time(rig: Rig) -> None:
    await rig.set_expiring(60 * DAY)
    second = await rig.set_expiring(20 * DAY)
    await rig.clock.advance(100 * DAY)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == [(NEAR_EXPIRY, second), (EXPIRED, second)]


async def test_an_event_due_while_a_secret_is_on_its_way_back_waits_for_it() -> None:
    async with Rig(VaultBehaviour(recovering_seconds=100)) as rig:
        version = await rig.set_expiring(30 * DAY + 60)
        await rig.call("DELETE", "/secrets/s1")
        await rig.clock.advance(5)
        await rig.call("POST", "/deletedsecrets/s1/recover")
        await rig.clock.advance(99)
        assert rig.told(NEAR_EXPIRY) == []
        await rig.clock.advance(2)
        assert rig.told(NEAR_EXPIRY) == [(NEAR_EXPIRY, version)]


async def test_a_version_without_an_end_is_told_once_an_update_gives_it_one(rig: Rig) -> None:
    made = await rig.set()
    await rig.call("PATCH", "/secrets/s1", {"attributes": {"exp": rig.now + 40 * DAY}})
    await rig.clock.advance(41 * DAY)
    version = made["id"].rpartition("/")[2]
    assert rig.told(NEAR_EXPIRY, EXPIRED) == [(NEAR_EXPIRY, version), (EXPIRED, version)]


async def test_an_end_moved_later_is_told_later_and_near_expiry_only_once(rig: Rig) -> None:
    version = await rig.set_expiring(40 * DAY)
    await rig.clock.advance(11 * DAY)
    await rig.call("PATCH", "/secrets/s1", {"attributes": {"exp": rig.now + 100 * DAY}})
    await rig.clock.advance(99 * DAY)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == [(NEAR_EXPIRY, version)]
    await rig.clock.advance(DAY)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == [(NEAR_EXPIRY, version), (EXPIRED, version)]


async def test_an_updated_end_may_count_for_nothing() -> None:
    async with Rig(VaultBehaviour(patched_exp_counts=False)) as rig:
        version = await rig.set_expiring(60 * DAY, "kept")
        await rig.call("PATCH", "/secrets/kept", {"tags": {"a": "b"}})
        await rig.set_expiring(60 * DAY, "moved")
        await rig.call("PATCH", "/secrets/moved", {"attributes": {"exp": rig.now + 50 * DAY}})
        await rig.clock.advance(100 * DAY)
        assert rig.told(NEAR_EXPIRY, EXPIRED) == [(NEAR_EXPIRY, version), (EXPIRED, version)]


@pytest.mark.parametrize("told", [True, False])
async def test_a_disabled_version_is_told_or_not(told: bool) -> None:
    async with Rig(VaultBehaviour(disabled_raises_events=told)) as rig:
        await rig.set(attributes={"exp": rig.now + 40 * DAY, "enabled": False})
        await rig.clock.advance(41 * DAY)
        assert bool(rig.told(NEAR_EXPIRY)) is bool(rig.told(EXPIRED)) is told


async def test_a_deleted_secret_is_silent_and_tells_when_it_is_back(rig: Rig) -> None:
    version = await rig.set_expiring(40 * DAY)
    await rig.call("DELETE", "/secrets/s1")
    await rig.clock.advance(20 * DAY)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == []
    await rig.call("POST", "/deletedsecrets/s1/recover")
    await rig.clock.advance(120)
    assert rig.told(NEAR_EXPIRY, EXPIRED) == [(NEAR_EXPIRY, version)]


async def test_a_subscriber_is_told_nothing_of_versions_older_than_its_subscription(rig: Rig) -> None:
    began = rig.clock.now()
    await rig.set_expiring(40 * DAY, "old")
    await rig.clock.advance(1)
    late: list[VaultEvent] = []
    early: list[VaultEvent] = []
    rig.vault.subscribe(late.append)
    rig.vault.subscribe(early.append, since=began)
    await rig.set_expiring(40 * DAY, "new")
    await rig.clock.advance(41 * DAY)
    assert [event.name for event in late] == ["new"] * 3
    assert [event.name for event in early] == ["new", "old", "new", "old", "new"]


async def test_one_subscriber_that_fails_costs_the_others_nothing(rig: Rig) -> None:
    told: list[VaultEvent] = []

    def fail(_: VaultEvent) -> None:
        raise RuntimeError("no")

    rig.vault.subscribe(fail)
    rig.vault.subscribe(told.append)
    await rig.set_expiring(31 * DAY)
    await rig.clock.advance(2 * DAY)
    assert [event.kind for event in told] == [NEW_VERSION, NEAR_EXPIRY]


def test_a_vault_filled_before_the_loop_runs_watches_once_it_does() -> None:
    import asyncio

    rig = Rig()
    rig.vault.put("s1", "v", expires=rig.now + 31 * DAY)

    async def run() -> None:
        async with rig:
            await rig.call("GET", "/secrets")
            await rig.clock.advance(2 * DAY)

    asyncio.run(run())
    assert [event.kind for event in rig.events] == [NEW_VERSION, NEAR_EXPIRY]
