"""Keys of functions that the management plane has changed since: read from a file when it changes.

A real host keeps its keys in memory and finds out in its own time; that time is in the file: each value says
from when, and until when, it counts.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from local.host.files import read_json_object

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILE = "function-keys.json"


class NamedKeys:
    """The file's keys."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        """Look at nothing yet; there may be no file."""
        self._path = path
        self._now = now
        self._stamp: tuple[int, int] | None = None
        self._functions: dict[str, list[tuple[bytes, float, float | None]]] = {}

    def of(self, function: str, first: bytes) -> tuple[bytes, ...]:
        """The keys that open a function now; `first` is its own of the start, if nothing has changed."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return (first,)
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            self._functions, self._stamp = self._read(), stamp
        held = self._functions.get(function)
        if held is None:
            return (first,)
        now = self._now()
        return tuple(key for key, since, until in held if since <= now and (until is None or now < until))

    def _read(self) -> dict[str, list[tuple[bytes, float, float | None]]]:
        functions = (read_json_object(self._path) or {}).get("functions")
        found: dict[str, list[tuple[bytes, float, float | None]]] = {}
        for function, names in (functions if isinstance(functions, dict) else {}).items():
            found[function] = [
                (str(value).encode(), float(since), None if until is None else float(until))
                for spans in names.values()
                for value, since, until in spans
            ]
        return found
