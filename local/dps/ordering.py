"""Pages over a changing collection, at a cost that does not grow with what lies before the page."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Page:
    """A part of an ordering."""

    keys: tuple[str, ...]
    last: int
    """The position to continue after."""
    more: bool


class Ordering:
    """Distinct keys in the order they were added.

    Each key has a position that never changes and is never used again, so a continuation stays valid
    whatever is deleted meanwhile: nothing that stays is skipped or seen twice.
    """

    def __init__(self) -> None:
        self._next = 1
        self._positions: dict[str, int] = {}
        self._starts: list[int] = []
        self._blocks: list[tuple[list[int], list[str]]] = []

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def add(self, key: str) -> None:
        """Append a key; one that is there already keeps its place."""
        if key in self._positions:
            return
        position, self._next = self._next, self._next + 1
        self._positions[key] = position
        if not self._blocks or len(self._blocks[-1][0]) >= _BLOCK:
            self._blocks.append(([], []))
            self._starts.append(position)
        positions, keys = self._blocks[-1]
        positions.append(position)
        keys.append(key)

    def discard(self, key: str) -> None:
        """Take a key out, if it is there."""
        position = self._positions.pop(key, None)
        if position is None:
            return
        block = bisect_right(self._starts, position) - 1
        positions, keys = self._blocks[block]
        index = bisect_left(positions, position)
        del positions[index], keys[index]
        if not positions:
            del self._blocks[block], self._starts[block]

    def page(self, after: int, limit: int) -> Page:
        """Up to `limit` keys behind position `after` (0: from the start)."""
        found: list[str] = []
        last = after
        block = max(bisect_right(self._starts, after) - 1, 0)
        while block < len(self._blocks):
            positions, keys = self._blocks[block]
            start = bisect_right(positions, after)
            end = min(start + limit - len(found), len(keys))
            if end > start:
                found.extend(keys[start:end])
                last = positions[end - 1]
            if len(found) >= limit:
                return Page(tuple(found), last, more=end < len(keys) or block + 1 < len(self._blocks))
            block += 1
        return Page(tuple(found), last, more=False)
