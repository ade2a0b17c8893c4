"""The seams to the world: what pure code is handed, and what tests put in its place."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

Scalar = str | int | float | bool | bytes | datetime
"""What a table's column may hold: integers of 64 bits, datetimes with a time zone (read back in UTC, exact to
the microsecond). A column without value is left out."""


class Clock(Protocol):
    """Time, as the rest of the code may know it."""

    def now(self) -> datetime:
        """The time of day, in UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps back; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Telemetry(Protocol):
    """Where structured log events and metrics go. Nothing secret is handed to it, and it never raises."""

    def event(self, name: str, **fields: object) -> None:
        """One structured log event."""

    def measure(self, name: str, value: float, **dimensions: str) -> None:
        """One measured value of a metric; a count is a measure of 1."""

    def span(self, name: str, seconds: float, **attributes: object) -> None:
        """A piece of work that ended just now, and how long it took."""


class RateShare(Protocol):
    """A share of a service's rate limit, held by one kind of work."""

    async def call(self) -> None:
        """Wait until one more attempt may be made.

        Called once per attempt, beneath the retries. The kill switch is looked at here, so that a stop
        takes effect between two calls.
        """


@runtime_checkable
class SlowingShare(RateShare, Protocol):
    """A share that gives way when the service says that too much was asked of it."""

    def slow(self, retry_after: float | None) -> None:
        """An attempt was answered 429; `retry_after`: seconds the service asked to wait, None if none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One entity of a table.

    `etag` is what the store said when it was read; a row made here has none.
    """

    partition: str
    key: str
    values: Mapping[str, Scalar] = field(default_factory=dict)
    etag: str | None = None


Written = Literal["written", "moved", "gone", "exists"]
"""How a guarded write ended: done, the row had changed, it was not there, or it was there already."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of a write and, where one row was written, its new ETag (none of a delete or batch)."""

    outcome: Written
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One write of a batch, each kind as the method of that name."""

    kind: Literal["insert", "replace", "put", "delete"]
    row: Row


class Table(Protocol):
    """A partitioned table with ETags: Azure Table storage, or an equal that passes the same contract tests.

    Every method raises TableUnavailable when the store did not answer in time or answered with a fault;
    the write may then have happened, and the caller reads before it writes again. NotStorable, before
    anything is sent, means a key, value, row or batch that Table storage would refuse.
    """

    async def get(self, partition: str, key: str) -> Row | None:
        """The row, or None."""

    async def insert(self, row: Row) -> Receipt:
        """Create the row: `written`, or `exists`."""

    async def replace(self, row: Row) -> Receipt:
        """Put the row in place of the one whose ETag is `row.etag` (None: whatever it is).

        `written`, `moved` or `gone`: a missing row is not made.
        """

    async def put(self, row: Row) -> Receipt:
        """Create or replace the row, whatever is there."""

    async def delete(self, row: Row) -> Receipt:
        """Delete the row if its ETag is `row.etag` (None: whatever it is): `written`, `moved` or `gone`."""

    def scan(self, partition: str, *, start: str = "", stop: str | None = None) -> AsyncIterator[Row]:
        """Rows of one partition with start <= key < stop, in key order, read page by page.

        `start` and `stop` need not be possible keys. It is no snapshot: each page is as of its reading.
        """

    async def write(self, changes: Sequence[Change]) -> Receipt:
        """All of 1 to 100 changes of one partition, or none: then the outcome is that of one that failed."""
