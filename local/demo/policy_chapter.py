"""The chapter `policy`: weights, regions, canary, capacity, a drain, an outage, a draft that is tried first.

The operator's commands are those of `./run dps`, run as processes of their own.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from local.clients import Device, ServiceClient
from local.demo import judge
from local.demo.commands import Commands
from local.demo.groups import asks_webhook, callers
from local.demo.judge import Survey
from local.demo.screen import Screen, collect
from local.dps.keys import derive_key
from local.stack import Stack

BIG, SMALL, NORTH, TINY, CANARY = (
    f"{name}.azure-devices.net" for name in ("west-big", "west-small", "north", "norway", "canary")
)
HUBS = (BIG, SMALL, NORTH, TINY, CANARY)
UNITS = 20
CAPACITY = 20
"""Devices that the hub in Norway may have."""

SETTINGS = {
    "STATE_REFRESH_SECONDS": "0.5",
    "STATE_MAX_AGE_SECONDS": "1",
    "STATISTICS_SCHEDULE": "*/20 * * * * *",
}
"""As the demo's time is short; the defaults are 15 s, 60 s and a minute."""
EFFECTIVE_SECONDS = 1.5
"""By then every instance knows a change."""

WEST, NORTHERN, NORWEGIAN, LATE = 150, 15, 40, 20
MODELS = ("VX-1", "VX-2", "VX-3")


def policy(share: float) -> dict[str, Any]:
    """The policy with so large a canary."""
    return {
        "hubs": [
            {"name": BIG, "weight": 2, "region": "westeurope", "tags": ["shared"]},
            {"name": SMALL, "weight": 1, "region": "westeurope", "tags": ["shared"]},
            {"name": NORTH, "region": "northeurope", "tags": ["shared"]},
            {"name": TINY, "region": "norwayeast", "tags": ["shared"], "capacity": CAPACITY, "headroom": 0},
            {"name": CANARY, "region": "westeurope", "tags": ["canary"]},
        ],
        "unlisted_hubs": "refuse",
        "regions": {
            "westeurope": ["northeurope"],
            "northeurope": ["westeurope"],
            "norwayeast": ["northeurope"],
        },
        "rules": [
            {
                "name": "too-old",
                "when": {"payload": [{"path": "firmware.major", "lt": 2}]},
                "reject": {"reason": "firmware below 2"},
            },
            {
                "name": "presses",
                "when": {"registration_id": "press-*"},
                "place": {
                    "tags": ["shared"],
                    "region": {"from": "payload.region", "default": "westeurope"},
                    "canary": {"share": share, "to": {"tags": ["canary"]}},
                },
                "twin": {"tags": {"kind": "press", "model": {"$from": "payload.model"}}},
            },
        ],
    }


class PolicyChapter:
    """The chapter's actors: an operator with commands, devices, and the stack between them."""

    def __init__(
        self, stack: Stack, screen: Screen, operator: ServiceClient, devices: httpx.AsyncClient, folder: Path
    ) -> None:
        self._stack = stack
        self._screen = screen
        self._operator = operator
        self._devices = devices
        self._folder = folder
        self._dps = Commands(stack, screen, folder).run
        self._fleet: dict[str, Device] = {}
        self._keys: dict[str, str] = {}

    async def run(self) -> None:
        """Tell the whole story."""
        for hub in self._stack.cloud.hubs.values():
            hub.service.throttles.scale(UNITS)
        self._screen.say(
            f"each hub has {UNITS} S1 units; the app refreshes its state every "
            f"{SETTINGS['STATE_REFRESH_SECONDS']} s (default 15) and counts devices every 20 s (default 60)"
        )
        await self._enroll()
        await self._activate()
        await self._fill_by_weight()
        await self._fall_back()
        await self._overflow()
        await self._reject()
        await self._outage()
        await self._drain()
        await self._try_a_draft()
        await self._take_back()

    async def _enroll(self) -> None:
        for group, moves in (("factory", True), ("fixed", False)):
            await self._operator.put_group(asks_webhook(group, self._stack.allocate_url, moves=moves))
            self._keys[group] = (await self._operator.keys(f"enrollmentGroups/{group}"))["primaryKey"]

    async def _activate(self) -> None:
        self._screen.chapter("An operator checks a policy and puts it in force")
        file = self._written("policy.json", policy(0.1))
        await self._dps("policy", "validate", str(file), "-o", "table")
        await self._dps("policy", "activate", str(file), "--by", "kim", "--yes", "-o", "table")
        await self._takes_effect()

    async def _fill_by_weight(self) -> None:
        self._screen.chapter(f"{WEST} devices of West Europe register: weights 2 to 1, a canary of 10 %")
        west = self._made("factory", "press-w", WEST, "West Europe")
        fixed = self._made("fixed", "press-fixed", 6, "westeurope")
        await self._register([*west, *fixed])
        survey = await self._survey()
        self._screen.loads(survey.load(west), {BIG: 2, SMALL: 1, CANARY: 0.0})
        rest = [device for device in west if survey.hub_of(device) != CANARY]
        self._screen.check(
            judge.placed_legally(survey, west, (BIG, SMALL, CANARY)),
            judge.share_of(survey, west, CANARY, 0.1),
            judge.shares(survey, rest, {BIG: 2, SMALL: 1}),
            *(
                judge.twins(
                    self._stack.hubs,
                    [device for device in west if self._model(device) == model],
                    {"kind": "press", "model": model},
                    f"the payload's model {model}",
                )
                for model in MODELS
            ),
        )

    async def _fall_back(self) -> None:
        self._screen.chapter(
            "North Europe's hub is cordoned: its devices go to West Europe; then it is open again"
        )
        await self._dps("hub", "cordon", "north", "--note", "maintenance", "--by", "kim", "--yes")
        await self._takes_effect()
        during = self._made("factory", "press-n", NORTHERN, "northeurope")
        await self._register(during)
        self._screen.check(judge.placed_legally(await self._survey(), during, (BIG, SMALL, CANARY)))
        await self._dps("hub", "uncordon", "north", "--by", "kim", "--yes")
        await self._takes_effect()
        after = self._made("factory", "press-m", NORTHERN, "northeurope")
        await self._register(after)
        self._screen.check(judge.placed_legally(await self._survey(), after, (NORTH, CANARY)))

    async def _overflow(self) -> None:
        self._screen.chapter(
            f"Norway's hub takes {CAPACITY} devices; {NORWEGIAN} come, and the rest overflow to North Europe"
        )
        await self._counted(TINY)
        norwegian = self._made("factory", "press-o", NORWEGIAN, "norwayeast")
        await self._register(norwegian)
        survey = await self._survey()
        self._screen.loads(survey.load(norwegian), {TINY: 1, NORTH: 1, CANARY: 0.0})
        self._screen.check(
            judge.at_most(survey, norwegian, TINY, CAPACITY),
            judge.placed_legally(survey, norwegian, (TINY, NORTH, CANARY)),
        )
        await self._dps("hub", "list", "-o", "table")

    async def _counted(self, hub: str) -> None:
        """Wait until the hub's devices have been counted: an unknown load holds no capacity."""
        async with asyncio.timeout(60):
            while True:
                told = json.loads(await self._dps("hub", "list", shown=False))
                if any(each["hub"] == hub and each["devices"] is not None for each in told):
                    return
                await asyncio.sleep(1)

    async def _reject(self) -> None:
        self._screen.chapter("A device with firmware 1 is rejected, and the ledger knows why")
        [name] = self._made("factory", "press-old", 1, "westeurope", firmware=1)
        state = await self._fleet.pop(name).register(self._devices, self._stack.dps.id_scope)
        self._screen.check(judge.rejected(state, await self._survey()))
        told = json.loads(await self._dps("explain", name, shown=False))
        self._screen.document("./run dps explain " + name, told["answers"][0])

    async def _outage(self) -> None:
        self._screen.chapter("Table storage is down while devices go on registering")
        await self._stack.tables.refuse()
        try:
            late = self._made("factory", "press-late", LATE, "westeurope")
            started = time.monotonic()
            await self._register(late)
            survey = await self._survey()
            self._screen.check(judge.placed_legally(survey, late, (BIG, SMALL, CANARY)))
            self._screen.say(
                f"{LATE} devices registered in {time.monotonic() - started:.0f} s, by what was known"
            )
            self._screen.document(
                "the app logged, of one of them",
                self._stack.functions.logged("ledger_gap", registration_id=late[0]),
            )
        finally:
            await self._stack.tables.accept()
        self._screen.say("Table storage is back")
        await self._takes_effect()

    async def _drain(self) -> None:
        self._screen.chapter(
            f"{_short(SMALL)} is drained: what blocks it, how long it takes, until it is empty"
        )
        before = await self._survey()
        await self._dps("hub", "drain", "west-small", "--note", "retired", "--by", "kim", "--yes")
        await self._takes_effect()
        self._screen.say("the group `fixed` never reprovisions: the operator lets it")
        await self._dps(
            *("enrollment-group", "update", "--enrollment-id", "fixed", "--yes", "-o", "none"),
            *("--reprovision-policy", "reprovisionandmigratedata"),
        )
        await self._register(self._fleet)
        after = await self._survey()
        self._screen.loads(after.load(self._fleet), dict.fromkeys(HUBS, 1.0))
        self._screen.check(
            *judge.only_those_of(SMALL, before, after, self._fleet),
            judge.placed_legally(after, self._fleet, [hub for hub in HUBS if hub != SMALL]),
        )
        told = json.loads(await self._dps("hub", "drain", "west-small", "--yes"))
        self._screen.check(judge.told_empty(told["drained"], self._stack.hubs, SMALL))

    async def _try_a_draft(self) -> None:
        self._screen.chapter("A draft with a canary of 30 % is tried on the ledger, and then put in force")
        draft, moves = self._written("draft.json", policy(0.3)), self._folder / "moves.jsonl"
        await self._dps("simulate", str(draft), "--ledger", "--moves", str(moves), "-o", "table")
        foretold = {
            each["registrationId"]: each["to"] for each in map(json.loads, moves.read_text().splitlines())
        }
        before = await self._survey()
        await self._dps("policy", "activate", str(draft), "--by", "kim", "--yes", "-o", "none")
        await self._takes_effect()
        await self._register(self._fleet)
        after = await self._survey()
        self._screen.check(
            judge.moved_as_foretold(foretold, before, after, self._fleet),
            judge.placed_legally(after, self._fleet, [hub for hub in HUBS if hub != SMALL]),
        )
        self._screen.say("the same simulation again: what is in force moves nobody")
        await self._dps("simulate", str(draft), "--ledger", "--max-moves", "0", "-o", "table")

    async def _take_back(self) -> None:
        self._screen.chapter("Back to the policy before, by one command; the drained hub stays drained")
        await self._dps("policy", "rollback", "--by", "kim", "--yes", "-o", "none")
        await self._dps("policy", "history", "-o", "table")

    async def _takes_effect(self) -> None:
        """Wait as long as a change may take. An idle app looks at its state when a device comes: one does."""
        if self._fleet:
            first = next(iter(self._fleet.values()))
            await first.register(self._devices, self._stack.dps.id_scope)
        await asyncio.sleep(EFFECTIVE_SECONDS)

    def _made(self, group: str, prefix: str, count: int, region: str, *, firmware: int = 3) -> list[str]:
        names = [f"{prefix}-{number:03}" for number in range(1, count + 1)]
        for name in names:
            payload = {"region": region, "model": self._model(name), "firmware": {"major": firmware}}
            self._fleet[name] = Device(name, derive_key(self._keys[group], name), payload)
        return names

    @staticmethod
    def _model(name: str) -> str:
        return MODELS[int(name[-3:]) % len(MODELS)]

    async def _register(self, devices: Iterable[str]) -> None:
        await self._screen.all_of(
            "registering",
            [
                partial(self._fleet[device].register, self._devices, self._stack.dps.id_scope)
                for device in devices
            ],
        )

    async def _survey(self) -> Survey:
        records = [
            record for group in self._keys for record in await collect(self._operator.registrations(group))
        ]
        return Survey.of(records, self._stack.hubs)

    def _written(self, name: str, document: Mapping[str, Any]) -> Path:
        file = self._folder / name
        file.write_text(json.dumps(document, indent=2))
        return file


def _short(host_name: str) -> str:
    return host_name.partition(".")[0]


async def policy_chapter(stack: Stack, screen: Screen) -> None:
    """Run the chapter on a stack whose hubs are HUBS and whose app has SETTINGS."""
    async with callers(stack) as who:
        await PolicyChapter(stack, screen, who.service, who.devices, who.folder).run()
