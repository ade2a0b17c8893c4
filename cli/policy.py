"""`policy`: the allocation policy, checked, shown, put in force and taken back."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from allocation.errors import PolicyError
from allocation.policy import EVERY_HUB_ALIKE, canonical, compile_policy, lint, read_document, schema
from allocation.policy.document import PolicyDocument
from allocation.policy.store import PACKAGED, Activation
from cli.confirm import Confirmation
from cli.connect import Session
from cli.errors import ChangedMeanwhile, CliError, Missing, Usage
from cli.filters import Top
from cli.options import DryRun, Injected, Yes
from cli.output import first, member
from cli.state import PACKAGED_NAME, Active, By, Route, State, linked_hubs, policy_file, whoever
from clients.arm import Unknown
from lifecycle.enrollments.diff import Difference, differences
from provisioning.hubs import hub_key

File = Annotated[Path, Parameter(help="The policy: YAML or JSON.", allow_leading_hyphen=True)]
_PROBLEMS = tuple(map(member, ("severity", "path", "value", "problem", "fix")))
_MOVES = tuple(map(member, ("number", "how", "version", "at", "by")))


class Faulty(CliError):
    """A policy that loads, and with which some device surely meets what nobody meant."""


async def validate(
    file: File,
    *,
    strict: Annotated[bool, Parameter(negative=(), help="Warnings fail it too.")] = False,
    session: Injected[Session],
) -> None:
    """Check a policy file, offline. Exit code 1: it does not load, or devices would meet an error in it."""
    document = policy_file(file, "FILE")
    found = [
        {name: getattr(each, name) for name in ("severity", "path", "value", "problem", "fix")}
        for each in lint(document)
    ]
    if session.output.form == "table" or session.output.form in ("csv", "tsv", "jsonl"):
        await session.output.many(_each(found), _PROBLEMS)
    else:
        version = compile_policy(document).version
        rules = len(document.rules)
        session.output.one(
            {"version": version, "hubs": len(document.hubs), "rules": rules, "problems": found}
        )
    errors = sum(each["severity"] == "error" for each in found)
    if errors or (strict and found):
        raise Faulty(
            f"{str(file)!a}: {errors} errors, {len(found) - errors} warnings; correct what is listed"
        )
    session.terminal.note(f"the policy loads, with {len(found)} warnings" if found else "the policy loads")


async def show(
    version: Annotated[str | None, Parameter(help="A stored version; without it, the one in force.")] = None,
    *,
    route: Route = None,
    session: Injected[Session],
) -> None:
    """Show the policy in force, or a stored version: -o yaml gives a file to edit."""
    state = State(session, route)
    if version is None:
        active = await state.active()
        if active.document is None:
            session.terminal.note(
                "no version is activated: the packaged policy is in force (every linked hub alike, or what "
                "POLICY_FILE of the app names)"
            )
        elif active.moved is not None and active.moved.version != PACKAGED:
            session.terminal.note(f"version {active.version}, {_told(active.moved)}")
        session.output.one({} if active.document is None else json.loads(canonical(active.document)))
        return
    session.output.one(json.loads(await state.policies.text(_version(version))))


async def show_schema(*, session: Injected[Session]) -> None:
    """Write the JSON Schema of a policy file, for editors."""
    session.output.one(schema())


async def activate(
    file: Annotated[
        Path | None, Parameter(help="The policy: YAML or JSON.", allow_leading_hyphen=True)
    ] = None,
    *,
    version: Annotated[str | None, Parameter(help="Instead of a file: a version that is stored.")] = None,
    despite_errors: Annotated[
        bool, Parameter(negative=(), help="Also where `policy validate` finds errors.")
    ] = False,
    route: Route = None,
    by: By = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Put a policy in force: checked, stored, read back, and pointed at, or else nothing changes."""
    if (file is None) == (version is None):
        raise Usage("activate: name a file, or --version with a stored version; one of both")
    state = State(session, route)
    text = (
        canonical(policy_file(file, "FILE"))
        if file is not None
        else await state.policies.text(_version(version or ""))
    )
    document = read_document(text)
    errors = [each for each in lint(document) if each.severity == "error"]
    if errors and not despite_errors:
        raise Faulty(
            f"{len(errors)} errors, the first: {errors[0]}. Correct them, or say --despite-errors; "
            "`policy validate` lists all"
        )
    await _note_unlinked(session, document)
    active = await _in_force(state, session)
    name = version or compile_policy(document).version
    if active.moved is not None and active.moved.version == name:
        session.terminal.note(f"version {name} is in force already; nothing was changed")
        _write(session, active.moved)
        return
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    await confirmation.ask(
        f"activate policy {name} in place of {active.version}", _changes(active.document, document)
    )
    await _unmoved(state, active)
    stored = await state.policies.put(text) if file is not None else name
    _write(session, await state.policies.activate(stored, whoever(by)))


async def rollback(
    *,
    route: Route = None,
    by: By = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Put in force what was in force before the last activation; again, what was before that."""
    state = State(session, route)
    active = await _in_force(state, session)
    before = await _before(state, active)
    target = None if before is None else read_document(await state.policies.text(before))
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    await confirmation.ask(
        f"roll back from policy {active.version} to {before or PACKAGED_NAME}",
        _changes(active.document, target),
    )
    await _unmoved(state, active)
    _write(session, await state.policies.rollback(whoever(by)))


async def history(*, route: Route = None, top: Top = None, session: Injected[Session]) -> None:
    """List activations and rollbacks, latest first."""
    state = State(session, route)
    moves = (_document(each) async for each in state.policies.history())
    await session.output.many(first(moves, top), _MOVES)


async def _in_force(state: State, session: Session) -> Active:
    """The policy in force, also where it does not load: then it must be possible to put another one there."""
    try:
        return await state.active()
    except PolicyError as error:
        session.terminal.note(f"what is in force does not load: {error}")
        return Active(EVERY_HUB_ALIKE, await state.policies.active(), None)


async def _before(state: State, active: Active) -> str | None:
    """The version that a rollback would put in force; None for the packaged policy."""
    if active.moved is None or active.moved.version == PACKAGED:
        raise Missing("no activation stands, so there is nothing to roll back to")
    async for each in state.policies.history():
        if each.number == active.moved.back:
            return each.version or None
    return None


async def _unmoved(state: State, active: Active) -> None:
    """What was shown is still in force: somebody may have thought about it for an hour."""
    now = await state.policies.active()
    if (now.number if now else 0) != (active.moved.number if active.moved else 0):
        raise ChangedMeanwhile(
            "another policy was put in force in the meantime; nothing was changed: look at it, then decide"
        )


async def _note_unlinked(session: Session, document: PolicyDocument) -> None:
    """Tell of hubs that the policy names and the DPS does not link: a slip, or a hub still to come."""
    known = await linked_hubs(session)
    if isinstance(known, Unknown):
        return
    strange = [hub.name for hub in document.hubs if hub_key(hub.name) not in known]
    if strange:
        session.terminal.note(f"not linked to the DPS, and so without effect for now: {', '.join(strange)}")


def _changes(before: PolicyDocument | None, after: PolicyDocument | None) -> tuple[Difference, ...]:
    return differences(_by_name(before), _by_name(after))


def _by_name(document: PolicyDocument | None) -> Mapping[str, Any]:
    """A policy with hubs and rules by their names, so that a difference names the one that changed."""
    plain: dict[str, Any] = {} if document is None else json.loads(canonical(document))
    for listed in ("hubs", "rules"):
        each = plain.pop(listed, [])
        plain[listed] = {str(one["name"]): one for one in each}
        if listed == "rules" and len(each) > 1:
            plain["order"] = [str(one["name"]) for one in each]
    return plain


def _version(text: str) -> str:
    if not text.isalnum() or len(text) > 64:
        raise Usage(f"--version: {text[:40]!a} is no version; `policy history` lists them")
    return text


def _document(move: Activation) -> dict[str, Any]:
    return {
        "number": move.number,
        "how": move.how,
        "version": move.version or PACKAGED_NAME,
        "at": move.at.isoformat() if move.at else None,
        "by": move.by,
    }


def _told(move: Activation) -> str:
    return (
        f"{move.how} number {move.number} by {move.by} at {move.at.isoformat() if move.at else 'some time'}"
    )


def _write(session: Session, move: Activation) -> None:
    session.output.one(_document(move), _MOVES)


async def _each(found: list[dict[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
    for each in found:
        yield each


def app() -> App:
    """The noun with its commands."""
    noun = App(name="policy", help="The allocation policy: checked, shown, put in force, taken back.")
    for command in (validate, show, activate, rollback, history):
        noun.command(command)
    noun.command(show_schema, name="schema")
    return noun
