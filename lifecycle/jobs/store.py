"""The jobs' table: creating a job, reading jobs, guarded writes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from clients.errors import TableUnavailable
from clients.ports import Change, Clock, Receipt, Row, Table
from lifecycle.errors import CheckpointLost, UnreadableJob
from lifecycle.jobs import checkpoints, columns
from lifecycle.jobs.columns import Entry, Switch
from lifecycle.jobs.row import JobRow, Pace, State, Stored, check_id, check_kind

TRIES = 4
"""How often a guarded write is tried when the table gives no answer."""

FIRST_PAUSE = 0.5
"""Seconds before the second try; doubled each time."""


@dataclass(frozen=True, slots=True)
class Current:
    """All jobs that have not ended, and the kill switch, by one scan."""

    jobs: tuple[JobRow, ...] = ()
    switch: Switch = field(default_factory=Switch)
    unreadable: tuple[str, ...] = ()
    """Why rows were left alone."""


@dataclass(frozen=True, slots=True)
class Created:
    """A job, and whether this call made it."""

    job: JobRow
    new: bool


def _unique() -> str:
    return uuid4().hex


class JobStore:
    """The jobs of one DPS in a table."""

    def __init__(self, table: Table, dps: str, clock: Clock, *, unique: Callable[[], str] = _unique) -> None:
        """Look at nothing yet.

        Args:
            table: where they are.
            dps: its name; each partition begins with it.
            clock: of this worker.
            unique: texts that nobody else makes: they name owners and writes.
        """
        self.dps = dps.lower()
        self.clock = clock
        self.unique = unique
        self._table = table
        self._partition = columns.partition(dps)

    def __repr__(self) -> str:
        return f"JobStore({self.dps!r})"

    async def create(
        self,
        job: str,
        kind: str,
        *,
        by: str,
        subject: str = "",
        params: Mapping[str, Any] | None = None,
        not_before: datetime | None = None,
    ) -> Created:
        """Create a job, or find the one of this id, which may have ended: it is not begun again.

        Args:
            job: its id: what makes two requests one. Name the occasion in it: `rotate:group-a:2026-03`.
            kind: which code runs it.
            by: who asks: an operator's name, "timer", "event".
            subject: what it is about, for people.
            params: JSON of at most 30,000 characters, without secrets.
            not_before: when it may begin; now, if not given.

        Raises:
            NotAJob: the id, the kind or the params cannot be stored.
            TableUnavailable: it may have been created; asking again is safe.
        """
        check_id(job)
        check_kind(kind)
        now = self.clock.now()
        made = JobRow(
            id=job,
            kind=kind,
            subject=subject,
            params=dict(params or {}),
            state=State.WAITING,
            by=by,
            created=now,
            updated=now,
            not_before=not_before or now,
            pace=Pace(now),
            stamp=self.unique(),
        )
        batch = [
            Change("insert", Row(self._partition, columns.known_key(job), {"created": now})),
            Change("insert", Row(self._partition, columns.current_key(job), columns.job_columns(made))),
        ]
        tries = 0
        while True:
            try:
                if (await self._table.write(batch)).outcome == "written":
                    return Created(made, new=True)
                found = await self.find(job)
                if found is not None:
                    return Created(found, new=found.stamp == made.stamp)
            except TableUnavailable:
                # An insert that happened answers `exists` to the next, so this repeats nothing.
                await self.pause(tries)
            tries += 1
            if tries >= TRIES:
                raise TableUnavailable(f"job {job} may have been created, or not: create it again")

    async def current(self) -> Current:
        """Every job that has not ended, with the switch.

        Raises:
            TableUnavailable.
        """
        jobs: list[JobRow] = []
        unreadable: list[str] = []
        switch = Switch()
        async for row in self._table.scan(
            self._partition, start=columns.CURRENT, stop=columns.after(columns.CURRENT)
        ):
            if row.key == columns.SWITCH:
                switch = columns.switch_of(row)
                continue
            try:
                jobs.append(columns.job_of(row))
            except UnreadableJob as error:
                unreadable.append(str(error))
        return Current(tuple(jobs), switch, tuple(unreadable))

    async def get(self, job: str) -> JobRow | None:
        """A job that has not ended, or None.

        Raises:
            UnreadableJob: another version's.
            TableUnavailable.
        """
        row = await self._table.get(self._partition, columns.current_key(job))
        return None if row is None else columns.job_of(row)

    async def find(self, job: str) -> JobRow | None:
        """A job, ended or not; None where there is none, or the history has forgotten it.

        Raises:
            UnreadableJob: another version's.
            TableUnavailable.
        """
        found = await self.get(job)
        if found is None:
            row = await self._table.get(self._partition, columns.known_key(job))
            if row is not None and "state" in row.values:
                return columns.job_of(row)
        return found

    async def switch(self) -> Switch:
        """The kill switch.

        Raises:
            TableUnavailable.
        """
        return columns.switch_of(await self._table.get(self._partition, columns.SWITCH))

    async def replace(self, job: JobRow, entry: Entry | None = None) -> Receipt:
        """Put the job in place of the row it was read from, with an entry for the history in one.

        Raises:
            TableUnavailable: it may have happened.
        """
        row = Row(self._partition, columns.current_key(job.id), columns.job_columns(job), job.etag)
        if entry is None:
            return await self._table.replace(row)
        return await self._table.write(
            [Change("replace", row), Change("insert", columns.entry_row(self.dps, entry, job.stamp))]
        )

    async def end(self, job: JobRow, entry: Entry) -> Receipt:
        """Move the job to the history, all at once.

        Raises:
            TableUnavailable: it may have happened.
        """
        job = replace(job, stored=None)
        current = Row(self._partition, columns.current_key(job.id), {}, job.etag)
        known = Row(self._partition, columns.known_key(job.id), columns.job_columns(job))
        return await self._table.write(
            [
                Change("delete", current),
                Change("put", known),
                Change("insert", columns.entry_row(self.dps, entry, job.stamp)),
            ]
        )

    async def put_switch(self, switch: Switch, entry: Entry) -> Receipt:
        """Put the switch in place of the one it was made from.

        Raises:
            TableUnavailable: it may have happened.
        """
        row = Row(self._partition, columns.SWITCH, columns.switch_columns(switch), switch.etag)
        return await self._table.write(
            [
                Change("insert" if switch.etag is None else "replace", row),
                Change("insert", columns.entry_row(self.dps, entry, switch.stamp)),
            ]
        )

    async def entries(self, *, start: str = columns.PAST, most: int) -> list[Entry]:
        """History from a key on, newest first.

        Raises:
            TableUnavailable.
        """
        found: list[Entry] = []
        if most > 0:
            async for row in self._table.scan(self._partition, start=start, stop=columns.after(columns.PAST)):
                found.append(columns.entry_of(row))
                if len(found) == most:
                    break
        return found

    async def forget(self, entry: Entry) -> None:
        """Delete an entry of the history and, if its job ended there, the job.

        Raises:
            TableUnavailable: doing it again is safe.
        """
        row = Row(self._partition, entry.key)
        if entry.what in ("done", "failed"):
            await self.sweep(entry.job)
            # In one: an entry that outlived its job would one day take a later job of the same id with it.
            known = Row(self._partition, columns.known_key(entry.job))
            if (
                await self._table.write([Change("delete", row), Change("delete", known)])
            ).outcome == "written":
                return
        await self._table.delete(row)

    async def write_parts(self, job: str, generation: str, data: bytes) -> Stored:
        """Write a checkpoint beside its row, which does not name it yet.

        Raises:
            TableUnavailable: the parts are written, or not; nothing names them.
        """
        number = 0
        for number, part in enumerate(checkpoints.parts(data), 1):
            row = Row(self._partition, columns.part_key(job, generation, number), part)
            for tries in range(TRIES):
                try:
                    # The same row with the same content, whoever's try arrives: this may be repeated.
                    await self._table.put(row)
                    break
                except TableUnavailable:
                    if tries == TRIES - 1:
                        raise
                    await self.pause(tries)
        return Stored(None, generation, number, checkpoints.digest(data))

    async def read_checkpoint(self, job: JobRow) -> bytes | None:
        """The packed checkpoint that a row names; None before the first.

        Raises:
            CheckpointLost: its parts are not there.
            TableUnavailable.
        """
        stored = job.stored
        if stored is None:
            return None
        if stored.inline is not None:
            if checkpoints.digest(stored.inline) != stored.digest:
                raise CheckpointLost(f"job {job.id}: the checkpoint in its row is not the one saved")
            return stored.inline
        prefix = f"part|{job.id}|{stored.generation}|"
        rows = [
            {name: value for name, value in row.values.items() if isinstance(value, bytes)}
            async for row in self._table.scan(self._partition, start=prefix, stop=columns.after(prefix))
        ]
        return checkpoints.joined(rows, stored.digest)

    async def drop_parts(self, job: str, stored: Stored) -> None:
        """Delete the parts of a generation that no row names any more.

        Raises:
            TableUnavailable: some are left.
        """
        for number in range(1, stored.parts + 1):
            await self._table.delete(Row(self._partition, columns.part_key(job, stored.generation, number)))

    async def sweep(self, job: str) -> None:
        """Delete every part of a job that has ended.

        Raises:
            TableUnavailable: some are left.
        """
        prefix = f"part|{job}|"
        keys = [
            row.key
            async for row in self._table.scan(self._partition, start=prefix, stop=columns.after(prefix))
        ]
        for key in keys:
            await self._table.delete(Row(self._partition, key))

    async def pause(self, tries: int) -> None:
        """Wait before the next try."""
        await self.clock.sleep(FIRST_PAUSE * 2**tries)
