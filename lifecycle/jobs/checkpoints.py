"""A checkpoint as bytes, and as rows where it is too large for its job's row: pure.

The parts of one saving form a generation, whose name no other saving uses. They are written before the job's
row names them and deleted after it names others, so the generation that the row names is always whole.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from lifecycle.errors import CheckpointLost, CheckpointTooLarge

Checkpoint = dict[str, Any] | list[Any] | str | int | float | bool | bytes | None
"""Any JSON value, or bytes."""

INLINE_BYTES = 32 * 1024
"""Up to here a checkpoint stays in its job's row, which every tick reads."""

COLUMN_BYTES = 64 * 1024
COLUMNS = 14
PART_BYTES = COLUMNS * COLUMN_BYTES
"""Of one sibling row: a row has at most 1 MiB, a column 64 KiB."""

CHECKPOINT_BYTES = 32 * 1024 * 1024
"""Largest checkpoint, packed: 37 rows."""

_COMPRESSED_FROM = 4 * 1024


def packed(value: Checkpoint) -> bytes:
    """The value as bytes; the first says how to read the rest.

    Raises:
        CheckpointTooLarge: beyond 32 MiB.
        TypeError: neither JSON nor bytes.
        ValueError: a number that JSON does not have.
    """
    if isinstance(value, bytes):
        form, data = b"b", value
    else:
        form, data = b"j", json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    if len(data) >= _COMPRESSED_FROM:
        shorter = zlib.compress(data, 1)
        if len(shorter) < len(data):
            form, data = form.upper(), shorter
    if len(data) >= CHECKPOINT_BYTES:
        raise CheckpointTooLarge(
            f"a checkpoint of {len(data):,} bytes, of at most {CHECKPOINT_BYTES:,}: keep what grows in rows"
            " of its own and only its place in the checkpoint"
        )
    return form + data


def unpacked(data: bytes) -> Checkpoint:
    """The value that was packed.

    Raises:
        CheckpointLost: these bytes were not packed here.
    """
    form, body = data[:1], data[1:]
    try:
        if form in (b"B", b"J"):
            body = zlib.decompress(body)
        if form.lower() == b"b":
            return body
        if form.lower() == b"j":
            value: Checkpoint = json.loads(body)
            return value
    except (ValueError, zlib.error) as error:
        raise CheckpointLost(f"the checkpoint cannot be read ({type(error).__name__})") from None
    raise CheckpointLost("the checkpoint has a form that this version does not know")


def parts(data: bytes) -> Iterator[dict[str, bytes]]:
    """The columns of each sibling row, in order."""
    for start in range(0, len(data), PART_BYTES):
        part = data[start : start + PART_BYTES]
        yield {
            f"c{at // COLUMN_BYTES:02}": part[at : at + COLUMN_BYTES]
            for at in range(0, len(part), COLUMN_BYTES)
        }


def joined(rows: Sequence[dict[str, bytes]], digest: bytes) -> bytes:
    """What was cut into parts.

    Raises:
        CheckpointLost: a part is missing or another.
    """
    data = b"".join(row[name] for row in rows for name in sorted(row))
    if hashlib.sha256(data).digest() != digest:
        raise CheckpointLost(f"the {len(rows)} parts found are not those that were saved")
    return data


def digest(data: bytes) -> bytes:
    """What the row keeps to know the parts by."""
    return hashlib.sha256(data).digest()
