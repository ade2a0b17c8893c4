"""A group that is to go beside one that stays, and runs of the decommissioning over them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx

from clients.ports import Table
from lifecycle.decommission.job import create, decommission_kind, pace_of
from lifecycle.decommission.told import Told
from lifecycle.decommission.work import Ports
from lifecycle.enrollments import change as changes
from lifecycle.enrollments.escrow import Vault, escrowed_keys
from lifecycle.jobs import JobRow, State, show, tick
from lifecycle.rates import Rates
from lifecycle.rotation.row import RotationTerms, adopt
from lifecycle.rotation.store import RotationStore
from local.switches import Switches
from tests.lifecycle.enrollments.rig import KEYS, group
from tests.lifecycle.purge.rig import NAME, PLAIN, POLICY, Journal, PurgeRig

GROUP = "line-a"
TOLD = Told(GROUP, dry_run=False, policy=replace(POLICY, most=1_000))
SETTLE = timedelta(minutes=1)
FAILED = frozenset({State.FAILED})


class DecommissionRig(PurgeRig):
    """What `PurgeRig` has, with a watch on what must never be."""

    def __init__(self, switches: Switches | None = None) -> None:
        super().__init__(switches)
        self.webhook_url: str | None = None
        self.keys_first = True
        """Whether the keys must be in the vault when the group is deleted."""
        self.broken: list[str] = []
        self.before.append(self._watch)

    async def _watch(self, request: httpx.Request) -> None:
        """The invariants of each step, looked at when it is asked for."""
        if request.method != "DELETE" or request.url.host != self.service.host_name:
            return
        path, etag = request.url.path, request.headers.get("if-match")
        if etag in (None, "*"):
            self.broken.append(f"DELETE {path} without a guard")
        name = path.rpartition("/")[2]
        if path.startswith("/enrollmentGroups/"):
            if self.keys_first and await self.kept() != KEYS:
                self.broken.append(f"{name} was to be deleted before its keys were in the vault")
        elif path.startswith("/registrations/"):
            versions = [(each.id, str(each.document["etag"])) for each in await self.archived()]
            if versions.count((name, str(etag))) != 1:
                self.broken.append(f"{name} was to be deleted and is not in the archive once")
        else:
            self.broken.append(f"DELETE {path}")

    @property
    def rotations(self) -> RotationStore:
        return RotationStore(self.memory, NAME, self.moving)

    async def adopt(self, name: str = GROUP) -> None:
        """Take a group into rotation."""
        row = adopt(
            name, f"{name}-key", RotationTerms(), active="primary", others="free", by="kim", now=self.now
        )
        assert await self.rotations.insert(row)

    async def kept(self) -> dict[str, str] | None:
        return await escrowed_keys(self.vault_client(), self.service.host_name, "group", GROUP)

    def group_there(self, name: str = GROUP) -> bool:
        return self.service.group(name) is not None

    async def x509(self, name: str = GROUP) -> None:
        """A group without symmetric keys."""
        document = group(
            enrollmentGroupId=name,
            attestation={"type": "x509", "x509": {"caReferences": {"primary": "factory"}}},
            **PLAIN,
        )
        await changes.create(self.groups(), document)

    async def status(self, value: str, name: str = GROUP) -> None:
        """Somebody enables or disables it."""

        def edit(document: dict[str, Any]) -> dict[str, Any]:
            return {**document, "provisioningStatus": value}

        await changes.change(self.groups(), name, edit)

    def of(self, transport: httpx.AsyncBaseTransport | None = None, table: Table | None = None) -> Ports:
        """What a process reaches."""
        way = transport or Journal(self)
        purge = self.ports(way, table)

        async def webhook() -> str | None:
            return self.webhook_url

        def vault(_: object) -> Vault:
            return self.vault_client(way)

        return Ports(
            name=NAME,
            table=purge.table,
            clock=self.moving,
            dps=purge.dps,
            hub=purge.hub,
            linked=purge.linked,
            vault=vault,
            telemetry=self.told,
            webhook=webhook,
            settle=SETTLE,
            forget=self.rotations.forget,
        )

    async def decommission(
        self,
        told: Told = TOLD,
        *,
        job: str = "decommission-1",
        ports: Ports | None = None,
        ends: frozenset[State] = frozenset({State.DONE}),
        between: Callable[[JobRow], Any] | None = None,
    ) -> JobRow:
        """A whole run; `between` two slices somebody may interfere."""
        ports = ports or self.of()
        rates = Rates(self.pace, self.shares, units=self.units)
        kind, store = decommission_kind(ports, pace_of(rates)), self.jobs(ports.table)
        for _ in range(300):
            await create(store, job, told, by="test")
            await tick([kind], store, rates, self.told)
            row = await show(store, job)
            if row.state in ends:
                return row
            assert row.state in (State.WAITING, State.RUNNING), row.problem
            if between is not None:
                await between(row)
            await self.clock.advance(60)
        raise AssertionError("the job does not end")

    async def went(self) -> list[str]:
        """The records that the archive says are gone, in order."""
        return sorted(each.id for each in await self.archived() if each.outcome in ("deleted", "gone"))

    async def rows_left(self, job: str = "decommission-1") -> list[str]:
        """What a run kept for itself."""
        return [row.key async for row in self.memory.scan(f"{NAME}|decommission|{job}")]


async def rigged(**devices: dict[str, Any]) -> DecommissionRig:
    """The group with quiet devices, and another one with a live device."""
    rig = DecommissionRig()
    await rig.group(GROUP)
    await rig.group("line-b")
    rig.record("live-b", "line-b", seen=timedelta(hours=1))
    for name, members in devices.items():
        rig.record(name, **members)
    return rig


QUIET: dict[str, dict[str, Any]] = {
    "quiet": {},
    "absent": {"device": False},
    "failed": {"hub": None, "status": "failed", "age": timedelta(hours=1)},
}
