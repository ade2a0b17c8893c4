"""Several real processes on one job over a real table service, two of them killed."""

import asyncio
import json
import sys
from pathlib import Path
from uuid import uuid4

from clients.clock import SystemClock
from clients.ports import Change, Row, Table
from clients.tables import TableAccount
from lifecycle.jobs import JobStore, State, history, show
from tests.lifecycle.toy import create, leftovers

ROOT = Path(__file__).parents[2]
ITEMS = 36
WORKERS = 4


async def start(connection: str, table: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.lifecycle.job_worker",
        connection,
        table,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )


async def changed(table: Table) -> list[object]:
    return [row.values["changes"] async for row in table.scan("items")]


async def test_processes_that_share_a_job_and_are_killed_do_each_step_once(azurite: str) -> None:
    account, name = TableAccount.from_connection_string(azurite), f"t{uuid4().hex}"
    table = account.table(name)
    store = JobStore(table, "dps-1", SystemClock())
    await table.write([Change("insert", Row("items", f"{n:03}", {"changes": 0})) for n in range(ITEMS)])
    await create(store, ITEMS)
    workers = [await start(azurite, name) for _ in range(WORKERS)]
    running = {str(worker.pid): worker for worker in workers}
    try:
        async with asyncio.timeout(60):
            for least in (4, 14):  # whoever holds the job then is killed, in the middle of its work
                while True:
                    job = await show(store, "toy-1")
                    holder = job.owner.partition("~")[0]
                    if (await changed(table)).count(1) >= least and holder in running:
                        break
                    await asyncio.sleep(0.02)
                running.pop(holder).kill()
            said = [json.loads((await worker.communicate())[0] or b"null") for worker in workers]
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
    assert await changed(table) == [1] * ITEMS
    job = await show(store, "toy-1")
    assert (job.state, job.progress.done) == (State.DONE, ITEMS)
    assert job.epoch >= 3
    assert [entry.what for entry in await history(store)] == ["done"]
    assert await leftovers(table) == ["known", "past"]
    survivors = [each for each in said if each]
    assert len(survivors) == WORKERS - 2
    epochs = [epoch for each in survivors for epoch in each["epochs"]]
    assert len(epochs) == len(set(epochs)), "two workers held the same lease"
    await account.close()
