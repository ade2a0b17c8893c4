"""Keys of numbered rows that only the lease which wrote them can write: pure.

A run numbers its rows: ids in chunks, findings as they come, candidates. A worker that is frozen in the
middle of a write for longer than its lease may wake up and end it behind the back of the next one, which has
written other things under the same number since. So a key holds the mark of its lease, and a checkpoint says
which lease wrote each number that counts: what lands late lies beside those rows, is read by nobody, and goes
with the others.
"""

from collections.abc import Iterator
from typing import Any

Spans = list[list[Any]]
"""Of the numbers from 0 on: [mark of a lease, how many it wrote], in order. JSON."""


def mark(epoch: int) -> str:
    """How a lease's rows are marked, within its run."""
    return f"{epoch:06}"


def total(spans: Spans) -> int:
    """How many numbers count."""
    return sum(count for _, count in spans)


def add(spans: Spans, by: str, count: int = 1) -> None:
    """Count further numbers that a lease wrote."""
    if not count:
        return
    if spans and spans[-1][0] == by:
        spans[-1][1] += count
    else:
        spans.append([by, count])


def key(prefix: str, by: str, number: int) -> str:
    """The key of a row."""
    return f"{prefix}|{by}|{number:06}"


def keys(prefix: str, spans: Spans) -> list[str]:
    """The keys of all rows that count, in order."""
    return [key(prefix, by, number) for by, first, stop in _ranges(spans) for number in range(first, stop)]


def windows(
    prefix: str, spans: Spans, size: int, *, first: int = 0, stop: int | None = None
) -> Iterator[tuple[str, str]]:
    """Ranges of keys, each of one lease's rows and at most so many: start and stop.

    Args:
        prefix: of the keys.
        spans: what counts.
        size: of a range.
        first: begin with this number.
        stop: end before this one.
    """
    for by, begin, end in _ranges(spans):
        last = end if stop is None else min(end, stop)
        for start in range(max(begin, first), last, size):
            yield key(prefix, by, start), key(prefix, by, min(start + size, last))


def rewritten(spans: Spans, numbers: list[int], by: str) -> Spans:
    """The same numbers, some of them by another lease.

    Args:
        spans: as they were.
        numbers: those that were written again, or are no more, in order.
        by: the mark of whoever did.
    """
    changed: Spans = []
    left = iter(numbers)
    following = next(left, None)
    for before, first, stop in _ranges(spans):
        at = first
        while following is not None and following < stop:
            add(changed, before, following - at)
            add(changed, by)
            at, following = following + 1, next(left, None)
        add(changed, before, stop - at)
    return changed


def number_of(row_key: str) -> int:
    """The number in a row's key."""
    return int(row_key.rpartition("|")[2])


def _ranges(spans: Spans) -> Iterator[tuple[str, int, int]]:
    first = 0
    for by, count in spans:
        yield by, first, first + count
        first += count
