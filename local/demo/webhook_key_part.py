"""The second part of the chapter `rotation`: the function key in every enrollment's webhook URL is rolled.

DPS shows the key to the webhook with every request. To replace it everywhere at once is impossible, and a
device that comes while DPS still sends a key that is gone fails with 401.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from local.clients import Device, ServiceClient
from local.demo import judge
from local.demo.commands import Commands
from local.demo.groups import asks_webhook
from local.demo.judge import Check
from local.demo.screen import Screen
from local.demo.time_passes import pass_time
from local.demo.traffic import Traffic, nobody_refused
from local.dps.keys import derive_key
from local.stack import Stack

PILOT = "pilot"
"""The group that gets the new key first, alone."""
OTHERS = ("line-b", "line-c")
LOOKS = 100
LOOK_SECONDS = 2.0
ASKED_SECONDS = 5.0
"""By then a command has asked the app; if not, the app's own tick comes within the minute."""


class WebhookKeyPart:
    """The part's actors: an operator, who alone may change the webhook's keys, and the devices."""

    def __init__(
        self, stack: Stack, screen: Screen, service: ServiceClient, traffic: Traffic, commands: Commands
    ) -> None:
        self._stack = stack
        self._screen = screen
        self._service = service
        self._traffic = traffic
        self._dps = commands.run

    async def run(self, *groups: str) -> None:
        """Tell it, while devices register all the time.

        Args:
            groups: that are there already, each with this webhook.
        """
        self._screen.chapter("The webhook's own key stands in every enrollment: a new one, beside the old")
        await self._enroll()
        every = (*groups, PILOT, *OTHERS)
        old = self._codes(every)
        await self._traffic.rounds(2)
        self._traffic.seen()
        began = self._stack.cloud.world.clock.now()
        await self._dps(
            *("rotate", "webhook-key", "start", "--canary", PILOT, "--probes", "3", "--probe-time", "2s"),
            *("--watch", "60s", "--unused", "0d", "--yes"),
            results=False,
        )
        await self._until("overlap")
        await self._traffic.rounds(2)
        new = self._codes(every)
        written = self._written(began)
        self._screen.check(
            Check(
                f"{PILOT} got the new key first; the others when a device of it had been placed",
                written[:1] == [PILOT] and set(written) == set(every),
                ", ".join(written),
            ),
            judge.exactly(
                "every enrollment has the new key, and the same one",
                every,
                [group for group in every if new[group] == new[PILOT] != old[group]],
            ),
            nobody_refused("devices registered throughout", *self._traffic.seen()),
        )
        await self._retire(old[PILOT], new[PILOT])

    async def _retire(self, old: str, new: str) -> None:
        self._screen.chapter("The old key goes only now that nobody uses it")
        told = json.loads(await self._dps("rotate", "webhook-key", "status", results=False) or "{}")
        self._screen.table(
            ("function key", "enrollments", "calls so far", "last use"),
            [
                (
                    each["key"],
                    "none" if each["key"] == told["oldKey"] else "all",
                    str(each["calls"]),
                    str(each["lastUsed"])[11:],
                )
                for each in told["uses"]
            ],
        )
        retiring = asyncio.create_task(self._dps("rotate", "webhook-key", "retire", "--yes", results=False))
        # It waits for the app's last look at every enrollment, which a tick begins.
        await asyncio.sleep(ASKED_SECONDS)
        await self._until("idle")
        await retiring
        await self._traffic.rounds(2)
        opens = [await self._opens(key) for key in (old, new)]
        self._screen.check(
            Check(
                "the old key opens the webhook no more, and the new one does",
                opens == [401, 200],
                f"status {opens[0]} and {opens[1]}",
            ),
            nobody_refused("no device noticed", *self._traffic.seen()),
        )

    async def _enroll(self) -> None:
        """More groups with the webhook, and a device of each."""
        now = self._stack.cloud.world.clock.now
        for group in (PILOT, *OTHERS):
            await self._service.put_group(asks_webhook(group, self._stack.allocate_url))
            key = (await self._service.keys(f"enrollmentGroups/{group}"))["primaryKey"]
            name = f"{group}-01"
            self._traffic.give(Device(name, derive_key(key, name), now=now), "primary")

    def _codes(self, groups: tuple[str, ...]) -> Mapping[str, str]:
        """Group -> the webhook's key in it, as DPS really holds it; never shown."""
        found = {}
        for group in groups:
            stored = self._stack.dps.group(group)
            assert stored is not None
            definition: Any = stored.members["customAllocationDefinition"]
            [found[group]] = parse_qs(urlsplit(definition["webhookUrl"]).query)["code"]
        return found

    def _written(self, since: datetime) -> list[str]:
        """The groups that were written, in order, each as often as it was."""
        return [
            call.path.rpartition("/")[2]
            for call in self._stack.cloud.world.journal.of(self._stack.dps.name)
            if call.at >= since
            and call.method == "PUT"
            and call.path.startswith("/enrollmentGroups/")
            and call.status == httpx.codes.OK
        ]

    async def _opens(self, code: str) -> int:
        """The webhook's status for a request with this key."""
        body = {
            "deviceRuntimeContext": {"registrationId": "press-01"},
            "linkedHubs": [hub.host_name for hub in self._stack.hubs],
        }
        url = self._stack.allocate_url.partition("?")[0]
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.post(url, params={"code": code}, json=body)).status_code

    async def _stage(self) -> str:
        told = json.loads(await self._dps("rotate", "webhook-key", "status", shown=False) or "{}")
        return str(told.get("stage"))

    async def _until(self, stage: str) -> None:
        """Have a tick of the app come now; the next ones come each minute of their own."""
        async with self._traffic.resting():
            await pass_time(self._stack, timedelta(minutes=1))
        seen = ""
        for _ in range(LOOKS):
            seen = await self._stage()
            if seen == stage:
                return
            await asyncio.sleep(LOOK_SECONDS)
        self._screen.check(Check(f"the roll comes to {stage}", kept=False, seen=seen))
