"""The chapter `rotation`: a group's key nears its expiry, and is exchanged while devices go on registering.

Nobody starts it: the vault's event does. What operators do is what is theirs alone: to say which slot is in
use, to bring new keys to the devices, and to agree that the old one may go.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from local.clients import Device, ServiceClient
from local.demo import judge
from local.demo.commands import Commands
from local.demo.groups import asks_webhook, callers
from local.demo.judge import Check
from local.demo.screen import Screen
from local.demo.time_passes import pass_time
from local.demo.traffic import Traffic, nobody_refused
from local.demo.webhook_key_part import WebhookKeyPart
from local.dps.keys import derive_key
from local.stack import Stack

HUBS = ("hub-a.azure-devices.net", "hub-b.azure-devices.net")
UNITS = 20
SETTINGS = {
    "HUB_UNITS": ",".join(f"{hub}={UNITS}" for hub in HUBS),
    "AUDIT_SCHEDULE": "0 0 0 29 2 *",
    "PURGE_SCHEDULE": "0 0 0 29 2 *",
}
"""How much the hubs allow; and only what this chapter is about runs by itself."""

GROUP, SECRET = "line-a", "line-a-key"
DAY = timedelta(days=1)
OVERLAP, VALIDITY = 30 * DAY, 90 * DAY
NEAR_EXPIRY = 30 * DAY
"""Before a secret's expiry the vault tells of it so early (documented, fixed)."""
EXPIRES = 40 * DAY
"""The first key's, as the operator published it."""

STEPS = {
    "WriteAhead": "a new key is made; it goes to the vault before any slot gets it",
    "Keep": "the key that is to be overwritten is kept in the vault",
    "Place": "the new key goes into the free slot",
    "TryCanary": "a canary registers with the new key",
    "CleanCanary": "the canary's record and its device are deleted",
    "Publish": "the new key becomes the next version of the vault's secret",
    "Tidy": "the copies that were written ahead are disabled",
}
"""What the app's steps are, in short."""

LOOK_SECONDS = 2.0
LOOKS = 100
"""Between two looks at a rotation that is under way, and how many there are at most."""

DEVICES = 12
LAZY = f"press-{DEVICES:02}"
"""The one whose owner never gives it the new key."""


class RotationChapter:
    """The chapter's actors: the vault, the app, an operator with commands, and the devices."""

    def __init__(
        self, stack: Stack, screen: Screen, service: ServiceClient, traffic: Traffic, folder: Path
    ) -> None:
        self._stack = stack
        self._screen = screen
        self._service = service
        self._traffic = traffic
        self._folder = folder
        self._commands = Commands(stack, screen, folder, SETTINGS)
        self._dps = self._commands.run
        self._told = 0

    async def run(self) -> None:
        """Tell the whole story."""
        for hub in self._stack.cloud.hubs.values():
            hub.service.throttles.scale(UNITS)
        await self._adopt()
        async with self._traffic.going_on():
            await self._near_expiry()
            await self._export()
            await self._retire()
            key = WebhookKeyPart(self._stack, self._screen, self._service, self._traffic, self._commands)
            await key.run(GROUP)

    async def _adopt(self) -> None:
        self._screen.chapter(f"{DEVICES} devices have keys of the primary slot; an operator says so, once")
        await self._service.put_group(asks_webhook(GROUP, self._stack.allocate_url))
        key = (await self._keys())["primary"]
        expires = int((self._now() + EXPIRES).timestamp())
        self._stack.cloud.vault.put(SECRET, key, expires=expires, tags={"CredentialId": "primary"})
        self._screen.say(
            f"the primary key stands in the vault as {SECRET}, and expires in {EXPIRES.days} days"
        )
        for number in range(1, DEVICES + 1):
            self._give(f"press-{number:02}", key, "primary")
        await self._dps(
            *("rotate", "adopt", GROUP, "--active", "primary", "--other", "free", "--secret", SECRET),
            *("--overlap", f"{OVERLAP.days}d", "--validity", f"{VALIDITY.days}d", "--canary", "--yes"),
            results=False,
        )

    async def _near_expiry(self) -> None:
        self._screen.chapter("The vault says that the key nears its expiry: the app begins by itself")
        await self._traffic.rounds()
        before = await self._keys()
        await self._pass(EXPIRES - NEAR_EXPIRY + DAY / 24)
        await self._until("overlap")
        await self._traffic.rounds()
        after = await self._keys()
        self._screen.check(
            self._asked_by_the_event(),
            *self._rolled(before, after),
            self._canary_is_gone(),
            nobody_refused("devices registered throughout", *self._traffic.seen()),
        )
        await self._dps("rotate", "status", "-o", "table")

    async def _export(self) -> None:
        self._screen.chapter("The new device keys: a file for its owner alone, and a month to bring them out")
        file = self._folder / "device-keys.jsonl"
        await self._dps("rotate", "export-device-keys", GROUP, "--file", str(file), "--secret", SECRET)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        key = (await self._keys())["secondary"]
        half = [each for each in lines if each["registrationId"] != LAZY][: DEVICES // 2]
        self._screen.check(
            judge.exactly(
                "every device's key is in it, derived from the new one",
                list(self._traffic.fleet),
                [
                    name
                    for each in lines
                    if each["deviceKey"] == derive_key(key, name := each["registrationId"])
                ],
            )
        )
        await self._pass(DAY)
        self._take(half)
        await self._traffic.rounds(2)
        self._screen.check(
            nobody_refused("half have their new keys, and both keys open", *self._traffic.seen())
        )
        await self._pass(OVERLAP / 2)
        self._take([each for each in lines if each["registrationId"] != LAZY])
        self._screen.say(f"all have theirs now but {LAZY}, whose owner forgot it")
        await self._traffic.rounds()

    async def _retire(self) -> None:
        self._screen.chapter("The overlap has ended; the old slot goes by somebody's word alone")
        before = await self._keys()
        await self._pass(OVERLAP / 2)
        await self._until("retiring", kick=True)
        told = await self._status()
        self._screen.say(f"stage {told['stage']}, waits for: {told['waitsFor']}")
        await self._dps("rotate", "retire", GROUP, "--yes", results=False)
        await self._until("idle", kick=True)
        await self._traffic.rounds()
        told = await self._status()
        self._screen.check(
            judge.exactly(
                "the new slot is in use, the old one free",
                ["active", "free"],
                [told["secondary"], told["primary"]],
            ),
            judge.exactly(
                "no key was touched: the old one opens until the next rotation",
                list(before),
                [slot for slot, key in (await self._keys()).items() if before[slot] == key],
            ),
            nobody_refused(f"even {LAZY} still gets in", *self._traffic.seen()),
        )
        self._screen.say(
            f"{LAZY} is locked out when the next rotation overwrites the free slot: in "
            f"{(VALIDITY - NEAR_EXPIRY - OVERLAP).days} days, when the vault says so again"
        )

    def _asked_by_the_event(self) -> Check:
        asked = self._stack.functions.all_logged("rotation_asked", group=GROUP)
        seen = [f"{each['by']}{'' if each['new'] else ', again'}" for each in asked]
        return Check(
            "SecretNearExpiry, delivered by Event Grid, asked for it", seen[:1] == ["event"], "; ".join(seen)
        )

    def _rolled(self, before: Mapping[str, str], after: Mapping[str, str]) -> list[Check]:
        """What DPS and the vault hold once the secondary slot has its new key."""
        live = self._stack.cloud.vault.peek(SECRET)[-1]
        pending = self._stack.cloud.vault.peek(f"{SECRET}-pending")
        kept = after["primary"] == before["primary"]
        new = after["secondary"] not in before.values()
        return [
            Check(
                "DPS has a new key in the free slot, and the other as it was",
                new and kept,
                f"secondary {'new' if new else 'as it was'}, primary {'as it was' if kept else 'changed'}",
            ),
            Check(
                "the vault's secret is that key, with an expiry",
                live.value == after["secondary"] and live.expires is not None and live.enabled,
                f"version {len(self._stack.cloud.vault.peek(SECRET))}",
            ),
            Check(
                "the copy that was written ahead can be read no more",
                bool(pending) and not any(each.enabled for each in pending),
                f"{sum(each.enabled for each in pending)} of {len(pending)} versions enabled",
            ),
        ]

    def _canary_is_gone(self) -> Check:
        left = [
            each.registration_id
            for each in self._stack.dps.store.registrations
            if each.registration_id.startswith("rotation-canary")
        ]
        left += [
            name for hub in self._stack.hubs for name in hub.devices if name.startswith("rotation-canary")
        ]
        tried = self._stack.functions.logged("rotation_canary", group=GROUP)
        state = "none was sent" if tried is None else str(tried["state"])
        return Check(
            "a canary got in with the new key first, and was cleaned up",
            not left,
            f"{state}; {len(left)} left",
        )

    def _steps(self) -> None:
        """Show the steps that the app took since the last look."""
        every = self._stack.functions.all_logged("rotation_step", group=GROUP)
        for each in every[self._told :]:
            words = STEPS.get(each["step"], each["note"])
            self._screen.say(f"  {each['stage']:>8}: {words}")
        self._told = len(every)

    def _take(self, lines: Sequence[Mapping[str, str]]) -> None:
        """Some devices get the keys of the export."""
        for each in lines:
            self._traffic.give(Device(each["registrationId"], each["deviceKey"], now=self._now), "secondary")

    def _give(self, name: str, key: str, slot: str) -> None:
        self._traffic.give(Device(name, derive_key(key, name), now=self._now), slot)

    async def _keys(self) -> dict[str, str]:
        found = await self._service.keys(f"enrollmentGroups/{GROUP}")
        return {"primary": found["primaryKey"], "secondary": found["secondaryKey"]}

    async def _status(self) -> dict[str, Any]:
        told = json.loads(await self._dps("rotate", "status", GROUP, shown=False) or "{}")
        return dict(told[0] if isinstance(told, list) else told)

    async def _pass(self, span: timedelta) -> None:
        self._screen.say(f"… {span / DAY:.0f} days pass" if span >= DAY else "… time passes")
        async with self._traffic.resting():
            await pass_time(self._stack, span)

    async def _until(self, stage: str, *, kick: bool = False) -> None:
        """The app's ticks come each minute of its own, until the rotation is there.

        Args:
            stage: to wait for.
            kick: have the next tick come now. Not while the app is at work: a jump of the clock ends its
                lease.
        """
        if kick:
            async with self._traffic.resting():
                await pass_time(self._stack, timedelta(minutes=1))
        seen = ""
        for _ in range(LOOKS):
            seen = (await self._status())["stage"]
            self._steps()
            if seen == stage:
                return
            await asyncio.sleep(LOOK_SECONDS)
        self._screen.check(Check(f"the rotation comes to {stage}", kept=False, seen=seen))

    def _now(self) -> Any:
        return self._stack.cloud.world.clock.now()


async def rotation_chapter(stack: Stack, screen: Screen) -> None:
    """Run the chapter on a stack whose hubs are HUBS and whose app has SETTINGS."""
    async with callers(stack) as who:
        traffic = Traffic(who.devices, stack.dps.id_scope)
        await RotationChapter(stack, screen, who.service, traffic, who.folder).run()
