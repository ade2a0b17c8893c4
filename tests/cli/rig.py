"""The commands in a thread, against an emulated cloud over TLS."""

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from cli.app import main
from cli.terminal import Terminal
from local.arm import FunctionSite
from local.cloud import Cloud, Setting, serve_cloud
from local.dps import sas
from local.dps.keys import derive_key
from local.dps.limits import UNTHROTTLED
from local.faults import Faults
from local.sites import FunctionKeys
from local.switches import Switches
from local.tls import ServerCertificate
from local.world import World
from tests.local.dps.rig import PRIMARY

HUBS = ("hub-a.azure-devices.net", "hub-b.azure-devices.net", "hub-c.azure-devices.net")
FUNCTION_KEY = "first-function-key-not-to-be-seen"
WEBHOOK = "https://app.example/api/allocate?code=not-to-be-seen"


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


@dataclass(frozen=True)
class Rig:
    """A cloud, and the state file that says where it is."""

    cloud: Cloud
    ca: Path
    state: Path
    faults: Faults
    folder: Path
    azure: Any = None
    """Python's azure-iot-deviceprovisioning client."""
    keys: FunctionKeys | None = None
    """Those of the app's functions."""
    since: int = 0
    """Calls of the DPS before this test."""

    def empty(self, folder: Path) -> "Rig":
        """The same cloud with nothing in the DPS and nothing armed, for the next test."""
        store = self.cloud.dps.store
        for table in (store.individuals, store.groups):
            for each in list(table):
                table.delete(each.key)
        for record in list(store.registrations):
            store.registrations.delete(record.registration_id.lower())
        self.faults.clear()
        return replace(self, folder=folder, since=len(self.cloud.world.journal.of(self.cloud.dps.name)))

    async def run(self, *words: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> Ran:
        """A command on this cloud, unless its own words say otherwise."""
        return await run("--state", str(self.state), *words, stdin=stdin, environment=environment)

    async def register(self, device: str, key: str | None = None, *, group_key: str = PRIMARY) -> None:
        """Let a device register to the end, with its own key or as one of a group of that key."""
        dps, own = self.cloud.dps, key or derive_key(group_key, device)
        expiry = datetime.now(UTC) + timedelta(hours=1)
        token = sas.sign(f"{dps.id_scope}/registrations/{device}", own, expiry, "registration")
        path = f"/{dps.id_scope}/registrations/{device}/register?api-version=2021-10-01"
        trust = ssl.create_default_context(cafile=str(self.ca))
        async with httpx.AsyncClient(
            verify=trust, base_url=self.cloud.dps_address.url, trust_env=False, timeout=60.0
        ) as http:
            body = {"registrationId": device}
            started = await http.put(path, json=body, headers={"authorization": token})
        assert started.status_code == 202, started.text
        while dps.running:  # noqa: ASYNC110 - the emulator has no event for it; a device would poll in 3 s
            await asyncio.sleep(0.005)

    @property
    def connection_string(self) -> str:
        return self.cloud.dps.connection_string(self.cloud.dps_address.host)

    @property
    def calls(self) -> list[str]:
        """What the DPS was asked in this test."""
        calls = self.cloud.world.journal.of(self.cloud.dps.name)[self.since :]
        return [f"{call.method} {call.path.partition('?')[0]}" for call in calls]


async def run(*words: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> Ran:
    """A command without a terminal."""
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(stdin=io.StringIO(stdin), stdout=out, stderr=err, environment={"COLUMNS": "100"})
    code = await asyncio.wait_for(
        asyncio.to_thread(main, words, terminal=terminal, environment=dict(environment or {})), 60
    )
    return Ran(code, out.getvalue(), err.getvalue())


@asynccontextmanager
async def serving(certificate: ServerCertificate, folder: Path) -> AsyncIterator[Rig]:
    world = World(seed=7)
    faults = Faults(world)
    keys = FunctionKeys(world.clock, lambda: {"allocate": FUNCTION_KEY})
    async with serve_cloud(
        dict.fromkeys(HUBS, 1),
        certificate,
        world=world,
        name="local-dps",
        limits=UNTHROTTLED,
        faults=faults,
        switches=Switches(),
        setting=Setting(sites=(FunctionSite("func-cli", keys),)),
    ) as cloud:
        state = folder / "my.state.json"
        state.touch(mode=0o600)
        state.write_text(json.dumps({**cloud.state(), "ca": str(certificate.ca_pem)}))
        yield Rig(cloud, certificate.ca_pem, state, faults, folder, keys=keys)
