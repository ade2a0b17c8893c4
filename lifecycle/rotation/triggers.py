"""What sets a rotation going: an event of the vault, the daily timer, a command. Each only writes a job.

The job's id is the occasion, so that whatever comes twice, or from two sides, is one job: a rotation that
replaces a version of a live secret is `rotate:GROUP:VERSION`. When it runs, it looks whether that version is
still the live one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from clients.errors import ClientError
from clients.ports import Clock, Telemetry
from clients.vault_shapes import Secret, SecretVersion
from lifecycle import events
from lifecycle.errors import LifecycleError, NotAnEvent
from lifecycle.events import EventType, SecretEvent
from lifecycle.jobs import JobStore
from lifecycle.rotation.observe import Vault
from lifecycle.rotation.row import NEAR_EXPIRY, Mode, RotationRow, Stage
from lifecycle.rotation.run import KIND
from lifecycle.rotation.store import RotationStore
from provisioning.enrollments import EnrollmentGroup

DUE = NEAR_EXPIRY - timedelta(days=1)
"""The timer leaves the event a day's precedence."""

LOOKING = timedelta(minutes=10)
"""How long the daily timer begins to look at groups. A look takes milliseconds, but minutes where a service
takes calls and gives no answer; and Functions ends an invocation after 30."""


FORGET = "./run dps rotate forget GROUP"
"""What ends the row of a group that was deleted by hand; without the group's id, which is said beside it."""


@dataclass(frozen=True, slots=True)
class VaultIdentity:
    """The vault whose events count.

    Attributes:
        name: in lower case.
        resource_id: its ARM resource id; "" where it is not configured, and the name alone counts.
    """

    name: str
    resource_id: str = ""

    def sent(self, source: str, vault: str) -> bool:
        """Whether an event with this source and `VaultName` is this vault's."""
        wanted = self.resource_id.lower().rstrip("/")
        named = source.lower().rstrip("/")
        whole = named == wanted if wanted else named.endswith(f"/microsoft.keyvault/vaults/{self.name}")
        return whole and vault.lower() == self.name


@dataclass(frozen=True, slots=True)
class Intent:
    """A job that an occasion asks for."""

    job: str
    group: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Alarm:
    """What somebody must hear of."""

    event: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing follows; it is acknowledged."""

    because: str


Verdict = Intent | Alarm | Ignored


def verdict(raw: Any, vault: VaultIdentity, rows: Iterable[RotationRow]) -> Verdict:
    """What follows from an event: pure.

    Args:
        raw: the event as it was delivered.
        vault: whose events count.
        rows: of every group that was adopted.
    """
    try:
        event = events.read(raw)
        if event.known not in (EventType.SECRET_NEAR_EXPIRY, EventType.SECRET_EXPIRED):
            return Ignored("another type of event")
        said = events.secret_event(event)
    except NotAnEvent as error:
        return Ignored(str(error))
    if not vault.sent(event.source, said.vault):
        return Ignored("another vault's")
    row = next((row for row in rows if row.secret.lower() == said.secret.lower()), None)
    if row is None:
        return Ignored("no group's live secret")
    if said.type is EventType.SECRET_EXPIRED:
        return Alarm("rotation_expired", {"group": row.group, "secret": row.secret, "version": said.version})
    return _replacement(row, said)


def _replacement(row: RotationRow, said: SecretEvent) -> Intent:
    return Intent(
        job=f"rotate:{row.group.lower()}:{said.version}",
        group=row.group,
        params={"do": "start", "group": row.group, "version": said.version},
    )


async def receive(
    raw: Any, vault: VaultIdentity, rotations: RotationStore, jobs: JobStore, telemetry: Telemetry
) -> Verdict:
    """Act on one delivered event: one scan and, where a rotation is asked for, one job.

    Returns:
        What followed. Return from the function then: Event Grid must not send it again.

    Raises:
        TableUnavailable: nothing may have been recorded; let Event Grid send it again.
    """
    found = verdict(raw, vault, (await rotations.all()).rows)
    match found:
        case Intent(job, group, params):
            made = await jobs.create(job, KIND, by="event", subject=group, params=params)
            telemetry.event("rotation_asked", dps=rotations.dps, group=group, by="event", new=made.new)
        case Alarm(event, fields):
            telemetry.event(event, dps=rotations.dps, **fields)
        case Ignored(because):
            telemetry.event("rotation_event_ignored", dps=rotations.dps, because=because)
    return found


@dataclass(frozen=True, slots=True)
class Live:
    """The live secret's newest version, without its value; None: there is none that can be read."""

    newest: SecretVersion | None


def due(row: RotationRow, live: Live, now: datetime) -> tuple[Verdict, ...]:
    """What the daily timer makes of a group: pure.

    It begins what a lost event should have begun, goes on with what stands still, and tells of what waits for
    somebody.
    """
    newest, told = live.newest, {"group": row.group, "secret": row.secret}
    found: list[Verdict] = []
    if newest is None:
        found.append(Alarm("rotation_unpublished", told))
    elif newest.expires is None:
        # No expiry, no event: it would be rotated never.
        found.append(Alarm("rotation_unpublished", {**told, "version": newest.version}))
    elif newest.expires <= now:
        found.append(Alarm("rotation_expired", {**told, "version": newest.version}))
    if row.stage is not Stage.IDLE or row.canary.dirty or row.consents:
        found.append(
            Intent(
                job=f"rotate:{row.group.lower()}:on:{now:%Y-%m-%d}",
                group=row.group,
                # A breach goes forward, whatever it met; anything else that is blocked waits for a person.
                params={"do": "advance", "group": row.group, "retry": row.mode is Mode.BREACH},
            )
        )
        return tuple(found)
    expires = None if newest is None else newest.expires
    if newest is None or expires is None or expires - now > DUE:
        return tuple(found)
    if newest.version == row.declined:
        found.append(
            Alarm("rotation_waits", {**told, "asks": "a new start", "because": "its rotation was aborted"})
        )
    else:
        version = newest.version
        params = {"do": "start", "group": row.group, "version": version}
        # With the date: the job of an earlier event for this version may have ended while another rotation
        # was under way. Which one begins, the row decides.
        job = f"rotate:{row.group.lower()}:{version.lower()}:{now:%Y-%m-%d}"
        found.append(Intent(job, row.group, params))
    return tuple(found)


class Groups(Protocol):
    """Enrollment groups: see clients.dps."""

    async def get(self, enrollment_id: str) -> EnrollmentGroup | None:
        """The group; None: there is none."""


async def daily(
    rotations: RotationStore, vault: Vault, groups: Groups, jobs: JobStore, telemetry: Telemetry
) -> int:
    """The daily timer over every group; one that cannot be looked at does not stop the others.

    Of a group that DPS says is not there, nothing waits for anybody. Its row stays: should the DPS have been
    a wrong one, what is known of the slots is still there.

    Returns:
        How many could not be looked at.

    Raises:
        TableUnavailable: the rows could not be read.
    """
    failed = 0
    clock = rotations.clock
    until = clock.monotonic() + LOOKING.total_seconds()
    every = await rotations.all()
    for problem in every.unreadable:
        telemetry.event("rotation_unseen", dps=rotations.dps, problem=problem)
    for row in every.rows:
        found, problem = await _looked(row, vault, clock, until)
        if (found or problem) and clock.monotonic() < until and await _gone(row, groups):
            telemetry.event(
                "rotation_gone", dps=rotations.dps, group=row.group, secret=row.secret, fix=FORGET
            )
            found, problem = _left_to_do(row, found), ""
        try:
            for each in found:
                if isinstance(each, Intent):
                    await jobs.create(each.job, KIND, by="timer", subject=each.group, params=each.params)
                elif isinstance(each, Alarm):
                    telemetry.event(each.event, dps=rotations.dps, **each.fields)
        except (ClientError, LifecycleError) as error:
            problem = str(error)
        if problem:
            failed += 1
            telemetry.event("rotation_unseen", dps=rotations.dps, group=row.group, problem=problem)
    return failed + len(every.unreadable)


async def _looked(
    row: RotationRow, vault: Vault, clock: Clock, until: float
) -> tuple[tuple[Verdict, ...], str]:
    """What is due of a group, and why nothing could be said of it."""
    if clock.monotonic() >= until:
        return (), "not looked at: the groups before it took all the time, so see what is wrong there"
    try:
        return due(row, await _live(row, vault), clock.now()), ""
    except (ClientError, LifecycleError) as error:
        return (), str(error)


async def _live(row: RotationRow, vault: Vault) -> Live:
    """The version that readers get. Only a read without a version tells: times have whole seconds."""
    found = await vault.get(row.secret)
    return Live(found.about if isinstance(found, Secret) else None)


async def _gone(row: RotationRow, groups: Groups) -> bool:
    """Whether DPS says that there is no such group; where it says nothing, there is one."""
    try:
        return await groups.get(row.group) is None
    except (ClientError, LifecycleError):
        return False


def _left_to_do(row: RotationRow, found: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """What remains of a group that is gone: its canary, where one may be left."""
    if row.stage is not Stage.IDLE or not row.canary.dirty:
        return ()
    return tuple(each for each in found if isinstance(each, Intent))
