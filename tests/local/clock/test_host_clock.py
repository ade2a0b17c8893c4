"""The date of the Functions host's process is moved as a whole."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.functions import FunctionsProcess

ROOT = Path(__file__).parents[3]
PATIENCE = 30.0
NEAR = timedelta(seconds=60)
DAY = 86_400
APP = """
import os, time
from datetime import UTC, datetime
import azure.functions as func
app = func.FunctionApp()
STARTED = datetime.now(UTC)

@app.timer_trigger(schedule="0 0 3 * * *", arg_name="timer", use_monitor=False)
def nightly(timer: func.TimerRequest) -> None:
    with open(os.environ["MARK"], "a") as mark:
        mark.write(datetime.now(UTC).isoformat() + "\\n")

@app.route(route="dates", auth_level=func.AuthLevel.ANONYMOUS)
def dates(req: func.HttpRequest) -> str:
    return f"{STARTED.timestamp()} {time.time()} {datetime.now(UTC).timestamp()} {time.monotonic()}"
"""


@contextmanager
def host(folder: Path, *options: str) -> Iterator[dict[str, Any]]:
    app, ready = folder / "app", folder / "ready.json"
    app.mkdir()
    (app / "function_app.py").write_text(APP)
    (app / "host.json").write_text('{"version": "2.0"}')
    argv = [sys.executable, "-m", "local.host", "--app", str(app), "--port", "0"]
    argv += ["--ready-file", str(ready), "--setting", f"MARK={folder / 'mark'}", *options]
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(ready, process)
            yield json.loads(ready.read_text())
        finally:
            process.kill()


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def move(ready: dict[str, Any], body: Any, key: str = "master_key") -> httpx.Response:
    headers = {"x-functions-key": ready[key]}
    return httpx.post(f"{ready['url']}/admin/local/clock", json=body, headers=headers)


def test_timers_and_all_dates_of_the_process_follow_when_its_clock_is_moved(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with host(tmp_path, "--clock-ahead", str(DAY)) as ready:
        started, wall, date, monotonic = map(float, httpx.get(f"{ready['url']}/api/dates").text.split())
        for moment in (started, wall, date):
            assert abs(moment - time.time() - DAY) < NEAR.total_seconds()
        assert abs(monotonic - time.monotonic()) < NEAR.total_seconds(), "durations are not moved"
        before = mark.read_text().split() if mark.exists() else []
        for days in (2, 3):
            answer = move(ready, {"ahead": days * DAY})
            assert answer.status_code == 200
            there = datetime.now(UTC) + timedelta(days=days)
            assert abs(datetime.fromisoformat(answer.json()["now"]) - there) < NEAR
            deadline = time.monotonic() + PATIENCE
            while len(mark.read_text().split() if mark.exists() else []) < len(before) + days - 1:
                assert time.monotonic() < deadline, "the timer did not fire"
                time.sleep(0.02)
        last = datetime.fromisoformat(mark.read_text().split()[-1])
        assert abs(last - datetime.now(UTC) - timedelta(days=3)) < NEAR


def test_clock_is_moved_forward_only_and_by_the_master_key_only(tmp_path: Path) -> None:
    with host(tmp_path, "--clock-ahead", "60") as ready:
        bodies: list[Any] = [
            {"ahead": 30},
            {"ahead": "soon"},
            {},
            [],
            {"ahead": 1e300},
            {"ahead": float("inf")},
        ]
        for body in bodies:
            content = json.dumps(body)
            headers = {"x-functions-key": ready["master_key"]}
            url = f"{ready['url']}/admin/local/clock"
            assert httpx.post(url, content=content, headers=headers).status_code == 400
        assert move(ready, {"ahead": 90}, "host_key").status_code == 401


def test_host_without_a_movable_clock_has_no_such_endpoint(tmp_path: Path) -> None:
    with host(tmp_path) as ready:
        assert move(ready, {"ahead": 60}).status_code == 404


def test_start_before_the_machines_date_is_refused(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "local.host", "--app", str(tmp_path), "--port", "0", "--clock-ahead=-5"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "--clock-ahead: ahead is -5.0; it must be 0 to" in done.stderr


async def test_process_that_died_comes_back_at_the_date_it_was_moved_to(tmp_path: Path) -> None:
    functions = FunctionsProcess(
        folder=tmp_path, python=sys.executable, port=0, settings={"APP_ROLE": "all"}, clock_ahead=0.0
    )
    try:
        await functions.start()
        await functions.move_clock(5 * DAY)
        await functions.kill()
        await functions.move_clock(6 * DAY)
        await functions.start()
        with pytest.raises(RuntimeError, match="did not move its clock"):
            await functions.move_clock(6 * DAY - 1)
        await functions.move_clock(6 * DAY)
    finally:
        await functions.stop()
