"""`enrollment-group`: devices that share a key or a signer."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cli import device_keys, enrollments, registrations
from cli.confirm import Confirmation
from cli.connect import Session
from cli.deletion import DiscardKeys, delete_enrollment
from cli.errors import Usage
from cli.escrow import FromEscrow, with_kept_keys
from cli.filters import EnrollmentFilters, RegistrationFilters, Top, kept
from cli.options import (
    AuthorityNames,
    DryRun,
    Etag,
    GroupId,
    Injected,
    RegistrationId,
    Removal,
    Shared,
    ShowKeys,
    Yes,
    said,
)
from cli.output import first
from cli.values import text_or_file
from lifecycle.enrollments import build

_SHARED, _NAMES, _REMOVAL = Shared(), AuthorityNames(), Removal()
_FILTERS, _RECORD_FILTERS = EnrollmentFilters(), RegistrationFilters()


async def create(
    *,
    enrollment_id: GroupId,
    shared: Shared = _SHARED,
    names: AuthorityNames = _NAMES,
    from_escrow: FromEscrow = False,
    show_keys: ShowKeys = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Create an enrollment group. Without certificates and CA names it attests by symmetric keys."""
    options = enrollments.options_of(session, shared, names)
    document = build.new_group(enrollment_id, options, enrollments.rules(session, options, authority=True))
    if from_escrow:
        document = await with_kept_keys(session, "group", document)
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    noun = enrollments.groups(session)
    await enrollments.create(noun, document, confirmation, show_keys=said(show_keys) or False)


async def show(*, enrollment_id: GroupId, show_keys: ShowKeys = None, session: Injected[Session]) -> None:
    """Show an enrollment group."""
    await enrollments.show(enrollments.groups(session), enrollment_id, show_keys=said(show_keys) or False)


async def list_groups(
    *, filters: EnrollmentFilters = _FILTERS, top: Top = None, session: Injected[Session]
) -> None:
    """List enrollment groups, as they are read."""
    noun = enrollments.groups(session)
    found = kept(noun.calls.all(), filters.test(session.now), session.terminal)
    await session.output.many(first((each.shown() async for each in found), top), noun.columns)


async def update(
    *,
    enrollment_id: GroupId,
    shared: Shared = _SHARED,
    names: AuthorityNames = _NAMES,
    removal: Removal = _REMOVAL,
    etag: Etag = None,
    show_keys: ShowKeys = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Change an enrollment group: what the options name, and nothing else."""
    options = enrollments.options_of(session, shared, names, removal)
    edit = build.edit(options, enrollments.rules(session, options, authority=True))
    await enrollments.update(
        enrollments.groups(session),
        enrollment_id,
        edit,
        Confirmation(session.terminal, yes=yes, dry_run=dry_run),
        etag=etag,
        show_keys=said(show_keys) or False,
    )


async def delete(
    *,
    enrollment_id: GroupId,
    etag: Etag = None,
    discard_keys: DiscardKeys = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Delete an enrollment group, once its symmetric keys are safe. Its registration records stay."""
    await delete_enrollment(
        enrollments.groups(session),
        enrollment_id,
        Confirmation(session.terminal, yes=yes, dry_run=dry_run),
        etag=etag,
        discard_keys=discard_keys,
    )


async def compute_device_key(
    *,
    registration_id: Annotated[
        str | None, Parameter(name=("--registration-id", "--rid"), help="The device's registration id.")
    ] = None,
    registration_ids: Annotated[
        Path | None,
        Parameter(
            allow_leading_hyphen=True,
            help="Instead: a file with one registration id a line, - for standard input.",
        ),
    ] = None,
    enrollment_id: Annotated[
        str | None,
        Parameter(
            name=("--enrollment-id", "--eid", "--gid", "--group-id"),
            help="The group whose primary key to derive from.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        Parameter(
            name=("--key", "--symmetric-key"),
            help="Instead: the group's key itself, or @FILE. Nothing is sent; other options do not count.",
        ),
    ] = None,
    session: Injected[Session],
) -> None:
    """Derive device keys from an enrollment group's key, in the case the ids are written in."""
    if (registration_id is None) == (registration_ids is None):
        raise Usage("--registration-id: give it, or --registration-ids with a file of them; one of both")
    root = await device_keys.group_key(session, enrollment_id, text_or_file(key, "key"))
    if registration_id is not None:
        device_keys.write_one(session, root, registration_id)
    elif registration_ids is not None:
        await device_keys.write_many(session, root, registration_ids)


async def list_registrations(
    *,
    enrollment_id: Annotated[
        str | None,
        Parameter(
            name=("--enrollment-id", "--eid", "--gid", "--group-id"),
            help="The group. Without it: every group's, each record with its group's id.",
        ),
    ] = None,
    filters: RegistrationFilters = _RECORD_FILTERS,
    top: Top = None,
    session: Injected[Session],
) -> None:
    """List registration records of one group or all, as they are read."""
    passes = filters.test(session.now)
    if enrollment_id is None:
        every = registrations.of_all_groups(session, passes)
        await session.output.many(first(every, top), registrations.ALL_COLUMNS)
    else:
        found = registrations.of_group(session, enrollment_id, passes)
        await session.output.many(first(found, top), registrations.COLUMNS)


async def show_registration(*, registration_id: RegistrationId, session: Injected[Session]) -> None:
    """Show a device's registration record."""
    await registrations.show(session, registration_id)


async def delete_registration(
    *,
    registration_id: RegistrationId,
    etag: Etag = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Delete a device's registration record. The device stays at its hub, and may register again."""
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    await registrations.delete(session, registration_id, confirmation, etag=etag)


def app() -> App:
    """The noun with its commands."""
    noun = App(name="enrollment-group", help="Enrollment groups: devices that share a key or a signer.")
    for command in (create, show, update, delete, compute_device_key):
        noun.command(command)
    noun.command(list_groups, name="list")
    records = App(name="registration", help="Registration records of a group's devices.")
    records.command(list_registrations, name="list")
    records.command(show_registration, name="show")
    records.command(delete_registration, name="delete")
    noun.command(records)
    return noun
