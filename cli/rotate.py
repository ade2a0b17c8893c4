"""`rotate`: the keys of enrollment groups, exchanged without locking a device out."""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

from cyclopts import App, Parameter

from cli import rotate_webhook_key
from cli.confirm import Confirmation, OnlyShown
from cli.connect import Session
from cli.errors import NotConsented
from cli.options import CHANGES, DryRun, Injected, Yes
from cli.output import member
from cli.state import State, whoever
from cli.values import duration
from lifecycle.enrollments import validation
from lifecycle.enrollments.diff import Difference
from lifecycle.jobs import JobRow, JobStore
from lifecycle.rotation import commands
from lifecycle.rotation.commands import Rotations
from lifecycle.rotation.export import export_device_keys, live_key
from lifecycle.rotation.identities import to_renew
from lifecycle.rotation.row import SLOTS, RotationRow, RotationTerms, SlotName, Stage
from lifecycle.rotation.store import RotationStore

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")
_COLUMNS = (
    member("group"),
    member("stage"),
    member("primary"),
    member("secondary"),
    member("until"),
    member("waitsFor"),
    member("problem"),
)
_IDENTITY_COLUMNS = (member("registrationId"), member("hub"), member("deviceId"), member("registered"))

Group = Annotated[
    str,
    Parameter(
        name=("--enrollment-id", "--eid", "--gid", "--group-id"),
        help="The enrollment group's id; may stand without the option's name.",
    ),
]
Secret = Annotated[
    str | None,
    Parameter(
        help="Name of the live secret in the vault. Without it: dps-key-, the DPS's and the group's id."
    ),
]
Overlap = Annotated[str, Parameter(help="How long both keys count: 30d, 12h, 4w.")]
Validity = Annotated[
    str, Parameter(help="From publication to expiry: more than 30 days and the overlap together.")
]


async def adopt(
    enrollment_id: Group,
    *,
    active: Annotated[SlotName, Parameter(help="The slot that new device keys come from.")],
    other: Annotated[
        Literal["free", "in-use"],
        Parameter(help="Whether devices still use the other slot's key. A free slot is overwritten next."),
    ],
    secret: Secret = None,
    overlap: Overlap = "30d",
    validity: Validity = "180d",
    canary: Annotated[
        bool, Parameter(negative=(), help="Let a canary register with each new key before it is published.")
    ] = False,
    hold: Annotated[
        bool, Parameter(negative=(), help="Let each verified key wait for `rotate promote`.")
    ] = False,
    again: Annotated[
        bool, Parameter(negative=(), group=CHANGES, help="Replace what was said of this group before.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Say once which slot of a group is in use; from then on its keys can be rotated."""
    group = validation.known_id(enrollment_id, "enrollment_id")
    rotations = await _rotations(session)
    terms = _terms(overlap, validity, canary=canary, hold=hold)
    name = secret or _secret_name(session, group)
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    said = [
        Difference("slots.active", None, active),
        Difference("slots.other", None, other),
        Difference("secret", None, name),
    ]
    await confirmation.ask(f"take enrollment group {group} into rotation", said)
    row = await commands.adopt(
        rotations, group, name, terms, active=active, others=other, again=again, by=whoever(None)
    )
    session.output.one(_told(row), ())


async def plan(enrollment_id: Group, *, session: Injected[Session]) -> None:
    """Show what a start would do, or what comes next. Changes nothing."""
    found = await commands.plan(await _rotations(session), _group(enrollment_id))
    session.output.one(
        {
            **_told(found.row),
            "next": found.next,
            "because": found.because,
            "target": found.target,
            "overwrites": found.destroys,
            "calls": found.calls,
            "overlapEnds": _time(found.overlap_ends),
            "expires": _time(found.expires),
        }
    )


async def start(
    enrollment_id: Group, *, yes: Yes = False, dry_run: DryRun = False, session: Injected[Session]
) -> None:
    """Ask for a rotation now, or for a blocked one to be tried again."""
    rotations, group = await _rotations(session), _group(enrollment_id)
    found = await commands.plan(rotations, group)
    destroys = [Difference(f"slots.{found.destroys}", "the key in it", "a new key")] if found.destroys else []
    await Confirmation(session.terminal, yes=yes, dry_run=dry_run).ask(
        f"rotate enrollment group {group}: next is {found.next} ({found.because})", destroys
    )
    _asked(session, await commands.start(rotations, group, by=whoever(None)))


async def status(
    enrollment_id: Annotated[
        str | None,
        Parameter(
            name=("--enrollment-id", "--eid", "--gid", "--group-id"),
            help="The enrollment group's id. Without it: every group's.",
        ),
    ] = None,
    *,
    session: Injected[Session],
) -> None:
    """Show where the rotation of a group stands, or of all."""
    store = _store(session)
    if enrollment_id is not None:
        session.output.one(_told(await store.get(_group(enrollment_id))))
        return
    every = await store.all()
    for problem in every.unreadable:
        session.terminal.note(problem)

    async def told() -> AsyncIterator[Mapping[str, Any]]:
        for row in every.rows:
            yield _told(row)

    await session.output.many(told(), _COLUMNS)


async def promote(
    enrollment_id: Group, *, yes: Yes = False, dry_run: DryRun = False, session: Injected[Session]
) -> None:
    """Agree that a verified key is published, whatever its canary said."""
    await _consent(session, enrollment_id, "promote", "publish the verified key of", yes=yes, dry_run=dry_run)


async def retire(
    enrollment_id: Group, *, yes: Yes = False, dry_run: DryRun = False, session: Injected[Session]
) -> None:
    """Agree that the old slot may go. Its key opens the DPS until the next rotation overwrites it."""
    what = "give up the old slot (devices that still use its key are locked out by the next rotation) of"
    await _consent(session, enrollment_id, "retire", what, yes=yes, dry_run=dry_run)


async def abort(
    enrollment_id: Group, *, yes: Yes = False, dry_run: DryRun = False, session: Injected[Session]
) -> None:
    """Give a rotation up whose key is not published yet."""
    await _consent(session, enrollment_id, "abort", "give up the rotation of", yes=yes, dry_run=dry_run)


async def breach(
    enrollment_id: Group,
    *,
    confirm: Annotated[
        str | None,
        Parameter(group=CHANGES, help="The group's id once more, instead of typing it when asked."),
    ] = None,
    secret: Secret = None,
    overlap: Overlap = "30d",
    validity: Validity = "180d",
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Exchange both keys of a group at once: no device of it registers any more until it has a new key.

    The group is disabled meanwhile. Devices that are connected stay so: see `rotate identities`.
    """
    group = _group(enrollment_id)
    terms = _terms(overlap, validity)
    rotations = await _rotations(session)
    session.terminal.note(
        f"both keys of enrollment group {group} go at once, without overlap: no device of it can register "
        "until it has a key derived from the new one; connected devices stay connected"
    )
    await _typed(session, group, confirm, dry_run=dry_run)
    name = secret or _secret_name(session, group)
    job = await commands.breach(rotations, group, name, terms, by=whoever(None), rotation=lambda: uuid4().hex)
    _asked(session, job)
    session.terminal.note(
        "when `rotate status` shows it idle: `rotate export-device-keys` for the new device keys, and "
        "`rotate identities` for the hub identities that still have old ones"
    )


async def forget(
    enrollment_id: Group,
    *,
    confirm: Annotated[
        str | None,
        Parameter(group=CHANGES, help="The group's id once more, instead of typing it when asked."),
    ] = None,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """End the rotation of a group that was deleted: its row goes, its keys stay in the vault."""
    group = _group(enrollment_id)
    rotations = await _rotations(session)
    row = await rotations.store.get(group)
    session.terminal.note(
        f"the row of enrollment group {row.group} is deleted if {session.dps.host} does not have the group; "
        f"what is in the vault stays, in {row.secret}, {row.pending} and {row.replaced}"
    )
    await _typed(session, group, confirm, dry_run=dry_run)
    kept = await commands.forget(rotations, group)
    session.output.one({"group": row.group, "forgotten": True, "secrets": list(kept)})


async def identities(
    enrollment_id: Group,
    *,
    since: Annotated[
        str, Parameter(help="Devices that registered within this time have the new key: 2d, 6h.")
    ],
    disable: Annotated[
        bool, Parameter(negative=(), group=CHANGES, help="Disable them at their hubs, as a job.")
    ] = False,
    why: Annotated[str, Parameter(help="Noted at the hubs.")] = "the group's keys were breached",
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """List the hub identities of a group whose keys are of before: rotating does not cut them off."""
    group = _group(enrollment_id)
    span = duration(since, "since")
    assert span is not None
    moment = session.now - span
    if disable:
        rotations = await _rotations(session)
        await Confirmation(session.terminal, yes=yes, dry_run=dry_run).ask(
            f"disable the hub identities of {group} whose devices have not registered since {_time(moment)}",
            (),
        )
        job = await commands.disable_identities(rotations, group, since=moment, why=why, by=whoever(None))
        _asked(session, job)
        return

    async def found() -> AsyncIterator[Mapping[str, Any]]:
        async for record in session.dps.registrations.of_group(group):
            each = to_renew(record, moment)
            if each is not None:
                yield {
                    "registrationId": each.registration_id,
                    "hub": each.hub,
                    "deviceId": each.device_id,
                    "registered": _time(each.registered),
                }

    await session.output.many(found(), _IDENTITY_COLUMNS)


async def export_keys(
    enrollment_id: Group,
    *,
    file: Annotated[Path, Parameter(help="A new file, readable by you alone; one JSON object a line.")],
    secret: Secret = None,
    session: Injected[Session],
) -> None:
    """Write the device keys of a group's registrations, derived from its live key, for a re-key campaign."""
    group = _group(enrollment_id)
    name = secret
    if name is None:
        row = await _store(session).find(group)
        name = _secret_name(session, group) if row is None else row.secret
    key, version = await live_key(session.dps.groups, session.vault, group, name)
    devices, mixed = await export_device_keys(session.dps.registrations, group, key, file)
    session.terminal.note(
        "which slot's key a device uses now is not known (DPS does not tell), so every registration is in it"
    )
    session.terminal.note(
        "each key is derived from the id as its registration record writes it; a device that writes its own "
        "id in another case does not match its key" + (f": {mixed} ids have capitals" if mixed else "")
    )
    session.output.one({"file": str(file), "devices": devices, "secret": name, "version": version})


def app() -> App:
    """The noun with its commands."""
    noun = App(name="rotate", help="Keys of enrollment groups, exchanged without locking a device out.")
    for command in (adopt, plan, start, status, promote, retire, abort, breach, identities, forget):
        noun.command(command)
    noun.command(export_keys, name="export-device-keys")
    noun.command(rotate_webhook_key.app())
    return noun


async def _typed(session: Session, group: str, confirm: str | None, *, dry_run: bool) -> None:
    """Go on only if the group's id was typed."""
    if dry_run:
        raise OnlyShown("--dry-run: nothing was changed")
    typed = confirm if confirm is not None else await session.terminal.ask(f"type {group} to go on: ")
    if typed is None:
        raise NotConsented("there is no terminal to type the group's id at; give it with --confirm")
    if typed != group:
        raise NotConsented(f"that is not {group}; nothing was changed")


async def _consent(
    session: Session,
    enrollment_id: str,
    what: Literal["retire", "promote", "abort"],
    words: str,
    *,
    yes: bool,
    dry_run: bool,
) -> None:
    rotations, group = await _rotations(session), _group(enrollment_id)
    row = await rotations.store.get(group)
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    await confirmation.ask(f"{words} enrollment group {row.group}, which is {row.stage}", ())
    _asked(session, await commands.consent(rotations, group, what, by=whoever(None)))


def _group(enrollment_id: str) -> str:
    return validation.known_id(enrollment_id, "enrollment_id")


async def _rotations(session: Session) -> Rotations:
    return Rotations(
        store=_store(session),
        jobs=JobStore(session.wiring.table("jobs"), State(session, None).dps, session.clock),
        groups=session.dps.groups,
        vault=session.vault,
        webhook_url=await session.own_webhook(),
    )


def _store(session: Session) -> RotationStore:
    dps = State(session, None).dps  # which says what to set where there are no tables
    return RotationStore(session.wiring.table("rotations"), dps, session.clock)


def _secret_name(session: Session, group: str) -> str:
    """Readable, and told apart by a digest where ids have characters that names have not."""
    dps = session.dps.host.partition(".")[0].partition(":")[0]
    name = f"dps-key-{dps}-{group}".lower()
    plain = _NOT_IN_NAMES.sub("-", name).strip("-")
    if plain == name and len(plain) <= 100:
        return plain
    return f"{plain[:87]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _terms(overlap: str, validity: str, *, canary: bool = False, hold: bool = False) -> RotationTerms:
    both = duration(overlap, "overlap"), duration(validity, "validity")
    return RotationTerms(both[0] or timedelta(), both[1] or timedelta(), canary, hold)


def _asked(session: Session, job: JobRow) -> None:
    session.terminal.note(f"asked for by job {job.id}: the app's next tick takes it up; see `rotate status`")
    session.output.one({"job": job.id, "group": job.subject, "state": job.state.value})


def _told(row: RotationRow) -> dict[str, Any]:
    """The row for people."""
    waits = row.blocked or ("retire consent needed" if row.stage is Stage.RETIRING else "")
    return {
        "group": row.group,
        "secret": row.secret,
        "stage": row.stage.value,
        "mode": row.mode.value,
        "rotation": row.rotation,
        **{name: row.slots[name].use.value for name in SLOTS},
        "demotedSince": _time(next((slot.since for slot in row.slots.values() if slot.since), None)),
        "target": row.target,
        "replaces": row.replaces,
        "published": row.published,
        "until": _time(row.until),
        "waitsFor": str(waits),
        "problem": row.problem,
        "overlapDays": row.terms.overlap / timedelta(days=1),
        "validityDays": row.terms.validity / timedelta(days=1),
        "canary": row.terms.canary,
        "hold": row.terms.hold,
        "by": row.by,
    }


def _time(moment: Any) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
