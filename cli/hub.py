"""`hub`: the states of the linked hubs, and how far a drain has come."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from allocation import AllocationError, FleetRows, HubState, StateRow, cordon, disable, drain, uncordon
from allocation.policy import EVERY_HUB_ALIKE, CompiledPolicy
from cli.confirm import Confirmation
from cli.connect import Session
from cli.drain import Surveyor
from cli.errors import Missing
from cli.options import DryRun, Injected, Yes
from cli.output import member
from cli.state import By, Route, State, hub_named, linked_hubs, view_of, whoever
from clients.arm import Unknown
from lifecycle.enrollments.diff import differences
from provisioning.hubs import HubKey

Name = Annotated[str, Parameter(help="The hub's host name; of NAME.azure-devices.net the NAME does.")]
Note = Annotated[str, Parameter(help="Why; kept beside the state.")]
NoSurvey = Annotated[
    bool,
    Parameter(
        name="--no-survey",
        negative=(),
        help="Do not read the enrollments and registrations: no ETA, and nothing of what blocks the drain.",
    ),
]
Command = Literal["cordon", "drain", "uncordon", "disable"]

_COLUMNS = tuple(
    map(
        member,
        ("hub", "state", "linked", "devices", "countedAt", "limit", "weight", "region", "by", "at", "note"),
    )
)
_COMMANDS = {"cordon": cordon, "drain": drain, "uncordon": uncordon, "disable": disable}
_STATES: Mapping[Command, HubState] = {
    "cordon": HubState.CORDONED,
    "drain": HubState.DRAINING,
    "uncordon": HubState.OPEN,
    "disable": HubState.DISABLED,
}


async def list_hubs(*, route: Route = None, session: Injected[Session]) -> None:
    """List the hubs that are linked or have a state: devices as last counted, who closed which and why."""
    state = State(session, route)
    rows, linked = await state.rows(), await linked_hubs(session)
    if isinstance(linked, Unknown):
        session.terminal.note(f"which hubs are linked is not known: {linked.reason}")
    policy = await _policy(session, state)
    known = {*rows.states, *rows.loads, *policy.weights, *(() if isinstance(linked, Unknown) else linked)}

    async def each() -> AsyncIterator[Mapping[str, Any]]:
        for hub in sorted(known):
            is_linked = None if isinstance(linked, Unknown) else hub in linked
            yield _document(hub, rows, policy) | {"linked": is_linked}

    await session.output.many(each(), _COLUMNS)


async def cordon_hub(
    hub: Name,
    *,
    note: Note = "",
    route: Route = None,
    by: By = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Let a hub take no new device. Those it has stay."""
    await _say(
        session, "cordon", hub, note, route, by, Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    )


async def uncordon_hub(
    hub: Name,
    *,
    note: Note = "",
    route: Route = None,
    by: By = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Open a hub again, whatever its state is."""
    await _say(
        session, "uncordon", hub, note, route, by, Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    )


async def drain_hub(
    hub: Name,
    *,
    note: Note = "",
    no_survey: NoSurvey = False,
    route: Route = None,
    by: By = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Let a hub take no new device, and let go of those it has as they register again.

    It tells first how long that takes at best and what stays. Run it again to see how far it is:
    whether the hub is drained is told from its own list of devices.
    """
    await _emptied(
        session,
        "drain",
        hub,
        note,
        route,
        by,
        Confirmation(session.terminal, yes=yes, dry_run=dry_run),
        no_survey=no_survey,
    )


async def disable_hub(
    hub: Name,
    *,
    note: Note = "",
    no_survey: NoSurvey = False,
    route: Route = None,
    by: By = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """As drain, for a hub that is not to come back."""
    await _emptied(
        session,
        "disable",
        hub,
        note,
        route,
        by,
        Confirmation(session.terminal, yes=yes, dry_run=dry_run),
        no_survey=no_survey,
    )


async def _emptied(
    session: Session,
    command: Command,
    name: str,
    note: str,
    route: str | None,
    by: str | None,
    confirmation: Confirmation,
    *,
    no_survey: bool,
) -> None:
    state, hub = State(session, route), hub_named(name)
    rows = await state.rows()
    policy = await _policy(session, state)
    await _check_known(session, hub, rows, policy)
    found: dict[str, Any] = {"hub": hub}
    if not no_survey:
        seen = await Surveyor(session, hub, policy, state).survey(view_of(rows, session))
        found |= seen.document()
        for line in seen.told():
            session.terminal.note(line)
    said = await _stated(session, state, rows, command, hub, note, by, confirmation)
    session.output.one(_state(hub, said) | found)


async def _say(
    session: Session,
    command: Command,
    name: str,
    note: str,
    route: str | None,
    by: str | None,
    confirmation: Confirmation,
) -> None:
    state, hub = State(session, route), hub_named(name)
    rows = await state.rows()
    await _check_known(session, hub, rows, await _policy(session, state))
    session.output.one(_state(hub, await _stated(session, state, rows, command, hub, note, by, confirmation)))


async def _stated(
    session: Session,
    state: State,
    rows: FleetRows,
    command: Command,
    hub: HubKey,
    note: str,
    by: str | None,
    confirmation: Confirmation,
) -> StateRow | None:
    """Change the state after consent; nothing where it is that already."""
    before = rows.states.get(hub)
    wanted = _STATES[command]
    if (HubState.OPEN if before is None else before.state) is wanted and (before is None or before.readable):
        session.terminal.note(f"{hub} is {wanted} already; nothing was changed")
        return before
    after = {"state": wanted.value} | ({"note": note} if note else {})
    shown = {"state": before.state.value if before else HubState.OPEN.value} | (
        {"note": before.note} if before and before.note else {}
    )
    await confirmation.ask(f"{command} {hub}", differences(shown, after))
    said = await _COMMANDS[command](state.fleet, state.dps, hub, whoever(by), session.clock, note)
    session.terminal.note(
        f"{hub} is {wanted}: the app's instances know it within STATE_MAX_AGE_SECONDS, a minute unless set"
    )
    return said


async def _check_known(session: Session, hub: HubKey, rows: FleetRows, policy: CompiledPolicy) -> None:
    """A slip in a name would close nothing and look as if it did.

    Raises:
        Missing: no hub of that name is linked, counted or in the policy.
    """
    linked = await linked_hubs(session)
    known = {*rows.states, *rows.loads, *policy.weights}
    if isinstance(linked, Unknown):
        if not known:
            session.terminal.note(f"whether {hub} is linked is not known: {linked.reason}")
            return
    else:
        known |= linked.keys()
    if hub not in known:
        raise Missing(f"no hub {hub} is linked or known here; `hub list` tells which there are")


async def _policy(session: Session, state: State) -> CompiledPolicy:
    """The policy in force; one that does not load must not keep anybody from closing a hub."""
    try:
        return (await state.active()).policy
    except AllocationError as error:
        session.terminal.note(f"the policy in force does not load, so its limits are not known: {error}")
        return EVERY_HUB_ALIKE


def _document(hub: HubKey, rows: FleetRows, policy: CompiledPolicy) -> dict[str, Any]:
    load = rows.loads.get(hub)
    return _state(hub, rows.states.get(hub)) | {
        "devices": load.devices if load else None,
        "countedAt": load.as_of.isoformat() if load and load.as_of else None,
        "countingFailsSince": load.failing_since.isoformat() if load and load.failing_since else None,
        "limit": policy.limits.get(hub),
        "weight": policy.weight(hub),
        "region": policy.regions.get(hub),
    }


def _state(hub: HubKey, said: StateRow | None) -> dict[str, Any]:
    return {
        "hub": hub,
        "state": said.state.value if said else HubState.OPEN.value,
        "by": said.by if said else None,
        "at": said.at.isoformat() if said and said.at else None,
        "note": (said.note or None) if said else None,
    }


def app() -> App:
    """The noun with its commands."""
    noun = App(name="hub", help="Linked hubs: their states, and draining them.")
    noun.command(list_hubs, name="list")
    for name, command in (
        ("cordon", cordon_hub),
        ("drain", drain_hub),
        ("uncordon", uncordon_hub),
        ("disable", disable_hub),
    ):
        noun.command(command, name=name)
    return noun
