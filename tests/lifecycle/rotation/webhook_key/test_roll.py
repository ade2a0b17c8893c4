"""An operator's roll of the webhook key: what goes on, what stops it, and what nobody may do by mistake."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from clients.telemetry_ids import IdMode, Ids
from clients.vault_shapes import Secret
from lifecycle.errors import RotationMoved, RotationRefused
from lifecycle.rates import Rate
from lifecycle.rotation.webhook_key.age import own_webhook, tell_age
from lifecycle.rotation.webhook_key.rewrite import KIND
from lifecycle.rotation.webhook_key.row import HOLD, RollRow, Stage, Why, consented
from lifecycle.rotation.webhook_key.step import Rest
from local.switches import Switches
from tests.lifecycle.rotation.webhook_key.rig import BASE, DAY, FUNCTION, OLD, SECRET, TERMS, RollRig
from tests.memory_table import MemoryTable


def masking() -> Switches:
    switches = Switches()
    switches.set("dps.mask_webhook_url_on_get", True)
    return switches


async def retire(rig: RollRig, *words: Any) -> tuple[RollRow, Rest]:
    def agree(row: RollRow, now: Any) -> RollRow:
        del now
        for word in words or ("retire",):
            row = consented(row, word)
        return row

    return await rig.roll().walk(agree)


async def through(rig: RollRig) -> str:
    """A roll to its end; the new key."""
    assert (await rig.to_overlap()).stage is Stage.OVERLAP
    await rig.pass_time(8 * DAY)
    row, _ = await retire(rig)
    assert row.stage is Stage.IDLE, row
    await rig.work()
    [new] = rig.at_app().values()
    return new


@pytest.mark.parametrize("switches", [Switches, masking], ids=["shown", "masked"])
async def test_a_roll_gives_every_enrollment_the_new_key_and_every_device_goes_on(switches: Any) -> None:
    rig = RollRig(switches())
    await rig.furnish(others=3)
    new = await through(rig)
    assert rig.keys_held() == {new}
    assert rig.held()["single-2"] == f"{BASE}/dps-1?code={new}"
    assert rig.held()["elsewhere"].endswith("code=x")
    await rig.device_registers()
    # Our own call with nobody's key, and none of DPS's, was refused.
    assert rig.answers.count(401) == 1
    assert rig.answers[-1] == 200
    assert len(new) >= 32
    await rig.aclose()


@pytest.mark.parametrize("switches", [Switches, masking], ids=["shown", "masked"])
async def test_a_page_that_takes_several_slices_is_gone_through_once(switches: Any) -> None:
    rig = RollRig(switches())
    await rig.furnish(others=40)
    rig.rates = {KIND: {Rate.DPS: 0.08}}
    writes = len(writes_of(rig))
    assert (await rig.to_overlap()).stage is Stage.OVERLAP
    [done] = rig.told.named("job_ended")
    slices = [each for each in rig.told.named("job_slice") if each["problem"]]
    assert slices == [], "each ends in time, of its own"
    assert OLD not in rig.keys_held()
    # The canary once more than the others; a second pass where the first one was seen to have found some.
    assert len(writes_of(rig)) - writes <= 43, done
    await rig.aclose()


def writes_of(rig: RollRig) -> list[str]:
    """The enrollments that were written, as often as they were."""
    calls = rig.service.world.journal
    return [call.path for call in calls if call.method == "PUT" and "nrollment" in call.path]


class Refusing(httpx.AsyncBaseTransport):
    """A DPS that takes no change of one enrollment."""

    def __init__(self, rig: RollRig) -> None:
        self._on = rig.transport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT" and request.url.path.endswith("/single-0"):
            return httpx.Response(400, json={"errorCode": 400001, "message": "no"}, request=request)
        return await self._on.handle_async_request(request)


async def test_no_id_of_a_device_is_told_of_an_enrollment_that_cannot_be_rewritten() -> None:
    rig = RollRig()
    await rig.furnish(others=2)
    await rig.start()
    await rig.work(Refusing(rig))
    for each in rig.told.named("job_blocked"):
        assert "single-0" in str(each["problem"])
        assert "single-0" not in str(Ids(IdMode.NONE).told(each))
    assert rig.told.named("job_blocked")
    await rig.aclose()


async def test_the_next_roll_replaces_what_the_last_one_made() -> None:
    rig = RollRig()
    await rig.furnish()
    first = await through(rig)
    second = await through(rig)
    assert first != second
    assert rig.keys_held() == {second}
    assert [each.value for each in rig.vault.peek(SECRET)] == [OLD, first, second]
    await rig.aclose()


async def test_lagging_instances_are_waited_for_before_any_enrollment_has_the_key() -> None:
    switches = Switches()
    switches.set("site.key_lag", 90.0)
    switches.set("site.instances", 2)
    rig = RollRig(switches)
    await rig.furnish()
    began = rig.clock.now()
    row, _ = await rig.start()
    assert row.probed is not None
    assert row.probed - began >= timedelta(seconds=180)
    await rig.aclose()


async def test_a_key_that_the_app_never_takes_stops_the_roll_before_the_canary() -> None:
    rig = RollRig()
    await rig.furnish()
    accepts = rig.site.keys.accepts

    class Deaf:
        """An app that does not look at its keys again."""

        all, put, delete = rig.site.keys.all, rig.site.keys.put, rig.site.keys.delete

        def accepts(self, function: str, key: str) -> bool:
            return key == OLD and accepts(function, key)

    rig.site = replace(rig.site, keys=Deaf())  # type: ignore[arg-type]  # what the webhook asks
    row, rest = await rig.start()
    assert (row.stage, rest.asks) == (Stage.BLOCKED, Why.PROBE)
    assert rig.keys_held() == {OLD}
    await rig.aclose()


async def test_a_function_that_asks_for_no_key_is_not_rolled() -> None:
    rig = RollRig()
    await rig.furnish()

    class Open:
        all, put, delete = rig.site.keys.all, rig.site.keys.put, rig.site.keys.delete

        def accepts(self, function: str, key: str) -> bool:
            del function, key
            return True

    rig.site = replace(rig.site, keys=Open())  # type: ignore[arg-type]  # as above
    row, rest = await rig.start()
    assert rest.asks is Why.PROBE
    assert "asks for no key" in row.problem
    await rig.aclose()


@pytest.mark.parametrize("switches", [Switches, masking], ids=["shown", "masked"])
async def test_a_canary_whose_devices_are_refused_gets_the_old_key_again(switches: Any) -> None:
    rig = RollRig(switches())
    await rig.furnish()
    accepts, refusing = rig.site.keys.accepts, [False]

    class Fickle:
        """An app that takes the new key until the canary has it."""

        all, put, delete = rig.site.keys.all, rig.site.keys.put, rig.site.keys.delete

        def accepts(self, function: str, key: str) -> bool:
            if OLD not in rig.held()["line-a"]:
                refusing[0] = True
            return accepts(function, key) and (key == OLD or not refusing[0])

    rig.site = replace(rig.site, keys=Fickle())  # type: ignore[arg-type]  # as above
    row, rest = await rig.start()
    assert (row.stage, rest.asks) == (Stage.BLOCKED, Why.CANARY), row.problem
    assert rig.keys_held() == {OLD}
    assert rig.service.store.registrations.get("dev-1") is not None
    refusing[0] = False
    await rig.device_registers()
    assert rig.answers[-1] == 200
    await rig.aclose()


async def test_a_canary_of_which_nothing_is_seen_stops_the_roll_until_somebody_agrees() -> None:
    rig = RollRig()
    await rig.furnish()
    rig.registering = False
    row, rest = await rig.start()
    assert (row.stage, rest.asks) == (Stage.BLOCKED, Why.UNSEEN)
    assert rig.held()["single-0"].endswith(OLD)

    found = await rig.plan()

    def agree(row: RollRow, now: Any) -> RollRow:
        return consented(rig.begin(found)(row, now), "unwatched")

    row, _ = await rig.roll().walk(agree)
    assert row.stage is Stage.SPREADING
    await rig.aclose()


async def test_a_roll_is_not_given_up_once_its_key_is_published() -> None:
    rig = RollRig()
    await rig.furnish()
    await rig.start()
    with pytest.raises(RotationRefused, match="give the roll up"):
        await retire(rig, "abort")
    await rig.aclose()


async def test_two_operators_at_once_make_one_roll() -> None:
    rig = RollRig()
    await rig.furnish()
    found = await rig.plan()
    both = await asyncio.gather(*(rig.roll().walk(rig.begin(found)) for _ in range(2)))
    assert {row.roll for row, _ in both} == {both[0][0].roll}
    assert len(rig.at_app()) == 2
    assert len(rig.vault.peek(f"{SECRET}-pending")) == 1
    assert len(rig.vault.peek(SECRET)) == 2
    await rig.work()
    assert len(rig.keys_held()) == 1
    await rig.aclose()


async def test_a_command_that_lost_its_hold_changes_nothing_more() -> None:
    rig = RollRig()
    await rig.furnish()
    found = await rig.plan()
    ports = rig.ports()
    taken = rig.roll()

    class Stolen:
        """A vault during whose call another command takes over."""

        def __getattr__(self, name: str) -> Any:
            return getattr(ports.vault, name)

        async def set(self, *args: Any, **members: Any) -> Any:
            made = await ports.vault.set(*args, **members)
            await rig.store.change(
                lambda row: replace(row, holder="another", held_until=rig.clock.now() + HOLD)
            )
            return made

    taken._ports = replace(ports, vault=Stolen())
    with pytest.raises(RotationMoved, match="taken the roll over"):
        await taken.walk(rig.begin(found))
    assert rig.at_app() == {"default": OLD}
    await rig.aclose()


async def test_a_secret_that_holds_no_key_of_the_function_is_not_taken_for_its_key() -> None:
    rig = RollRig()
    await rig.furnish()
    rig.vault.put(SECRET, "something else")
    with pytest.raises(RotationRefused, match="none of the function's own keys"):
        await rig.plan()
    await rig.aclose()


async def test_the_key_by_reference_follows_the_roll_and_its_age_is_told() -> None:
    rig = RollRig()
    await rig.furnish()
    vault = rig.vault_client()
    read = own_webhook(vault, SECRET, BASE)
    assert await read() is None
    await rig.to_overlap()
    [new] = rig.keys_held()
    assert await read() == f"{BASE}?code={new}"
    await tell_age(vault, SECRET, 180 * DAY, rig.time, rig.told, dps="dps-1")
    assert rig.told.named("webhook_key_old") == []
    await rig.pass_time(200 * DAY)
    await tell_age(vault, SECRET, 180 * DAY, rig.time, rig.told, dps="dps-1")
    [told] = rig.told.named("webhook_key_old")
    assert (told["days"], told["fix"]) == (200, "./run dps rotate webhook-key start")
    await tell_age(vault, "nothing-here", 180 * DAY, rig.time, rig.told, dps="dps-1")
    assert len(rig.told.named("webhook_key_unseen")) == 1
    await rig.aclose()


async def test_no_key_is_told_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    rig = RollRig()
    await rig.furnish()
    rig.registering = False
    blocked, rest = await rig.start()  # what stops is told in words, too
    rig.registering = True
    await rig.start()
    await rig.work()
    shown = [repr(blocked), repr(rest), repr(rig.ports()), repr(await rig.plan()), repr(rig.keys_client())]
    found = await rig.vault_client().get(SECRET)
    assert isinstance(found, Secret)
    new = found.value.reveal()
    held = rig.table
    assert isinstance(held, MemoryTable)
    shown += [repr(held._partitions), repr(rig.told.events), "\n".join(rig.notes), caplog.text]
    shown += [repr(call) for call in rig.service.world.journal.of("arm")]
    shown += [repr(rig.site.keys.__dict__["_spans"])]
    for each in shown:
        assert OLD not in each
        assert new not in each
    assert FUNCTION in repr(rig.keys_client())
    await rig.aclose()


async def test_terms_that_prove_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="probes"):
        replace(TERMS, probes=1)


async def test_the_old_key_in_the_vault_twice_is_no_stranger() -> None:
    """A set whose answer was lost was made again, and then happened after all."""
    rig = RollRig()
    await rig.furnish()
    ports = rig.ports()

    class Twice:
        def __getattr__(self, name: str) -> Any:
            return getattr(ports.keys, name)

        async def put(self, name: str, value: Any) -> None:
            rig.vault.put(SECRET, OLD)
            await ports.keys.put(name, value)

    roll = rig.roll()
    roll._ports = replace(ports, keys=Twice())
    row, _ = await roll.walk(rig.begin(await rig.plan()))
    assert row.stage is Stage.SPREADING, row.problem
    assert len(rig.vault.peek(SECRET)) == 3
    await rig.aclose()
