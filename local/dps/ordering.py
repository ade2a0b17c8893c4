"""Pages over a changing collection, at a cost that does not grow with what lies before the page."""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_BLOCK = 128


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of an ordering."""

    values: Sequence[T]
    last: int
    """The position to continue after."""
    more: bool


class Block(Generic[T]):
    """Some neighbours of one ordering. A key is looked for by its block: a million keys need no more."""

    __slots__ = ("keys", "order", "positions", "values")

    def __init__(self, order: "Ordering[T]") -> None:
        self.order = order
        self.positions = array("Q")
        self.keys: list[str] = []
        self.values: list[T] = []

    def get(self, key: str) -> T:
        """The value of a key that is in here."""
        return self.values[self.keys.index(key)]


class Ordering(Generic[T]):
    """Values by distinct keys, in the order they were added.

    Each key has a position that never changes and is never used again, so a continuation stays valid
    whatever is deleted meanwhile: nothing that stays is skipped or seen twice.
    """

    def __init__(self, places: dict[str, Block[T]] | None = None, name: str | None = None) -> None:
        """Make an empty one.

        Args:
            places: shared by orderings of which a key is in one at most; None: this one has its own.
            name: what its owner calls it.
        """
        self.name = name
        self._places = {} if places is None else places
        self._next = 1
        self._length = 0
        self._starts: list[int] = []
        self._blocks: list[Block[T]] = []

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for block in self._blocks:
            yield from block.values

    def get(self, key: str) -> T | None:
        """The value of a key."""
        block = self._places.get(key)
        return block.get(key) if block is not None and block.order is self else None

    def put(self, key: str, value: T) -> None:
        """Append a value, or replace that of a key which is there already and keeps its place.

        A key that is in another ordering of the same places leaves that one.
        """
        before = self._places.get(key)
        if before is not None and before.order is self:
            before.values[before.keys.index(key)] = value
            return
        position, self._next = self._next, self._next + 1
        if not self._blocks or len(self._blocks[-1].keys) >= _BLOCK:
            self._blocks.append(Block(self))
            self._starts.append(position)
        block = self._places[key] = self._blocks[-1]
        block.positions.append(position)
        block.keys.append(key)
        block.values.append(value)
        self._length += 1
        if before is not None:
            before.order._leave(before, key)  # noqa: SLF001 - one of its own kind

    def discard(self, key: str) -> None:
        """Take a key out, if it is there."""
        block = self._places.get(key)
        if block is not None and block.order is self:
            del self._places[key]
            self._leave(block, key)

    def _leave(self, block: Block[T], key: str) -> None:
        index = block.keys.index(key)
        if len(block.keys) == 1:
            place = bisect_right(self._starts, block.positions[index]) - 1
            del self._blocks[place], self._starts[place]
        del block.positions[index], block.keys[index], block.values[index]
        self._length -= 1

    def page(self, after: int, limit: int) -> Page[T]:
        """Up to `limit` values behind position `after` (0: from the start)."""
        found: list[T] = []
        last = after
        number = max(bisect_right(self._starts, after) - 1, 0)
        while number < len(self._blocks):
            block = self._blocks[number]
            start = bisect_right(block.positions, after)
            end = min(start + limit - len(found), len(block.keys))
            if end > start:
                found += block.values[start:end]
                last = block.positions[end - 1]
            if len(found) >= limit:
                more = end < len(block.keys) or number + 1 < len(self._blocks)
                return Page(found, last, more=more)
            number += 1
        return Page(found, last, more=False)
