"""`roll-certificate`: an enrollment's certificate exchanged for a new one, and the next step always shown."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import App, Parameter

from cli import enrollments
from cli.confirm import Confirmation
from cli.connect import Session
from cli.enrollments import Noun
from cli.errors import Missing, Usage
from cli.options import DryRun, GroupId, IndividualId, Injected, Yes
from cli.values import certificate_file
from lifecycle.enrollments import change as changes
from lifecycle.enrollments import roll_certificate as roll
from lifecycle.enrollments import validation
from lifecycle.enrollments.certificates import CertificateRules, certificate
from provisioning.enrollments import Enrollment

E = TypeVar("E", bound=Enrollment)

NewCertificate = Annotated[
    Path | None,
    Parameter(name=("--certificate-path", "--cp"), help="File of the new certificate, PEM; in every step."),
]
OldCertificate = Annotated[
    Path | None,
    Parameter(help="File of the old one: for --promote, where DPS does not show its text."),
]
NewName = Annotated[
    str | None,
    Parameter(name=("--ca-name", "--cn"), help="Instead: the new CA certificate's name at the DPS."),
]
Promote = Annotated[
    bool, Parameter(negative=(), help="Make the new one primary; the old one becomes secondary.")
]
Retire = Annotated[bool, Parameter(negative=(), help="Take the old one out, once it is secondary.")]
Status = Annotated[bool, Parameter(negative=(), help="Only show where the roll is.")]
Force = Annotated[bool, Parameter(negative=(), help="Take one that is expired or not valid yet.")]


async def roll_group(
    *,
    enrollment_id: GroupId,
    certificate_path: NewCertificate = None,
    ca_name: NewName = None,
    old_certificate_path: OldCertificate = None,
    promote: Promote = False,
    retire: Retire = False,
    status: Status = False,
    force: Force = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Roll a group's certificate or CA name: stage the new one, then --promote it, then --retire the old."""
    rules = CertificateRules(session.now, authority=True, any_date=force)
    new = _new(certificate_path, ca_name, old_certificate_path, rules)
    noun = enrollments.groups(session)
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    await _roll(noun, enrollment_id, new, _step(promote=promote, retire=retire, status=status), confirmation)


async def roll_individual(
    *,
    enrollment_id: IndividualId,
    certificate_path: NewCertificate = None,
    ca_name: NewName = None,
    old_certificate_path: OldCertificate = None,
    promote: Promote = False,
    retire: Retire = False,
    status: Status = False,
    force: Force = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Roll a device's certificate: stage the new one, then --promote it, then --retire the old."""
    rules = CertificateRules(session.now, authority=False, any_date=force)
    new = _new(certificate_path, ca_name, old_certificate_path, rules)
    noun = enrollments.individuals(session)
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    await _roll(noun, enrollment_id, new, _step(promote=promote, retire=retire, status=status), confirmation)


def register(groups: App, individuals: App) -> None:
    """Add the command to both nouns."""
    groups.command(roll_group, name="roll-certificate")
    individuals.command(roll_individual, name="roll-certificate")


def _new(
    path: Path | None, ca_name: str | None, old: Path | None, rules: CertificateRules
) -> roll.New | None:
    if path is not None and ca_name is not None:
        raise Usage("--ca-name: --certificate-path is given too; roll to one of both")
    if ca_name is not None:
        return roll.New(ca_name=validation.ca_name(ca_name, "ca_name"))
    text = certificate_file(path, "certificate_path")
    if text is None:
        return None
    old_text = certificate_file(old, "old_certificate_path")
    if old_text is not None:
        any_date = CertificateRules(rules.now, authority=False, any_date=True)
        old_text = certificate(old_text, "old_certificate_path", any_date)
    return roll.New(certificate(text, "certificate_path", rules), old_certificate=old_text)


def _step(*, promote: bool, retire: bool, status: bool) -> roll.Step | None:
    """The step; None: only look."""
    if promote + retire + status > 1:
        raise Usage("--promote, --retire and --status: one step at a time")
    return "promote" if promote else "retire" if retire else None if status else "stage"


async def _roll(
    noun: Noun[E],
    enrollment_id: str,
    new: roll.New | None,
    step: roll.Step | None,
    confirmation: Confirmation,
) -> None:
    name = validation.known_id(enrollment_id, "enrollment_id")
    terminal = noun.session.terminal
    if step is not None:
        if new is None:
            raise Usage(
                "--certificate-path: name the new certificate (or --ca-name) in every step: it says which of "
                "two is the new one"
            )

        async def consent(planned: changes.EnrollmentChange) -> None:
            await confirmation.ask(f"{_DOES[step]} of {noun.what} {name}", planned.diff)

        made = await changes.change(
            noun.documents,
            name,
            roll.edit(step, new),
            consent=consent,
            webhook_url=noun.session.own_webhook,
        )
        if not made.diff:
            terminal.note("this step was done already; nothing was sent")
    found = await noun.documents.read(name)
    if found is None:
        raise Missing(f"there is no {noun.what} {name}; list them to see what there is")
    held = roll.slots(found)
    following = roll.next_step(held, new.name if new is not None else None)
    slots = {"primary": _told(held.primary), "secondary": _told(held.secondary)}
    noun.session.output.one({"enrollmentId": name, **slots, "next": following})
    terminal.note(f"next: {following}")


_DOES = {
    "stage": "put the new certificate into the free slot",
    "promote": "make the new certificate the primary one",
    "retire": "take out the old certificate",
}


def _told(credential: roll.Credential | None) -> dict[str, Any] | None:
    if credential is None:
        return None
    every = {"name": credential.name, "subject": credential.subject, "expires": credential.expires}
    return {name: value for name, value in every.items() if value is not None}
