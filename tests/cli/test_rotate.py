"""`rotate`: an operator's way through a rotation, a breach and a re-key campaign."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from lifecycle.jobs import Terms, tick
from lifecycle.rates import Rates
from local.dps.keys import derive_key
from tests.cli.rig import Ran, Rig
from tests.cli.rig_clients import azure
from tests.lifecycle.rotation.app import RATES, rotation_of, wiring_of
from tests.lifecycle.toy import Told
from tests.local.dps.rig import PRIMARY, SECONDARY, group

pytestmark = pytest.mark.asyncio(loop_scope="package")
ADOPT = ("rotate", "adopt", "line-a", "--active", "primary", "--other", "free")
Dps = Callable[..., Awaitable[Ran]]


@pytest_asyncio.fixture(loop_scope="package")
async def dps(rig: Rig, azurite: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Dps]:
    """A command on a state of its own; `dps.work()` is the app's ticks."""
    name = f"dps-{uuid4().hex[:12]}"
    secret = f"line-a-{name}"
    for key, value in rig.cloud.identity.items():
        monkeypatch.setenv(key, value)  # azure-identity reads the process's environment
    document = group("line-a")
    await azure(rig, lambda client: client.enrollment_group.create_or_update("line-a", document))

    class Operator:
        live = secret

        async def __call__(self, *words: str) -> Ran:
            environment = {"STATE_TABLES": azurite, "DPS_NAME": name}
            return await rig.run(*words, environment=environment)

        async def work(self) -> Told:
            environment = {"DPS_NAME": name}
            wiring = wiring_of(rig.state, azurite, environment)
            told = Told()
            kind, _, jobs = rotation_of(wiring, rig.state, told)
            rates = Rates(wiring.clock, RATES)
            for _ in range(40):
                await tick([kind], jobs, rates, told, terms=Terms())
                if not (await jobs.current()).jobs:
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError("it does not end")
            await wiring.close()
            return told

        def slots(self) -> dict[str, Any]:
            held = rig.cloud.dps.store.groups.get("line-a")
            assert held
            assert held.keys
            return {"primary": held.keys.primary, "secondary": held.keys.secondary}

        def publish(self, value: str) -> None:
            expires = int((datetime.now(UTC) + timedelta(days=20)).timestamp())
            rig.cloud.vault.put(secret, value, expires=expires)

    yield Operator()


def silent(ran: Ran, *keys: str) -> Ran:
    assert ran.code == 0, ran.err
    for key in keys:
        assert key not in ran.out + ran.err
    return ran


async def test_a_group_is_adopted_planned_rotated_and_its_keys_exported(rig: Rig, dps: Any) -> None:
    for device in ("dev-1", "Dev-2"):
        await rig.register(device, derive_key(PRIMARY, device))
    dps.publish(PRIMARY)
    adopted = silent(await dps(*ADOPT, "--secret", dps.live, "--yes"), PRIMARY, SECONDARY)
    assert (adopted.json["stage"], adopted.json["primary"]) == ("idle", "active")
    planned = silent(await dps("rotate", "plan", "line-a"), PRIMARY, SECONDARY).json
    assert (planned["next"], planned["target"], planned["overwrites"]) == (
        "WriteAhead",
        "secondary",
        "secondary",
    )
    shown = await dps("rotate", "start", "line-a", "--dry-run")
    assert (shown.code, dps.slots()["secondary"]) == (0, SECONDARY)
    silent(await dps("rotate", "start", "line-a", "--yes"), PRIMARY, SECONDARY)
    await dps.work()
    status = silent(await dps("rotate", "status", "line-a"), *dps.slots().values()).json
    assert (status["stage"], status["secondary"]) == ("overlap", "active")
    assert dps.slots()["primary"] == PRIMARY
    file = rig.folder / "keys.jsonl"
    exported = silent(await dps("rotate", "export-device-keys", "line-a", "--file", str(file)))
    assert exported.json["devices"] == 2
    assert "not known" in exported.err
    assert "capitals" in exported.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    told = [json.loads(line) for line in file.read_text().splitlines()]
    new = dps.slots()["secondary"]
    assert {each["registrationId"]: each["deviceKey"] for each in told} == {
        name: derive_key(new, name) for name in ("dev-1", "Dev-2")
    }
    assert (await dps("rotate", "retire", "line-a", "--yes")).code == 1
    again = await dps("rotate", "export-device-keys", "line-a", "--file", str(file))
    assert (again.code, "--file" in again.err) == (2, True)


async def test_the_operators_word_is_checked_and_said_once(rig: Rig, dps: Any) -> None:
    dps.publish(SECONDARY)
    wrong = await dps(*ADOPT, "--secret", dps.live, "--yes")
    assert (wrong.code, "secondary" in wrong.err) == (1, True)
    words = ("rotate", "adopt", "line-a", "--active", "secondary", "--other", "in-use", "--secret", dps.live)
    assert (await dps(*words)).code == 7
    assert (await dps(*words, "--yes")).code == 0
    twice = await dps(*words, "--yes")
    assert (twice.code, "--again" in twice.err) == (1, True)
    assert (await dps(*words, "--again", "--hold", "--yes")).json["hold"] is True
    short = await dps(*words, "--again", "--overlap", "40d", "--validity", "70d", "--yes")
    assert (short.code, "--validity" in short.err) == (2, True)
    assert (await dps("rotate", "adopt", "nobody", *words[3:], "--yes")).code == 4
    blocked = await dps("rotate", "start", "line-a", "--yes")
    assert blocked.code == 0
    await dps.work()
    status = (await dps("rotate", "status", "-o", "jsonl")).out
    assert json.loads(status)["waitsFor"] == "retire consent needed"
    given_up = await dps("rotate", "abort", "line-a", "--yes")
    assert given_up.code == 0
    await dps.work()
    assert (await dps("rotate", "status", "line-a")).json["stage"] == "idle"


async def test_a_held_key_is_promoted_by_an_operator(rig: Rig, dps: Any) -> None:
    await dps(*ADOPT, "--secret", dps.live, "--hold", "--yes")
    await dps("rotate", "start", "line-a", "--yes")
    await dps.work()
    assert (await dps("rotate", "status", "line-a")).json["waitsFor"] == "promote consent needed"
    assert (await dps("rotate", "promote", "line-a", "--yes")).code == 0
    await dps.work()
    assert (await dps("rotate", "status", "line-a")).json["stage"] == "overlap"
    assert rig.cloud.vault.peek(dps.live)[-1].value == dps.slots()["secondary"]


async def test_a_breach_needs_the_groups_name_and_lists_what_to_renew(rig: Rig, dps: Any) -> None:
    await rig.register("dev-1", derive_key(PRIMARY, "dev-1"))
    words = ("rotate", "breach", "line-a", "--secret", dps.live)
    assert (await dps(*words)).code == 7
    assert (await dps(*words, "--confirm", "line-b")).code == 7
    assert dps.slots() == {"primary": PRIMARY, "secondary": SECONDARY}
    silent(await dps(*words, "--confirm", "line-a"), PRIMARY, SECONDARY)
    await dps.work()
    assert not {PRIMARY, SECONDARY} & set(dps.slots().values())
    assert (await dps("rotate", "status", "line-a")).json["stage"] == "idle"
    listed = (await dps("rotate", "identities", "line-a", "--since", "0h")).json
    assert [each["registrationId"] for each in listed] == ["dev-1"]
    assert (await dps("rotate", "identities", "line-a", "--since", "0h", "--disable", "--yes")).code == 0
    await dps.work()
    devices = [hub.service.hub.devices.get("dev-1") for hub in rig.cloud.hubs.values()]
    assert [each.identity.status for each in devices if each] == ["disabled"]


async def test_the_row_of_a_group_that_is_gone_is_forgotten_by_its_typed_name(rig: Rig, dps: Any) -> None:
    await dps(*ADOPT, "--secret", dps.live, "--yes")
    words = ("rotate", "forget", "line-a")
    assert (await dps(*words)).code == 7
    there = await dps(*words, "--confirm", "line-a")
    assert (there.code, "is at the DPS" in there.err) == (1, True)
    await azure(rig, lambda client: client.enrollment_group.delete("line-a"))
    assert (await dps(*words, "--confirm", "line-b")).code == 7
    assert (await dps(*words, "--dry-run")).code == 0
    gone = await dps(*words, "--confirm", "line-a")
    assert (gone.code, gone.json["secrets"][0]) == (0, dps.live), gone.err
    assert (await dps("rotate", "status", "line-a")).code == 4


async def test_a_group_in_no_rotation_is_told_how_to_begin(rig: Rig, dps: Any) -> None:
    for command in ("plan", "start", "status", "promote", "retire", "abort", "forget"):
        ran = await dps("rotate", command, "line-a")
        assert ran.code == 4, command
        assert "rotate adopt" in ran.err
    without = await rig.run("rotate", "status")
    assert (without.code, "STATE_TABLES" in without.err) == (2, True)
