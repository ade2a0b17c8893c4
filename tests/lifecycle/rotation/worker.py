"""One worker as a process of its own: gets the event some times, and ticks until the rotation rests.

Arguments: the stack's state file, a connection string of tables, the event as JSON, how often it comes.
"""

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

from clients.clock import SystemClock
from clients.telemetry import LogTelemetry
from clients.telemetry_ids import IdMode, Ids
from lifecycle.jobs import Terms, tick
from lifecycle.rates import Rates
from lifecycle.rotation.row import Stage
from lifecycle.rotation.triggers import VaultIdentity, daily, receive
from tests.lifecycle.rotation.app import RATES, rotation_of, wiring_of

TERMS = Terms(slice_seconds=6, lease_seconds=12, call_margin=2, skew=1, watch_seconds=1, first_pause=0.2)


async def work(state: Path, tables: str, raw: object, times: int) -> None:
    wiring = wiring_of(state, tables, os.environ)  # type: ignore[arg-type]  # os.environ is one
    telemetry = LogTelemetry(SystemClock(), logging.getLogger("dps_fleet"), Ids(IdMode.CLEAR))
    kind, rotations, jobs = rotation_of(wiring, state, telemetry)
    await asyncio.gather(
        *(receive(raw, VaultIdentity("kv-local"), rotations, jobs, telemetry) for _ in range(times))
    )
    from clients.pacing import UnpacedShare

    vault = wiring.vault(UnpacedShare())
    assert vault is not None
    groups = wiring.dps(UnpacedShare()).groups
    await daily(rotations, vault, groups, jobs, telemetry)
    rates = Rates(wiring.clock, RATES)
    while True:
        await tick([kind], jobs, rates, telemetry, worker=str(os.getpid()), terms=TERMS)
        rows = (await rotations.all()).rows
        if all(row.stage is Stage.OVERLAP for row in rows) and not (await jobs.current()).jobs:
            break
        await asyncio.sleep(0.2)
    await wiring.close()
    print(json.dumps({"done": True}))


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])))
