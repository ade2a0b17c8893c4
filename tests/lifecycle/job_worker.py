"""One worker as a process of its own: ticks until the job has ended. Arguments: connection string, table.

A step replaces a row of the same table, guarded by its ETag.
"""

import asyncio
import json
import os
import sys
from typing import Literal

from clients.clock import SystemClock
from clients.ports import Row, Table
from clients.tables import TableAccount
from lifecycle.jobs import JobRow, JobStore, Terms, tick
from lifecycle.rates import Rate, Rates
from tests.lifecycle.toy import Told, toy_kind

TERMS = Terms(
    slice_seconds=0.6, lease_seconds=1.5, call_margin=0.4, skew=0.3, watch_seconds=0.3, first_pause=0.1
)


class TableService:
    """The toy's items as rows."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._etags: list[str] = []
        self.changed = 0
        self.epochs: set[int] = set()

    async def read(self, number: int) -> tuple[int, bool]:
        row = await self._table.get("items", f"{number:03}")
        assert row
        assert row.etag
        self._etags.append(row.etag)
        return len(self._etags) - 1, row.values["changes"] != 0

    async def change(self, job: JobRow, number: int, etag: int) -> Literal["written", "moved"]:
        row = Row("items", f"{number:03}", {"changes": 1, "by": os.getpid()}, self._etags[etag])
        outcome = (await self._table.replace(row)).outcome
        await asyncio.sleep(0.02)
        self.epochs.add(job.epoch)
        self.changed += outcome == "written"
        return "written" if outcome == "written" else "moved"


async def work(connection: str, name: str) -> None:
    """Tick until the job has ended, and say what this worker did."""
    clock = SystemClock()
    account = TableAccount.from_connection_string(connection)
    table = account.table(name)
    store, service = JobStore(table, "dps-1", clock), TableService(table)
    rates = Rates(clock, {"toy": {Rate.DPS: 0.95}})
    kinds = [toy_kind(service, save_every=3)]
    while await store.get("toy-1"):
        await tick(kinds, store, rates, Told(), worker=str(os.getpid()), terms=TERMS)
        await asyncio.sleep(0.05)
    await account.close()
    print(json.dumps({"changed": service.changed, "epochs": sorted(service.epochs)}))


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2]))
