"""What the commands of both kinds of enrollments have in common."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from cli.confirm import Confirmation
from cli.connect import Session
from cli.errors import Missing
from cli.options import AuthorityNames, OneDevice, Removal, Shared, said
from cli.output import Column, member
from cli.values import certificate_file, json_value, text_or_file
from clients.dps import EnrollmentCalls
from lifecycle.enrollments import at_dps, build, validation
from lifecycle.enrollments import change as changes
from lifecycle.enrollments.certificates import CertificateRules
from lifecycle.enrollments.options import REPROVISION, Options
from provisioning.attestation import put_keys
from provisioning.enrollments import Enrollment, EnrollmentGroup, IndividualEnrollment
from provisioning.keys import SymmetricKey

E = TypeVar("E", bound=Enrollment)

KEY_BYTES = 64
"""Size of the keys that are made here: that of those DPS makes (documented)."""


@dataclass(frozen=True, slots=True)
class Noun(Generic[E]):
    """One kind of enrollments at the DPS of a session."""

    session: Session
    calls: EnrollmentCalls[E]
    documents: at_dps.DpsEnrollments[E]
    what: str
    columns: Sequence[Column]


def groups(session: Session) -> Noun[EnrollmentGroup]:
    """Enrollment groups."""
    dps = session.dps
    return Noun(session, dps.groups, at_dps.groups(dps), EnrollmentGroup.WHAT, GROUP_COLUMNS)


def individuals(session: Session) -> Noun[IndividualEnrollment]:
    """Individual enrollments."""
    dps = session.dps
    return Noun(
        session, dps.individuals, at_dps.individuals(dps), IndividualEnrollment.WHAT, INDIVIDUAL_COLUMNS
    )


def options_of(session: Session, *parts: Shared | AuthorityNames | OneDevice | Removal) -> Options:
    """What the options say, their files read. Secrets among them are hidden from every message.

    Raises:
        Usage: a file cannot be read, or a JSON text cannot be understood.
    """
    given: dict[str, Any] = {}
    for part in parts:
        for each in fields(part):
            given[each.name] = _value(each.name, getattr(part, each.name))
    for name in ("primary_key", "secondary_key", "webhook_url"):
        if given.get(name):
            session.terminal.hide(given[name])
    return Options(**given)


def _value(name: str, value: Any) -> Any:  # noqa: PLR0911 - a table of six rows
    match name:
        case "certificate_path" | "secondary_certificate_path":
            return certificate_file(value, name)
        case "initial_twin_tags" | "initial_twin_properties" | "device_information":
            return json_value(value, name)
        case "primary_key" | "secondary_key" | "webhook_url" | "endorsement_key":
            return text_or_file(value, name)
        case "edge_enabled":
            return said(value)
        case "remove_certificate" | "remove_secondary_certificate":
            return said(value) or False
        case "iot_hubs":
            return None if value is None else tuple(value)
        case _:
            return value


def rules(session: Session, options: Options, *, authority: bool) -> CertificateRules:
    """What a certificate of the options must be."""
    return CertificateRules(now=session.now, authority=authority, any_date=options.force)


def new_key() -> SymmetricKey:
    """A new random key."""
    return SymmetricKey.parse(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii"))


async def create(
    noun: Noun[E], document: build.Document, confirmation: Confirmation, *, show_keys: bool
) -> None:
    """Create it after consent, and write what is there now."""
    whole = build.complete_keys(document, new_key)
    name = str(whole[changes.ID_MEMBER[noun.documents.kind]])
    warn_of_webhook(noun.session, whole)

    async def consent(planned: changes.EnrollmentChange) -> None:
        await confirmation.ask(f"create {noun.what} {name}", planned.diff)

    await changes.create(noun.documents, whole, consent=consent)
    await show(noun, name, show_keys=show_keys)


async def update(
    noun: Noun[E],
    enrollment_id: str,
    edit: build.Edit,
    confirmation: Confirmation,
    *,
    etag: str | None,
    show_keys: bool,
) -> None:
    """Change it after consent, and write what is there now."""
    name = validation.known_id(enrollment_id, "enrollment_id")

    async def consent(planned: changes.EnrollmentChange) -> None:
        warn_of_webhook(noun.session, planned.after or {})
        await confirmation.ask(f"change {noun.what} {name}", planned.diff)

    made = await changes.change(
        noun.documents, name, edit, consent=consent, etag=etag, webhook_url=noun.session.own_webhook
    )
    if not made.diff:
        noun.session.terminal.note(f"{noun.what} {name} is like that already; nothing was sent")
    await show(noun, name, show_keys=show_keys)


async def show(noun: Noun[E], enrollment_id: str, *, show_keys: bool) -> None:
    """Write one enrollment.

    Raises:
        Missing: there is none.
    """
    name = validation.known_id(enrollment_id, "enrollment_id")
    found = await (noun.calls.with_keys(name) if show_keys else noun.calls.get(name))
    if found is None:
        raise Missing(f"there is no {noun.what} {name}; list them to see what there is")
    noun.session.output.one(told(found, show_keys=show_keys), _columns_for_one(noun))


def told(enrollment: Enrollment, *, show_keys: bool) -> dict[str, Any]:
    """The enrollment's document, in the service's members, with its secrets or without."""
    if not show_keys:
        return enrollment.shown()
    document = enrollment.document()
    if enrollment.keys is not None:
        put_keys(document["attestation"], enrollment.keys)
    return document


def warn_of_webhook(session: Session, document: Mapping[str, Any]) -> None:
    """Tell of a webhook URL without a key: the Functions host would answer DPS 401."""
    definition = document.get("customAllocationDefinition") or {}
    url = str(definition.get("webhookUrl") or "")
    if document.get("allocationPolicy") == "custom" and url and "code=" not in url.partition("?")[2]:
        session.terminal.note(
            "the webhook URL has no ?code=FUNCTION-KEY: a function with a key answers 401, and devices fail"
        )


def _columns_for_one(noun: Noun[E]) -> Sequence[Column]:
    return () if noun.session.output.form == "table" else noun.columns


def _attestation(record: Mapping[str, Any]) -> Any:
    attestation = record.get("attestation") or {}
    x509 = attestation.get("x509") or {}
    return f"{attestation.get('type')} (CA names)" if x509.get("caReferences") else attestation.get("type")


def _hubs(record: Mapping[str, Any]) -> Any:
    single = record.get("iotHubHostName")
    return record.get("iotHubs") or ([single] if single else [])


def _reprovision(record: Mapping[str, Any]) -> Any:
    policy = record.get("reprovisionPolicy")
    named = (name for name, flags in REPROVISION.items() if flags == policy)
    return None if not policy else next(named, policy)


_SHARED_COLUMNS = (
    Column("attestation", _attestation),
    member("provisioningStatus", "status"),
    member("allocationPolicy", "policy"),
    Column("hubs", _hubs),
    member("customAllocationDefinition.webhookUrl", "webhook"),
    Column("reprovision", _reprovision),
    member("lastUpdatedDateTimeUtc", "updated"),
)
GROUP_COLUMNS = (member("enrollmentGroupId", "group"), *_SHARED_COLUMNS)
INDIVIDUAL_COLUMNS = (
    member("registrationId", "registration"),
    member("deviceId", "device"),
    *_SHARED_COLUMNS,
    member("registrationState.status", "registered"),
    member("registrationState.assignedHub", "assigned hub"),
)
