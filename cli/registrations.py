"""Registration records of devices: listed, shown, deleted."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from cli.confirm import Confirmation
from cli.connect import Session
from cli.errors import ChangedMeanwhile, Missing
from cli.filters import kept
from cli.output import member
from clients.dps import ANY_VERSION
from clients.errors import NotFound
from clients.outcomes import Deleted, Gone, Moved
from lifecycle.enrollments import validation
from lifecycle.enrollments.diff import differences
from provisioning.registrations import Registration

COLUMNS = (
    member("registrationId", "registration"),
    member("status"),
    member("substatus"),
    member("assignedHub", "hub"),
    member("deviceId", "device"),
    member("errorCode", "error"),
    member("errorMessage", "message"),
    member("lastUpdatedDateTimeUtc", "updated"),
)
GROUP = "enrollmentGroupId"
ALL_COLUMNS = (member(GROUP, "group"), *COLUMNS)


async def of_group(
    session: Session, group_id: str, passes: Callable[[Registration], bool]
) -> AsyncIterator[Mapping[str, Any]]:
    """The records of one group, in the service's members."""
    found = session.dps.registrations.of_group(validation.known_id(group_id, "enrollment_id"))
    async for each in kept(found, passes, session.terminal):
        yield each.document()


async def of_all_groups(
    session: Session, passes: Callable[[Registration], bool]
) -> AsyncIterator[Mapping[str, Any]]:
    """The records of every group there is, each with its group's id before the service's members.

    Records of deleted groups are in no listing, and those of individual enrollments are in the enrollments.
    """
    async for group in session.dps.groups.all():
        try:
            async for each in of_group(session, group.id, passes):
                yield {GROUP: group.id, **each}
        except NotFound:  # it went while the others were read
            session.terminal.note(f"enrollment group {group.id} was deleted in the meantime")


async def read(session: Session, registration_id: str, parameter: str = "registration_id") -> Registration:
    """One record.

    Raises:
        Missing: there is none.
    """
    name = validation.known_id(registration_id, parameter)
    found = await session.dps.registrations.get(name)
    if found is None:
        raise Missing(f"there is no registration record of {name}; a device has one once it has registered")
    return found


async def show(session: Session, registration_id: str, parameter: str = "registration_id") -> None:
    """Write one record."""
    found = await read(session, registration_id, parameter)
    session.output.one(found.document(), () if session.output.form == "table" else COLUMNS)


async def delete(
    session: Session,
    registration_id: str,
    confirmation: Confirmation,
    *,
    etag: str | None,
    parameter: str = "registration_id",
) -> None:
    """Delete one record after consent, if it is still the one that was shown.

    Raises:
        Missing: there is none.
        ChangedMeanwhile: its ETag is another.
    """
    found = await read(session, registration_id, parameter)
    if etag not in (None, ANY_VERSION) and etag != found.etag:
        raise ChangedMeanwhile(
            f"the registration record of {found.id} is not at the ETag given; show it again"
        )
    session.terminal.note(
        "the device stays at its hub, and may register again as if for the first time; disabling its "
        "enrollment keeps it out"
    )
    await confirmation.ask(
        f"delete the registration record of {found.id}", differences(found.document(), None)
    )
    outcome = await session.dps.registrations.delete(found.id, etag or found.etag)
    match outcome:
        case Deleted():
            session.terminal.note(f"deleted the registration record of {found.id}")
        case Gone():
            session.terminal.note(f"the registration record of {found.id} was gone already")
        case Moved():
            raise ChangedMeanwhile(
                f"the record of {found.id} was changed meanwhile (the device registered); show it again"
            )
