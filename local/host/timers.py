"""Timer triggers: when each function is due, and its runs.

[source: the timer extension's TimerListener and ScheduleMonitor]

- A timer never overlaps itself. Ticks missed during a run become one immediate run after it, which is an
  ordinary one; only a run missed before the host started is ``past_due``.
- With ``useMonitor`` (the default) the status is kept in the state directory. A schedule that is due more
  than once within a minute of the start is not monitored.
- ``runOnStartup`` runs once at the start, unless the timer is past due, which runs it anyway.
- Status is written after the run, so a host that dies in it finds the timer past due when it comes back.

The clock is read about every second and compared with what is due; no long sleep is taken, so that a clock
that is moved moves the timers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from local.host import ncrontab
from local.host.errors import AppError
from local.host.invocation import FunctionFailed
from local.host.timer_status import TimerStatus, TimerStatuses, after_run, at_start, first_status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from local.host.background import Background
    from local.host.clock import Clock
    from local.host.indexing import IndexedFunction
    from local.host.invocation import Invoker

_log = logging.getLogger("host.timers")
_LONGEST_SLEEP = 1.0
_SHORTEST_SLEEP = 0.005


@dataclass(frozen=True, slots=True)
class TimerSettings:
    """A timer trigger's binding, read."""

    schedule: ncrontab.Schedule
    run_on_startup: bool
    use_monitor: bool


def read_timer(function: IndexedFunction) -> TimerSettings:
    """Read the binding of a timer function.

    Raises:
        AppError: the schedule is not NCRONTAB.
    """
    text = str(function.trigger.get("schedule", ""))
    try:
        schedule = ncrontab.parse(text)
    except ncrontab.ScheduleError as error:
        hint = ". A time span works on dedicated plans only" if ":" in text else ""
        raise AppError(f"function {function.name!r}: bad schedule: {error}{hint}") from error
    return TimerSettings(
        schedule=schedule,
        run_on_startup=bool(function.trigger.get("runOnStartup")),
        use_monitor=function.trigger.get("useMonitor") is not False,
    )


@dataclass(slots=True)
class _Timer:
    name: str
    invoker: Invoker
    settings: TimerSettings
    monitored: bool
    status: TimerStatus
    past_due: bool = False
    at_once: bool = False
    running: bool = False

    def input(self, *, past_due: bool) -> dict[str, Any]:
        return {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": self.status.as_json() if self.monitored else None,
            "IsPastDue": past_due,
        }


class Timers:
    """All timers of the app."""

    def __init__(
        self,
        timers: Iterable[tuple[Invoker, TimerSettings]],
        *,
        clock: Clock,
        statuses: TimerStatuses,
        background: Background,
    ) -> None:
        self._clock = clock
        self._statuses = statuses
        self._background = background
        self._stopped = False
        now = clock.now()
        self._timers = {
            invoker.function.name: _Timer(
                name=invoker.function.name,
                invoker=invoker,
                settings=settings,
                monitored=settings.use_monitor and not _more_than_once_a_minute(settings.schedule, now),
                status=first_status(settings.schedule, now),
            )
            for invoker, settings in timers
        }

    def start(self) -> None:
        """Compare what is remembered with the clock, and run at once what was missed.

        Needs a running event loop.

        Raises:
            HostError: a remembered status cannot be understood.
        """
        now = self._clock.now()
        for timer in self._timers.values():
            if timer.invoker.function.disabled:
                continue
            schedule = timer.settings.schedule
            timer.status = first_status(schedule, now)
            if timer.monitored:
                stored = self._statuses.get(timer.name)
                if stored is not None:
                    timer.status, timer.past_due = at_start(schedule, stored, now)
                self._statuses.put(timer.name, timer.status)
            timer.at_once = timer.past_due or timer.settings.run_on_startup
            if timer.status.next is None:
                _log.warning("timer %s: its schedule never comes round, it will not run", timer.name)
            else:
                _log.info("timer %s: next run at %s", timer.name, timer.status.next.isoformat())
        self.check()

    def check(self) -> None:
        """Start each timer that is due and not running. Needs a running event loop."""
        if self._stopped:
            return
        now = self._clock.now()
        for timer in self._timers.values():
            due = timer.at_once or (timer.status.next is not None and now >= timer.status.next)
            if due and not timer.running and not timer.invoker.function.disabled:
                timer.running = True
                self._background.start(self._run(timer, now))

    async def watch(self) -> None:
        """Check again and again until cancelled."""
        while True:
            self.check()
            now = self._clock.now()
            waits = [
                (timer.status.next - now).total_seconds()
                for timer in self._timers.values()
                if timer.status.next is not None and not timer.running and not timer.invoker.function.disabled
            ]
            await self._clock.sleep(max(_SHORTEST_SLEEP, min([_LONGEST_SLEEP, *waits])))

    def stop(self) -> None:
        """Start no more runs; those under way go on."""
        self._stopped = True

    async def run_by_hand(self, name: str) -> None:
        """Run a timer function now, beside its schedule and without changing it. A failure is logged."""
        timer = self._timers[name]
        try:
            await timer.invoker.json(timer.input(past_due=False))
        except FunctionFailed:
            _log.warning("timer %s failed when run by hand", name)

    async def _run(self, timer: _Timer, now: datetime) -> None:
        past_due, timer.past_due, timer.at_once = timer.past_due, False, False
        _log.info("timer %s: running%s", timer.name, ", past due" if past_due else "")
        try:
            await timer.invoker.json(timer.input(past_due=past_due))
        except FunctionFailed:
            _log.warning("timer %s failed; it runs again when it is next due", timer.name)
        finally:
            timer.status = after_run(timer.settings.schedule, now)
            timer.running = False
            if timer.monitored:
                self._statuses.put(timer.name, timer.status)
        self.check()


def _more_than_once_a_minute(schedule: ncrontab.Schedule, now: datetime) -> bool:
    first = schedule.next_after(now)
    second = first and schedule.next_after(first)
    return second is not None and second < now + timedelta(minutes=1)
