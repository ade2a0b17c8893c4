"""Everything one provisioning service remembers."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local.dps import ids
from local.dps.enrollments import GROUP, INDIVIDUAL, Enrollment, Kind
from local.dps.ordering import Ordering
from local.dps.wire import timestamp


@dataclass(frozen=True, slots=True)
class Registration:
    """A registration record, as one registration left it."""

    registration_id: str
    group: str | None
    """The id of the group the device came through; None: an individual enrollment."""
    created: datetime
    updated: datetime
    etag: str
    status: str
    substatus: str | None = None
    assigned_hub: str | None = None
    device_id: str | None = None
    error_code: int | None = None
    error_message: str | None = None
    payload: Any = None

    @property
    def group_key(self) -> str | None:
        """What that group is stored under."""
        return None if self.group is None else ids.key(self.group)

    def wire(self) -> dict[str, Any]:
        """The service API's shape; members without a value are left out."""
        every = {
            "registrationId": self.registration_id,
            "createdDateTimeUtc": timestamp(self.created),
            "assignedHub": self.assigned_hub,
            "deviceId": self.device_id,
            "status": self.status,
            "substatus": self.substatus,
            "errorCode": self.error_code,
            "errorMessage": self.error_message,
            "lastUpdatedDateTimeUtc": timestamp(self.updated),
            "etag": self.etag,
            "payload": self.payload,
        }
        return {name: value for name, value in every.items() if value is not None}


class EnrollmentTable:
    """The enrollments of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.order = Ordering()
        self._by_key: dict[str, Enrollment] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Enrollment]:
        return iter(self._by_key.values())

    def get(self, key: str) -> Enrollment | None:
        """The enrollment of that key."""
        return self._by_key.get(key)

    def put(self, enrollment: Enrollment) -> None:
        """Add or replace; a replaced one keeps its place."""
        self._by_key[enrollment.key] = enrollment
        self.order.add(enrollment.key)

    def delete(self, key: str) -> None:
        """Forget an enrollment."""
        self._by_key.pop(key, None)
        self.order.discard(key)

    def count(self, attestation_type: str) -> int:
        """How many attest that way."""
        return sum(enrollment.attestation_type == attestation_type for enrollment in self)


class RegistrationTable:
    """The registration records, and which came through which group."""

    def __init__(self) -> None:
        self._by_key: dict[str, Registration] = {}
        self._groups: dict[str, Ordering] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Registration]:
        return iter(self._by_key.values())

    def get(self, key: str) -> Registration | None:
        """The record of that key."""
        return self._by_key.get(key)

    def put(self, key: str, record: Registration) -> None:
        """Add or replace a record; it moves between groups if it has to."""
        before = self._by_key.get(key)
        group = record.group_key
        if before is not None and before.group_key != group:
            self._leave_group(key, before)
        self._by_key[key] = record
        if group is not None:
            self._groups.setdefault(group, Ordering()).add(key)

    def delete(self, key: str) -> None:
        """Forget a record."""
        record = self._by_key.pop(key, None)
        if record is not None:
            self._leave_group(key, record)

    def of_group(self, key: str) -> Ordering | None:
        """The keys of the records that came through the group of that key; None if there are none."""
        return self._groups.get(key) or None

    def _leave_group(self, key: str, record: Registration) -> None:
        group = record.group_key
        if group is not None:
            self._groups[group].discard(key)  # an empty one stays: its positions must not come again


class Store:
    """The three kinds of record."""

    def __init__(self) -> None:
        self.individuals = EnrollmentTable(INDIVIDUAL)
        self.groups = EnrollmentTable(GROUP)
        self.registrations = RegistrationTable()

    def enrollments(self, kind: Kind) -> EnrollmentTable:
        """The table of a kind."""
        return self.groups if kind.is_group else self.individuals
