"""`escrow`: the keys of deleted enrollments, which the vault holds."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from cli.connect import Session
from cli.errors import Missing, Usage
from cli.options import Injected
from lifecycle.enrollments import validation
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.change import ID_MEMBER, Kind, attestation_type
from lifecycle.enrollments.escrow import escrowed_keys, kept_versions, secret_name

FromEscrow = Annotated[
    bool,
    Parameter(
        negative=(), help="With the keys that the vault kept when one of this id was deleted: `escrow show`."
    ),
]


async def show(
    enrollment_id: Annotated[
        str,
        Parameter(
            name=("--enrollment-id", "--eid", "--gid", "--group-id"),
            help="Id that the enrollment had; it may stand alone.",
        ),
    ],
    *,
    individual: Annotated[bool, Parameter(negative=(), help="It was an individual enrollment.")] = False,
    session: Injected[Session],
) -> None:
    """Show which keys of a deleted enrollment are kept, newest first; not the keys themselves.

    To make it again with them: `enrollment-group create --from-escrow`, or apply a file that says
    `symmetricKey: escrow`.
    """
    name = validation.known_id(enrollment_id, "enrollment_id")
    kind: Kind = "individual" if individual else "group"
    found = await kept_versions(session.vault, session.dps.host, kind, name)
    if not found:
        raise Missing(
            f"the vault keeps no keys of {'enrollment' if individual else 'enrollment group'} {name} (secret "
            f"{secret_name(session.dps.host, kind, name)}); a deleted secret can be recovered there"
        )
    versions: list[dict[str, Any]] = [
        {
            "secret": each.name,
            "version": each.version,
            "enabled": each.enabled,
            "kept": each.created.isoformat(),
            "enrollment": dict(each.tags),
        }
        for each in found
    ]
    session.output.one(versions)


async def with_kept_keys(session: Session, kind: Kind, document: Document) -> Document:
    """The document of a new enrollment with the keys that the vault kept of a deleted one.

    Raises:
        Usage: it attests by something else, or keys are given too.
        Missing: none are kept.
    """
    attestation = document["attestation"]
    if attestation_type(document) != "symmetricKey" or attestation.get("symmetricKey"):
        raise Usage("--from-escrow: other keys or certificates are given too; leave these out")
    name = str(document[ID_MEMBER[kind]])
    keys = await escrowed_keys(session.vault, session.dps.host, kind, name)
    if keys is None:
        secret = secret_name(session.dps.host, kind, name)
        raise Missing(f"--from-escrow: the vault keeps no keys of {name} (secret {secret})")
    for each in keys.values():
        session.terminal.hide(each)
    return {**document, "attestation": {**attestation, "symmetricKey": keys}}


def app() -> App:
    """The noun with its commands."""
    noun = App(name="escrow", help="Keys of deleted enrollments, kept in the vault.")
    noun.command(show)
    return noun
