"""What a job is and which changes its row may undergo: pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from lifecycle.errors import NotAJob

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}", re.ASCII)
_KIND = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)

PACE_SECONDS = 600.0
"""Half-life of the pace: what was done ten minutes ago counts half."""

PACE_GAP_SECONDS = 300.0
"""A longer time without a save was no work: a stop, a pause, a wait for a date."""


class State(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    BLOCKED = "blocked"
    DONE = "done"
    FAILED = "failed"


ENDED = frozenset({State.DONE, State.FAILED})
LEASED = frozenset({State.RUNNING, State.STOPPING})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: `done` of `total` (None: not known yet), counted in `unit`.

    Where a job has phases, both are of the phase it is at.
    """

    done: int = 0
    total: int | None = None
    unit: str = "steps"
    phase: str = ""

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        return f"{self.phase}{': ' if self.phase else ''}{self.done:,}{of} {self.unit}"

    def follows(self, before: "Progress") -> bool:
        """Whether it counts on from there: the pace of another phase or unit says nothing of this one."""
        return (self.phase, self.unit) == (before.phase, before.unit)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a job gets on, its ordinary gaps between two slices included.

    Attributes:
        since: when it was last measured.
        done: the progress then.
        per_second: smoothed; None before the second measurement.
    """

    since: datetime
    done: int = 0
    per_second: float | None = None

    def after(self, done: int, now: datetime) -> "Pace":
        """The pace once `done` is reached at `now`."""
        seconds = (now - self.since).total_seconds()
        if done < self.done or seconds > PACE_GAP_SECONDS or seconds < 0:
            return Pace(now, done, self.per_second)
        if seconds == 0:  # the next measurement takes these steps in
            return self
        latest = (done - self.done) / seconds
        if self.per_second is None:
            return Pace(now, done, latest)
        weight = 1 - 0.5 ** (seconds / PACE_SECONDS)
        return Pace(now, done, self.per_second + weight * (latest - self.per_second))


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint as the row holds it: within, or as parts in sibling rows of one generation."""

    inline: bytes | None = field(default=None, repr=False)
    generation: str = ""
    parts: int = 0
    digest: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job.

    Attributes:
        id: chosen by whoever creates it; the same id is the same job.
        kind: which code runs it.
        subject: what it is about, for people; hostile text, escape it where it is shown.
        params: JSON; what it was told.
        state: see State.
        by: who created it.
        created: when.
        updated: when the row was last written.
        not_before: no slice starts before; also its place in the queue of its kind.
        owner: the tick that holds the lease; "" if none does.
        until: end of the lease on the owner's clock.
        epoch: counts the leases. Who holds a lower one has lost the job.
        stamp: names the latest write, so that one without answer can be recognised.
        attempts: slices begun since the last progress or orderly end.
        troubles: slices since the last progress that a service's trouble ended.
        progress: how far it is.
        pace: how fast.
        problem: what went wrong last; holds no secret; hostile text.
        result: JSON; of a finished job.
        stored: the checkpoint.
        etag: of the row as read.
    """

    id: str
    kind: str
    subject: str
    params: Mapping[str, Any]
    state: State
    by: str
    created: datetime
    updated: datetime
    not_before: datetime
    pace: Pace
    progress: Progress = Progress()
    owner: str = ""
    until: datetime | None = None
    epoch: int = 0
    stamp: str = ""
    attempts: int = 0
    troubles: int = 0
    problem: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    stored: Stored | None = field(default=None, repr=False)
    etag: str | None = field(default=None, compare=False, repr=False)

    def held(self, now: datetime, skew: timedelta) -> bool:
        """Whether some worker may still act under its lease, with clocks up to `skew` apart."""
        return self.state in LEASED and self.until is not None and now <= self.until + skew

    def due(self, now: datetime, skew: timedelta) -> bool:
        """Whether a tick has something to do about it."""
        if self.state is State.WAITING:
            return self.not_before <= now
        return self.state in LEASED and not self.held(now, skew)

    @property
    def remaining(self) -> timedelta | None:
        """The time to its end at its present pace; None while nobody can say."""
        total, pace = self.progress.total, self.pace.per_second
        if self.state in ENDED or total is None or not pace or pace <= 0:
            return None
        seconds = max(0, total - self.progress.done) / pace
        return timedelta(seconds=seconds) if seconds < 10 * 366 * 86_400 else None


def check_id(job: str) -> None:
    """Raises NotAJob unless the text can be a job's id."""
    if not _ID.fullmatch(job):
        raise NotAJob(
            "job id: 1 to 200 of letters, digits and . _ : @ -, beginning with a letter or digit"
            " (hash or encode other texts)"
        )


def check_kind(kind: str) -> None:
    """Raises NotAJob unless the text can name a kind."""
    if not _KIND.fullmatch(kind):
        raise NotAJob("job kind: 1 to 40 lower-case letters, digits and -, beginning with a letter")


def taken(row: JobRow, *, owner: str, now: datetime, until: datetime) -> JobRow:
    """Leased: the attempt is counted before it begins, so that a death counts too. A stop asked for stays."""
    return replace(
        row,
        state=State.STOPPING if row.state is State.STOPPING else State.RUNNING,
        owner=owner,
        until=until,
        epoch=row.epoch + 1,
        attempts=row.attempts + 1,
        updated=now,
    )


def let_go(row: JobRow, *, state: State, now: datetime, not_before: datetime | None = None) -> JobRow:
    """No lease any more. A job that was asked to stop and would have waited is stopped."""
    if state is State.WAITING and row.state is State.STOPPING:
        state = State.STOPPED
    return replace(row, state=state, owner="", until=None, updated=now, not_before=not_before or now)
