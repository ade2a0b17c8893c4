"""`audit`: started, shown, exported, suppressed, and what exit codes tell a pipeline."""

import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import html5lib
import pytest

from clients.tables import TableAccount
from lifecycle.audit.checks import CHECKS
from lifecycle.audit.finding import Finding
from lifecycle.audit.runs import RunStore, Stored
from lifecycle.jobs import JobStore, switch_off
from tests.cli.placing import App
from tests.clocks import HandClock
from tests.lifecycle.audit.sample import busy_archive, finding, run_at
from tests.local.dps.rig import group

pytestmark = pytest.mark.asyncio(loop_scope="package")

SOON = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%d")
HOSTILE = "device:hub-south.azure-devices.net/"


@asynccontextmanager
async def tables(app: App) -> AsyncIterator[TableAccount]:
    account = TableAccount.from_connection_string(app.environment["STATE_TABLES"])
    yield account
    await account.close()


async def kept(app: App, runs: dict[Any, list[Finding]]) -> None:
    """Runs in the table, as the engine leaves them."""
    dps = app.environment["DPS_NAME"]
    async with tables(app) as account:
        store = RunStore(account.table("audit"), dps)
        for run, findings in runs.items():
            counts: dict[str, int] = {}
            for each in findings:
                counts[each.check] = counts.get(each.check, 0) + 1
            await store.add(run.id, findings)
            await store.put(Stored(replace(run, dps=dps, found=counts)))


@pytest.fixture
def two_nights() -> dict[Any, list[Finding]]:
    archive = busy_archive()
    return {
        Hashed(run): [each for (of, _), found in archive.found.items() if of == run.id for each in found]
        for run in archive.kept.values()
    }


def Hashed(run: Any) -> Any:  # noqa: N802 - placeholder
    return run


async def test_a_run_is_shown_with_what_is_new_in_it(app: App) -> None:
    await kept(app, {})
