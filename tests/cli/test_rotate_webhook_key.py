"""`rotate webhook-key`: an operator's roll by commands, from the first key to the deletion of the old one."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import pytest
import pytest_asyncio

from allocation import Allocator, FixedKnowledge, KeyUse
from allocation.policy import EVERY_HUB_ALIKE
from lifecycle.enrollments.at_dps import groups, individuals
from lifecycle.jobs import JobStore, Terms, tick
from lifecycle.rates import Rate, Rates
from lifecycle.rotation.webhook_key.rewrite import KIND, RewritePorts, rewrite_kind
from lifecycle.rotation.webhook_key.store import RollStore
from local.dps.keys import derive_key
from local.serve import serve
from tests.cli.rig import FUNCTION_KEY, Ran, Rig
from tests.cli.rig_clients import azure
from tests.lifecycle.rotation.app import wiring_of
from tests.lifecycle.toy import Told
from tests.local.dps.rig import PRIMARY, group

pytestmark = pytest.mark.asyncio(loop_scope="package")
QUICK = ("--probes", "3", "--probe-time", "1s", "--watch", "3m", "--unused", "0d", "--yes")
Dps = Callable[..., Awaitable[Ran]]


class Heard(Told):
    def measure(self, name: str, value: float, **dimensions: str) -> None:
        """The webhook measures its answers."""


@pytest_asyncio.fixture(loop_scope="package")
async def dps(rig: Rig, azurite: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A command with the webhook beside it; `dps.work()` is the app's tick."""
    name = f"dps-{uuid4().hex[:12]}"
    for key, value in rig.cloud.identity.items():
        monkeypatch.setenv(key, value)  # azure-identity reads the process's environment
    wiring = wiring_of(rig.state, azurite, {"DPS_NAME": name})
    heard = Heard()
    allocator = Allocator(knowledge=FixedKnowledge(EVERY_HUB_ALIKE), clock=wiring.clock, telemetry=heard)
    uses = KeyUse(wiring.table("keyuse"), wiring.clock, heard)

    async def webhook(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        key, status, answered = dict(parse_qsl(scope["query_string"].decode())).get("code", ""), 401, b""
        assert rig.keys is not None
        if rig.keys.accepts("allocate", key):
            answer = await allocator.answer(body, name)
            status, answered = answer.status, answer.body
            uses.count(key, name, status)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answered})

    async with serve(webhook, None) as address:
        base = f"{address.url}/api/allocate"
        definition = {"webhookUrl": f"{base}?code={FUNCTION_KEY}", "apiVersion": "2021-10-01"}
        document = group("line-a", allocationPolicy="custom", customAllocationDefinition=definition)
        await azure(rig, lambda client: client.enrollment_group.create_or_update("line-a", document))

        class Operator:
            base = f"{address.url}/api/allocate"

            async def __call__(self, *words: str, **settings: str) -> Ran:
                return await self.types("rotate", "webhook-key", *words, **settings)

            async def types(self, *words: str, **settings: str) -> Ran:
                environment = {
                    "STATE_TABLES": azurite,
                    "DPS_NAME": name,
                    "WEBHOOK_URL": base,
                    "WEBHOOK_SITE_ID": rig.cloud.site_resources[0],
                    "WEBHOOK_KEY_SECRET": f"key-{name}",
                    **settings,
                }
                return await rig.run(*words, environment=environment)

            async def work(self) -> None:
                client, vault = wiring.dps(_Unpaced()), wiring.vault(_Unpaced())
                assert vault is not None
                ports = RewritePorts(
                    {"group": client.groups, "individual": client.individuals},
                    {"group": groups(client), "individual": individuals(client)},
                    vault,
                )
                rolls = RollStore(wiring.table("rotations"), name, wiring.clock)
                kind = rewrite_kind(rolls, lambda _: ports, heard)
                jobs = JobStore(wiring.table("jobs"), name, wiring.clock)
                await tick([kind], jobs, Rates(wiring.clock, {KIND: {Rate.DPS: 0.9}}), heard, terms=Terms())

            def held(self) -> str:
                found = rig.cloud.dps.store.groups.get("line-a")
                assert found
                return str(found.members["customAllocationDefinition"]["webhookUrl"]).partition("code=")[2]

        yield Operator()
    await wiring.close()


class _Unpaced:
    async def call(self) -> None:
        """At once."""


async def test_a_roll_by_commands_ends_with_the_new_key_alone(rig: Rig, dps: Any, tmp_path: Path) -> None:
    async def devices() -> None:
        while True:
            await rig.register("dev-1", derive_key(PRIMARY, "dev-1"))
            await asyncio.sleep(0.5)

    registering = asyncio.create_task(devices())
    started: Ran = await dps("start", *QUICK)
    assert not registering.done(), registering.exception()
    registering.cancel()
    assert started.code == 0, started.err
    assert started.json["stage"] == "spreading"
    assert (started.json["oldKey"], started.json["canary"]) == ("default", "group line-a")
    await dps.work()
    shown = await dps("status")
    assert shown.json["stage"] == "overlap"
    assert {use["key"] for use in shown.json["uses"]} >= {"default", shown.json["newKey"]}

    async def app() -> None:
        while True:
            await asyncio.sleep(0.5)
            await dps.work()

    working = asyncio.create_task(app())
    ended = await dps("retire", "--yes")
    assert not working.done(), working.exception()
    working.cancel()
    assert ended.json["stage"] == "idle", ended.err
    assert rig.keys is not None
    left = rig.keys.all("allocate")
    assert left is not None
    assert list(left.values()) == [dps.held()]
    for ran in (started, shown, ended):
        for key in (FUNCTION_KEY, dps.held()):
            assert key not in ran.out + ran.err
    # Who has written the old key down somewhere puts it into no enrollment any more.
    stale = {"WEBHOOK_KEY_SECRET": "", "WEBHOOK_KEY": FUNCTION_KEY}
    again = await dps.types("webhook", "attach", "line-a", "--yes", **stale)
    assert (again.code != 0, "was replaced by `rotate webhook-key`" in again.out + again.err) == (True, True)
    custom = {"webhookUrl": dps.base, "apiVersion": "2021-10-01", "key": {"environment": "OLD_KEY"}}
    file = tmp_path / "line-a.json"
    file.write_text(json.dumps({"enrollmentGroupId": "line-a", "customAllocationDefinition": custom}))
    applied = await dps.types("apply", "--file", str(file), "--yes", OLD_KEY=FUNCTION_KEY)
    assert (applied.code != 0, "was replaced by `rotate webhook-key`" in applied.err) == (True, True)
    assert dps.held() in left.values()
    rig.keys.put("allocate", "default", FUNCTION_KEY)  # as the next test finds it
    rig.keys.delete("allocate", shown.json["newKey"])


async def test_a_dry_run_changes_nothing_and_says_what_it_would_do(rig: Rig, dps: Any) -> None:
    ran = await dps("start", "--dry-run")
    assert ran.code == 0, ran.err
    assert "group line-a gets the new key first" in ran.err
    assert dps.held() == FUNCTION_KEY
    assert rig.keys is not None
    assert rig.keys.all("allocate") == {"default": FUNCTION_KEY}


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        (("start",), {"WEBHOOK_SITE_ID": ""}, "--site"),
        (("start",), {"WEBHOOK_KEY_SECRET": ""}, "WEBHOOK_KEY_SECRET is not set"),
        (("start", "--probe-time", "3h"), {}, "at most 30m"),
        (("start", "--canary", "a", "--canary-individual", "b"), {}, "one enrollment goes first"),
        (("start", "--canary", "nowhere"), {}, "nowhere"),
        (("start", "--follow", "a/b"), {}, "no name of a DPS"),
        (("start", "--follow", "a", "--canary", "b"), {}, "chosen its keys"),
        (("start", "--follow", "a"), {}, "no roll of DPS 'a'"),
        (("start", "--replaces", "nobody"), {}, "no key 'nobody'"),
        (("retire", "--yes"), {}, "no time to delete the old key"),
        (("abort", "--yes"), {}, "no time to give the roll up"),
    ],
)
async def test_what_cannot_be_is_said_before_anything_is_changed(
    dps: Any, words: tuple[str, ...], settings: dict[str, str], said: str
) -> None:
    ran = await dps(*words, **settings)
    assert ran.code != 0
    assert said in ran.err
    assert dps.held() == FUNCTION_KEY
