"""Every record that a purge means to delete, written down before: append-only, in chunks, by run.

Rows of DPS|purge|archive|RUN: `c|NNNNNN`, the records of a chunk, inserted once and never changed; and
`o|NNNNNN`, what came of each of them, inserted once the last is known. A chunk without outcomes is one whose
run died in it: the next slice goes on with it, so that no record is archived twice for one delete.
DPS|purge|archive has one row per run.

A record's payload is left out: it may be secret, and no record can be written back to DPS.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from clients.ports import Row, Table
from lifecycle.audit import places
from lifecycle.purge.rules import Reason
from provisioning.registrations import KNOWN, Registration

CHUNK = 50
"""Records of a chunk, at most: what a death in the middle makes the next slice look at again."""

LONGEST_TEXT = 4_000
"""Characters of one text of a record that are kept: 50 records fit a row whatever they say."""

LONGEST_OF_MANY = 500
"""The same, of a record that is too large."""

LARGEST_RECORD = 16 * 1024
"""Characters of a record as JSON: of a larger one only the members that DPS is known to write are kept, or a
chunk would fit no row, and no run would get past it."""

PAYLOAD = "(not archived)"

Outcome = Literal["deleted", "gone", "left"]
"""Deleted; found gone where it was about to be; left because it had changed or its device was back."""


@dataclass(frozen=True, slots=True)
class Archived:
    """One record.

    Attributes:
        document: as DPS gave it, without its payload.
        group: through which it was listed.
        reason: why it was to go.
        at: when it was archived.
        outcome: what came of it; None: its run has not said yet.
    """

    document: Mapping[str, Any]
    group: str
    reason: Reason
    at: datetime
    outcome: Outcome | None = None

    @property
    def id(self) -> str:
        """Of the registration."""
        return str(self.document["registrationId"])

    def written(self) -> dict[str, Any]:
        """For people and files: JSON."""
        return {
            "registration": dict(self.document),
            "group": self.group,
            "reason": str(self.reason),
            "archivedAt": self.at.isoformat(),
            "outcome": self.outcome,
        }


@dataclass(frozen=True, slots=True)
class ArchivedRun:
    """One run that archived something."""

    run: str
    started: datetime


class Archive:
    """The archive of one DPS."""

    def __init__(self, table: Table, dps: str) -> None:
        self._table = table
        self._dps = dps.lower()

    async def begin(self, run: str, started: datetime) -> None:
        """Note that a run archives. The same again changes nothing."""
        key = f"{places.newest_first(started)}|{run}"
        await self._table.insert(Row(f"{self._dps}|purge|archive", key, {"run": run, "started": started}))

    async def runs(self) -> list[ArchivedRun]:
        """The runs that archived something, newest first."""
        found = []
        async for row in self._table.scan(f"{self._dps}|purge|archive"):
            started = places.moment(row, "started")
            assert started is not None, "every run has its start"
            found.append(ArchivedRun(str(row.values["run"]), started))
        return found

    async def add(self, run: str, number: int, records: Sequence[Archived]) -> Sequence[Archived]:
        """Write a chunk, unless one of that number is there already.

        Returns:
            What the archive has under that number.

        Raises:
            TableUnavailable: it may have happened; the same again is safe.
        """
        row = Row(
            self._partition(run), f"c|{number:06}", places.spread("c", [_packed(each) for each in records])
        )
        if (await self._table.insert(row)).outcome == "written":
            return records
        found = await self.chunk(run, number)
        assert found is not None, "nothing is ever taken out of the archive"
        return found

    async def chunk(self, run: str, number: int) -> Sequence[Archived] | None:
        """The records of a chunk, without outcomes; None: it was never written."""
        row = await self._table.get(self._partition(run), f"c|{number:06}")
        return None if row is None else [_unpacked(each) for each in places.gathered("c", row.values) or ()]

    async def settle(self, run: str, number: int, outcomes: Sequence[Outcome]) -> None:
        """Write what came of a chunk's records. The first word stands."""
        await self._table.insert(
            Row(self._partition(run), f"o|{number:06}", places.spread("o", list(outcomes)))
        )

    async def settled(self, run: str, number: int) -> Sequence[Outcome] | None:
        """What came of a chunk's records; None: not known yet."""
        row = await self._table.get(self._partition(run), f"o|{number:06}")
        if row is None:
            return None
        outcomes: Sequence[Outcome] = places.gathered("o", row.values)
        return outcomes

    async def records(self, run: str) -> AsyncIterator[Archived]:
        """Every record of a run, with what came of it."""
        async for row in self._table.scan(self._partition(run), start="c|", stop="c}"):
            number = int(row.key.rpartition("|")[2])
            outcomes = await self.settled(run, number)
            for at, each in enumerate(places.gathered("c", row.values) or ()):
                yield _unpacked(each, outcomes[at] if outcomes else None)

    def _partition(self, run: str) -> str:
        return f"{self._dps}|purge|archive|{run}"


def archived(record: Registration, group: str, reason: Reason, at: datetime) -> Archived:
    """A record as it is archived."""
    document = {
        name: value[:LONGEST_TEXT] if isinstance(value, str) else value
        for name, value in record.document().items()
    }
    if "payload" in document:
        document["payload"] = PAYLOAD
    if len(places.as_text(document)) > LARGEST_RECORD:
        document = {name: value for name, value in document.items() if name in KNOWN}
        document = {name: v[:LONGEST_OF_MANY] if isinstance(v, str) else v for name, v in document.items()}
    return Archived(document, group, reason, at)


def _packed(record: Archived) -> list[Any]:
    return [dict(record.document), record.group, str(record.reason), record.at.isoformat()]


def _unpacked(value: Sequence[Any], outcome: Outcome | None = None) -> Archived:
    document, group, reason, at = value
    return Archived(document, group, Reason(reason), datetime.fromisoformat(at), outcome)
