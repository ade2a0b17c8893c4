"""One enrollment changed without harm: read, edit, guarded write, read back.

What could go wrong, and what is done about it:

- Somebody changes it in between: the write carries the ETag that was read; on 412 everything starts over.
- A write without keys might make new ones and lock every device out (unknown): both keys are read first and
  sent again. They are read after the document, so a guard that holds says that they belong together.
- A read that masks the webhook's key (unknown): the URL is supplied from configuration, or the change is
  refused; asterisks are never written.
- No answer to the write: it is read again. Unmoved, it is sent once more under the same guard; as
  intended, it is done; anything else starts over.
- A service that keeps something else than was sent: what is read back is compared, keys in constant time.

A crash at any point leaves the enrollment as it was or as it was meant to be: there is one write.
Edits must be repeatable: they say what shall be, not by how much it shall differ.
"""

import copy
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from clients.errors import Conflict, NotFound, OutcomeUnknown, PreconditionFailed
from clients.outcomes import Deleted, Deletion, Gone, Moved
from lifecycle.enrollments.build import Document, Edit
from lifecycle.enrollments.diff import Difference, differences
from lifecycle.enrollments.verify import mismatches
from lifecycle.enrollments.webhook_url import is_masked, same_endpoint
from lifecycle.errors import (
    AlreadyThere,
    EnrollmentMoved,
    InvalidOption,
    MaskedWebhook,
    NoSuchEnrollment,
    NotVerified,
)

ATTEMPTS = 6
"""How often an edit is made anew after somebody else's change, before the caller is told."""

Kind = Literal["individual", "group"]

ID_MEMBER: Mapping[Kind, str] = {"individual": "registrationId", "group": "enrollmentGroupId"}


class Enrollments(Protocol):
    """The enrollments of one kind at one DPS, as documents. Raises what clients.dps raises."""

    kind: Kind

    async def read(self, enrollment_id: str) -> Document | None:
        """The document as the service gives it, or None."""

    async def keys(self, enrollment_id: str) -> Mapping[str, Any]:
        """`{"primaryKey": …, "secondaryKey": …}` of a symmetric-key enrollment."""

    async def write(self, enrollment_id: str, document: Document, etag: str | None) -> Document:
        """PUT with If-Match; None: without. PreconditionFailed where the ETag moved."""

    async def delete(self, enrollment_id: str, etag: str) -> Deletion:
        """DELETE with If-Match."""


@dataclass(frozen=True, slots=True)
class EnrollmentChange:
    """A change of one enrollment, planned or made.

    Attributes:
        before: with keys; None: there was none.
        after: with keys; None: it is deleted.
        diff: what differs, fit to be shown. Empty: nothing was to do, and nothing was sent.
    """

    kind: Kind
    enrollment_id: str
    before: Document | None = field(repr=False)
    after: Document | None = field(repr=False)
    diff: tuple[Difference, ...]


Consent = Callable[[EnrollmentChange], Awaitable[None]]
"""Returns to go on, raises to stop. Asked again where a second reading makes another difference."""


OwnWebhook = str | Callable[[], Awaitable[str | None]] | None
"""This app's webhook with its key, or what reads it anew: it may be rolled while somebody changes many."""


async def agreed(_: EnrollmentChange) -> None:
    """The consent of a caller that has decided already."""


async def change(
    enrollments: Enrollments,
    enrollment_id: str,
    edit: Edit,
    *,
    consent: Consent = agreed,
    etag: str | None = None,
    webhook_url: OwnWebhook = None,
) -> EnrollmentChange:
    """Change an enrollment to what `edit` makes of it.

    Args:
        enrollments: where it is.
        enrollment_id: which one.
        edit: from the document, keys included, to the one that shall be. Applied anew after a 412.
        consent: is shown each difference before it is written.
        etag: only if it is still this one: no second attempt. "*": whatever it is, without a guard; for
            people who type it.
        webhook_url: this app's webhook with its key, put in where a read masks it; or what reads that.

    Returns:
        The change as made; its diff is empty where there was nothing to do.

    Raises:
        NoSuchEnrollment: there is none.
        EnrollmentMoved: it is not at `etag`, or was changed by others at each attempt, or once where its
            webhook's key was supplied.
        MaskedWebhook: its webhook's key cannot be read and is not configured.
        InvalidOption: what the edit asks cannot be.
        NotVerified: what is read back is not what was written; names the members.
        OutcomeUnknown: the service gave no answer, and would not tell afterwards either.
        ClientError: what else a call may raise; nothing was changed by it.
    """
    consented: tuple[Difference, ...] | None = None
    for _ in range(ATTEMPTS):
        read = await _read(enrollments, enrollment_id)
        if read is None:
            raise NoSuchEnrollment(enrollments.kind, enrollment_id)
        before = _with_webhook(read, await _supplied(read, webhook_url))
        read_etag = _etag(before)
        if not read_etag:
            raise EnrollmentMoved(enrollments.kind, enrollment_id, "was read without an ETag")
        if etag not in (None, "*") and not _same_etag(etag, read_etag):
            raise EnrollmentMoved(enrollments.kind, enrollment_id, "is not at the ETag that was given")
        after = _edited(enrollments.kind, before, edit)
        planned = EnrollmentChange(enrollments.kind, enrollment_id, before, after, differences(before, after))
        if not planned.diff:
            return planned
        _check_writable(enrollments.kind, enrollment_id, after)
        if planned.diff != consented:
            await consent(planned)
            consented = planned.diff
        if await _write(enrollments, planned, "*" if etag == "*" else read_etag):
            return planned
        # The webhook's key may be what others have changed, a masked URL does not tell, and the one that was
        # supplied may be the one of before.
        if etag is not None or (is_masked(_webhook(read)) and not is_masked(_webhook(before))):
            break
    raise EnrollmentMoved(enrollments.kind, enrollment_id, "was changed by others in the meantime")


async def create(
    enrollments: Enrollments, document: Document, *, consent: Consent = agreed
) -> EnrollmentChange:
    """Create an enrollment that is not there yet.

    Its symmetric keys are in the document: made by the caller, so that a write without an answer can be
    recognised as done. The service is asked first whether it is there, for a PUT may replace it silently
    (unknown); between that and the PUT another writer's creation would be lost to such a service.

    Raises:
        AlreadyThere: there is one of that id.
        NotVerified, OutcomeUnknown, InvalidOption, ClientError: as `change`.
    """
    enrollment_id = str(document[ID_MEMBER[enrollments.kind]])
    _check_writable(enrollments.kind, enrollment_id, document)
    if await enrollments.read(enrollment_id) is not None:
        raise AlreadyThere(enrollments.kind, enrollment_id)
    planned = EnrollmentChange(enrollments.kind, enrollment_id, None, document, differences(None, document))
    await consent(planned)
    try:
        written = await enrollments.write(enrollment_id, document, None)
    except (Conflict, PreconditionFailed) as error:
        raise AlreadyThere(enrollments.kind, enrollment_id) from error
    except OutcomeUnknown:
        there = await _read(enrollments, enrollment_id)
        if there is None:
            raise
        if mismatches(document, there):
            raise AlreadyThere(enrollments.kind, enrollment_id) from None
        return planned
    await _verify(enrollments, planned, _etag(written))
    return planned


async def delete(
    enrollments: Enrollments,
    enrollment_id: str,
    *,
    consent: Consent = agreed,
    before_delete: Callable[[Document], Awaitable[None]],
    etag: str | None = None,
) -> EnrollmentChange:
    """Delete an enrollment. Its registrations stay, and a group's keep counting in DPS's quota.

    Args:
        enrollments: where it is.
        enrollment_id: which one.
        consent: is shown what goes.
        before_delete: keeps its keys safe, or decides not to; gets the document with keys. What it raises
            stops the deletion. It may be called again for a document that was changed meanwhile.
        etag: as for `change`.

    Raises:
        NoSuchEnrollment, EnrollmentMoved, OutcomeUnknown, ClientError: as `change`.
    """
    consented: tuple[Difference, ...] | None = None
    for _ in range(ATTEMPTS):
        before = await _read(enrollments, enrollment_id)
        if before is None:
            if consented is not None:  # an answer was lost, or another operator was quicker
                return EnrollmentChange(enrollments.kind, enrollment_id, None, None, consented)
            raise NoSuchEnrollment(enrollments.kind, enrollment_id)
        if etag not in (None, "*") and not _same_etag(etag, _etag(before)):
            raise EnrollmentMoved(enrollments.kind, enrollment_id, "is not at the ETag that was given")
        planned = EnrollmentChange(enrollments.kind, enrollment_id, before, None, differences(before, None))
        if planned.diff != consented:
            await consent(planned)
            consented = planned.diff
        await before_delete(before)
        try:
            outcome = await enrollments.delete(enrollment_id, "*" if etag == "*" else _etag(before))
        except OutcomeUnknown:
            continue  # the next reading tells; a second delete would carry the same guard
        match outcome:
            case Deleted() | Gone():
                return planned
            case Moved():
                if etag is not None:
                    break
    raise EnrollmentMoved(enrollments.kind, enrollment_id, "was changed by others in the meantime")


async def with_keys(enrollments: Enrollments, enrollment_id: str) -> Document | None:
    """The enrollment with the keys that reads leave out; None: there is none."""
    return await _read(enrollments, enrollment_id)


async def _read(enrollments: Enrollments, enrollment_id: str) -> Document | None:
    """The document, with symmetric keys."""
    document = await enrollments.read(enrollment_id)
    if document is None:
        return None
    document = copy.deepcopy(document)
    if attestation_type(document) == "symmetricKey":
        keys = await enrollments.keys(enrollment_id)
        document["attestation"]["symmetricKey"] = {
            name: keys[name] for name in ("primaryKey", "secondaryKey") if keys.get(name)
        }
    return document


async def _supplied(read: Document, webhook_url: OwnWebhook) -> str | None:
    """The webhook's URL with its key, where the reading needs it.

    Asked for after the reading: whoever writes the enrollment with a newer key since then moves its ETag.
    """
    if not is_masked(_webhook(read)) or webhook_url is None or isinstance(webhook_url, str):
        return webhook_url if isinstance(webhook_url, str) else None
    return await webhook_url()


def _with_webhook(document: Document, webhook_url: str | None) -> Document:
    """The document with the webhook's key, where that is known and a read has masked it."""
    shown = _webhook(document)
    if webhook_url is None or not isinstance(shown, str) or not is_masked(shown):
        return document
    if not same_endpoint(shown.split("?")[0], webhook_url.split("?")[0]):
        return document
    definition = {**document["customAllocationDefinition"], "webhookUrl": webhook_url}
    return {**document, "customAllocationDefinition": definition}


def attestation_type(document: Mapping[str, Any]) -> str:
    """`symmetricKey`, `x509`, `tpm`, `none`, or "" where the document does not say."""
    attestation = document.get("attestation")
    kind = attestation.get("type") if isinstance(attestation, Mapping) else None
    return kind if isinstance(kind, str) else ""


def _edited(kind: Kind, before: Document, edit: Edit) -> Document:
    after = edit(copy.deepcopy(before))
    member = ID_MEMBER[kind]
    if after.get(member) != before.get(member):
        raise InvalidOption(member, "an enrollment cannot be renamed", "create another one")
    if attestation_type(after) != attestation_type(before):
        raise InvalidOption(
            "attestation_type", "an enrollment's kind of attestation cannot be changed", "create another one"
        )
    return after


def _check_writable(kind: Kind, enrollment_id: str, document: Document) -> None:
    """What must never be sent, whoever made it."""
    custom = document.get("customAllocationDefinition")
    if isinstance(custom, Mapping) and is_masked(custom.get("webhookUrl")):
        raise MaskedWebhook(kind, enrollment_id)
    if attestation_type(document) == "symmetricKey":
        keys = document["attestation"].get("symmetricKey")
        if not isinstance(keys, Mapping) or not keys.get("primaryKey"):
            raise InvalidOption(
                "primary_key",
                "a symmetric-key enrollment is never written without its keys: DPS might make new ones",
                "give a key, or see why attestationmechanism returned none",
            )


async def _write(enrollments: Enrollments, planned: EnrollmentChange, guard: str) -> bool:
    """Write and verify; False where somebody else's change came first."""
    assert planned.after is not None
    for last in (False, True):
        try:
            written = await enrollments.write(planned.enrollment_id, _sendable(planned.after), guard)
        except NotFound:
            return False  # deleted meanwhile; the next reading says so
        except PreconditionFailed:
            # Perhaps our own first attempt, whose answer was lost: then it stands there as intended.
            return last and await _stands(enrollments, planned)
        except OutcomeUnknown:
            there = await _read(enrollments, planned.enrollment_id)
            if there is None:
                raise
            unmoved = guard != "*" and _same_etag(_etag(there), guard)
            if not unmoved and _is_as_planned(planned, there):
                return True
            if last or guard == "*":
                raise
            if not unmoved:
                return False
            continue  # it did not happen, and the guard sees to it that it cannot happen twice
        await _verify(enrollments, planned, _etag(written))
        return True
    return False


async def _stands(enrollments: Enrollments, planned: EnrollmentChange) -> bool:
    there = await _read(enrollments, planned.enrollment_id)
    return there is not None and _is_as_planned(planned, there)


def _is_as_planned(planned: EnrollmentChange, there: Document) -> bool:
    """Whether it surely stands there as intended: not where only the webhook's key tells, and is masked."""
    assert planned.after is not None
    before, after, now = (_webhook(document) for document in (planned.before or {}, planned.after, there))
    if before != after and is_masked(now):
        return False
    return not mismatches(planned.after, there, planned.before)


def _webhook(document: Mapping[str, Any]) -> Any:
    custom = document.get("customAllocationDefinition")
    return custom.get("webhookUrl") if isinstance(custom, Mapping) else None


async def _verify(enrollments: Enrollments, planned: EnrollmentChange, etag: str) -> None:
    """Read back and compare, unless others have changed it since."""
    assert planned.after is not None
    there = await _read(enrollments, planned.enrollment_id)
    if there is None or (etag and not _same_etag(_etag(there), etag)):
        return  # what was written was there, and somebody has gone on from it
    if problems := mismatches(planned.after, there, planned.before):
        raise NotVerified(planned.kind, planned.enrollment_id, problems)


def _sendable(document: Document) -> Document:
    """Without what only the service writes. The ETag stays: it goes into If-Match and does no harm."""
    return {name: value for name, value in document.items() if name != "registrationState"}


def _etag(document: Mapping[str, Any]) -> str:
    etag = document.get("etag")
    return etag if isinstance(etag, str) else ""


def _same_etag(one: str | None, other: str | None) -> bool:
    """Quotes do not count: services write them inside the value, people leave them out."""
    return (one or "").strip('"') == (other or "").strip('"')
