"""`decommission`: an enrollment group taken out of service with its records, once its name was typed."""

from dataclasses import replace
from typing import Annotated

from cyclopts import App, Parameter

from cli import runs
from cli.connect import Session
from cli.errors import Missing, NotConsented, Usage
from cli.options import CHANGES, Injected
from cli.purge import Rules, rules_of
from cli.runs import Wait
from cli.state import By, Route, State, whoever
from cli.text import cell
from lifecycle.decommission.told import Told
from lifecycle.enrollments import validation
from lifecycle.enrollments.change import attestation_type
from lifecycle.errors import InvalidOption
from provisioning.enrollments import EnrollmentGroup

KIND = "decommission"

Group = Annotated[
    str,
    Parameter(
        name=("--enrollment-id", "--eid", "--gid", "--group-id"),
        help="The enrollment group's id; it may stand alone.",
    ),
]
EvenActive = Annotated[
    bool,
    Parameter(
        negative=(),
        help="Although devices are in use: no hub is asked, neither for activity nor for tags that keep.",
    ),
]
Most = Annotated[
    int | None,
    Parameter(
        help="Registrations whose records may go, at most: counted before anything changes, again before the "
        "first delete, and held to the end; without it, as the rules have it: 1,000."
    ),
]


async def plan(
    enrollment_id: Group,
    *,
    even_active: EvenActive = False,
    most: Most = None,
    rules: Rules = None,
    wait: Wait = False,
    by: By = None,
    route: Route = None,
    session: Injected[Session],
) -> None:
    """Count a group's records, ask the hubs, and tell what a run would do. Nothing changes."""
    told = _told(enrollment_id, rules, most, even_active=even_active)
    await _start(session, route, told, by=whoever(by), wait=wait)


async def run(
    enrollment_id: Group,
    *,
    execute: Annotated[
        bool,
        Parameter(
            negative=(),
            group=CHANGES,
            help="Disable the group, keep its keys, delete its records, then the group. Without it, `run` is "
            "`plan`.",
        ),
    ] = False,
    confirm: Annotated[
        str | None,
        Parameter(group=CHANGES, help="The group's id once more, where nobody is there to type it."),
    ] = None,
    no_escrow: Annotated[
        bool,
        Parameter(
            negative=(),
            group=CHANGES,
            help="Do not keep its symmetric keys in the vault: all device keys derived from them are lost.",
        ),
    ] = False,
    even_active: EvenActive = False,
    most: Most = None,
    rules: Rules = None,
    wait: Wait = False,
    by: By = None,
    route: Route = None,
    session: Injected[Session],
) -> None:
    """Take a group out of service: a dry run, unless --execute is said."""
    told = replace(
        _told(enrollment_id, rules, most, even_active=even_active), escrow=not no_escrow, dry_run=not execute
    )
    if execute:
        if confirm is not None and confirm.lower() != told.group.lower():
            raise Usage(f"--confirm: it says {confirm[:128]!a}, and the group is {told.group!a}")
        State(session, route)
        told = await _consented(session, told, confirm)
    await _start(session, route, told, by=whoever(by), wait=wait)


async def status(run: runs.Run = "", *, route: Route = None, session: Injected[Session]) -> None:
    """Show how far runs are, or what one came to."""
    await runs.show_status(session, route, KIND, run)


async def _consented(session: Session, told: Told, confirm: str | None) -> Told:
    """The same about the group that somebody saw, once they typed its id.

    Raises:
        Missing: there is no such group.
        Usage: it has symmetric keys and nowhere to keep them.
        NotConsented: another text was typed, or nobody is there.
    """
    from lifecycle.decommission.group import made  # noqa: PLC0415 - the engine takes a while to load
    from lifecycle.decommission.plan import EXPERIENCE  # noqa: PLC0415 - likewise

    found = await session.dps.groups.get(told.group)
    if found is None:
        raise Missing(f"there is no {EnrollmentGroup.WHAT} {told.group}; list them to see what there is")
    document = found.document()
    keys = "it has no symmetric keys"
    if attestation_type(document) == "symmetricKey":
        if told.escrow and not session.settings.vault_url:
            raise Usage(
                f"--no-escrow: group {told.group} has symmetric keys, and no vault to keep them in; set "
                "VAULT_URL, or say --no-escrow: the keys of all its devices are then lost with it"
            )
        where = f"go to {session.settings.vault_url}"
        keys = f"its keys {where if told.escrow else 'are discarded'}"
    session.terminal.note(
        f"group {cell(found.id)}, now {found.provisioning_status}, will be disabled; {keys}; its "
        "registration records will be archived and deleted, then the group; records cannot be written back"
    )
    for each in EXPERIENCE:
        session.terminal.note(each)
    typed = confirm if confirm is not None else await session.terminal.ask("type the group's id to go on: ")
    if typed is None:
        raise NotConsented(
            f"there is no terminal to type the group's id at; say --confirm {told.group} to do it"
        )
    if typed.lower() != told.group.lower():
        raise NotConsented(f"that is not the id of group {told.group}; nothing was changed")
    return replace(told, group=found.id, made=made(document))


async def _start(session: Session, route: str | None, told: Told, *, by: str, wait: bool) -> None:
    from cli import decommission_run  # noqa: PLC0415 - the engine takes a while to load

    store = runs.jobs(session, route)
    job = await decommission_run.start(session, store, runs.holds(session, store), told, by=by)
    if not wait:
        runs.begun(session, job, "decommission")
        return
    row = await decommission_run.to_its_end(session, store, job.id)
    session.output.one(dict(row.result or {}))


def _told(enrollment_id: str, rules: Rules, most: int | None, *, even_active: bool) -> Told:
    group = validation.known_id(enrollment_id, "enrollment_id")
    policy = rules_of(rules)
    if most is not None:
        try:
            policy = replace(policy, most=most)
        except InvalidOption as error:
            raise Usage(f"--most: {error.problem}; {error.fix}") from None
    return Told(group, even_active=even_active, policy=policy)


def app() -> App:
    """The noun with its commands."""
    noun = App(name=KIND, help="An enrollment group taken out of service, with its registration records.")
    for command in (plan, run, status):
        noun.command(command)
    return noun
