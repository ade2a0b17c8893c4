"""Timers, driven by a clock that only moves when told."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from local.host.clock import WallClock
from local.host.errors import HostError
from local.host.ncrontab import parse
from local.host.timer_status import TimerStatus, at_start

from .conftest import Loaded

Run = Callable[..., Loaded]
NOON = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)


class HeldClock:
    """Stands still until moved; a sleep only lets others run."""

    def __init__(self, now: datetime = NOON) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        await asyncio.sleep(0)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def run_timers(run_app: Run) -> Callable[..., Any]:
    """The timers app with a held clock; answers the app, the clock, and a way to move it and check."""

    def run(schedule: str = "0 0 * * * *", *, now: datetime = NOON, state: Path | None = None) -> Any:
        clock = HeldClock(now)
        app = run_app("timers", clock=clock, environment={"SCHEDULE": schedule}, state=state)
        app.module.gate.set()

        async def move(by: timedelta) -> None:
            clock.time += by
            app.host.timers.check()
            await settle()

        return app, clock, move

    return run


def runs(app: Loaded, name: str) -> list[Any]:
    return [timer for seen, timer in app.module.seen if seen == name]


async def test_timer_runs_when_due_and_not_before(run_timers: Any) -> None:
    app, _, move = run_timers()
    app.host.timers.start()
    await move(timedelta(minutes=59, seconds=29))
    assert runs(app, "scheduled") == []
    await move(timedelta(seconds=1))
    (timer,) = runs(app, "scheduled")
    assert timer.past_due is False
    assert timer.schedule == {"AdjustForDST": True}
    assert timer.schedule_status["Next"] == "2026-11-22T13:00:00+00:00"
    assert timer.schedule_status["Last"] == "0001-01-01T00:00:00+00:00"


async def test_missed_ticks_of_a_moved_clock_become_one_run(run_timers: Any) -> None:
    app, _, move = run_timers()
    app.host.timers.start()
    await move(timedelta(days=30))
    assert len(runs(app, "scheduled")) == 1
    await move(timedelta(minutes=1))
    assert len(runs(app, "scheduled")) == 1


async def test_timer_never_overlaps_itself_and_catches_up_with_one_run(run_timers: Any) -> None:
    app, _, move = run_timers()
    app.module.gate.clear()
    app.host.timers.start()
    await move(timedelta(minutes=5))
    await move(timedelta(minutes=20))
    assert len(runs(app, "slow")) == 1
    app.module.gate.set()
    await settle()
    first, second = runs(app, "slow")
    assert (first.past_due, second.past_due) == (False, False)


async def test_failing_timer_runs_again_when_next_due(run_timers: Any) -> None:
    app, _, move = run_timers()
    app.host.timers.start()
    await move(timedelta(days=1))
    await move(timedelta(days=1))
    assert len(runs(app, "failing")) == 2


async def test_run_on_startup_runs_at_once_and_a_day_that_never_comes_is_said(
    run_timers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app, _, move = run_timers()
    app.host.timers.start()
    await settle()
    await move(timedelta(days=3000))
    assert len(runs(app, "at_startup")) == 1
    assert "timer at_startup: its schedule never comes round" in caplog.text


async def test_run_missed_while_the_host_was_down_is_past_due_once(run_timers: Any, tmp_path: Path) -> None:
    app, _, _ = run_timers(state=tmp_path)
    app.host.timers.start()
    await app.host.background.finish()
    later, _, move = run_timers(now=NOON + timedelta(hours=5), state=tmp_path)
    later.host.timers.start()
    await settle()
    (timer,) = runs(later, "scheduled")
    assert timer.past_due is True
    assert timer.schedule_status["Next"] == "2026-11-22T13:00:00+00:00"
    await move(timedelta(minutes=59, seconds=30))
    assert [timer.past_due for timer in runs(later, "scheduled")] == [True, False]


async def test_restart_before_the_next_run_is_not_past_due(run_timers: Any, tmp_path: Path) -> None:
    app, _, move = run_timers(state=tmp_path)
    app.host.timers.start()
    await move(timedelta(hours=1))
    assert len(runs(app, "scheduled")) == 1
    again, _, _ = run_timers(now=NOON + timedelta(hours=1, minutes=10), state=tmp_path)
    again.host.timers.start()
    await settle()
    assert runs(again, "scheduled") == []


async def test_unmonitored_and_frequent_timers_leave_no_status(run_timers: Any, tmp_path: Path) -> None:
    app, _, move = run_timers(state=tmp_path)
    app.host.timers.start()
    await move(timedelta(days=1))
    kept = {path.stem for path in (tmp_path / "timers").glob("*.json")}
    assert kept == {"scheduled", "at_startup", "slow", "failing"}
    assert runs(app, "unmonitored")[0].schedule_status == {}
    assert runs(app, "often")[0].schedule_status == {}


async def test_status_file_that_is_no_status_is_refused(run_timers: Any, tmp_path: Path) -> None:
    (tmp_path / "timers").mkdir()
    (tmp_path / "timers" / "scheduled.json").write_text(json.dumps({"Last": 1}))
    app, _, _ = run_timers(state=tmp_path)
    with pytest.raises(HostError, match="not a timer status"):
        app.host.timers.start()


async def test_watch_wakes_often_enough_for_every_second(run_timers: Any) -> None:
    app, _, _ = run_timers("* * * * * *")
    async with app.host.ticking():
        await settle()
        await settle()
    assert len(runs(app, "scheduled")) >= 3
    stopped = len(runs(app, "scheduled"))
    app.host.timers.check()
    await settle()
    assert len(runs(app, "scheduled")) == stopped


async def test_moving_the_clock_of_the_process_moves_the_timers(run_app: Run) -> None:
    with time_machine.travel(NOON, tick=False) as traveller:
        app = run_app("timers", clock=WallClock(), environment={"SCHEDULE": "0 0 * * * *"})
        app.module.gate.set()
        app.host.timers.start()
        traveller.shift(timedelta(days=30))
        app.host.timers.check()
        await settle()
        assert len(runs(app, "scheduled")) == 1


def test_changed_schedule_that_would_be_overdue_starts_from_now() -> None:
    now = NOON
    stored = TimerStatus(last=now - timedelta(days=2), next=now - timedelta(days=1), updated=None)
    status, past_due = at_start(parse("0 0 3 * * *"), stored, now)
    assert not past_due
    assert status.next == datetime(2026, 11, 23, 3, tzinfo=UTC)


def test_changed_schedule_that_is_still_ahead_keeps_its_basis() -> None:
    now = NOON
    stored = TimerStatus(last=now - timedelta(minutes=1), next=now + timedelta(days=9), updated=None)
    status, past_due = at_start(parse("0 0 * * * *"), stored, now)
    assert not past_due
    assert (status.last, status.next) == (None, datetime(2026, 11, 22, 13, tzinfo=UTC))
