"""The records of a provisioning service, one a line."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from local.dps import ids
from local.dps.enrollments import GROUP, INDIVIDUAL, KINDS, Enrollment
from local.dps.keys import SymmetricKeys
from local.dps.records import Registration
from local.dps.store import Store

ENROLLMENT, REGISTRATION = "enrollment", "registration"


def values(store: Store) -> Iterator[dict[str, Any]]:
    """Groups, individual enrollments and registration records, each in the order they were made."""
    for kind in (GROUP, INDIVIDUAL):
        for enrollment in store.enrollments(kind):
            yield {ENROLLMENT: _enrollment(enrollment)}
    for record in store.registrations:
        yield {REGISTRATION: _registration(record)}


def put_enrollment(store: Store, kept: Mapping[str, Any]) -> None:
    """Put an enrollment back.

    Raises:
        KeyError, TypeError, ValueError: it is not one of `values`.
    """
    kind = next(each for each in KINDS if each.path == kept["kind"])
    keys = kept["keys"]
    store.enrollments(kind).put(
        Enrollment(
            kind=kind,
            id=kept["id"],
            members=kept["members"],
            attestation_type=kept["attestation_type"],
            etag=kept["etag"],
            created=datetime.fromisoformat(kept["created"]),
            updated=datetime.fromisoformat(kept["updated"]),
            keys=None if keys is None else SymmetricKeys(*keys),
        )
    )


def put_registration(store: Store, kept: list[Any]) -> None:
    """Put a registration record back.

    Raises:
        TypeError, ValueError: it is not one of `values`.
    """
    name, group, created, updated, *rest = kept
    made, changed = datetime.fromisoformat(created), datetime.fromisoformat(updated)
    store.registrations.put(ids.key(name), Registration(name, group, made, changed, *rest))


def _enrollment(enrollment: Enrollment) -> dict[str, Any]:
    keys = enrollment.keys
    return {
        "kind": enrollment.kind.path,
        "id": enrollment.id,
        "members": enrollment.members,
        "attestation_type": enrollment.attestation_type,
        "etag": enrollment.etag,
        "created": enrollment.created.isoformat(),
        "updated": enrollment.updated.isoformat(),
        "keys": None if keys is None else [keys.primary, keys.secondary],
    }


def _registration(record: Registration) -> list[Any]:
    return [
        record.registration_id,
        record.group,
        record.created.isoformat(),
        record.updated.isoformat(),
        record.etag,
        record.status,
        record.substatus,
        record.assigned_hub,
        record.device_id,
        record.error_code,
        record.error_message,
        record.payload,
    ]
