"""The rotations' table: one row per group, every write a compare-and-swap."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from clients.ports import Clock, Row, Table
from lifecycle.errors import NotAdopted, RotationMoved
from lifecycle.rotation.kept import TRIES, change, packed, unpacked
from lifecycle.rotation.row import (
    SLOTS,
    Canary,
    CanaryState,
    Mode,
    RotationRow,
    RotationTerms,
    Slot,
    SlotName,
    Stage,
    Use,
    Why,
)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of all groups, and why others were left alone."""

    rows: tuple[RotationRow, ...]
    unreadable: tuple[str, ...] = ()


class RotationStore:
    """The rotations of one DPS."""

    def __init__(self, table: Table, dps: str, clock: Clock) -> None:
        """Look at nothing yet.

        Args:
            table: where they are.
            dps: its name; the partition begins with it.
            clock: for what is written.
        """
        self.dps = dps.lower()
        self.clock = clock
        self._table = table
        self._partition = f"{self.dps or '-'}|rotation"

    def __repr__(self) -> str:
        return f"RotationStore({self.dps!r})"

    async def find(self, group: str) -> RotationRow | None:
        """A group's row; None: it was not adopted.

        Raises:
            RotationMoved: another version's row.
            TableUnavailable.
        """
        found = await self._table.get(self._partition, group.lower())
        return None if found is None else row_of(found)

    async def get(self, group: str) -> RotationRow:
        """A group's row.

        Raises:
            NotAdopted: there is none.
            RotationMoved, TableUnavailable: as `find`.
        """
        found = await self.find(group)
        if found is None:
            raise NotAdopted(group)
        return found

    async def all(self) -> Rows:
        """Every group's row; there are at most 100 symmetric groups (documented).

        Raises:
            TableUnavailable.
        """
        rows: list[RotationRow] = []
        unreadable: list[str] = []
        async for each in self._table.scan(self._partition):
            try:
                rows.append(row_of(each))
            except RotationMoved as error:
                unreadable.append(str(error))
        return Rows(tuple(rows), tuple(unreadable))

    async def insert(self, row: RotationRow) -> bool:
        """Write a group's first row; False: it has one.

        Raises:
            TableUnavailable: it may have been written.
        """
        return (await self._table.insert(self._stored(row))).outcome == "written"

    async def replace(self, row: RotationRow) -> RotationRow | None:
        """Put the row in place of the one it was read from; None: that has moved.

        Raises:
            TableUnavailable: it may have been written; read it.
        """
        assert row.etag is not None
        row = replace(row, updated=self.clock.now())
        receipt = await self._table.replace(self._stored(row))
        return replace(row, etag=receipt.etag) if receipt.outcome == "written" else None

    async def change(self, group: str, edit: Callable[[RotationRow], RotationRow]) -> RotationRow:
        """Change a group's row as a command does: on what is there, whoever moves it meanwhile.

        Args:
            group: its id.
            edit: from the row as it is to the row as it shall be; repeatable. What it raises ends this.

        Raises:
            NotAdopted: the group has none.
            RotationMoved: it kept moving.
            TableUnavailable: it may have been written.
        """
        what = f"the rotation of group {group[:128]!a}"
        return await change(lambda: self.get(group), self.replace, edit, self.clock, what)

    async def forget(self, group: str) -> bool:
        """Delete a group's row: the group is gone for good. Its secrets stay in the vault.

        Returns:
            Whether there was one. That of a rotation whose canary may be left somewhere stays, until the
            daily timer has cleaned up.

        Raises:
            RotationMoved: it kept moving, or is another version's.
            TableUnavailable: it may have been deleted; the same again is safe.
        """
        for _ in range(TRIES):
            row = await self.find(group)
            if row is None or row.canary.dirty:
                return False
            if (await self._table.delete(self._stored(row))).outcome != "moved":
                return True
        raise RotationMoved(f"the rotation of group {group[:128]!a} kept changing; try again")

    def _stored(self, row: RotationRow) -> Row:
        values = packed(
            document_of(row),
            group=row.group,
            stage=row.stage.value,
            rotation=row.rotation,
            problem=row.problem,
        )
        return Row(self._partition, row.group.lower(), values, row.etag)


def document_of(row: RotationRow) -> dict[str, Any]:
    """The row as JSON."""
    return {
        "group": row.group,
        "secret": row.secret,
        "terms": {
            "overlap": row.terms.overlap.total_seconds(),
            "validity": row.terms.validity.total_seconds(),
            "canary": row.terms.canary,
            "hold": row.terms.hold,
        },
        "slots": {
            name: {"use": row.slots[name].use.value, "since": _text(row.slots[name].since)} for name in SLOTS
        },
        "stage": row.stage.value,
        "mode": row.mode.value,
        "rotation": row.rotation,
        "by": row.by,
        "began": _text(row.began),
        "replaces": row.replaces,
        "target": row.target,
        "chosen": dict(row.chosen),
        "published": row.published,
        "until": _text(row.until),
        "consents": sorted(row.consents),
        "blocked": row.blocked.value,
        "resumes": row.resumes.value,
        "problem": row.problem,
        "canary": {
            "state": row.canary.state.value,
            "dirty": row.canary.dirty,
            "tries": row.canary.tries,
            "next_try": _text(row.canary.next_try),
            "last": {name: _text(at) for name, at in row.canary.last.items()},
        },
        "enable_after": row.enable_after,
        "declined": row.declined,
        "created": row.created,
        "holder": row.holder,
        "epoch": row.epoch,
        "updated": _text(row.updated),
    }


def row_of(stored: Row) -> RotationRow:
    """The row that `document_of` was made of.

    Raises:
        RotationMoved: another version's.
    """
    try:
        told = unpacked(stored)
        terms, canary = told["terms"], told["canary"]
        return RotationRow(
            group=told["group"],
            secret=told["secret"],
            terms=RotationTerms(
                timedelta(seconds=terms["overlap"]),
                timedelta(seconds=terms["validity"]),
                terms["canary"],
                terms["hold"],
            ),
            slots={name: _slot(told["slots"][name]) for name in SLOTS},
            stage=Stage(told["stage"]),
            mode=Mode(told["mode"]),
            rotation=told["rotation"],
            by=told["by"],
            began=_moment(told["began"]),
            replaces=told["replaces"],
            target=_slot_name(told["target"]) if told["target"] else None,
            chosen={_slot_name(name): version for name, version in told["chosen"].items()},
            published=told["published"],
            until=_moment(told["until"]),
            consents=frozenset(told["consents"]),
            blocked=Why(told["blocked"]),
            resumes=Stage(told["resumes"]),
            problem=told["problem"],
            canary=Canary(
                CanaryState(canary["state"]),
                canary["dirty"],
                canary["tries"],
                _moment(canary["next_try"]),
                {_slot_name(name): datetime.fromisoformat(at) for name, at in canary["last"].items()},
            ),
            enable_after=told["enable_after"],
            declined=told["declined"],
            created=told.get("created", ""),
            holder=told["holder"],
            epoch=told["epoch"],
            updated=_moment(told["updated"]),
            etag=stored.etag,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RotationMoved(
            f"the rotation's row {stored.key[:128]!a} is another version's: run the version that wrote it"
        ) from None


def _slot(told: Mapping[str, Any]) -> Slot:
    return Slot(Use(told["use"]), _moment(told["since"]))


def _slot_name(name: str) -> SlotName:
    if name == "primary":
        return "primary"
    if name == "secondary":
        return "secondary"
    raise ValueError


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
