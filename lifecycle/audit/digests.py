"""DPS's ids of a run, with what hubs and the ledger told of them: remembered, or made again of the rows."""

from collections.abc import AsyncIterator

from lifecycle.audit import marks, places
from lifecycle.audit.join import Index, fill
from lifecycle.audit.snapshot import Listed
from lifecycle.audit.state import Kept
from lifecycle.audit.work import Work
from lifecycle.errors import RunLost


async def digests(work: Work) -> tuple[Index, Index]:
    """DPS's ids by registration, and by device where that differs.

    Raises:
        RunLost: some of the run's rows are gone.
        TableUnavailable: no usable answer.
    """
    memory, run = work.memory, work.run
    if memory.index is not None and memory.aliases is not None:
        return memory.index, memory.aliases
    index, aliases = work.empty_indexes()
    numbers = work.hub_numbers
    for kept in run.listings:
        async for chunk in _all(work, kept):
            fill(index, aliases, numbers, chunk)
    if run.marks:
        partition = places.kept(work.audited.dps, work.id)
        found = await marks.read(work.ports.table, partition, run.marks, len(index) + len(aliases))
        index.mark_all(found[: len(index)])
        aliases.mark_all(found[len(index) :])
    memory.index, memory.aliases = index, aliases
    return index, aliases


async def _all(work: Work, kept: Kept) -> AsyncIterator[list[Listed]]:
    """Every chunk of a listing of this run.

    Raises:
        RunLost: some are gone: whatever is not in the digests would look like a stranger, or an orphan.
    """
    read = 0
    async for _, chunk in work.snapshots.chunks(work.id, kept.name, kept.spans):
        read += len(chunk)
        yield chunk
    if read != kept.ids:
        raise RunLost(
            f"{read:,} of {kept.ids:,} ids that this run listed are left in the audit's table: somebody "
            "deleted rows; begin a new run"
        )
