"""The main job: devices register, DPS calls the webhook, the webhook picks hubs, the hubs fill."""

import asyncio
import json
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx

from local.clients import Device, ServiceClient, connect
from local.demo import judge
from local.demo.exported import show_exported
from local.demo.judge import Survey
from local.demo.screen import Screen, collect
from local.dps.keys import derive_key
from local.stack import Stack

HUBS = {
    "hub-north.azure-devices.net": 1.0,
    "hub-east.azure-devices.net": 1.0,
    "hub-south.azure-devices.net": 2.0,
    "hub-west.azure-devices.net": 1.0,
}
"""The linked hubs and the weights of the policy."""
UNITS = 5
"""Of each hub (S1). One would do, in three minutes: all devices are to leave a hub and come to another."""

PRESS_TAGS = {"kind": "press", "placedBy": "policy"}
LINE_TAGS = {"kind": "line", "placedBy": "enrollment"}
STOLEN = "line-a-stolen-1"

POLICY = {
    "hubs": [{"name": name, "weight": weight} for name, weight in HUBS.items()],
    "rules": [
        {
            "name": "stolen",
            "when": {"registration_id": "*-stolen-*"},
            "reject": {"reason": "reported stolen"},
        },
        {"name": "presses", "when": {"registration_id": "press-*"}, "twin": {"tags": PRESS_TAGS}},
    ],
}
"""What the webhook is to do, for this demo."""

GROUPS = {"line-a": 150, "line-b": 130}
PRESSES = 20
LATECOMERS = 20
TAKEN_OUT = "hub-south.azure-devices.net"


class MainJob:
    """The chapter's actors: an operator, devices, and the stack between them."""

    def __init__(
        self, stack: Stack, screen: Screen, operator: ServiceClient, devices: httpx.AsyncClient
    ) -> None:
        self._stack = stack
        self._screen = screen
        self._operator = operator
        self._devices = devices
        self._fleet: dict[str, Device] = {}
        self._enrollments: dict[str, dict[str, Any]] = {}
        self._group_keys: dict[str, str] = {}

    async def run(self) -> None:
        """Tell the whole story."""
        self._scale_hubs()
        await self._enroll()
        await self._register_all()
        self._explain_one()
        await self._register_again()
        await self._take_a_hub_out()
        await self._reject_one()
        await show_exported(self._stack, self._screen)
        await self._ride_out_an_outage()

    def _scale_hubs(self) -> None:
        for hub in self._stack.cloud.hubs.values():
            hub.service.throttles.scale(UNITS)
        self._screen.say(
            f"each hub has {UNITS} S1 units: {UNITS * 100} identity operations a minute, DPS's own among them"
        )

    async def _enroll(self) -> None:
        self._screen.chapter("An operator creates enrollments whose allocation policy is custom")
        allocation = {
            "allocationPolicy": "custom",
            "iotHubs": list(HUBS),
            "customAllocationDefinition": {
                "webhookUrl": self._stack.allocate_url,
                "apiVersion": "2021-10-01",
            },
        }
        line_twin = {"tags": LINE_TAGS, "properties": {"desired": {"interval": 60}}}
        for group, count in GROUPS.items():
            stored = await self._operator.put_group(
                {
                    "enrollmentGroupId": group,
                    "attestation": {"type": "symmetricKey"},
                    "initialTwin": line_twin,
                    "reprovisionPolicy": {
                        "updateHubAssignment": True,
                        "migrateDeviceData": group == "line-a",
                    },
                    **allocation,
                }
            )
            key = (await self._operator.keys(f"enrollmentGroups/{group}"))["primaryKey"]
            self._enrollments[group], self._group_keys[group] = stored, key
            for number in range(1, count + 1):
                self._add(group, f"{group}-{number:03}")
        for number in range(1, PRESSES + 1):
            press = f"press-{number:02}"
            stored = await self._operator.put_enrollment(
                {"registrationId": press, "attestation": {"type": "symmetricKey"}, **allocation}
            )
            key = (await self._operator.keys(f"enrollments/{press}"))["primaryKey"]
            self._enrollments[press] = stored
            self._fleet[press] = Device(press, key)
        self._screen.say(
            f"{len(GROUPS)} groups ({', '.join(GROUPS)}) and {PRESSES} individual enrollments (press-01 …), "
            f"symmetric keys, all calling {self._stack.allocate_url.partition('?')[0]}"
        )

    def _add(self, group: str, registration_id: str) -> Device:
        device = Device(
            registration_id, derive_key(self._group_keys[group], registration_id), {"model": "m1"}
        )
        self._fleet[registration_id] = device
        return device

    async def _register_all(self) -> None:
        self._screen.chapter(f"{len(self._fleet)} devices register for the first time")
        await self._register(self._fleet)
        survey = await self._survey()
        self._screen.loads(survey.load(self._fleet), HUBS)
        presses = [device for device in self._fleet if device.startswith("press-")]
        lines = [device for device in self._fleet if not device.startswith("press-")]
        self._screen.check(
            judge.placed_legally(survey, self._fleet, HUBS),
            judge.shares(survey, self._fleet, HUBS),
            judge.twins(self._stack.hubs, presses, PRESS_TAGS, "the policy's rule for presses"),
            judge.twins(self._stack.hubs, lines, LINE_TAGS, "the enrollment, where no rule does,"),
        )

    def _explain_one(self) -> None:
        device = "press-07"
        self._screen.chapter(f"One device's decision in full: {device}")
        for call in reversed(self._stack.webhook_calls()):
            if (
                isinstance(call.request, Mapping)
                and call.request["deviceRuntimeContext"]["registrationId"] == device
            ):
                self._screen.document("DPS asked the webhook", call.request)
                self._screen.document(f"the webhook answered {call.status}", call.response)
                break
        self._screen.document(
            "and logged why", self._stack.functions.logged("allocation", registration_id=device)
        )
        hub = next(hub for hub in self._stack.hubs if device in hub.devices)
        twin = hub.devices[device].twin
        self._screen.document(f"its twin on {hub.host_name}", {"tags": twin.tags, "desired": twin.desired})

    async def _register_again(self) -> None:
        again = [device for number, device in enumerate(self._fleet) if number % 5 == 0]
        self._screen.chapter(f"{len(again)} of them register again")
        before = await self._survey()
        await self._register(again)
        self._screen.check(judge.stayed(before, await self._survey(), again))

    async def _take_a_hub_out(self) -> None:
        self._screen.chapter(
            f"{TAKEN_OUT.partition('.')[0]} is taken out of the enrollments; all devices register again"
        )
        before = await self._survey()
        rest = [hub for hub in HUBS if hub != TAKEN_OUT]
        for name, stored in self._enrollments.items():
            kind = "enrollmentGroups" if name in GROUPS else "enrollments"
            put = self._operator.put_group if name in GROUPS else self._operator.put_enrollment
            # An update carries the keys and the whole webhook URL: what DPS does without them is unknown.
            change = {
                "iotHubs": rest,
                "attestation": {
                    "type": "symmetricKey",
                    "symmetricKey": await self._operator.keys(f"{kind}/{name}"),
                },
                "customAllocationDefinition": {
                    "webhookUrl": self._stack.allocate_url,
                    "apiVersion": "2021-10-01",
                },
            }
            self._enrollments[name] = await put(stored | change, etag=stored["etag"])
        await self._register(self._fleet)
        after = await self._survey()
        self._screen.loads(after.load(self._fleet), HUBS)
        self._screen.check(
            *judge.only_those_of(TAKEN_OUT, before, after, self._fleet),
            judge.placed_legally(after, self._fleet, rest),
            judge.moved_as(
                after, self._moved(before, "line-b"), "deviceDataReset", "line-b resets devices it moves"
            ),
            judge.moved_as(
                after,
                self._moved(before, "line-a", "press"),
                "deviceDataMigrated",
                "the others take their data along",
            ),
        )

    def _moved(self, before: Survey, *prefixes: str) -> list[str]:
        return [
            device
            for device in self._fleet
            if device.startswith(prefixes) and before.hub_of(device) == TAKEN_OUT
        ]

    async def _reject_one(self) -> None:
        self._screen.chapter(f"A device that the policy rejects: {STOLEN}")
        device = self._add("line-a", STOLEN)
        state = await device.register(self._devices, self._stack.dps.id_scope)
        self._screen.say(f"DPS tells the device: {state['status']}, {state['errorMessage']}")
        self._screen.check(judge.rejected(state, await self._survey()))
        del self._fleet[STOLEN]

    async def _ride_out_an_outage(self) -> None:
        self._screen.chapter("The webhook is down while new devices register")
        late = [f"line-b-late-{number:02}" for number in range(1, LATECOMERS + 1)]
        for name in late:
            self._add("line-b", name)
        await self._stack.functions.kill()
        self._screen.say("the Functions host is killed; DPS finds nobody at the webhook's address")
        registering = asyncio.create_task(self._register(late))
        async with asyncio.timeout(30):
            while self._stack.unanswered_webhook_calls() < 2 * len(late):
                await asyncio.sleep(0.1)
        self._screen.say(
            f"{self._stack.unanswered_webhook_calls()} calls of DPS went unanswered; the host starts again"
        )
        await self._stack.functions.start()
        await registering
        rest = [hub for hub in HUBS if hub != TAKEN_OUT]
        self._screen.check(judge.placed_legally(await self._survey(), late, rest))

    async def _register(self, devices: Collection[str]) -> None:
        await self._screen.all_of(
            "registering",
            [
                partial(self._fleet[device].register, self._devices, self._stack.dps.id_scope)
                for device in devices
            ],
        )

    async def _survey(self) -> Survey:
        records = [
            record for group in GROUPS for record in await collect(self._operator.registrations(group))
        ]
        enrollments = await collect(self._operator.enrollments())
        records += [each["registrationState"] for each in enrollments if each.get("registrationState")]
        return Survey.of(records, self._stack.hubs)


async def main_job(stack: Stack, screen: Screen) -> None:
    """Run the chapter on a stack whose hubs are HUBS and whose policy is POLICY."""
    async with AsyncExitStack() as clients:
        operator = await clients.enter_async_context(connect(stack.address.url, stack.trust))
        devices = await clients.enter_async_context(connect(stack.address.url, stack.trust))
        await MainJob(stack, screen, ServiceClient(operator, stack.dps_connection_string), devices).run()


def policy_text() -> str:
    """The policy as the file that POLICY_FILE names."""
    return json.dumps(POLICY)
