"""DPS's service API, version 2021-10-01, whole: enrollments, enrollment groups, registration records.

Changes carry the ETag that was read; nothing here sends `If-Match: *` unless told to by ANY_VERSION.
A 404 counts as "it is not there" only in DPS's own words (an error code): a proxy's or another host's 404
must not make anybody delete what is there.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar, get_args
from urllib.parse import quote

from clients.connections import Connections
from clients.dps_answers import (
    BulkError,
    BulkResult,
    believe,
    bulk_result,
    fault_of,
    outcome_unknown,
    understood,
)
from clients.dps_paging import Page, walk
from clients.errors import (
    Conflict,
    NotFound,
    NotSendable,
    OutcomeUnknown,
    Overwritten,
    PreconditionFailed,
    ServiceError,
    UnexpectedReply,
)
from clients.outcomes import Deleted, Deletion, Gone, Moved
from clients.ports import Clock, RateShare
from clients.service import Auth, Reply, Request, Service
from provisioning.attestation import SYMMETRIC_KEY, Attestation
from provisioning.documents import MalformedDocument
from provisioning.enrollments import Enrollment, EnrollmentGroup, IndividualEnrollment
from provisioning.ids import InvalidId, check_enrollment_id, check_known_id
from provisioning.registrations import Registration, registration_key

__all__ = [
    "ANY_VERSION",
    "API_VERSION",
    "BULK_ITEMS",
    "BulkError",
    "BulkMode",
    "BulkResult",
    "DpsClient",
    "EnrollmentCalls",
    "Page",
    "RegistrationCalls",
]

API_VERSION = "2021-10-01"
"""The one version of the API that is spoken; members of newer ones pass through it."""

ANY_VERSION = "*"
"""In place of an ETag: whatever is there. Only where a person has said so."""

BULK_ITEMS = 10
"""Most enrollments of one bulk call (documented)."""

BulkMode = Literal["create", "update", "updateIfMatchETag", "delete"]
"""What a bulk call does. `update` and `delete` look at no ETag."""

QUERY = "SELECT *"
"""The one query whose meaning is known (seen); filters are applied here."""

E = TypeVar("E", bound=Enrollment)


class DpsClient:
    """One provisioning service."""

    def __init__(
        self,
        host_name: str,
        *,
        auth: Auth,
        connections: Connections,
        share: RateShare,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        """Describe it; nothing is sent.

        Args:
            host_name: NAME.azure-devices-provisioning.net, with a port if it is not 443.
            auth: SasAuth or TokenAuth.
            connections: shared with the other clients.
            share: of its 1,000 operations a minute; asked once per attempt.
            clock: for pauses and budgets.
            jitter: a random number in [0, 1), drawn per pause.

        Raises:
            NotSendable: it is no host name.
        """
        service = Service(
            "DPS",
            f"https://{host_name}",
            api_version=API_VERSION,
            auth=auth,
            connections=connections,
            share=share,
            clock=clock,
            fault=fault_of,
            jitter=jitter,
        )
        self.host = service.host
        self.individuals = EnrollmentCalls(service, IndividualEnrollment, "enrollments", "enrollments")
        self.groups = EnrollmentCalls(service, EnrollmentGroup, "enrollmentGroups", "enrollmentGroups")
        self.registrations = RegistrationCalls(service)

    def __repr__(self) -> str:
        return f"DpsClient({self.host!r})"


class EnrollmentCalls(Generic[E]):
    """The calls for one of the two kinds of enrollments.

    Every method raises what Service.send does.
    """

    def __init__(self, service: Service, kind: type[E], path: str, bulk_member: str) -> None:
        self._service = service
        self._kind = kind
        self._path = f"/{path}"
        self._bulk_member = bulk_member

    async def get(self, enrollment_id: str) -> E | None:
        """The enrollment, without symmetric keys; None if there is none."""
        reply = await _unless_missing(self._service, Request("GET", self._at(enrollment_id)))
        return None if reply is None else understood(self._service.name, reply.body, self._of(enrollment_id))

    async def attestation(self, enrollment_id: str) -> Attestation | None:
        """How its devices prove themselves, with symmetric keys; None if there is no such enrollment."""
        path = f"{self._at(enrollment_id)}/attestationmechanism"
        reply = await _unless_missing(self._service, Request("POST", path))
        return None if reply is None else understood(self._service.name, reply.body, Attestation.adopt)

    async def with_keys(self, enrollment_id: str) -> E | None:
        """The enrollment, and its keys if it has symmetric ones; None if there is none.

        Two calls: the keys may be newer than the rest. `replace` notices by the ETag.

        Raises:
            UnexpectedReply: it has symmetric attestation, and no key is told.
        """
        found = await self.get(enrollment_id)
        if found is None or found.attestation.kind != SYMMETRIC_KEY:
            return found
        attestation = await self.attestation(enrollment_id)
        if attestation is None:
            return None
        if attestation.keys is None:
            raise UnexpectedReply(
                f"{self._service.name}: the {self._kind.WHAT} {found.id[:128]!a} attests by symmetric keys, "
                "but attestationmechanism told none; try again later",
                service=self._service.name,
            )
        return found.with_keys(attestation.keys)

    async def create(self, enrollment: E) -> E:
        """Make an enrollment that is not there, and read it back.

        What DPS does with a PUT of an id that exists is not fully known (409, or silent replacement). So it
        is looked for first; after the PUT it is read back, and who was replaced in between learns it. Not
        seen is one case: a service that replaces silently, asked by two within one second, tells only the
        first of them.

        Args:
            enrollment: symmetric keys may be left out: the service then makes them (documented).

        Returns:
            What the service answered, with the keys where it told them.

        Raises:
            Conflict: it exists.
            Overwritten: somebody else made one of that id at the same time.
            OutcomeUnknown: the PUT got no answer, or what it made could not be read back.
            NotSendable: the id or the webhook's URL cannot be used.
        """
        path = self._at(_usable(check_enrollment_id, enrollment.id, self._kind.ID_MEMBER))
        _check_sendable(enrollment, needs_keys=False)
        if await self.get(enrollment.id) is not None:
            raise Conflict(
                f"{self._service.name}: the {self._kind.WHAT} {enrollment.id!a} exists already; change it "
                "with its ETag, or choose another id",
                service=self._service.name,
            )
        body = {name: value for name, value in enrollment.wire().items() if name != "etag"}
        made = await self._put(path, body, {})
        try:
            found = await self.get(made.id)
        except ServiceError as error:
            raise OutcomeUnknown(
                f"{self._service.name}: the {self._kind.WHAT} {made.id!a} was created but could not be "
                f"read back ({type(error).__name__}); read it before changing it again",
                service=self._service.name,
            ) from error
        if found is None or found.etag != made.etag or _older(made):
            raise Overwritten(
                f"{self._service.name}: somebody else made or changed the {self._kind.WHAT} {made.id!a} at "
                "the same time, and one replaced the other; read what is there now"
            )
        return made

    async def replace(self, enrollment: E, *, etag: str | None = None) -> E:
        """Put an enrollment in place of the one that was read.

        Args:
            enrollment: whole, as read and then edited; of symmetric attestation with its keys, since what
                a PUT without them does is not known.
            etag: the one it must have now; None: the enrollment's own. ANY_VERSION: whatever is there.

        Returns:
            What the service answered, with its new ETag; keys where it told them.

        Raises:
            PreconditionFailed: it has changed since.
            NotFound: it is gone.
            NotSendable: no ETag, no symmetric keys, or a masked webhook URL.
        """
        path = self._at(enrollment.id)
        _check_sendable(enrollment, needs_keys=True)
        expected = _if_match(enrollment.etag if etag is None else etag, explicit=etag is not None)
        return await self._put(path, enrollment.wire(), {"if-match": expected})

    async def delete(self, enrollment_id: str, etag: str) -> Deletion:
        """Delete an enrollment if it is the one that was read.

        Its devices' registration records stay where it is a group, and its devices stay at their hubs.
        """
        return await _guarded_delete(self._service, self._at(enrollment_id), etag)

    def pages(self, *, start: str | None = None, size: int | None = None) -> AsyncIterator[Page[E]]:
        """All enrollments of the kind, page by page, in the service's order.

        Args:
            start: the continuation of a page read before; None: the beginning.
            size: items of a page, asked for; the service may give fewer or more.

        Raises:
            ContinuationExpired: the service does not take a continuation any more.
        """
        body, read = {"query": QUERY}, self._kind.adopt
        return walk(self._service, f"{self._path}/query", body, read, start=start, size=size)

    async def all(self, *, size: int | None = None) -> AsyncIterator[E]:
        """The same, one by one."""
        async for page in self.pages(size=size):
            for each in page.items:
                yield each
            del page  # not held while the next one is read

    async def bulk(self, mode: BulkMode, enrollments: Sequence[E]) -> BulkResult:
        """Up to ten enrollments in one call, which counts as one operation.

        Args:
            mode: `create`, `updateIfMatchETag` (each enrollment's own ETag), or one that looks at no ETag.
            enrollments: whole, as for `replace`; for `create`, as for `create`.

        Raises:
            OutcomeUnknown: some, all or none may have happened.
            NotSendable: none or over ten, one twice, or one that `create` or `replace` would not send.
        """
        if mode not in get_args(BulkMode):
            raise NotSendable(f"mode is {mode!a}; it may be {', '.join(get_args(BulkMode))}")
        if not 1 <= len(enrollments) <= BULK_ITEMS or len({one.key for one in enrollments}) < len(
            enrollments
        ):
            raise NotSendable(
                f"a bulk call takes 1 to {BULK_ITEMS} enrollments, each once; these are {len(enrollments)}"
            )
        for each in enrollments:
            self._at(each.id)
            if mode != "delete":
                _check_sendable(each, needs_keys=mode != "create")
            if mode == "updateIfMatchETag":
                _if_match(each.etag, explicit=False)
        body = {self._bulk_member: [each.wire() for each in enrollments], "mode": mode}
        reply = await self._service.send(Request("POST", self._path, body=body, writes=True))
        try:
            return bulk_result(reply.body, self._kind.ID_MEMBER)
        except MalformedDocument as error:
            raise outcome_unknown(self._service.name, error) from None

    def _at(self, enrollment_id: str) -> str:
        known = _usable(check_known_id, enrollment_id, self._kind.ID_MEMBER)
        return f"{self._path}/{quote(known, safe='')}"

    async def _put(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> E:
        reply = await self._service.send(Request("PUT", path, headers=headers, body=body, writes=True))
        try:
            return self._of(body[self._kind.ID_MEMBER])(reply.body)
        except MalformedDocument as error:
            raise outcome_unknown(self._service.name, error) from None

    def _of(self, enrollment_id: str) -> Callable[[Any], E]:
        """Reads an answer that must be about that enrollment."""

        def read(body: Any) -> E:
            found = self._kind.adopt(body)
            if found.key != registration_key(enrollment_id):
                raise MalformedDocument(f"{self._kind.ID_MEMBER} is not the one asked for")
            return found

        return read


class RegistrationCalls:
    """The calls for registration records. Registering makes them, and nobody can change them (documented)."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def get(self, registration_id: str) -> Registration | None:
        """A device's record, whatever enrollment it came through; None if there is none."""
        reply = await _unless_missing(self._service, Request("GET", _registration(registration_id)))
        if reply is None:
            return None
        found = understood(self._service.name, reply.body, Registration.adopt)
        if found.key != registration_key(registration_id):
            raise UnexpectedReply(
                f"{self._service.name}: asked for one registration, it answered with another; check the host",
                service=self._service.name,
            )
        return found

    async def delete(self, registration_id: str, etag: str) -> Deletion:
        """Delete a record if it is the one that was read. The device stays at its hub, and may register."""
        return await _guarded_delete(self._service, _registration(registration_id), etag)

    def pages(
        self, group_id: str, *, start: str | None = None, size: int | None = None
    ) -> AsyncIterator[Page[Registration]]:
        """The records of a group's devices, page by page.

        Args:
            group_id: of an enrollment group. Whether a deleted one's records are still found is unknown.
            start: the continuation of a page read before; None: the beginning.
            size: items of a page, asked for; the service may give fewer or more.

        Raises:
            NotFound: there is no such group; an empty listing never says so.
            ContinuationExpired: the service does not take a continuation any more.
        """
        known = _usable(check_known_id, group_id, "enrollmentGroupId")
        path = f"/registrations/{quote(known, safe='')}/query"
        return walk(self._service, path, None, Registration.adopt, start=start, size=size)

    async def of_group(self, group_id: str, *, size: int | None = None) -> AsyncIterator[Registration]:
        """The same, one by one."""
        async for page in self.pages(group_id, size=size):
            for each in page.items:
                yield each
            del page  # not held while the next one is read


async def _unless_missing(service: Service, request: Request) -> Reply | None:
    try:
        return await service.send(request)
    except NotFound as error:
        believe(error)
        return None


async def _guarded_delete(service: Service, path: str, etag: str) -> Deletion:
    headers = {"if-match": _if_match(etag, explicit=True)}
    try:
        await service.send(Request("DELETE", path, headers=headers, writes=True))
    except NotFound as error:
        believe(error)
        return Gone()
    except PreconditionFailed:
        return Moved()
    return Deleted()


def _registration(registration_id: str) -> str:
    return f"/registrations/{quote(_usable(check_known_id, registration_id, 'registrationId'), safe='')}"


def _usable(check: Callable[[str, str], str], text: str, parameter: str) -> str:
    try:
        return check(text, parameter)
    except InvalidId as error:
        raise NotSendable(str(error)) from None


def _if_match(etag: str, *, explicit: bool) -> str:
    if not etag or (etag.strip('" ') == ANY_VERSION and not explicit):
        raise NotSendable("there is no ETag: read it first, so that nobody's change is overwritten")
    return etag


def _check_sendable(enrollment: Enrollment, *, needs_keys: bool) -> None:
    try:
        webhook, kind = enrollment.webhook, enrollment.attestation.kind
    except MalformedDocument as error:
        raise NotSendable(f"the {enrollment.WHAT} {enrollment.id[:128]!a}: {error}") from None
    if webhook is not None and webhook.masked:
        raise NotSendable(
            f"the {enrollment.WHAT} {enrollment.id[:128]!a} has a webhook URL whose key is masked; sent so, "
            "no device could register: give the URL with its key"
        )
    if needs_keys and kind == SYMMETRIC_KEY and enrollment.keys is None:
        raise NotSendable(
            f"the {enrollment.WHAT} {enrollment.id[:128]!a} attests by symmetric keys and comes without "
            "them, and what the service does then is not known: read it by with_keys"
        )


def _older(made: Enrollment) -> bool:
    """Whether a creation answers with a record that was made before its last change: it replaced one."""
    try:
        created, updated = made.created, made.updated
    except MalformedDocument:
        return False
    return created is not None and updated is not None and updated - created > timedelta(seconds=1)
