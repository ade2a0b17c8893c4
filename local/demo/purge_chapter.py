"""The chapter `purge`: a group is deleted the careless way, and its orphans are found, marked and purged.

Among them stand devices that look the same and live: none of their records may go.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from local.clients import Device, ServiceClient
from local.demo import judge
from local.demo.commands import Commands
from local.demo.groups import asks_webhook, callers
from local.demo.screen import Screen
from local.demo.time_passes import pass_time
from local.dps.keys import derive_key
from local.hub import IotHub
from local.stack import Stack

HUBS = ("hub-a.azure-devices.net", "hub-b.azure-devices.net")
UNITS = 20
SETTINGS = {
    "HUB_UNITS": ",".join(f"{hub}={UNITS}" for hub in HUBS),
    "AUDIT_SCHEDULE": "0 0 0 29 2 *",
    "PURGE_SCHEDULE": "0 0 0 29 2 *",
}
"""The app's and the operator's: how much the hubs allow, and that only what is asked for here runs."""

OLD, NEW = "line-1", "line-2"
RULES: Mapping[str, Any] = {"quarantine_days": 7, "most_percent": 50}
"""Of a handful of records four are far more than the 5 % that a run may delete by default."""

SETTLED = timedelta(days=2)
"""The rules leave what changed within the last day."""
QUARANTINE = timedelta(days=8)


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a device of the deleted group, and so of its record."""

    device: str
    what: str
    goes: bool


FATES = (
    Fate("press-01", "never heard of since", goes=True),
    Fate("press-02", "never heard of since", goes=True),
    Fate("press-03", "never heard of since", goes=True),
    Fate("press-04", "silent; it comes back while its record is marked", goes=False),
    Fate("press-05", "scrapped: somebody deleted it at its hub", goes=True),
    Fate("press-06", "still connected to its hub", goes=False),
    Fate("press-07", f"registered again, through {NEW}", goes=False),
    Fate("press-08", "revoked: a disabled individual enrollment has its id", goes=False),
)
WAKES, SCRAPPED, CONNECTED, REHOMED, REVOKED = FATES[3:8]
LOOKALIKES = ("press-1", "press-001", "press-02-b", "xpress-03")
"""Live devices of the other group, whose ids are nearly those of records that go."""


class PurgeChapter:
    """The chapter's actors: somebody careless, an operator with commands, and the devices."""

    def __init__(
        self, stack: Stack, screen: Screen, service: ServiceClient, devices: httpx.AsyncClient, folder: Path
    ) -> None:
        self._stack = stack
        self._screen = screen
        self._service = service
        self._devices = devices
        self._folder = folder
        self._dps = Commands(stack, screen, folder, SETTINGS).run
        self._keys: dict[str, str] = {}
        self._rules = folder / "rules.json"

    async def run(self) -> None:
        """Tell the whole story."""
        for hub in self._stack.cloud.hubs.values():
            hub.service.throttles.scale(UNITS)
        self._rules.write_text(json.dumps(RULES))
        await self._register_all()
        await self._delete_carelessly()
        await self._plan()
        await self._mark()
        await self._delete()
        await self._come_back()

    async def _register_all(self) -> None:
        self._screen.chapter(f"{len(FATES)} devices register through {OLD}, others through {NEW}")
        for group in (OLD, NEW):
            await self._service.put_group(asks_webhook(group, self._stack.allocate_url))
            self._keys[group] = (await self._service.keys(f"enrollmentGroups/{group}"))["primaryKey"]
        await self._register(OLD, [each.device for each in FATES])
        await self._register(NEW, LOOKALIKES)
        self._screen.say("the nightly audit writes down which group has which registrations")
        await self._dps("audit", "run", "--wait", "--by", "kim", results=False, notes=False)

    async def _delete_carelessly(self) -> None:
        self._screen.chapter(f"Somebody deletes the group {OLD} at the portal, and thinks no more of it")
        before = self._records()
        await self._service.delete_group(OLD)
        self._screen.check(
            judge.exactly(
                "every record of the deleted group is still there, and counts",
                before.keys(),
                self._records().keys(),
            )
        )
        await self._live_on()
        self._screen.table(("device", "what became of it"), [(each.device, each.what) for each in FATES])
        await pass_time(self._stack, SETTLED)
        self._screen.say(f"{SETTLED.days} days later (the clock of everything here is moved), an audit")
        found = json.loads(
            await self._dps("audit", "run", "--wait", "--by", "kim", results=False, notes=False) or "[]"
        )
        orphans = [each for each in found if each["check"] == "DPS-REC-008"]
        for each in orphans:
            self._screen.say(f"{each['check']} {each['resource']}: {each['title']}; {each['fix']}")

    async def _live_on(self) -> None:
        """What the devices of the deleted group do."""
        now = self._stack.cloud.world.clock.now
        hub = self._hub_of(SCRAPPED.device)
        hub.remove(SCRAPPED.device, now())
        hub = self._hub_of(CONNECTED.device)
        hub.connect(CONNECTED.device, now())
        await self._register(NEW, [REHOMED.device])
        await self._service.put_enrollment(
            {
                "registrationId": REVOKED.device,
                "attestation": {"type": "symmetricKey"},
                "provisioningStatus": "disabled",
            }
        )
        for name in LOOKALIKES:
            self._hub_of(name).connect(name, now())

    async def _plan(self) -> None:
        self._screen.chapter("What a purge would do: nothing changes yet")
        told = json.loads(await self._dps("purge", "plan", *self._by_rules, "--wait", results=False) or "{}")
        plan = told["plan"]
        self._screen.table(
            ("the plan", ""),
            [
                ("records looked at", str(plan["population"])),
                *((f"stale, {reason}", _counts(groups)) for reason, groups in plan["stale"].items()),
                ("left", _counts(plan["kept"])),
                ("marked for a week", _counts(plan["due"]) or "none yet: this run would delete nothing"),
                ("at most", f"{plan['caps']['most']} of them go in one run"),
                ("calls", f"{plan['dpsCalls']} of DPS, {plan['hubCalls']} of hubs"),
                ("takes", f"{plan['minutes']} min at the rates that a purge may use"),
                ("costs", f"US$ {plan['price']}"),
            ],
        )
        for reason, effect in plan["effects"].items():
            self._screen.say(f"what a device behind a record ({reason}) notices: {effect}")
        self._screen.check(
            judge.exactly(
                "exactly the records without a live device are stale",
                _suspected(),
                [name for names in plan["samples"].values() for name in names],
            ),
            judge.exactly(
                "marked is only the one that its hub told of, by an event",
                [SCRAPPED.device],
                await self._marked(),
            ),
        )

    async def _mark(self) -> None:
        self._screen.chapter("The first run marks them, and deletes nothing")
        before = self._records()
        await self._execute()
        await self._dps("purge", "marked", "-o", "table")
        self._screen.check(
            judge.exactly(
                "exactly those are marked",
                _suspected(),
                await self._marked(),
            ),
            judge.exactly("every record is still there", before.keys(), self._records().keys()),
        )

    async def _delete(self) -> None:
        self._screen.chapter(
            f"{QUARANTINE.days} days later: {WAKES.device} has come back meanwhile, and a second run deletes"
        )
        await pass_time(self._stack, QUARANTINE)
        now = self._stack.cloud.world.clock.now()
        self._hub_of(WAKES.device).connect(WAKES.device, now)
        before = self._records()
        await self._execute()
        after = self._records()
        gone = {each.device for each in FATES if each.goes}
        self._screen.check(
            judge.exactly("exactly the orphans' records are gone", gone, before.keys() - after.keys()),
            judge.exactly(
                "no record of a live look-alike was touched",
                [(name, before[name]) for name in (*LOOKALIKES, REHOMED.device)],
                [(name, after[name]) for name in (*LOOKALIKES, REHOMED.device) if name in after],
            ),
            judge.exactly("no mark is left", (), await self._marked()),
        )
        await self._dps("purge", "archive", "list", "-o", "table")
        await self._dps("purge", "archive", "show", "-o", "table")
        archived = json.loads(await self._dps("purge", "archive", "show", shown=False) or "[]")
        self._screen.check(
            judge.exactly(
                "each deleted record is in the archive, once",
                gone,
                [each["registration"]["registrationId"] for each in archived],
            )
        )

    async def _come_back(self) -> None:
        name = FATES[0].device
        self._screen.chapter(f"{name} is found in a store room: its record is gone, and it registers anew")
        [state] = await self._register(NEW, [name])
        self._screen.say(f"with a key of {NEW}: {state['status']}, {state['assignedHub']}")
        holders = [hub.host_name for hub in self._stack.hubs if name in hub.devices]
        self._screen.check(
            judge.exactly("its hub, and no other, has the device", [state["assignedHub"]], holders)
        )

    async def _execute(self) -> None:
        """A run as an operator asks for it; here he waits for it, else the app's timer works on it."""
        told = json.loads(
            await self._dps(
                *("purge", "run", *self._by_rules, "--execute", "--wait", "--by", "kim", "--yes"),
                results=False,
            )
            or "{}"
        )
        self._screen.say(f"deleted: {told['deleted']}, in {told['passes']} pass(es) over every record")

    @property
    def _by_rules(self) -> tuple[str, str]:
        return ("--rules", str(self._rules))

    async def _marked(self) -> list[str]:
        told = json.loads(await self._dps("purge", "marked", shown=False) or "[]")
        return [each["registration"] for each in told]

    def _records(self) -> Mapping[str, str]:
        """Registration id -> ETag, of every record that DPS holds."""
        return {each.registration_id: each.etag for each in self._stack.dps.store.registrations}

    def _hub_of(self, device: str) -> IotHub:
        [hub] = [hub for hub in self._stack.hubs if device in hub.devices]
        return hub

    async def _register(self, group: str, names: Iterable[str]) -> list[dict[str, Any]]:
        key, now = self._keys[group], self._stack.cloud.world.clock.now
        works = [
            partial(
                Device(name, derive_key(key, name), now=now).register, self._devices, self._stack.dps.id_scope
            )
            for name in names
        ]
        return await self._screen.all_of("registering", works)


def _suspected() -> set[str]:
    """Whose records nothing speaks for, before one of them comes back."""
    return {WAKES.device, *(each.device for each in FATES if each.goes)}


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.items())


async def purge_chapter(stack: Stack, screen: Screen) -> None:
    """Run the chapter on a stack whose hubs are HUBS and whose app has SETTINGS."""
    async with callers(stack) as who:
        await PurgeChapter(stack, screen, who.service, who.devices, who.folder).run()
