"""The host's log on stderr: its own lines and everything the app logs or raises.

Like the worker, the root logger lets INFO and above through (all with ``PYTHON_ENABLE_DEBUG_LOGGING``), and
each line of the app carries its function and invocation id. The host itself never logs a query string (it
holds ``?code=``), a header or a key. What others put into a message is hostile in a terminal: control
characters are escaped, and a second line is indented so that it cannot pass for a record of its own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from local.host.context import CURRENT, THREAD, Invocation

if TYPE_CHECKING:
    from collections.abc import Mapping

_GATHER_SECONDS = 0.005
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class InvocationFilter(logging.Filter):
    """Puts the running invocation on each record, where the record is made."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mark the record; let all through."""
        invocation = CURRENT.get()
        if invocation is None and (identifier := _thread_invocation()):
            invocation = Invocation("", identifier)
        record.invocation = invocation
        return True


def _thread_invocation() -> str | None:
    """The id that a thread of the app said it works for.

    On a thread with an event loop it would be that of whichever invocation came last.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return getattr(THREAD, "invocation_id", None)
    return None


class TextFormatter(logging.Formatter):
    """One line a record: time in UTC, level, function and invocation, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        invocation: Invocation | None = getattr(record, "invocation", None)
        who = f" [{invocation.function} {invocation.id}]" if invocation else ""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if not text.isprintable():
            text = _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text).replace("\n", "\n    ")
        return f"{_time(record)} {record.levelname:<7}{who} {record.name}: {text}"


class JsonFormatter(logging.Formatter):
    """One JSON object a record, on one line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        invocation: Invocation | None = getattr(record, "invocation", None)
        line: dict[str, str] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if invocation:
            line["function"], line["invocation"] = invocation
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class GatheringHandler(logging.StreamHandler[TextIO]):
    """Writes records from a thread of its own, those of a few milliseconds at once.

    The real worker hands records to a thread too, which sends them to the host: a function never waits for
    the write. ``flush`` waits until all is written, as at the interpreter's end.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: deque[str] = deque()
        self._writing = threading.Lock()
        self._wanted = threading.Event()
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Format the record now, for it may change; write it soon."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 - as logging's own handlers: a bad record must not fail the function
            self.handleError(record)
        else:
            if not self._wanted.is_set():
                self._wanted.set()

    def flush(self) -> None:
        """Write what there is."""
        with self._writing:
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if lines:
                self.stream.write("".join(lines))
                self.stream.flush()

    def _write(self) -> None:
        while True:
            self._wanted.wait()
            time.sleep(_GATHER_SECONDS)
            self._wanted.clear()
            self.flush()


def make_handler(log_format: str, stream: TextIO) -> logging.Handler:
    """A handler that writes records as ``text`` or ``json`` with their invocation."""
    handler = GatheringHandler(stream)
    handler.addFilter(InvocationFilter())
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    return handler


def set_up_logging(log_format: str, environment: Mapping[str, str] = os.environ) -> None:
    """Send the whole process's log to stderr."""
    debug = environment.get("PYTHON_ENABLE_DEBUG_LOGGING", "").lower() in {"1", "true", "yes", "t", "y"}
    root = logging.getLogger()
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    root.addHandler(make_handler(log_format, sys.stderr))
    for chatty in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
