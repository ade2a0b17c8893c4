"""A purge of a large service, by the app as a process of its own that is killed at any moment."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from clients.clock import SystemClock
from clients.ports import Table
from clients.tables import TableAccount
from lifecycle.jobs import JobRow, JobStore, State, resume, show
from lifecycle.purge.archive import Archive
from lifecycle.purge.job import create
from lifecycle.purge.marks import Mark, Marks
from lifecycle.purge.policy import PurgePolicy
from lifecycle.purge.rules import Reason
from local.clients import ServiceClient, connect
from local.dps.records import Registration
from local.hub import DeviceKeys, InitialTwin
from local.stack import DEFAULT_HUBS, Options, Stack, run_stack
from provisioning.hubs import hub_key

NAME, RUN = "local-dps", "soak-run"
POLICY = PurgePolicy(most=1_000_000, most_percent=100, quarantine_days=1, keep_tags=())
LAPSE = 160.0
"""Seconds until the lease of a worker that died has lapsed."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Whose record must go, and whose must stay."""

    stale: frozenset[str]
    live: frozenset[str]


async def _fleet(stack: Stack, tables: TableAccount, *, records: int, silent: int, stale: int) -> Fleet:
    """Most devices registered lately; some long ago and live on; of some the hub knows nothing any more."""
    async with connect(stack.address.url, stack.trust) as http:
        operator = ServiceClient(http, stack.dps_connection_string)
        await operator.put_group(
            {
                "enrollmentGroupId": "line-a",
                "attestation": {"type": "symmetricKey"},
                "allocationPolicy": "hashed",
            }
        )
    now, marks = stack.clock.now(), Marks(tables.table("purge"), NAME)
    gone: set[str] = set()
    live: set[str] = set()
    for number in range(records):
        name, hub = f"dev-{number:06}", stack.hubs[number % len(stack.hubs)]
        kind = "stale" if number < stale else "silent" if number < stale + silent else "new"
        updated = now - (timedelta(hours=1) if kind == "new" else timedelta(days=200))
        record = Registration(
            registration_id=name,
            group="line-a",
            created=updated,
            updated=updated,
            etag=f'"{number:08}"',
            status="assigned",
            assigned_hub=hub.host_name,
            device_id=name,
        )
        stack.dps.store.registrations.put(name, record)
        (gone if kind == "stale" else live).add(name)
        if kind == "silent":
            keys, twin = DeviceKeys("cA==", "cA=="), InitialTwin(tags={}, desired={})
            hub.create_or_get(name, keys=keys, iot_edge=False, twin=twin, now=updated)
        if kind == "stale":
            at = now - timedelta(days=3)
            where = hub_key(hub.host_name)
            await marks.put(
                Mark(name, name, "line-a", Reason.DEVICE_GONE, record.etag, where, at, "earlier", "")
            )
    return Fleet(frozenset(gone), frozenset(live))


@asynccontextmanager
async def _tables(stack: Stack) -> AsyncIterator[TableAccount]:
    account = TableAccount.from_connection_string(stack.azurite.connection_string)
    yield account
    await account.close()


async def _later(stack: Stack, seconds: float) -> None:
    """Move everybody's date; timers that became due run."""
    await stack.clock.advance(seconds)
    await stack.functions.move_clock(stack.clock.ahead)


def _deletes(stack: Stack, since: datetime) -> Counter[str]:
    """Which records DPS said it had deleted."""
    return Counter(
        call.path.rpartition("/")[2]
        for call in stack.cloud.world.journal
        if (call.method, call.status) == ("DELETE", 204) and call.at > since
    )


async def _job(jobs: Table) -> JobRow:
    """The run, as an operator looks after it: five deaths without progress between them block a job."""
    store = JobStore(jobs, NAME, SystemClock())
    row = await show(store, RUN)
    if row.state is State.BLOCKED:
        assert "each by its worker's death" in row.problem, row.problem
        row = await resume(store, RUN, by="test")
    return row


async def survive(*, kills: int, records: int, silent: int, stale: int, alive: float, seed: int) -> JobRow:
    """A run that is killed so often, each time after at most `alive` seconds of work.

    Returns:
        The job as it ended.
    """
    chance, deleted = random.Random(seed), Counter[str]()
    units = ",".join(f"{name}=4" for name in DEFAULT_HUBS)
    settings = {"APP_ROLE": "lifecycle", "DPS_NAME": NAME, "HUB_UNITS": units}
    async with (
        run_stack(Options(settings=settings), lambda _: None) as stack,
        _tables(stack) as tables,
    ):
        fleet = await _fleet(stack, tables, records=records, silent=silent, stale=stale)
        jobs, seen = tables.table("jobs"), datetime.min.replace(tzinfo=UTC)
        await create(JobStore(jobs, NAME, SystemClock()), RUN, POLICY, by="test", dry_run=False)
        await _later(stack, 60)
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.0, alive))
            await stack.functions.kill()
            deleted += _deletes(stack, seen)
            seen = stack.cloud.world.clock.now()
            await _job(jobs)
            await _later(stack, LAPSE)
            await stack.functions.start()
        async with asyncio.timeout(1_800):
            while (row := await _job(jobs)).state is not State.DONE:
                assert row.state in (State.WAITING, State.RUNNING), row.problem
                await asyncio.sleep(1)
                if row.state is State.WAITING:
                    deleted += _deletes(stack, seen)
                    seen = stack.cloud.world.clock.now()
                    await _later(stack, 60)
        deleted += _deletes(stack, seen)
        there = {each.registration_id for each in stack.dps.registrations()}
        archive = Archive(tables.table("purge"), NAME)
        written = [each async for each in archive.records(RUN)]
        marked = [mark async for _, mark in Marks(tables.table("purge"), NAME).all()]
    assert there == fleet.live
    assert deleted == Counter(dict.fromkeys(fleet.stale, 1)), "each was deleted once"
    assert Counter(each.id for each in written) == deleted, "and written down once, before"
    assert {each.outcome for each in written} <= {"deleted", "gone"}
    assert marked == []
    return row


@pytest.mark.soak
async def test_a_purge_of_20_000_records_survives_a_hundred_kills() -> None:
    row = await survive(kills=100, records=20_000, silent=1_400, stale=1_200, alive=12.0, seed=1)
    assert row.epoch > 50, "each life that got so far took the lease anew"
