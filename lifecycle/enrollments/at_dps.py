"""The enrollments of a DPS as documents, which is what edits are about."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from clients.dps import DpsClient, EnrollmentCalls
from clients.outcomes import Deletion
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.change import Kind
from provisioning.enrollments import Enrollment, EnrollmentGroup, IndividualEnrollment

E = TypeVar("E", bound=Enrollment)


class DpsEnrollments(Generic[E]):
    """One kind of enrollments at one DPS; `individuals` and `groups` make it."""

    def __init__(self, kind: Kind, calls: EnrollmentCalls[E], view: type[E]) -> None:
        self.kind: Kind = kind
        self._calls = calls
        self._view = view

    async def read(self, enrollment_id: str) -> Document | None:
        """The document as the service gives it, or None."""
        found = await self._calls.get(enrollment_id)
        return None if found is None else dict(found.document())

    async def keys(self, enrollment_id: str) -> Mapping[str, Any]:
        """Its symmetric keys; empty where there are none, or it is gone."""
        attestation = await self._calls.attestation(enrollment_id)
        if attestation is None or attestation.keys is None:
            return {}
        keys = {"primaryKey": attestation.keys.primary.reveal()}
        if attestation.keys.secondary is not None:
            keys["secondaryKey"] = attestation.keys.secondary.reveal()
        return keys

    async def write(self, enrollment_id: str, document: Document, etag: str | None) -> Document:
        """PUT with If-Match; without an ETag it is created, and must not be there."""
        del enrollment_id  # it is in the document
        enrollment = self._view.read(document)
        if etag is None:
            return dict((await self._calls.create(enrollment)).document())
        return dict((await self._calls.replace(enrollment, etag=etag)).document())

    async def delete(self, enrollment_id: str, etag: str) -> Deletion:
        """DELETE with If-Match."""
        return await self._calls.delete(enrollment_id, etag)


def individuals(dps: DpsClient) -> DpsEnrollments[IndividualEnrollment]:
    """The individual enrollments."""
    return DpsEnrollments("individual", dps.individuals, IndividualEnrollment)


def groups(dps: DpsClient) -> DpsEnrollments[EnrollmentGroup]:
    """The enrollment groups."""
    return DpsEnrollments("group", dps.groups, EnrollmentGroup)
