"""Telemetry on its way out of the process: noted at once, exported later and by another thread.

The libraries that export take a while to import, and a device waits for the first answer after a start: so
what happens is noted in a queue, and taken out of it once they are there. Nobody ever waits for the
queue: beyond its size the oldest items are lost, and counted.
"""

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from opentelemetry.trace import SpanContext, get_current_span

from clients.ports import Clock
from clients.telemetry import Bounded, LogTelemetry
from clients.telemetry_ids import Ids
from clients.wording import masked, plain

MOST_ITEMS = 20_000
"""Items that wait, at most: a minute of the 1,000 registrations a minute of a DPS makes about 7,000."""

_LEFT_ALONE = ("azure.core", "azure.identity", "azure.monitor", "msal", "opentelemetry", "urllib3")
"""Loggers whose lines are not exported: exporting makes them, and would go round for ever."""


class Line(NamedTuple):
    """A line of the log: when (nanoseconds of the epoch), how bad (of `logging`), in which trace."""

    at: int
    level: int
    text: str
    parent: SpanContext


class Span(NamedTuple):
    """Work that ended: when (nanoseconds of the epoch), after how many seconds, under which span."""

    ended: int
    name: str
    seconds: float
    attributes: Mapping[str, object]
    parent: SpanContext


class Measure(NamedTuple):
    """One measured value of a metric."""

    name: str
    value: float
    dimensions: Mapping[str, str]


Item = Line | Span | Measure


class Outbox(logging.Handler):
    """What is to be exported. As a handler of the root logger it takes the app's lines, and others' warnings.

    Of others only the words are taken, in one line without what looks like a key; of an exception its kind:
    a foreign exception's text may quote anything.
    """

    def __init__(self, own: str, most: int = MOST_ITEMS) -> None:
        """Make it, empty.

        Args:
            own: the app's logger: its lines are taken at every level.
            most: items that wait.
        """
        super().__init__()
        self._own = own
        self._items: deque[Item] = deque()
        self._most = most
        self._lost = 0
        self._open = True

    def put(self, item: Item) -> None:
        """Note it. Safe from any thread, and never waits."""
        if self._open:
            self._items.append(item)
            if len(self._items) > self._most:
                # The thread that exports may have taken all there was meanwhile.
                with suppress(IndexError):
                    self._items.popleft()
                    self._lost += 1

    def take(self) -> Sequence[Item]:
        """All there is, oldest first; it is gone from here."""
        items: list[Item] = []
        with suppress(IndexError):  # a full one is emptied from both sides
            items.extend(self._items.popleft() for _ in range(len(self._items)))
        if self._lost:
            lost, self._lost = self._lost, 0
            items.append(Measure("telemetry_lost", lost, {}))
        return items

    def give_up(self) -> None:
        """Nobody will take anything: keep nothing."""
        self._open = False
        self._items.clear()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line of the log."""
        if record.name == self._own:
            text = _words(record)
        elif record.levelno < logging.WARNING or record.name.startswith(_LEFT_ALONE):
            return
        else:
            kind = f" ({record.exc_info[0].__name__})" if record.exc_info and record.exc_info[0] else ""
            text = f"{record.name}: {plain(masked(_words(record)))}{kind}"
        self.put(Line(int(record.created * 1e9), record.levelno, text, trace_now()))


def _words(record: logging.LogRecord) -> str:
    """What a record says: a library's wrong arguments must not raise where it only meant to log."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - whatever a foreign object does when it is written
        return "a line that cannot be put together"


class ExportedTelemetry:
    """Telemetry that is written to the log, as LogTelemetry does, and exported from there."""

    def __init__(self, clock: Clock, logger: logging.Logger, ids: Ids, outbox: Outbox) -> None:
        """Make it.

        Args:
            clock: paces the summaries of measures.
            logger: the lines' own; the outbox is to be a handler of it, or of one above.
            ids: how ids are told.
            outbox: takes spans and measures.
        """
        self._log = LogTelemetry(clock, logger, ids)
        self._ids = ids
        self._bounded = Bounded()
        self._outbox = outbox

    def event(self, name: str, **fields: object) -> None:
        """Write one line, which the outbox takes as well."""
        self._log.event(name, **fields)

    def measure(self, name: str, value: float, **dimensions: str) -> None:
        """Export one value, and fold it into the minute's line."""
        self._log.measure(name, value, **dimensions)
        self._outbox.put(Measure(name, value, self._bounded.few(name, dimensions)))

    def span(self, name: str, seconds: float, **attributes: object) -> None:
        """Export a piece of work under the trace of the invocation that runs now."""
        self._outbox.put(Span(time.time_ns(), name, seconds, self._ids.told(attributes), trace_now()))


def trace_now() -> SpanContext:
    """The span that the host began for this invocation; an invalid one outside of any.

    The worker puts it there (seen in azure_functions_runtime 1.3.0: `configure_opentelemetry`).
    """
    return get_current_span().get_span_context()
