"""Runs apps, each in a process of its own: the frame that worker.py and ours.py fill.

The program reads a JSON array of jobs from standard input and writes the array of their outcomes to the file
it is given. Apps and the runtime library keep state in modules, so each job runs in a fork of the program,
which has the imports behind it.

A job: ``directory``, ``environment``, ``calls``; ``specialised`` if the worker is to begin as on an instance
that waited for an app; ``stay``, the seconds after its calls before it ends in order. A call:
``function`` and, in ``http``, ``json``, ``string`` or ``bytes``, the value its trigger is given; ``trace``
(parent and state) if wanted. Bytes are Latin-1 text, here and in the results.

An outcome: ``refused`` (the reason), ``died`` (the process ended), or ``functions`` and ``results``. A
result: ``failed`` (the exception's type and text), ``escaped`` (one that nobody caught: the host never hears
of the end) or ``value``; and ``told``, the structured events that the app logged meanwhile, if any.
"""

import asyncio
import atexit
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Serve = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def main(serve: Serve) -> None:
    jobs, out = json.load(sys.stdin), Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [_in_a_fork(serve, job, Path(folder) / "outcome") for job in jobs]
    out.write_text(json.dumps(outcomes))


def _in_a_fork(serve: Serve, job: dict[str, Any], out: Path) -> dict[str, Any]:
    out.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        atexit._clear()  # what the program registered is the parent's to do
        try:
            out.write_text(json.dumps(_run(serve, job)))
        except BaseException as error:  # noqa: BLE001  SystemExit, too, ends a worker
            out.write_text(json.dumps({"died": text(error)}))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    os.waitpid(child, 0)
    outcome: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"died": "without a word"}
    return outcome


def _run(serve: Serve, job: dict[str, Any]) -> dict[str, Any]:
    os.environ.update(job["environment"])
    os.chdir(job["directory"])
    sys.path[0] = job["directory"]  # in place of the directory that the program was started from
    with asyncio.Runner() as runner:
        outcome = runner.run(_awaited(serve(job)))
    if "stay" in job:
        time.sleep(job["stay"])
        atexit._run_exitfuncs()  # the end of a fork runs none
    return outcome


async def _awaited(outcome: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return await outcome


class _Told(logging.Handler):
    """Structured events of the log: lines that are a JSON object with the member ``event``."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line.startswith('{"event":'):
            self.events.append(json.loads(line))


async def heard(result: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """A result, and what the app told meanwhile."""
    log, told = logging.getLogger(), _Told()
    level = log.level
    log.addHandler(told)
    log.setLevel(logging.INFO)
    try:
        found = await result
    finally:
        log.setLevel(level)
        log.removeHandler(told)
    return found | ({"told": told.events} if told.events else {})


def text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  the app's own class
        return "Unhandled exception in function. Could not serialize original exception message."
