"""Rows of the rotations' table: a document as JSON beside what people look for, and compare-and-swap."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from clients.errors import TableUnavailable
from clients.ports import Clock, Row, Scalar
from lifecycle.errors import RotationMoved

FORM = 1
"""Of the column `row`. A row of another form is another version's, and left alone."""

TRIES = 8
"""How often a change is tried when the row moves or the table gives no answer."""

R = TypeVar("R")


def packed(document: Mapping[str, Any], **shown: Scalar) -> dict[str, Scalar]:
    """The columns of a row: its document, and what people look for in a table."""
    return {"form": FORM, "row": json.dumps(document, separators=(",", ":")), **shown}


def unpacked(stored: Row) -> dict[str, Any]:
    """The document of a row.

    Raises:
        ValueError, KeyError: it is another version's.
    """
    found = json.loads(str(stored.values["row"] if stored.values["form"] == FORM else ""))
    if not isinstance(found, dict):
        raise ValueError("a row is an object")  # noqa: TRY004 - one error for what is not this version's
    return found


async def change(
    read: Callable[[], Awaitable[R]],
    write: Callable[[R], Awaitable[R | None]],
    edit: Callable[[R], R],
    clock: Clock,
    what: str,
) -> R:
    """Change a row as it is, whoever moves it meanwhile.

    Args:
        read: the row as it is.
        write: in place of the one it was read from; None: that has moved.
        edit: from the row as it is to the row as it shall be; repeatable. What it raises ends this.
        clock: for pauses.
        what: the row is of, for people.

    Raises:
        RotationMoved: it kept moving.
        TableUnavailable: it may have been written.
    """
    for tries in range(TRIES):
        try:
            row = await read()
            wanted = edit(row)
            if wanted == row:
                return row
            if (written := await write(wanted)) is not None:
                return written
        except TableUnavailable:
            # What may have been written shows in the row, which is read again.
            if tries == TRIES - 1:
                raise
            await clock.sleep(0.2 * 2**tries)
    raise RotationMoved(f"{what} kept changing; try again")
