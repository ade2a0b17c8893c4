"""What a drain meets: which devices a hub has, which of them can leave, and what holds the others."""

import math
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from allocation.facts import EnrollmentKind, Facts, Placed, Undecidable
from allocation.fleet import FleetView, HubState
from allocation.policy import CompiledPolicy
from allocation.recorded import decide_recorded
from allocation.replay import Device, Enrolled, of_entries
from allocation.simulation import Skipped
from cli.connect import Session
from cli.progress import Advance, progress
from cli.state import State, hub_client, linked_hubs
from clients.arm import Unknown
from clients.errors import ClientError, NotFound
from provisioning.enrollments import Enrollment, EnrollmentGroup, IndividualEnrollment
from provisioning.hubs import HubKey
from provisioning.registrations import Registration, RegistrationKey

REGISTRATIONS_A_MINUTE = 1_000
"""Device registrations of one DPS (documented)."""

OPEN = "whether it leaves is open"
NEVER = "its reprovision policy is never: DPS asks for no other hub"
NO_ALTERNATIVE = "no other hub takes it under rule {rule}"
PINNED = "rule {rule} pins it to this hub"
REJECTED = "rule {rule} rejects it: it cannot register, and so does not leave"


@dataclass
class Survey:
    """What was found of one hub.

    Attributes:
        hub: which.
        can_leave: devices that leave as they register again.
        blocked: (enrollment, why) -> devices that do not.
        listed: devices that the hub itself lists; None where it could not be asked.
        problem: why not.
    """

    hub: HubKey
    can_leave: int = 0
    blocked: Counter[tuple[str, str]] = field(default_factory=Counter)
    listed: int | None = None
    problem: str = ""

    @property
    def minutes(self) -> int:
        """The least it takes, were all of them to register again at once at DPS's rate."""
        return math.ceil(self.can_leave / REGISTRATIONS_A_MINUTE)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "registered": self.can_leave + self.blocked.total(),
            "canLeave": self.can_leave,
            "etaMinutes": self.minutes,
            "blocked": [
                {"enrollment": enrollment, "why": why, "devices": count}
                for (enrollment, why), count in self.blocked.most_common()
            ],
            "listed": self.listed,
            "drained": None if self.listed is None else self.listed == 0,
        }

    def told(self) -> list[str]:
        """For people, a note each."""
        soonest = (
            f"{self.can_leave:,} devices leave {self.hub} as they register again: at "
            f"{REGISTRATIONS_A_MINUTE:,} registrations a minute in {self.minutes:,} minutes at the soonest. "
            "Each leaves when it next registers, and hubs allow 100 identity operations a minute and S1 unit"
        )
        notes = [soonest]
        notes += [
            f"{count:,} devices of {enrollment} are held: {why}"
            for (enrollment, why), count in self.blocked.most_common()
        ]
        if self.listed is None:
            notes.append(f"whether the hub is drained is not known: {self.problem}")
        elif self.listed:
            notes.append(f"the hub lists {self.listed:,} devices: it is not drained")
        else:
            notes.append("the hub lists no device: it is drained (its list may be some minutes behind)")
        return notes


class Surveyor:
    """Decides each of a hub's devices as if the hub drained."""

    def __init__(self, session: Session, hub: HubKey, active: CompiledPolicy, state: State) -> None:
        """Read nothing yet.

        Args:
            session: which DPS.
            hub: that is to be drained.
            active: the policy in force.
            state: the ledger tells what devices once sent.
        """
        self._session = session
        self._hub = hub
        self._policy = active
        self._state = state

    async def survey(self, view: FleetView) -> Survey:
        """Read every enrollment and registration record.

        DPS has no listing by hub: of a million records these are some 10,000 calls, ten minutes at its
        rate.

        Args:
            view: of the fleet.
        """
        found, hub = Survey(self._hub), self._hub
        draining = replace(view, states={**view.states, hub: HubState.DRAINING})
        linked = await linked_hubs(self._session)
        hubs = {} if isinstance(linked, Unknown) else linked
        with progress(self._session.terminal, f"devices of {hub}") as advance:
            read = 0
            async for enrollment, records in _enrollments(self._session):
                enrolled = Enrolled(enrollment, self._state.dps, hubs)
                recorded: Mapping[RegistrationKey, str] | None = None
                async for registration in records:
                    read += 1
                    if read % 100 == 0:
                        advance(read, f"{read:,} records")
                    if registration.hub != hub:
                        continue
                    why = _held(enrolled.device(registration), enrollment, hub, self._policy, draining)
                    if why.startswith(OPEN):
                        if recorded is None:
                            recorded = await self._recorded(enrollment, draining)
                        why = recorded.get(registration.key, why)
                    if why:
                        found.blocked[_named(enrollment), why] += 1
                    else:
                        found.can_leave += 1
            await _list(self._session, found, advance)
        return found

    async def _recorded(self, enrollment: Enrollment, draining: FleetView) -> dict[RegistrationKey, str]:
        """What holds the enrollment's devices that the ledger has on the hub, by what they last sent."""
        kind: EnrollmentKind = "group" if isinstance(enrollment, EnrollmentGroup) else "individual"
        held: dict[RegistrationKey, str] = {}
        rows = self._state.ledger.of_enrollment(self._state.dps, kind, enrollment.id, latest=True)
        async for device in of_entries(rows):
            if isinstance(device, Facts) and device.current_hub == self._hub:
                why = _held(device, enrollment, self._hub, self._policy, draining)
                held[device.registration] = sys.intern(why)
        return held


async def _enrollments(session: Session) -> AsyncIterator[tuple[Enrollment, AsyncIterator[Registration]]]:
    """Every enrollment with its devices' records."""
    async for group in session.dps.groups.all():
        yield group, _of_group(session, group)
    async for single in session.dps.individuals.all():
        yield single, _of_one(single)


async def _of_group(session: Session, group: EnrollmentGroup) -> AsyncIterator[Registration]:
    try:
        async for each in session.dps.registrations.of_group(group.id):
            yield each
    except NotFound:
        session.terminal.note(f"enrollment group {group.id} was deleted in the meantime")


async def _of_one(single: IndividualEnrollment) -> AsyncIterator[Registration]:
    state = single.registration_state
    if state is not None:
        yield state


def _named(enrollment: Enrollment) -> str:
    kind = "group" if isinstance(enrollment, EnrollmentGroup) else "individual enrollment"
    return f"{kind} {enrollment.id}"


async def _list(session: Session, found: Survey, advance: Advance) -> None:
    """Count what the hub lists. Its statistics would be cheaper, and may never fall (unknown)."""
    count = 0
    try:
        async for page in hub_client(session, found.hub).pages():
            count += len(page.rows)
            advance(count, f"{count:,} devices listed")
    except ClientError as error:
        found.problem = str(error)
        return
    found.listed = count


def _held(
    device: Device, enrollment: Enrollment, hub: HubKey, policy: CompiledPolicy, draining: FleetView
) -> str:
    """What holds a device on its hub; "" where it leaves."""
    if isinstance(device, Skipped | Undecidable):
        unknown = "is not known, so whether another hub takes it cannot be told"
        return device.reason if isinstance(device, Skipped) else f"{device.reading} {unknown}"
    reprovision = enrollment.reprovision_policy
    if reprovision is not None and not reprovision.update_hub_assignment:
        return NEVER
    decided = decide_recorded(device, policy, draining)
    if isinstance(decided, Undecidable):
        return f"{OPEN}: the policy reads {decided.reading}, which only the device tells"
    if not isinstance(decided, Placed):
        return REJECTED.format(rule=decided.rule)
    if decided.hub != hub:
        return ""
    return (PINNED if _pinned(device, policy, decided.rule) else NO_ALTERNATIVE).format(rule=decided.rule)


def _pinned(device: Facts, policy: CompiledPolicy, rule: str) -> bool:
    return any(
        each.name == rule and each.place.pinned and device.current_hub in each.place.groups[0].weights
        for each in policy.rules
    )
