"""What hubs and the ledger told of DPS's ids, a byte each, in rows: for a worker that has to begin anew."""

import zlib

from clients.ports import Row, Scalar, Table
from lifecycle.audit import fenced, places
from lifecycle.errors import RunLost

OF_A_ROW = 800_000
"""Marks of a row: 14 columns of 64 KiB hold them however they compress."""


PREFIX = "m"
"""Of their rows' keys."""


async def write(table: Table, partition: str, by: str, marks: bytes) -> int:
    """Write them in place of those that the same lease wrote before; in how many rows.

    Each row is whole by itself, and marks are only ever added: rows of two writings beside each other are the
    marks of some moment between them.

    Args:
        table: the audit's.
        partition: of the run.
        by: the mark of the lease.
        marks: all of them.

    Raises:
        TableUnavailable: some may have been written; the same again is safe.
    """
    rows = -(-len(marks) // OF_A_ROW)
    for number in range(rows):
        part = zlib.compress(marks[number * OF_A_ROW : (number + 1) * OF_A_ROW], 1)
        columns: dict[str, Scalar] = {
            f"c{at // places.COLUMN_BYTES:02}": part[at : at + places.COLUMN_BYTES]
            for at in range(0, len(part), places.COLUMN_BYTES)
        }
        await table.put(Row(partition, fenced.key(PREFIX, by, number), columns))
    return rows


async def read(table: Table, partition: str, rows: fenced.Spans, expected: int) -> bytes:
    """The marks of these rows.

    Raises:
        RunLost: they are not as many as were expected: who was seen would look like who was not.
        TableUnavailable: no usable answer.
    """
    parts = []
    for key in fenced.keys(PREFIX, rows):
        row = await table.get(partition, key)
        parts.append(b"" if row is None else zlib.decompress(_columns(row)))
    marks = b"".join(parts)
    if len(marks) != expected:
        raise RunLost(
            f"{len(marks):,} of {expected:,} marks that this run made are left in the audit's table: "
            "somebody deleted rows; begin a new run"
        )
    return marks


def _columns(row: Row) -> bytes:
    found: list[bytes] = []
    while isinstance(part := row.values.get(f"c{len(found):02}"), bytes):
        found.append(part)
    return b"".join(found)
