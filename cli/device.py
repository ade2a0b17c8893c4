"""`device`: one device wherever it is known, kept out and let in again."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from allocation import Entry
from cli.confirm import Confirmation
from cli.connect import Session
from cli.enrollments import new_key
from cli.errors import Incomplete, Missing
from cli.options import DryRun, Injected, Yes
from cli.places import places
from cli.state import State
from cli.values import certificate_file
from clients.errors import ClientError
from lifecycle.enrollments import devices, revocation, validation
from lifecycle.enrollments.certificates import CertificateRules, certificate
from lifecycle.enrollments.diff import Difference
from provisioning.enrollments import IndividualEnrollment

DeviceId = Annotated[
    str,
    Parameter(name=("--registration-id", "--rid"), help="The device's registration id; it may stand alone."),
]


async def show(registration_id: DeviceId, *, session: Injected[Session]) -> None:
    """Show all that is known of a device: enrollment, registration, hub identities, the last decision."""
    name = validation.known_id(registration_id, "registration_id")
    found = await devices.look(await places(session), name)
    result = _told(found)
    result["lastDecision"] = await _last_decision(session, name)
    if (
        found.enrollment is None
        and found.record is None
        and not any(each.device for each in found.identities)
    ):
        raise Missing(f"neither the DPS nor any hub that was asked knows a device {name}")
    session.output.one(result)


async def revoke(
    registration_id: DeviceId,
    *,
    reason: Annotated[str, Parameter(help="Why; noted at the DPS and at the hubs.")] = "",
    certificate_path: Annotated[
        Path | None,
        Parameter(
            name=("--certificate-path", "--cp"),
            help="The device's own certificate, PEM, for one that comes in by a group's signer. Without it "
            "the device is kept out as well; with it DPS tells it that it is disabled.",
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Keep a device out: a disabled individual enrollment, and its identities at the hubs disabled."""
    name = validation.new_id(registration_id, "registration_id")
    text = certificate_file(certificate_path, "certificate_path")
    if text is not None:
        # An expired one keeps its device out no less.
        text = certificate(
            text, "certificate_path", CertificateRules(session.now, authority=False, any_date=True)
        )
    blocking = revocation.blocking(
        name,
        keys=None if text is not None else (new_key(), new_key()),
        certificate=text,
        at=session.now,
        why=reason,
    )
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)

    async def consent(differences: tuple[Difference, ...]) -> None:
        if differences:
            await confirmation.ask(f"revoke device {name}", differences)

    where = await places(session)
    done = await devices.revoke(where, name, blocking, at=session.now, why=reason, consent=consent)
    _write(session, done)
    if done.pending:
        session.terminal.note(
            "a registration of it is under way and may yet make an identity: run this again when it has "
            "ended, in eight minutes at most"
        )
    if not done.whole:
        raise Incomplete(f"{name} is kept out by the DPS, but not at every hub: see above, and run it again")


async def readmit(
    registration_id: DeviceId, *, yes: Yes = False, dry_run: DryRun = False, session: Injected[Session]
) -> None:
    """Let a device in again: undo what revoke did, and nothing that somebody else did at the hubs."""
    name = validation.known_id(registration_id, "registration_id")
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)

    async def consent(differences: tuple[Difference, ...]) -> None:
        if differences:
            await confirmation.ask(f"readmit device {name}", differences)

    done = await devices.readmit(await places(session), name, consent=consent)
    _write(session, done)
    if done.enrollment == "enabled":
        session.terminal.note(
            "its individual enrollment was not made by revoke, so it was enabled and stays; if it only kept "
            "the device out, delete it with `enrollment delete`"
        )
    if not done.whole:
        raise Incomplete(f"{name} is still kept out by the DPS: a hub failed, see above; run it again")


def app() -> App:
    """The noun with its commands."""
    noun = App(name="device", help="One device, wherever it is known.")
    for command in (show, revoke, readmit):
        noun.command(command)
    return noun


def _told(found: devices.Device) -> dict[str, Any]:
    enrollment = None
    if found.enrollment is not None:
        enrollment = IndividualEnrollment.read(found.enrollment).shown()
    return {
        "registrationId": found.registration_id,
        "revoked": found.enrollment is not None and revocation.is_disabled(found.enrollment),
        "individualEnrollment": enrollment,
        "registration": found.record.document() if found.record is not None else None,
        "hubs": [_identity(each) for each in found.identities],
    }


def _identity(identity: devices.Identity) -> dict[str, Any]:
    told: dict[str, Any] = {"hub": identity.hub, "deviceId": identity.device_id}
    if identity.problem:
        return told | {"problem": identity.problem}
    device = identity.device
    if device is None:
        return told | {"found": False}
    return told | {
        "found": True,
        "status": device.status,
        "statusReason": device.status_reason,
        "connectionState": device.connection_state,
        "lastActivityTime": device.last_activity.isoformat() if device.last_activity else None,
        "authenticationType": device.authentication_type,
    }


async def _last_decision(session: Session, name: str) -> dict[str, Any] | None:
    if not session.settings.state_tables:
        session.terminal.note("STATE_TABLES is not set, so no ledger can say what was last decided")
        return None
    state = State(session, None)
    try:
        async for each in state.ledger.history(state.dps, name):
            return _decision(each)
    except ClientError as error:
        session.terminal.note(f"the ledger cannot be read: {error}")
    return None


def _decision(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at.isoformat(),
        "outcome": entry.outcome,
        "hub": entry.hub,
        "why": entry.why,
        "rule": entry.rule,
        "policy": entry.policy,
        "enrollment": {"kind": entry.enrollment_kind, "id": entry.enrollment_id},
        "confirmed": entry.confirmed_at is not None,
    }


def _write(session: Session, done: devices.Done) -> None:
    session.output.one(
        {
            "registrationId": done.registration_id,
            "individualEnrollment": done.enrollment,
            "hubs": [
                {"hub": each.hub, "deviceId": each.device_id, "outcome": each.outcome}
                | ({"problem": each.problem} if each.problem else {})
                for each in done.hubs
            ],
            "registration": done.record.document() if done.record is not None else None,
        }
    )
