"""Deleting an enrollment, once its symmetric keys are safe or somebody has said that they need not be."""

from typing import Annotated, TypeVar

from cyclopts import Parameter

from cli.confirm import Confirmation
from cli.enrollments import Noun
from cli.errors import Usage
from cli.options import CHANGES
from lifecycle.enrollments import change, validation
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.escrow import escrow
from provisioning.enrollments import Enrollment

E = TypeVar("E", bound=Enrollment)

DiscardKeys = Annotated[
    bool,
    Parameter(
        name="--discard-keys",
        negative=(),
        group=CHANGES,
        help="Do not keep the symmetric keys in the vault: all device keys derived from them are lost.",
    ),
]


async def delete_enrollment(
    noun: Noun[E],
    enrollment_id: str,
    confirmation: Confirmation,
    *,
    etag: str | None,
    discard_keys: bool,
) -> None:
    """Delete it after consent.

    Raises:
        Usage: it has symmetric keys, and neither a vault is set nor --discard-keys said.
        NoSuchEnrollment, EnrollmentMoved: see lifecycle.enrollments.change.
    """
    name = validation.known_id(enrollment_id, "enrollment_id")
    session = noun.session

    async def consent(planned: change.EnrollmentChange) -> None:
        kept = "keys discarded" if discard_keys else f"its keys into {session.settings.vault_url}"
        if change.attestation_type(planned.before or {}) != "symmetricKey":
            kept = "it has no symmetric keys"
        elif not discard_keys and not session.settings.vault_url:
            raise Usage(
                f"--discard-keys: {noun.what} {name} has symmetric keys, and no vault to keep them in; set "
                "VAULT_URL, or say --discard-keys: the keys of all its devices are then lost with it"
            )
        if noun.documents.kind == "group":
            session.terminal.note(
                "a group's registration records stay and count in the DPS's quota: `decommission` takes "
                "them too"
            )
        await confirmation.ask(f"delete {noun.what} {name} ({kept})", planned.diff)

    async def before_delete(document: Document) -> None:
        if not discard_keys and change.attestation_type(document) == "symmetricKey":
            kept = await escrow(session.vault, session.dps.host, noun.documents.kind, document)
            if kept:
                session.terminal.note(f"its keys are kept in secret {kept.secret}, version {kept.version}")

    await change.delete(noun.documents, name, consent=consent, before_delete=before_delete, etag=etag)
    session.terminal.note(f"deleted {noun.what} {name}")
