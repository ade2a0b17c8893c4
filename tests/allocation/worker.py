"""One worker process of the app, for tests: a request body per line comes in, its answer goes out.

``python -m tests.allocation.worker DPS REFRESH MAX_AGE``; the connection string comes in STATE_TABLES.
"""

import asyncio
import json
import os
import sys

from allocation import Freshness
from clients.tables import TableAccount
from tests.allocation.instance import Instance


async def main(dps: str, refresh: float, max_age: float) -> None:
    account = TableAccount.from_connection_string(os.environ["STATE_TABLES"])
    instance = Instance(
        *(account.table(name) for name in ("policies", "fleet", "ledger")),
        freshness=Freshness(refresh=refresh, max_age=max_age, settling=0),
    )
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        answer = await instance.allocator.answer(line, dps)
        told = json.loads(answer.body) | {"status": answer.status}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    await account.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
