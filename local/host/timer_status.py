"""What is remembered of each timer between two runs of the host, and what that means at a start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from local.host.errors import HostError
from local.host.files import make_private_directory, read_json_object, write_private_json

if TYPE_CHECKING:
    from pathlib import Path

    from local.host.ncrontab import Schedule

_NEVER = "0001-01-01T00:00:00+00:00"


@dataclass(frozen=True, slots=True)
class TimerStatus:
    """When a timer last ran and is next due, in UTC; None is never."""

    last: datetime | None
    next: datetime | None
    updated: datetime | None
    """The time ``next`` was worked out from."""

    def as_json(self) -> dict[str, str]:
        """As the host passes it to a function and stores it: ``Last``, ``Next``, ``LastUpdated``."""
        return {"Last": _text(self.last), "Next": _text(self.next), "LastUpdated": _text(self.updated)}


def first_status(schedule: Schedule, now: datetime) -> TimerStatus:
    """The status of a timer that has never been seen."""
    return TimerStatus(last=None, next=schedule.next_after(now), updated=now)


def after_run(schedule: Schedule, started: datetime) -> TimerStatus:
    """The status after a run that started at ``started``.

    Next is counted from the start, not the end: what was missed meanwhile becomes one immediate run.
    """
    return TimerStatus(last=started, next=schedule.next_after(started), updated=started)


def at_start(schedule: Schedule, stored: TimerStatus, now: datetime) -> tuple[TimerStatus, bool]:
    """What ``stored`` means to a host that starts now: the status to go on with, and whether it is past due.

    A timer is past due when the run it promised has been missed. When the schedule has been changed since,
    a promise that would already be broken is made anew from now [source: the timer extension's
    ScheduleMonitor].
    """
    basis = stored.last or stored.updated or now
    expected = schedule.next_after(basis)
    if stored.next != expected:
        if expected is not None and now > expected:
            expected, basis = schedule.next_after(now), now
        stored = TimerStatus(last=None, next=expected, updated=basis)
    return stored, stored.next is not None and now > stored.next


class TimerStatuses:
    """The statuses of all timers, in files of a directory or, without one, in memory."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._memory: dict[str, TimerStatus] = {}
        if directory is not None:
            make_private_directory(directory)

    def get(self, name: str) -> TimerStatus | None:
        """What is known of the timer of this function.

        Raises:
            HostError: its file cannot be understood.
        """
        if self._directory is None:
            return self._memory.get(name)
        path = self._directory / f"{name}.json"
        document = read_json_object(path)
        if document is None:
            return None
        try:
            return TimerStatus(*(_moment(document[key]) for key in ("Last", "Next", "LastUpdated")))
        except (KeyError, TypeError, ValueError) as error:
            raise HostError(f"{path} is not a timer status: delete it") from error

    def put(self, name: str, status: TimerStatus) -> None:
        """Remember the status of the timer of this function."""
        if self._directory is None:
            self._memory[name] = status
        else:
            write_private_json(self._directory / f"{name}.json", status.as_json())


def _text(moment: datetime | None) -> str:
    return _NEVER if moment is None else moment.isoformat()


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        raise TypeError(text)
    if text == _NEVER:
        return None
    return datetime.fromisoformat(text).astimezone(UTC)
