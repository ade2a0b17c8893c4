"""The host as a process of its own."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[3]
APPS = ROOT / "tests" / "apps"
# Every wait ends with what it waits for; this only bounds a broken run.
PATIENCE = 30.0


def wait_for(path: Path, process: "subprocess.Popen[str] | None" = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process is None or process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


class Started:
    def __init__(self, process: "subprocess.Popen[str]", ready_file: Path) -> None:
        self.process = process
        wait_for(ready_file, process)
        self.ready_file = ready_file
        self.ready: dict[str, Any] = json.loads(ready_file.read_text())
        self.url: str = self.ready["url"]

    def key(self, name: str) -> dict[str, str]:
        return {"x-functions-key": self.ready["function_keys"][name]}

    def stop(self, how: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(how)
        return self.end()

    def end(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    processes = []

    def run(*options: str, app: str = "process", ready: str = "ready.json") -> Started:
        command = [sys.executable, "-m", "local.host", "--app", str(APPS / app), "--port", "0"]
        command += ["--ready-file", str(tmp_path / ready), "--setting", f"MARK={tmp_path / 'mark'}", *options]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return Started(process, tmp_path / ready)

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def test_ready_file_says_where_and_how_and_only_to_its_owner(start: Callable[..., Started]) -> None:
    host = start("--setting", "COLOUR=a=b", "--url-setting", "OWN=/api/setting")
    assert stat.S_IMODE(host.ready_file.stat().st_mode) == 0o600
    assert host.ready["pid"] == host.process.pid
    assert host.url == f"http://127.0.0.1:{host.ready['port']}"
    assert set(host.ready["function_keys"]) == {"setting", "slow", "stuck", "log", "fail"}
    assert set(host.ready["system_keys"]) == {"eventgrid_extension"}
    assert {"name": "slow", "trigger": "httpTrigger", "url": f"{host.url}/api/slow"} in host.ready[
        "functions"
    ]
    expected = {
        "COLOUR": "a=b",
        "OWN": f"{host.url}/api/setting",
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "AzureWebJobsScriptRoot": str(APPS / "process"),
        "WEBSITE_HOSTNAME": f"127.0.0.1:{host.ready['port']}",
    }
    for name, value in expected.items():
        assert httpx.get(f"{host.url}/api/setting/{name}").text == value
    code, errors = host.stop()
    assert code == 0
    assert "imported in process as function_app" in errors
    assert not host.ready_file.exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_running_invocation_finishes_before_the_end(
    start: Callable[..., Started], tmp_path: Path, how: int
) -> None:
    host = start()
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(httpx.get, f"{host.url}/api/slow", headers=host.key("slow"), timeout=PATIENCE)
        wait_for(tmp_path / "mark")
        code, _ = host.stop(how)
        assert (request.result().status_code, request.result().text) == (200, "finished")
    assert code == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(host.url)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_stuck_thread_does_not_hold_the_end(start: Callable[..., Started], tmp_path: Path) -> None:
    host = start("--grace", "0.1")
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(httpx.get, f"{host.url}/api/stuck", timeout=PATIENCE)
        wait_for(tmp_path / "mark")
        code, errors = host.stop()
        assert request.exception() is not None or request.result().status_code >= 500
    assert code == 0
    assert "still runs in a thread" in errors


def test_restart_keeps_the_keys(start: Callable[..., Started], tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    first = start("--state", state)
    first.stop()
    second = start("--state", state)
    kept = ("master_key", "host_key", "function_keys", "system_keys")
    assert {name: first.ready[name] for name in kept} == {name: second.ready[name] for name in kept}


def test_without_state_the_keys_are_new(start: Callable[..., Started]) -> None:
    assert start().ready["master_key"] != start(ready="other.json").ready["master_key"]


def test_host_ends_when_its_parents_pipe_closes(start: Callable[..., Started]) -> None:
    host = start("--parent-pipe")
    assert host.process.stdin is not None
    host.process.stdin.close()
    host.process.stdin = None
    assert host.end()[0] == 0


def test_settings_file_gives_settings_and_the_command_line_beats_it(
    start: Callable[..., Started], tmp_path: Path
) -> None:
    path = tmp_path / "local.settings.json"
    path.write_text(json.dumps({"IsEncrypted": False, "Values": {"ONE": "file", "TWO": "file", "THREE": 3}}))
    host = start("--settings-file", str(path), "--setting", "TWO=given")
    seen = [httpx.get(f"{host.url}/api/setting/{name}").text for name in ("ONE", "TWO", "THREE")]
    assert seen == ["file", "given", "3"]


def test_log_is_json_and_holds_no_key_query_or_header(start: Callable[..., Started]) -> None:
    host = start("--log-format", "json")
    key = host.ready["function_keys"]["log"]
    assert httpx.get(f"{host.url}/api/log?code={key}&what=a%0Ab").text == "logged"
    assert httpx.get(f"{host.url}/api/fail", headers=host.key("fail")).status_code == 500
    assert httpx.get(f"{host.url}/api/log?code=wrong").status_code == 401
    _, errors = host.stop()
    lines = [json.loads(line) for line in errors.splitlines()]
    worked = next(line for line in lines if line["logger"] == "app.work")
    assert (worked["function"], worked["message"]) == ("log", "worked on a\nb")
    assert len(worked["invocation"]) == 36
    assert any("LookupError: nothing here" in line.get("exception", "") for line in lines)
    keys = [host.ready["master_key"], host.ready["host_key"], *host.ready["function_keys"].values()]
    assert not any(text in errors for text in [*keys, "code=", "x-functions-key"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--app", "no-such-directory", "--port", "0"], "is not a directory"),
        (["--app", str(APPS / "timers"), "--port", "0"], "give --setting SCHEDULE="),
        (
            ["--app", str(APPS / "timers"), "--port", "0", "--setting", "SCHEDULE=soon"],
            "'scheduled': bad schedule",
        ),
        (["--app", str(APPS / "process"), "--port", "70000"], "port 70000"),
        (["--app", str(APPS / "process"), "--port", "0", "--ready-file", "no/such/file"], "ready file"),
        (["--app", str(APPS / "process"), "--port", "0", "--state", "/dev/null/state"], "/dev/null"),
        (["--app", str(APPS / "process"), "--port", "0", "--setting", "nothing"], "NAME=VALUE"),
        (["--app", str(APPS / "process"), "--port", "0", "--settings-file", "none.json"], "does not exist"),
    ],
)
def test_bad_start_is_exit_code_1_with_one_message(options: list[str], message: str) -> None:
    command = [sys.executable, "-m", "local.host", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
