"""The one row of a DPS's webhook key, every write a compare-and-swap."""

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

from clients.ports import Clock, Row, Table
from lifecycle.errors import RotationMoved
from lifecycle.rotation.kept import change, packed, unpacked
from lifecycle.rotation.webhook_key.row import CanaryState, RollRow, RollTerms, Stage, Why

_MOMENTS = ("began", "probed", "switched", "clean_since", "clean", "held_until", "updated")
_LISTS = frozenset(("bases", "followers"))
_ENUMS: dict[str, Callable[[str], Any]] = {
    "stage": Stage,
    "resumes": Stage,
    "blocked": Why,
    "canary": CanaryState,
}


class RollStore:
    """The roll of one DPS's webhook key."""

    def __init__(self, table: Table, dps: str, clock: Clock) -> None:
        """Look at nothing yet.

        Args:
            table: that of the rotations.
            dps: its name; the partition begins with it.
            clock: for what is written.
        """
        self.dps = dps.lower()
        self.clock = clock
        self._table = table
        self._partition = f"{self.dps or '-'}|webhook-key"

    def __repr__(self) -> str:
        return f"RollStore({self.dps!r})"

    async def get(self) -> RollRow:
        """The row; one that says nothing where there is none.

        Raises:
            RotationMoved: another version's row.
            TableUnavailable.
        """
        found = await self._table.get(self._partition, "roll")
        return RollRow() if found is None else row_of(found)

    async def replace(self, row: RollRow) -> RollRow | None:
        """Put the row in place of the one it was read from; None: that has moved.

        Raises:
            TableUnavailable: it may have been written; read it.
        """
        row = replace(row, updated=self.clock.now())
        stored = self._stored(row)
        receipt = await (self._table.insert(stored) if row.etag is None else self._table.replace(stored))
        return replace(row, etag=receipt.etag) if receipt.outcome == "written" else None

    async def change(self, edit: Callable[[RollRow], RollRow]) -> RollRow:
        """Change the row as it is, whoever moves it meanwhile.

        Args:
            edit: from the row as it is to the row as it shall be; repeatable. What it raises ends this.

        Raises:
            RotationMoved: it kept moving.
            TableUnavailable: it may have been written.
        """
        return await change(self.get, self.replace, edit, self.clock, "the roll of the webhook's key")

    def _stored(self, row: RollRow) -> Row:
        values = packed(document_of(row), stage=row.stage.value, roll=row.roll, problem=row.problem)
        return Row(self._partition, "roll", values, row.etag)


def document_of(row: RollRow) -> dict[str, Any]:
    """The row as JSON."""
    told: dict[str, Any] = {}
    for each in fields(row):
        value = getattr(row, each.name)
        if each.name == "etag":
            continue
        if each.name == "terms":
            value = {
                "probes": row.terms.probes,
                "probe_time": row.terms.probe_time.total_seconds(),
                "watch": row.terms.watch.total_seconds(),
                "unused": row.terms.unused.total_seconds(),
            }
        elif each.name in _MOMENTS:
            value = None if value is None else value.isoformat()
        elif each.name == "consents":
            value = sorted(value)
        elif each.name in _LISTS:
            value = list(value)
        elif each.name == "counts":
            value = dict(value)
        told[each.name] = value
    return told


def row_of(stored: Row) -> RollRow:
    """The row that `document_of` was made of.

    Raises:
        RotationMoved: another version's.
    """
    try:
        told = unpacked(stored)
        terms = told["terms"]
        for name in _MOMENTS:
            told[name] = None if told[name] is None else datetime.fromisoformat(told[name])
        for name, kind in _ENUMS.items():
            told[name] = kind(told[name])
        told["terms"] = RollTerms(
            terms["probes"],
            timedelta(seconds=terms["probe_time"]),
            timedelta(seconds=terms["watch"]),
            timedelta(seconds=terms["unused"]),
        )
        told["consents"] = frozenset(told["consents"])
        for name in _LISTS & told.keys():
            told[name] = tuple(told[name])
        return RollRow(**told, etag=stored.etag)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RotationMoved(
            "the row of the webhook key's roll is another version's: run the version that wrote it"
        ) from None
