"""DPS's ids as digests, so that hubs and the ledger can be streamed past a million of them.

An entry is 20 bytes: 14 of the digest (2 more choose its bucket, of which 14 bits count), which hub, what was
seen of it, and when it was last updated. A million take 23 MB and a lookup about two microseconds.

Two different ids share a digest of 126 bits with a probability of n^2 / 2^127: for two million ids 2e-26, and
nobody can aim at it, since each run has a salt of its own. What a shared digest would do: one of the two
devices counts as known, seen or recorded where it is not, so something wrong with it may be missed, and its
ledger row may be confirmed by the other's record. Nothing wrong is concluded of a device that is well: equal
ids always have equal digests, so "in no listing" is never said of a listed one; and whatever is concluded
from a digest that is missing is read again by its id before it becomes a finding.
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b

from lifecycle.audit.snapshot import Listed
from provisioning.hubs import HubKey

ENTRY = 20
_TAIL = 14
_HUB, _FLAGS, _UPDATED = 14, 15, 16
_EMPTY = bytearray()

AT_HOME = 1
"""Its hub has the device."""
ELSEWHERE = 2
"""Another hub has a device of that id."""
IN_LEDGER = 4
"""The ledger's row agrees with its record."""
DISAGREES = 8
"""The ledger's last row is newer than its record and says something else."""
ASSIGNED = 16
"""Its record says that it is assigned."""
ALIASED = 32
"""Its device has another id at its hub, and is in the other index."""

NO_HUB = 255
"""The hub of an entry that has none."""
UNLISTED = NO_HUB - 1
"""The hub of an entry whose hub is not listed in this run."""

UNKNOWN, HOME, AWAY = -1, 0, 1
"""What `Index.see` tells of a device: no entry; it may well be there; its record names another hub."""


class Entry:
    """One entry, to be read and marked."""

    __slots__ = ("_at", "_bucket")

    def __init__(self, bucket: bytearray, at: int) -> None:
        self._bucket = bucket
        self._at = at

    @property
    def hub(self) -> int:
        """Which hub its record names."""
        return self._bucket[self._at + _HUB]

    @property
    def flags(self) -> int:
        """What was seen of it."""
        return self._bucket[self._at + _FLAGS]

    @property
    def updated(self) -> int:
        """Seconds since 1970; 0: not known."""
        return int.from_bytes(self._bucket[self._at + _UPDATED : self._at + ENTRY], "big")

    def mark(self, flag: int) -> None:
        """Note that something was seen."""
        self._bucket[self._at + _FLAGS] |= flag


class Index:
    """A set of ids, each with what is known of it. Ids compare without case."""

    def __init__(self, salt: bytes) -> None:
        """Make it empty.

        Args:
            salt: up to 16 bytes of this run alone.
        """
        self._salt = salt[:16]
        self._buckets: dict[int, bytearray] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, text: str, hub: int = NO_HUB, flags: int = 0, updated: int = 0) -> None:
        """Add an id; one that is there is replaced."""
        number, tail = self._digest(text)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = bytearray()
        rest = (hub << 40 | flags << 32 | max(0, min(updated, 0xFFFFFFFF))).to_bytes(6, "big")
        at = _place(bucket, tail)
        if at < 0:
            bucket += tail + rest
            self._length += 1
        else:
            bucket[at + _TAIL : at + ENTRY] = rest

    def find(self, text: str) -> Entry | None:
        """The entry of an id."""
        number, tail = self._digest(text)
        bucket = self._buckets.get(number, _EMPTY)
        at = _place(bucket, tail)
        return None if at < 0 else Entry(bucket, at)

    def see(self, text: str, hub: int, also: "Index | None" = None) -> int:
        """Mark the entry of a device that a hub has: UNKNOWN, HOME or AWAY.

        Args:
            text: the device's id.
            hub: which.
            also: an index of the same salt, in which the id is looked for too.
        """
        number, tail = self._digest(text)
        seen = self.see_digest(number, tail, hub)
        return seen if also is None else max(seen, also.see_digest(number, tail, hub))

    def see_digest(self, number: int, tail: bytes, hub: int) -> int:
        """The same by the parts of the id's digest."""
        bucket = self._buckets.get(number, _EMPTY)
        at = _place(bucket, tail)
        if at < 0:
            return UNKNOWN
        if bucket[at + _HUB] == hub:
            bucket[at + _FLAGS] |= AT_HOME
            return HOME
        bucket[at + _FLAGS] |= ELSEWHERE
        return AWAY if bucket[at + _FLAGS] & ASSIGNED else HOME

    def __contains__(self, text: str) -> bool:
        number, tail = self._digest(text)
        return _place(self._buckets.get(number, _EMPTY), tail) >= 0

    def marks(self) -> bytes:
        """The flags of all entries, in an order that the same additions make again."""
        return b"".join([bucket[_FLAGS::ENTRY] for bucket in self._buckets.values()])

    def doubtful(self) -> bool:
        """Whether any assigned one was not seen at its hub, or was seen at another."""
        kinds = {each & (ASSIGNED | ALIASED | AT_HOME | ELSEWHERE) for each in set(self.marks())}
        return any(each & ASSIGNED and not each & ALIASED and each != ASSIGNED | AT_HOME for each in kinds)

    def mark_all(self, marks: bytes) -> None:
        """Take back the flags of an index that was filled alike.

        Raises:
            ValueError: it was not.
        """
        if len(marks) != self._length:
            raise ValueError(f"{len(marks)} marks for {self._length} entries")
        for bucket, part in zip(self._buckets.values(), self._parts(marks), strict=True):
            bucket[_FLAGS::ENTRY] = part

    def _parts(self, marks: bytes) -> Iterator[bytes]:
        at = 0
        for bucket in self._buckets.values():
            end = at + len(bucket) // ENTRY
            yield marks[at:end]
            at = end

    def _digest(self, text: str) -> tuple[int, bytes]:
        raw = text.lower().encode("utf-8", "surrogatepass")
        digest = blake2b(raw, digest_size=16, salt=self._salt).digest()
        return digest[0] << 6 | digest[1] >> 2, digest[2:]


def fill(index: Index, aliases: Index, numbers: Mapping[HubKey, int], listed: Iterable[Listed]) -> None:
    """Add what was listed: by its id, and by its device's where that is another.

    Args:
        index: ids of registrations.
        aliases: ids of devices.
        numbers: of the hubs that are listed in this run.
        listed: in the order of the listing.
    """
    for each in listed:
        hub = NO_HUB if each.hub is None else numbers.get(each.hub, UNLISTED)
        flags = ASSIGNED if each.assigned else 0
        if each.device:
            aliases.add(each.device, hub, flags, each.updated)
            flags |= ALIASED
        index.add(each.id, hub, flags, each.updated)


def _place(bucket: bytearray, tail: bytes) -> int:
    at = bucket.find(tail)
    while at > 0 and at % ENTRY:  # a stretch over two entries happens to look like it
        at = bucket.find(tail, at + 1)
    return at
