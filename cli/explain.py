"""`explain`: why a device is where it is, and where it would go now."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from cyclopts import Parameter

from allocation import Entry
from allocation.facts import Facts, Placed, Undecidable
from allocation.recorded import decide_recorded
from allocation.replay import Device, Enrolled, of_entry
from allocation.simulation import Skipped
from cli.connect import Session
from cli.errors import Missing, Usage
from cli.options import Injected
from cli.state import Route, State, linked_hubs, view_of
from clients.arm import Unknown
from lifecycle.enrollments import validation
from provisioning.enrollments import Enrollment
from provisioning.hubs import HubKey
from provisioning.registrations import Registration


async def explain(
    registration_id: Annotated[
        str, Parameter(name=("--registration-id", "--rid"), help="The device; it may stand alone.")
    ],
    *,
    answers: Annotated[int, Parameter(help="How many of its last answers to show.")] = 1,
    route: Route = None,
    session: Injected[Session],
) -> None:
    """Show the last decision on a device with every step, and what it would be now."""
    name = validation.known_id(registration_id, "registration_id")
    if answers < 1:
        raise Usage(f"--answers: it is {answers}; give 1 or more")
    state = State(session, route)
    entries: list[Entry] = []
    async for each in state.ledger.history(state.dps, name):
        entries.append(each)
        if len(entries) == answers:
            break
    record, enrollment = await _at_dps(session, name, entries[0] if entries else None)
    if not entries and record is None:
        raise Missing(f"the ledger has no answer to {name}, and the DPS no registration record of it")
    device = _device(entries[0] if entries else None, record, enrollment, await _linked(session), state.dps)
    session.output.one(
        {
            "registrationId": record.id if record else entries[0].registration_id,
            "registration": None
            if record is None
            else {
                "status": record.status,
                "assignedHub": record.assigned_hub,
                "errorCode": record.error_code,
            },
            "answers": [_told(each) for each in entries],
            "now": await _now(session, state, device),
        }
    )


async def _at_dps(
    session: Session, name: str, last: Entry | None
) -> tuple[Registration | None, Enrollment | None]:
    """What the DPS has of the device; nothing where no DPS is named: the ledger alone tells a lot."""
    try:
        dps = session.dps
    except Usage as error:
        session.terminal.note(f"the DPS's own records are not looked at: {error}")
        return None, None
    record = await dps.registrations.get(name)
    enrollment: Enrollment | None = await dps.individuals.get(name)
    if enrollment is None and last is not None and last.enrollment_kind == "group" and last.enrollment_id:
        enrollment = await dps.groups.get(last.enrollment_id)
    return record, enrollment


async def _linked(session: Session) -> Mapping[HubKey, str]:
    linked = await linked_hubs(session)
    return {} if isinstance(linked, Unknown) else linked


def _device(
    last: Entry | None,
    record: Registration | None,
    enrollment: Enrollment | None,
    hubs: Mapping[HubKey, str],
    dps: str,
) -> Device:
    """The device as it would ask now: as it last asked, on the hub that DPS says it is on."""
    if last is not None and isinstance(found := of_entry(last), Facts):
        if record is None or record.hub in (None, found.current_hub):
            return found
        return replace(found, current_hub=record.hub)
    if record is None:
        return Undecidable("recorded facts")
    if enrollment is None:
        return Undecidable("the enrollment it comes through")
    return Enrolled(enrollment, dps, hubs).device(record)


async def _now(session: Session, state: State, device: Device) -> dict[str, Any]:
    active = await state.active()
    base: dict[str, Any] = {"policy": active.version}
    if isinstance(device, Skipped):
        return base | {"outcome": "not asked", "why": device.reason}
    if isinstance(device, Undecidable):
        return base | {"outcome": "undecidable", "why": f"{device.reading} is not known"}
    decided = decide_recorded(device, active.policy, view_of(await state.rows(), session))
    if isinstance(decided, Undecidable):
        why = f"the policy reads {decided.reading}, which was not recorded of this device"
        return base | {"outcome": "undecidable", "why": why}
    base |= {"outcome": type(decided).__name__.lower()}
    if isinstance(decided, Placed):
        moves = device.current_hub not in (None, decided.hub)
        base |= {"hub": decided.hub, "moves": moves, "why": decided.why, "initialTwin": decided.initial_twin}
    else:
        base |= {"why": decided.reason}
    return base | {
        "rule": decided.rule,
        "degraded": decided.degraded or None,
        "trail": [f"{step}: {found}" for step, found in decided.trail],
    }


def _told(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at.isoformat(),
        "outcome": entry.outcome,
        "hub": entry.hub,
        "why": entry.why,
        "rule": entry.rule,
        "policy": entry.policy or None,
        "degraded": entry.degraded or None,
        "enrollment": f"{entry.enrollment_kind}:{entry.enrollment_id}",
        "status": entry.status,
        "source": entry.source,
        "confirmedAt": entry.confirmed_at.isoformat() if entry.confirmed_at else None,
        "confirmedHub": entry.confirmed_hub,
        "trail": list(entry.trail),
    }
