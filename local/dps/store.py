"""Everything one provisioning service remembers."""

from collections.abc import Iterator

from local.dps.enrollments import GROUP, INDIVIDUAL, Enrollment, Kind
from local.dps.ordering import Block, Ordering
from local.dps.records import Registration, pack, unpack


class EnrollmentTable:
    """The enrollments of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.order = Ordering[Enrollment]()

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Enrollment]:
        return iter(self.order)

    def get(self, key: str) -> Enrollment | None:
        """The enrollment of that key."""
        return self.order.get(key)

    def put(self, enrollment: Enrollment) -> None:
        """Add or replace; a replaced one keeps its place."""
        self.order.put(enrollment.key, enrollment)

    def delete(self, key: str) -> None:
        """Forget an enrollment."""
        self.order.discard(key)

    def count(self, attestation_type: str) -> int:
        """How many attest that way."""
        return sum(enrollment.attestation_type == attestation_type for enrollment in self)


class RegistrationTable:
    """The registration records, packed, and which came through which group."""

    def __init__(self) -> None:
        self._places: dict[str, Block[bytes]] = {}
        self._groups: dict[str | None, Ordering[bytes]] = {}
        """By `Registration.group_key`; each is named as the first record spelled its group."""
        self._spelled: dict[str, str | None] = {}
        """The groups of the records that spell theirs otherwise: it was deleted and made again."""

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Registration]:
        return (self._read(key, block) for key, block in self._places.items())

    def get(self, key: str) -> Registration | None:
        """The record of that key."""
        block = self._places.get(key)
        return None if block is None else self._read(key, block)

    def put(self, key: str, record: Registration) -> None:
        """Add or replace a record; it moves between groups if it has to."""
        group_key = record.group_key
        order = self._groups.get(group_key)
        if order is None:
            order = self._groups[group_key] = Ordering(self._places, record.group)
        order.put(key, pack(record))
        if order.name != record.group:
            self._spelled[key] = record.group
        elif self._spelled:
            self._spelled.pop(key, None)

    def delete(self, key: str) -> None:
        """Forget a record."""
        block = self._places.get(key)
        if block is not None:
            block.order.discard(key)  # an empty ordering stays: its positions must not come again
            self._spelled.pop(key, None)

    def of_group(self, key: str) -> Ordering[bytes] | None:
        """The packed records that came through the group of that key; None if there are none."""
        return self._groups.get(key) or None

    def _read(self, key: str, block: Block[bytes]) -> Registration:
        return unpack(block.get(key), self._spelled.get(key, block.order.name))


class Store:
    """The three kinds of record."""

    def __init__(self) -> None:
        self.individuals = EnrollmentTable(INDIVIDUAL)
        self.groups = EnrollmentTable(GROUP)
        self.registrations = RegistrationTable()

    def enrollments(self, kind: Kind) -> EnrollmentTable:
        """The table of a kind."""
        return self.groups if kind.is_group else self.individuals
