"""A device kept out, and let in again: at DPS and at every hub that knows it.

A rotated key or a disabled enrollment at DPS is no revocation at the hub: a device that is connected stays
so until its hub identity goes (documented). And a disabled hub identity alone is none either: DPS would make
another one at the next registration. So both, in the order that no crash undoes:

- revoke: DPS first, so that no registration makes an identity behind our back; then the hubs; then the record
  is read again, for a registration that was under way may have ended on another hub meanwhile;
- readmit: the hubs first and the enrollment last, so that what is left to do can be read from it, and since
  DPS may drop the registration record, which names the hub, with an individual enrollment (unknown).

Each step looks before it acts: run again, the rest is done.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from clients.errors import ClientError, OutcomeUnknown
from clients.hub_shapes import HubDevice, Status
from clients.outcomes import Gone, Moved
from lifecycle.enrollments import change as changes
from lifecycle.enrollments import revocation
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.diff import Difference, differences
from lifecycle.errors import AlreadyThere, EnrollmentMoved, NoSuchEnrollment
from provisioning.hubs import HubKey, hub_key
from provisioning.registrations import Registration

ATTEMPTS = 4
"""How often an identity that others change at the same time is looked at again."""

Outcome = Literal["disabled", "enabled", "already", "not there", "left alone", "failed"]


class Hub(Protocol):
    """One hub's identities: see clients.hubs."""

    async def device(self, device_id: str) -> HubDevice | None:
        """The registry's entry, or None."""

    async def set_status(
        self, device_id: str, status: Status, etag: str, reason: str | None = None
    ) -> HubDevice | Gone | Moved:
        """Enable or disable it."""


class Records(Protocol):
    """Registration records: see clients.dps."""

    async def get(self, registration_id: str) -> Registration | None:
        """A device's record, or None."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a device may be.

    Attributes:
        individuals: the individual enrollments of its DPS.
        records: the registration records of its DPS.
        hub: a hub by its name.
        linked: hubs that are linked to the DPS, as far as they are known.
    """

    individuals: changes.Enrollments
    records: Records
    hub: Callable[[HubKey], Hub]
    linked: Sequence[HubKey] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """A device at a hub, or why it could not be looked at.

    Attributes:
        device: None: the hub has none.
        problem: "" unless the hub could not be asked.
    """

    hub: HubKey
    device_id: str
    device: HubDevice | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """What is known of a device.

    Attributes:
        enrollment: its individual enrollment, with keys; None: it has none, and comes in through a group.
        record: its registration record.
        identities: one for each hub that was asked.
    """

    registration_id: str
    enrollment: Document | None = field(repr=False)
    record: Registration | None
    identities: tuple[Identity, ...]


@dataclass(frozen=True, slots=True)
class AtHub:
    """What became of one identity.

    Attributes:
        problem: why it failed or was left alone; "" otherwise.
    """

    hub: HubKey
    device_id: str
    outcome: Outcome
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a device.

    Attributes:
        enrollment: what was done about its individual enrollment: made, disabled, enabled, deleted, already
            (it was so), or "none": there was none.
        hubs: where it was looked for.
        record: as it was last read.
    """

    registration_id: str
    enrollment: Literal["made", "disabled", "enabled", "deleted", "already", "none"]
    hubs: tuple[AtHub, ...]
    record: Registration | None

    @property
    def whole(self) -> bool:
        """Whether nothing is left to do."""
        return all(each.outcome != "failed" for each in self.hubs)

    @property
    def pending(self) -> bool:
        """Whether a registration is under way, which may yet make an identity: look again later."""
        return self.record is not None and self.record.status == "assigning"


Consent = Callable[[tuple[Difference, ...]], Awaitable[None]]
"""Is shown all that would change, once; returns to go on, raises to stop."""


async def look(places: Places, registration_id: str) -> Device:
    """Gather what DPS and the hubs know of a device.

    A hub that cannot be asked is an Identity with a problem, no error.

    Raises:
        ClientError: DPS could not be asked.
    """
    enrollment = await changes.with_keys(places.individuals, registration_id)
    record = await places.records.get(registration_id)
    device = Device(registration_id, enrollment, record, ())
    found = [await _identity(places, hub, name) for hub, name in _where(places, device)]
    return replace(device, identities=tuple(found))


async def revoke(
    places: Places, registration_id: str, blocking: Document, *, at: datetime, why: str, consent: Consent
) -> Done:
    """Keep a device out.

    Args:
        places: where it may be.
        registration_id: which device.
        blocking: `revocation.blocking` of it, written if it has no individual enrollment.
        at: now.
        why: noted at DPS and at the hubs.
        consent: is shown what would change.

    Returns:
        What was done. It is not whole where a hub could not be asked or failed: DPS keeps the device out
        from then on, but that hub may not; run it again.

    Raises:
        EnrollmentError, OutcomeUnknown, ClientError: of DPS; the device may not be kept out yet.
    """

    def edit(document: Document) -> Document:
        return revocation.disabled(document, at=at, why=why)

    device = await look(places, registration_id)
    await consent(planned_revocation(device, blocking, edit))
    done: Literal["made", "disabled", "already"]
    try:
        made = await changes.change(places.individuals, registration_id, edit)
        done = "disabled" if made.diff else "already"
    except NoSuchEnrollment:
        try:
            await changes.create(places.individuals, blocking)
            done = "made"
        except AlreadyThere:  # somebody was quicker; whatever it is, it must be disabled
            made = await changes.change(places.individuals, registration_id, edit)
            done = "disabled" if made.diff else "already"
    reason = revocation.status_reason(why)
    hubs: dict[tuple[HubKey, str], AtHub] = {}
    record = device.record
    for _ in range(ATTEMPTS):
        for hub, name in _where(places, replace(device, record=record)):
            before = hubs.get((hub, name))
            now = await _disable(places, hub, name, reason)
            if before is None or now.outcome != "already":
                hubs[hub, name] = now
        # A registration that was accepted before the enrollment was disabled may have ended by now, here or
        # on another hub, and have made an identity that is enabled.
        latest = await places.records.get(registration_id)
        if latest is None or (record is not None and latest.etag == record.etag):
            break
        record = latest
    return Done(registration_id, done, tuple(hubs.values()), record)


async def readmit(places: Places, registration_id: str, *, consent: Consent) -> Done:
    """Let a device in again: undo what `revoke` did, and no more.

    An enrollment that `revoke` made is deleted, and the device comes in through its group as before; one
    that was there is enabled, whoever disabled it. At the hubs only identities are enabled whose status
    reason says that they were disabled here.

    Raises:
        EnrollmentError, OutcomeUnknown, ClientError: as `revoke`; run it again.
    """
    device = await look(places, registration_id)
    await consent(planned_readmission(device))
    hubs = [
        await _enable(places, each.hub, each.device_id) if not each.problem else _failed(each)
        for each in device.identities
    ]
    done: Literal["enabled", "deleted", "already", "none"] = "none"
    if any(each.outcome == "failed" for each in hubs):
        # The enrollment stays as it is: it is what says that something is left to do.
        return Done(registration_id, "already" if device.enrollment else "none", tuple(hubs), device.record)
    for _ in range(ATTEMPTS):
        there = await changes.with_keys(places.individuals, registration_id)
        if there is None:
            break
        if revocation.was_made_here(there):
            if await _delete(places.individuals, registration_id, there):
                done = "deleted"
                break
            continue
        made = await changes.change(places.individuals, registration_id, revocation.enabled)
        done = "enabled" if made.diff else "already"
        break
    return Done(registration_id, done, tuple(hubs), device.record)


def planned_revocation(
    device: Device, blocking: Document, edit: Callable[[Document], Document]
) -> tuple[Difference, ...]:
    """What `revoke` would change, of the enrollment and of the hub identities."""
    before = device.enrollment
    after = blocking if before is None else edit(before)
    return differences(before, after) + _statuses(device, "enabled", "disabled", lambda _: True)


def planned_readmission(device: Device) -> tuple[Difference, ...]:
    """What `readmit` would change."""
    before = device.enrollment
    after = None if before is None or revocation.was_made_here(before) else revocation.enabled(before)
    return differences(before, after) + _statuses(device, "disabled", "enabled", _is_ours)


def _statuses(
    device: Device, now: Status, then: Status, concerned: Callable[[HubDevice], bool]
) -> tuple[Difference, ...]:
    return tuple(
        Difference(f"hubs.{each.hub}.{each.device_id}.status", now, then)
        for each in device.identities
        if each.device is not None and each.device.status == now and concerned(each.device)
    )


def _is_ours(device: HubDevice) -> bool:
    return (device.status_reason or "").startswith(revocation.REASON)


def _where(places: Places, device: Device) -> list[tuple[HubKey, str]]:
    """The hubs and ids under which a device may be known: that of its record first."""
    record, enrollment = device.record, device.enrollment or {}
    names = [record.device_id] if record is not None else []
    # The id at a hub counts with its case: as the record writes it, else as the operator did.
    names.append(enrollment.get("deviceId") or (record.id if record is not None else device.registration_id))
    hubs = [record.hub] if record is not None else []
    hubs += [hub_key(name) for name in enrollment.get("iotHubs") or () if isinstance(name, str)]
    wanted = [*(hub for hub in hubs if hub), *places.linked]
    every = [(hub, name) for hub in wanted for name in names if name]
    return list(dict.fromkeys(every))


async def _identity(places: Places, hub: HubKey, device_id: str) -> Identity:
    try:
        return Identity(hub, device_id, await places.hub(hub).device(device_id))
    except ClientError as error:
        return Identity(hub, device_id, problem=str(error))


def _failed(identity: Identity) -> AtHub:
    return AtHub(identity.hub, identity.device_id, "failed", identity.problem)


async def _disable(places: Places, hub: HubKey, device_id: str, reason: str) -> AtHub:
    return await _set(places, hub, device_id, "disabled", reason, lambda _: True)


async def _enable(places: Places, hub: HubKey, device_id: str) -> AtHub:
    return await _set(places, hub, device_id, "enabled", None, _is_ours)


async def _set(
    places: Places,
    hub: HubKey,
    device_id: str,
    status: Status,
    reason: str | None,
    concerned: Callable[[HubDevice], bool],
) -> AtHub:
    """Bring one identity to a status; what others disabled or made so is left."""
    problem = "it kept changing"
    for _ in range(ATTEMPTS):
        try:
            device = await places.hub(hub).device(device_id)
            if device is None:
                return AtHub(hub, device_id, "not there")
            if device.status == status:
                return AtHub(hub, device_id, "already")
            if not concerned(device):
                why = device.status_reason or "no reason noted"
                return AtHub(hub, device_id, "left alone", f"disabled by somebody else: {why}")
            outcome = await places.hub(hub).set_status(device_id, status, device.etag, reason)
        except OutcomeUnknown as error:
            problem = str(error)
            continue  # the next look tells whether it happened; a second write carries the same guard
        except ClientError as error:
            return AtHub(hub, device_id, "failed", str(error))
        if isinstance(outcome, HubDevice):
            return AtHub(hub, device_id, status)
    return AtHub(hub, device_id, "failed", problem)


async def _delete(
    individuals: changes.Enrollments, registration_id: str, there: Mapping[str, object]
) -> bool:
    """Delete exactly the enrollment that was judged; False where it has changed since."""

    async def nothing_to_keep(_: Document) -> None:
        """Its keys were never anybody's."""

    etag = str(there.get("etag") or "")
    try:
        await changes.delete(individuals, registration_id, before_delete=nothing_to_keep, etag=etag)
    except NoSuchEnrollment:
        return True
    except EnrollmentMoved:
        return False
    return True
