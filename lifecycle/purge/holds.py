"""Which run has a group, or all records: one at a time, held by a row that only one insert can make.

Two people may ask for the same at the same moment, or a timer and a person. Two runs over the same records
would delete nothing twice, their ETags see to that, but each would archive what the other deletes.

A run is asked for with `take`, which names it in the row before it is created, and makes sure of it with
`begin` before its first call. It lets go when it ends. A row whose run ended without letting go, or never
came to be, is taken over under its ETag.

Rows of DPS|purge|holds: the thing that is held, with columns run and at.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from clients.ports import Row, Table
from lifecycle.audit import places
from lifecycle.jobs import JobStore
from lifecycle.jobs.row import ENDED

ASKING = timedelta(minutes=1)
"""How long a run that was asked for may take to be created."""

TRIES = 5
"""How often a row may move under who wants it."""

EVERYTHING = "everything"
"""What a purge holds."""


@dataclass(frozen=True, slots=True)
class Held:
    """Another run has it.

    Attributes:
        run: its id.
        state: of its job; "asked for" where it is being created.
        problem: what went wrong with it last; hostile text.
    """

    run: str
    state: str
    problem: str = ""

    def __str__(self) -> str:
        if self.state == "asked for":
            return (
                f"{self.run} was asked for within the last minute; see `job list`, or try again in a minute"
            )
        return f"{self.run} is {self.state} already; wait for its end, or stop it with `job stop {self.run}`"


class Holds:
    """The holds of one DPS."""

    def __init__(self, table: Table, dps: str) -> None:
        self._table = table
        self._partition = f"{dps.lower()}|purge|holds"

    async def take(self, what: str, run: str, jobs: JobStore) -> Held | None:
        """Name a run that is about to be created as the one that has it.

        Args:
            what: is to be held; compared without case.
            run: the id of its job.
            jobs: where runs are.

        Returns:
            None: it is the run's; or who has it.

        Raises:
            TableUnavailable: it may be the run's; asking again is safe.
        """
        key = places.field(what)
        for _ in range(TRIES):
            row = await self._table.get(self._partition, key)
            if row is None:
                if (await self._table.insert(self._row(key, run, jobs.clock.now()))).outcome == "written":
                    return None
                continue
            other = str(row.values["run"])
            if other == run:
                return None
            found = await jobs.find(other)
            at = places.moment(row, "at")
            asking = at is not None and jobs.clock.now() - at < ASKING
            if found is None and asking:
                return Held(other, "asked for")
            if found is not None and found.state not in ENDED:
                return Held(other, str(found.state), found.problem)
            row = self._row(key, run, jobs.clock.now(), row.etag)
            if (await self._table.replace(row)).outcome == "written":
                return None
        return Held("another run", "asked for")

    async def begin(self, what: str, run: str, at: datetime) -> str:
        """Make sure, before its first call, that a run has what it works on.

        Returns:
            "": it has; or the id of the run that has it.

        Raises:
            TableUnavailable: asking again is safe.
        """
        key = places.field(what)
        if (await self._table.insert(self._row(key, run, at))).outcome == "written":
            return ""
        row = await self._table.get(self._partition, key)
        if row is None:  # let go of this moment
            return await self.begin(what, run, at)
        other = str(row.values["run"])
        return "" if other == run else other

    async def let_go(self, what: str, run: str) -> None:
        """The run has ended. Another one's hold stays.

        Raises:
            TableUnavailable: doing it again is safe.
        """
        row = await self._table.get(self._partition, places.field(what))
        if row is not None and row.values["run"] == run:
            await self._table.delete(row)

    def _row(self, key: str, run: str, at: datetime, etag: str | None = None) -> Row:
        return Row(self._partition, key, {"run": run, "at": at}, etag)
