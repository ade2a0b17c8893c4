"""The chapter `audit`: twelve faults, the report that finds them, the fixes it names, a clean second run.

What mends a fault is taken from the finding's own text and typed as it stands there.
"""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from local.admin.port import TOKEN_HEADER
from local.clients import Device, ServiceClient, connect
from local.demo import judge
from local.demo.audit_faults import (
    AUTHORITY,
    CLOSED,
    DESIRED,
    FLEET,
    HUBS,
    KEYLESS_DEVICE,
    LOST_DEVICE,
    PLANTED,
    RETIRED,
    TAGS,
    certificate,
    groups,
)
from local.demo.commands import Commands
from local.demo.groups import callers
from local.demo.screen import Screen
from local.dps import sas
from local.dps.authorities import CaCertificate
from local.dps.keys import derive_key
from local.stack import Stack

__all__ = ["HUBS", "SETTINGS", "audit_chapter"]

SETTINGS = {"STATE_REFRESH_SECONDS": "0.5", "STATE_MAX_AGE_SECONDS": "1"}
"""As the demo's time is short; the defaults are 15 s and 60 s."""
EFFECTIVE_SECONDS = 1.5
"""By then every instance knows a change."""

DEVICES = 12
AGO = timedelta(hours=2)
"""When the devices registered: of fresher records the audit says nothing, as hubs' listings may lag."""

HERE: Mapping[str, str] = {
    "DPS-CRED-018": "this chapter rotates no keys",
}
"""Checks that find something in every group of this stack, and why that may be."""
COMMAND = "./run dps "


class AuditChapter:
    """The chapter's actors: those who made the faults, the devices, and an operator who mends them."""

    def __init__(
        self, stack: Stack, screen: Screen, service: ServiceClient, devices: httpx.AsyncClient, folder: Path
    ) -> None:
        self._stack = stack
        self._screen = screen
        self._service = service
        self._devices = devices
        self._folder = folder
        self._dps = Commands(stack, screen, folder).run
        self._fleet: dict[str, Device] = {}
        self._until = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%d")

    async def run(self) -> None:
        """Tell the whole story."""
        await self._plant()
        found = await self._first_run()
        await self._mend(found)
        await self._second_run()

    async def _plant(self) -> None:
        self._screen.chapter(f"A service of {DEVICES} devices, and {len(PLANTED)} faults in it")
        await self._dps("hub", "cordon", CLOSED, "--note", "maintenance", "--by", "kim", "--yes", shown=False)
        for group in groups(self._stack.allocate_url):
            await self._service.put_group(group)
        self._stack.dps.unlink(RETIRED)
        authority = certificate("Plant root CA", days=800).encode()
        self._stack.dps.authorities.put(CaCertificate(AUTHORITY, authority, verified=False))
        await asyncio.sleep(EFFECTIVE_SECONDS)
        await self._made(FLEET, [f"press-{number:03}" for number in range(1, DEVICES + 1)])
        await self._made("keyless", [KEYLESS_DEVICE])
        async with self._earlier():
            states = await self._register(self._fleet)
        failed = [state["registrationId"] for state in states if state["status"] != "assigned"]
        self._screen.check(
            judge.exactly("only the device of the broken group fails", [KEYLESS_DEVICE], failed)
        )
        await self._delete_at_hub(LOST_DEVICE)
        self._screen.table(("planted", "fault"), [(each.resource, each.fault) for each in PLANTED])

    async def _first_run(self) -> Sequence[Mapping[str, Any]]:
        self._screen.chapter("The audit looks at all of it")
        for check, reason in HERE.items():
            await self._suppress(check, "group:*", reason)
        found = await self._audited()
        self._report(found)
        self._screen.check(
            judge.exactly("exactly the planted faults are found", _planted(), _open(found)),
            judge.exactly(
                "what is so on this machine alone is found, and suppressed",
                HERE.keys(),
                {each["check"] for each in found if each["suppressed"]},
            ),
        )
        return found

    async def _mend(self, found: Sequence[Mapping[str, Any]]) -> None:
        self._screen.chapter("The fixes, as the findings name them")
        waiting = {(each.check, each.resource) for each in PLANTED if each.suppressed}
        for finding in found:
            check, resource, fix = finding["check"], finding["resource"], finding["fix"]
            if finding["suppressed"]:
                continue
            if (check, resource) in waiting:
                self._screen.say(f"{check} {resource}: {fix}")
                self._screen.say("that takes the CA's own key, at another tool: it waits, with a reason")
                await self._suppress(check, resource, "the CA's owner is asked for its key")
                continue
            self._screen.say(f"{check} {resource}")
            words = self._typed(check, fix)
            told = await self._dps(*words, results=False)
            if check == "DPS-CRED-001":  # the command says what comes next; here no device is waited for
                await self._dps(*words, "--promote", results=False, notes=False)
                await self._dps(*words, "--retire", results=False, notes=False)
            elif check == "DPS-REC-001" and told:
                registration = json.loads(told)["registration"]
                self._screen.say(f"{registration['status']}: {registration['errorMessage']}")
        self._screen.say("the devices start again, and so register again")
        await asyncio.sleep(EFFECTIVE_SECONDS)
        states = await self._register(self._fleet)
        assigned = [state["registrationId"] for state in states if state["status"] == "assigned"]
        self._screen.check(judge.exactly("every device has a hub", list(self._fleet), assigned))

    async def _second_run(self) -> None:
        self._screen.chapter("The audit looks again")
        found = await self._audited()
        resolved = json.loads(await self._dps("audit", "show", "--status", "resolved", shown=False) or "[]")
        self._report(resolved)
        waiting = [each.resource for each in PLANTED if each.suppressed]
        self._screen.check(
            judge.exactly("nothing is open any more", (), _open(found)),
            judge.exactly(
                "what was mended is resolved",
                [(each.check, each.resource) for each in PLANTED if not each.suppressed],
                _open(resolved),
            ),
            judge.exactly(
                "what waits is shown as suppressed",
                waiting,
                [each["resource"] for each in found if each["suppressed"] and each["check"] not in HERE],
            ),
        )
        for each in found:
            if each["suppressed"] and each["check"] not in HERE:
                until, reason = each["suppressed"]["until"], each["suppressed"]["reason"]
                self._screen.say(f"until {until}: {each['check']} {each['resource']}, as {reason}")

    async def _audited(self) -> Sequence[Mapping[str, Any]]:
        """What a run finds, and what of it is suppressed."""
        found: Sequence[Mapping[str, Any]] = json.loads(
            await self._dps("audit", "run", "--wait", "--by", "kim", results=False) or "[]"
        )
        return found

    def _report(self, findings: Iterable[Mapping[str, Any]]) -> None:
        self._screen.table(
            ("severity", "check", "resource", "status", "what"),
            [
                (each["severity"], each["check"], each["resource"], each["status"], each["title"])
                for each in findings
                if not each["suppressed"]
            ],
        )

    async def _suppress(self, check: str, resource: str, reason: str) -> None:
        await self._dps(
            *("audit", "suppress", check, resource, "--reason", reason),
            *("--until", self._until, "--by", "kim", "--yes"),
            results=False,
            notes=False,
        )

    def _typed(self, check: str, fix: str) -> list[str]:
        """The words of a fix after `./run dps`, with an operator's own files in the places of FILE.

        Raises:
            ValueError: the text is no command, so the chapter cannot do what it says.
        """
        if not fix.startswith(COMMAND):
            raise ValueError(f"{check}: its fix is no command of ./run dps: {fix}")
        files = iter(self._files(check))
        words = [
            word.replace("FILE", str(next(files))) if word in ("FILE", "@FILE") else word
            for word in shlex.split(fix.removeprefix(COMMAND))
        ]
        reads = words[:2] == ["device", "show"]
        return words if reads else [*words, "--yes"]

    def _files(self, check: str) -> list[Path]:
        """What an operator has at hand to mend it: a new certificate, the twin as it was meant."""
        if check == "DPS-REC-010":
            return [
                self._written("tags.json", json.dumps(TAGS)),
                self._written("desired.json", json.dumps(DESIRED)),
            ]
        return [self._written("new-ca.pem", certificate("new CA", days=800))]

    def _written(self, name: str, text: str) -> Path:
        file = self._folder / name
        file.write_text(text)
        return file

    async def _made(self, group: str, names: Iterable[str]) -> None:
        key = (await self._service.keys(f"enrollmentGroups/{group}"))["primaryKey"]
        self._fleet |= {name: Device(name, derive_key(key, name)) for name in names}

    async def _register(self, devices: Iterable[str]) -> list[dict[str, Any]]:
        scope = self._stack.dps.id_scope
        works = [partial(self._fleet[name].register, self._devices, scope) for name in devices]
        return await self._screen.all_of("registering", works)

    @asynccontextmanager
    async def _earlier(self) -> AsyncIterator[None]:
        """Within the block DPS dates its records of so long ago."""
        rule = {
            "service": "dps",
            "count": None,
            "fault": {"kind": "skew", "seconds": -AGO.total_seconds()},
        }
        headers = {TOKEN_HEADER: self._stack.admin.token}
        async with connect(self._stack.admin_address.url, self._stack.trust) as admin:
            made = (await admin.post("/faults", json=rule, headers=headers)).raise_for_status()
            try:
                yield
            finally:
                gone = await admin.delete(f"/faults/{made.json()['id']}", headers=headers)
                gone.raise_for_status()

    async def _delete_at_hub(self, device: str) -> None:
        """As somebody does by hand, past DPS."""
        [hub] = [each for each in self._stack.cloud.hubs.values() if device in each.service.hub.devices]
        parts = dict(part.split("=", 1) for part in hub.connection_string.split(";"))
        expires = datetime.now(UTC) + timedelta(minutes=5)
        token = sas.sign(parts["HostName"], parts["SharedAccessKey"], expires, parts["SharedAccessKeyName"])
        async with connect(hub.address.url, self._stack.trust) as client:
            answer = await client.delete(
                f"/devices/{quote(device)}",
                params={"api-version": "2021-04-12"},
                headers={"Authorization": token, "If-Match": "*"},
            )
            answer.raise_for_status()


def _planted() -> list[tuple[str, str]]:
    return [(each.check, each.resource) for each in PLANTED]


def _open(findings: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(each["check"], each["resource"]) for each in findings if not each["suppressed"]]


async def audit_chapter(stack: Stack, screen: Screen) -> None:
    """Run the chapter on a stack whose hubs are HUBS and whose app has SETTINGS."""
    async with callers(stack) as who:
        await AuditChapter(stack, screen, who.service, who.devices, who.folder).run()
