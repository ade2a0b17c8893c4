"""``python -m local.host``: the command line."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local.host import environment, process
from local.host.errors import HostError
from local.host.logs import set_up_logging
from local.host.runtime import load

if TYPE_CHECKING:
    from local.host.movable import MovableClock


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.host",
        description="Run an Azure Functions app (Python v2 model) on 127.0.0.1: HTTP, timer and Event Grid.",
    )
    parser.add_argument(
        "--app", type=Path, required=True, metavar="DIR", help="holds function_app.py, host.json"
    )
    parser.add_argument("--port", type=int, required=True, metavar="N", help="0 takes any free port")
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="keeps keys and timer statuses between runs"
    )
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the app; repeatable",
    )
    parser.add_argument(
        "--url-setting",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a setting of the app: this host's own URL with that path, whatever its port; repeatable",
    )
    parser.add_argument("--settings-file", type=Path, metavar="FILE", help="a local.settings.json")
    parser.add_argument(
        "--ready-file", type=Path, metavar="FILE", help="JSON with URL, keys and functions, once it answers"
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--grace", type=float, default=10.0, metavar="SECONDS", help="for running invocations at the end"
    )
    parser.add_argument(
        "--clock-ahead",
        type=float,
        metavar="SECONDS",
        help="start with the process's date so far ahead, and let POST /admin/local/clock move it on",
    )
    parser.add_argument(
        "--parent-pipe",
        action="store_true",
        help="end when standard input closes, as it does when the parent dies; give it a pipe",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the host; the exit code is 0 after a stop that was asked for, 1 when it could not start."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except (HostError, OSError) as error:  # a directory that cannot be written, a port in use
        print(f"local.host: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # during the start, or on Windows
        return 0
    return 0


def _run(options: argparse.Namespace) -> None:
    parent = process.ParentWatch() if options.parent_pipe else None
    # Absolute before the change of directory below.
    app = options.app.resolve()
    state = options.state.resolve() if options.state else None
    ready_file = options.ready_file.resolve() if options.ready_file else None
    if ready_file is not None:
        # One left by a host that was killed would tell of keys and a port that are no more.
        ready_file.unlink(missing_ok=True)
        if not ready_file.parent.is_dir():
            raise HostError(f"{ready_file.parent} is not a directory: the ready file cannot be written there")
    settings = environment.read_settings_file(options.settings_file) if options.settings_file else {}
    given = [environment.parse_setting(text) for text in options.setting]
    urls = [environment.parse_setting(text) for text in options.url_setting]
    with process.bind(options.port) as listener:
        own = f"http://127.0.0.1:{listener.getsockname()[1]}"
        given += [(name, own + path) for name, path in urls]
        passed_over = environment.apply_environment(
            given=given,
            from_file=settings,
            worker=environment.worker_variables(app, listener.getsockname()[1]),
        )
        set_up_logging(options.log_format)
        for name in passed_over:
            print(
                f"local.host: {name} is already set; the settings file's value is not used", file=sys.stderr
            )
        if not app.is_dir():
            raise HostError(f"{app} is not a directory")
        sys.path.insert(0, str(app))
        os.chdir(app)
        movable = _movable(options.clock_ahead)  # before the app is imported: it may look at the clock
        host = load(app, state=state, movable=movable)
        process.serve(host, listener, ready_file=ready_file, grace=options.grace, parent=parent)


def _movable(ahead: float | None) -> MovableClock | None:
    if ahead is None:
        return None
    from local.host.movable import MovableClock  # noqa: PLC0415  it replaces functions of the process

    try:
        return MovableClock(ahead)
    except ValueError as error:
        raise HostError(f"--clock-ahead: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
