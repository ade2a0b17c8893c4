"""`enrollment`: individual enrollments, one device each."""

from typing import TYPE_CHECKING, Annotated, cast

from cyclopts import App, Parameter

from cli import enrollments, registrations
from cli.confirm import Confirmation
from cli.connect import Session
from cli.deletion import DiscardKeys, delete_enrollment
from cli.escrow import FromEscrow, with_kept_keys
from cli.filters import EnrollmentFilters, Top, kept
from cli.options import (
    DryRun,
    Etag,
    IndividualId,
    Injected,
    OneDevice,
    Removal,
    Shared,
    ShowKeys,
    Yes,
    said,
)
from cli.output import first
from lifecycle.enrollments import build

if TYPE_CHECKING:
    from lifecycle.enrollments.options import Attestation

_SHARED, _DEVICE, _REMOVAL, _FILTERS = Shared(), OneDevice(), Removal(), EnrollmentFilters()


async def create(
    *,
    enrollment_id: IndividualId,
    attestation_type: Annotated[
        str,
        Parameter(
            name=("--attestation-type", "--at"),
            choices=("symmetricKey", "tpm", "x509"),
            help="How the device proves itself.",
        ),
    ],
    shared: Shared = _SHARED,
    device: OneDevice = _DEVICE,
    from_escrow: FromEscrow = False,
    show_keys: ShowKeys = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Create an individual enrollment."""
    options = enrollments.options_of(session, shared, device)
    document = build.new_individual(
        enrollment_id,
        cast("Attestation", attestation_type),  # one of the choices
        options,
        enrollments.rules(session, options, authority=False),
    )
    if from_escrow:
        document = await with_kept_keys(session, "individual", document)
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    noun = enrollments.individuals(session)
    await enrollments.create(noun, document, confirmation, show_keys=said(show_keys) or False)


async def show(
    *, enrollment_id: IndividualId, show_keys: ShowKeys = None, session: Injected[Session]
) -> None:
    """Show an individual enrollment, with its device's registration."""
    noun = enrollments.individuals(session)
    await enrollments.show(noun, enrollment_id, show_keys=said(show_keys) or False)


async def list_individuals(
    *, filters: EnrollmentFilters = _FILTERS, top: Top = None, session: Injected[Session]
) -> None:
    """List individual enrollments, as they are read."""
    noun = enrollments.individuals(session)
    found = kept(noun.calls.all(), filters.test(session.now), session.terminal)
    await session.output.many(first((each.shown() async for each in found), top), noun.columns)


async def update(
    *,
    enrollment_id: IndividualId,
    shared: Shared = _SHARED,
    device: OneDevice = _DEVICE,
    removal: Removal = _REMOVAL,
    etag: Etag = None,
    show_keys: ShowKeys = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Change an individual enrollment: what the options name, and nothing else."""
    options = enrollments.options_of(session, shared, device, removal)
    edit = build.edit(options, enrollments.rules(session, options, authority=False))
    await enrollments.update(
        enrollments.individuals(session),
        enrollment_id,
        edit,
        Confirmation(session.terminal, yes=yes, dry_run=dry_run),
        etag=etag,
        show_keys=said(show_keys) or False,
    )


async def delete(
    *,
    enrollment_id: IndividualId,
    etag: Etag = None,
    discard_keys: DiscardKeys = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Delete an individual enrollment, once its symmetric keys are safe."""
    await delete_enrollment(
        enrollments.individuals(session),
        enrollment_id,
        Confirmation(session.terminal, yes=yes, dry_run=dry_run),
        etag=etag,
        discard_keys=discard_keys,
    )


RecordId = Annotated[
    str,
    Parameter(
        name=("--enrollment-id", "--eid", "--registration-id", "--rid"),
        help="The individual enrollment's id: its registration id.",
    ),
]


async def show_registration(*, enrollment_id: RecordId, session: Injected[Session]) -> None:
    """Show the registration record of an individual enrollment's device."""
    await registrations.show(session, enrollment_id, "enrollment_id")


async def delete_registration(
    *,
    enrollment_id: RecordId,
    etag: Etag = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Delete the registration record of an individual enrollment's device."""
    await registrations.delete(
        session,
        enrollment_id,
        Confirmation(session.terminal, yes=yes, dry_run=dry_run),
        etag=etag,
        parameter="enrollment_id",
    )


def app() -> App:
    """The noun with its commands."""
    noun = App(name="enrollment", help="Individual enrollments: one device each.")
    for command in (create, show, update, delete):
        noun.command(command)
    noun.command(list_individuals, name="list")
    records = App(name="registration", help="Registration records of individual enrollments' devices.")
    records.command(show_registration, name="show")
    records.command(delete_registration, name="delete")
    noun.command(records)
    return noun
