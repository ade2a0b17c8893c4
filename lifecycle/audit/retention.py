"""Deletes the audits that nobody keeps any more; run by the timer that prunes the other tables."""

from clients.ports import Clock, Table, Telemetry
from lifecycle.audit.runs import RunStore
from lifecycle.audit.snapshot import Snapshots

MOST = 5_000
"""Runs that are looked at."""


async def forget_old_runs(
    table: Table, dps: str, *, keep: int, clock: Clock, telemetry: Telemetry, seconds: float = 30.0
) -> int:
    """Delete the findings and rows of ended runs but the newest, for at most about `seconds`.

    A run whose listing is the last of something stays: it is the only way to the records of what is gone. So
    does one that has not ended, which may be resumed. Each run begins with this itself; this is for runs that
    do not come, and for a number that was lowered.

    Args:
        table: the audit's.
        dps: whose runs.
        keep: ended runs that stay.
        clock: of this worker.
        telemetry: told how many went.
        seconds: after which no further one is begun.

    Returns:
        How many were deleted.

    Raises:
        TableUnavailable: some are left; the next time goes on.
    """
    store, snapshots = RunStore(table, dps), Snapshots(table, dps)
    until = clock.monotonic() + seconds
    ended = [each.run async for each in store.all(MOST) if each.run.ended is not None]
    needed = await snapshots.needed()
    forgotten = 0
    for run in ended[keep:]:
        if clock.monotonic() >= until:
            break
        if run.id not in needed:
            await snapshots.sweep(run.id, frozenset())
            await store.forget(run)
            forgotten += 1
    if forgotten:
        telemetry.event("audits_forgotten", dps=dps, runs=forgotten)
    return forgotten
