"""`export` and `apply`: enrollments as files, planned before they are carried out."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from cli import enrollments
from cli.confirm import Confirmation
from cli.connect import Session
from cli.enrollments import new_key
from cli.errors import Incomplete, Usage
from cli.options import CHANGES, DryRun, Injected, Yes
from cli.output import member
from cli.rolled import replaced_by_roll
from cli.text import visible
from clients.errors import ClientError
from clients.vault_shapes import Secret
from lifecycle.enrollments import change as changes
from lifecycle.enrollments import files, plan
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.change import Kind
from lifecycle.enrollments.escrow import escrow, escrowed_keys, kept_keys
from lifecycle.enrollments.files import KeyFrom, KeysFrom
from lifecycle.enrollments.texts import JSON_BYTES
from lifecycle.errors import FileRefused, InvalidOption
from provisioning.keys import KeyFormatError, SymmetricKey

MOST_DELETED = 10
"""How many enrollments --prune deletes unless told otherwise."""

_COLUMNS = (member("action"), member("kind"), member("id"), member("outcome"), member("problem"))
_SUFFIXES = (".yaml", ".yml", ".json", ".jsonl")


async def export(
    *,
    to: Annotated[
        Path | None,
        Parameter(help="A folder, made if need be: a file for each. Without it: one stream on stdout."),
    ] = None,
    form: Annotated[
        Literal["yaml", "jsonl"], Parameter(name="--format", help="jsonl is for tens of thousands.")
    ] = "yaml",
    kind: Annotated[Literal["all", "groups", "individuals"], Parameter(help="Which enrollments.")] = "all",
    session: Injected[Session],
) -> None:
    """Write enrollments as files for apply. No key is in them, only where it comes from."""
    count = 0
    async for name, document in _documents(session, kind):
        text = "".join(files.written([files.exported(document)], form))
        if to is None:
            session.terminal.stdout.write(text)
        else:
            _write(to, name, text, form)
        count += 1
    session.terminal.note(f"{count} enrollments exported{f' to {to}' if to else ''}")


async def apply(
    *,
    file: Annotated[
        list[Path],
        Parameter(
            name=("--file", "-f"), consume_multiple=(1, None), negative=(), help="Files, or folders of them."
        ),
    ],
    prune: Annotated[
        list[Literal["groups", "individuals"]] | None,
        Parameter(
            consume_multiple=(1, None),
            negative=(),
            group=CHANGES,
            help="Delete enrollments of these kinds that no file names; their keys are escrowed first.",
        ),
    ] = None,
    most_deleted: Annotated[
        int, Parameter(group=CHANGES, help="Refuse a plan that deletes more.")
    ] = MOST_DELETED,
    discard_keys: Annotated[
        bool, Parameter(negative=(), group=CHANGES, help="Do not escrow the keys of what is deleted.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    session: Injected[Session],
) -> None:
    """Bring enrollments to what files say: shows the plan, asks, and does it. Run again, it goes on."""
    wanted = [each for path in _paths(file) for each in files.read(_read(path), str(path))]
    files.check_unique(wanted)
    kinds: list[Kind] = [_KINDS[each] for each in dict.fromkeys(prune or ())]
    there = _there(session)
    references = _References(session)
    url = await session.own_webhook()
    made = await plan.plan(wanted, there, references, prune=kinds, webhook_url=url)
    _show(session, made)
    deletions = made.counts["delete"]
    if deletions > most_deleted:
        raise Usage(
            f"--prune: the plan deletes {deletions} enrollments, and --most-deleted allows {most_deleted}; "
            "nothing was changed: is a file missing?"
        )
    if deletions and not discard_keys and not session.settings.vault_url:
        raise Usage(
            "--prune: there is no vault to escrow keys in; set VAULT_URL, or say --discard-keys: the keys of "
            "all devices of what is deleted are then lost"
        )
    if not made.todo:
        session.terminal.note("everything is as the files say; nothing was sent")
        return
    confirmation = Confirmation(session.terminal, yes=yes, dry_run=dry_run)
    await confirmation.ask(f"do this: {_summary(made)}", ())
    run = _Applying(session, there, references, discard_keys=discard_keys)
    await session.output.many(run.each(made.todo), _COLUMNS)
    if run.failed:
        raise Incomplete(f"{run.failed} of {len(made.todo)} were not done: see above, and run it again")


class _Applying:
    """Carries a plan out, item by item."""

    def __init__(
        self,
        session: Session,
        there: Mapping[Kind, plan.There],
        references: plan.References,
        *,
        discard_keys: bool,
    ) -> None:
        self.failed = 0
        self._session = session
        self._there = there
        self._references = references
        self._discard_keys = discard_keys

    async def each(self, items: Sequence[plan.Item]) -> AsyncIterator[Mapping[str, Any]]:
        """What became of each, as it goes; after the first that the service failed, none is tried."""
        stopped = ""
        for item in items:
            told: dict[str, Any] = {"action": item.action, "kind": item.kind, "id": item.id}
            if stopped:
                self.failed += 1
                yield told | {"outcome": "not tried", "problem": stopped}
                continue
            try:
                done = await plan.apply(
                    item,
                    self._there[item.kind],
                    self._references,
                    before_delete=self._keeper(item.kind),
                    webhook_url=self._session.own_webhook,
                )
                problem = done.problem
            except ClientError as error:
                problem, stopped = str(error), "the service could not be worked with"
            self.failed += bool(problem)
            yield told | ({"outcome": "failed", "problem": problem} if problem else {"outcome": "done"})

    def _keeper(self, kind: Kind) -> Any:
        async def keep(document: Document) -> None:
            if not self._discard_keys and changes.attestation_type(document) == "symmetricKey":
                kept = await escrow(self._session.vault, self._session.dps.host, kind, document)
                if kept:
                    self._session.terminal.note(
                        f"keys are kept in secret {kept.secret}, version {kept.version}"
                    )

        return keep


class _References:
    """Resolves what files name, from the vault and the environment; hides it from every message."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def keys(self, source: KeysFrom, kind: Kind, enrollment_id: str) -> dict[str, str] | None:
        """Both keys."""
        found = await self._found(source, kind, enrollment_id)
        for each in (found or {}).values():
            self._session.terminal.hide(each)
        return found

    async def webhook_key(self, source: KeyFrom) -> str | None:
        """A function key."""
        session = self._session
        if source.source == "setting":
            key: str | None = await session.webhook_key()
        elif source.source == "environment":
            key = session.environment.get(source.name)
        else:
            secret = await session.vault.get(source.name)
            key = secret.value.reveal().strip() if isinstance(secret, Secret) else None
        session.terminal.hide(key or "")
        if key and await replaced_by_roll(session, key):
            raise InvalidOption(
                "file",
                f"the webhook's key in {f'{source.source} {source.name}'.strip()} was replaced by "
                "`rotate webhook-key`",
                "say {vault: NAME} with the secret of the webhook's key, or put the new key there",
            )
        return key

    async def _found(self, source: KeysFrom, kind: Kind, enrollment_id: str) -> dict[str, str] | None:
        session = self._session
        match source.source:
            case "new":
                return {name: new_key().reveal() for name in ("primaryKey", "secondaryKey")}
            case "escrow":
                return await escrowed_keys(session.vault, session.dps.host, kind, enrollment_id)
            case "vault":
                return await kept_keys(session.vault, source.name, source.version)
            case _:
                return self._from_environment(source)

    def _from_environment(self, source: KeysFrom) -> dict[str, str] | None:
        found: dict[str, str] = {}
        for name, variable in (("primaryKey", source.name), ("secondaryKey", source.secondary)):
            text = self._session.environment.get(variable, "").strip() if variable else ""
            if variable and not text:
                return None
            if text:
                try:
                    found[name] = SymmetricKey.parse(text).reveal()
                except KeyFormatError as error:
                    raise InvalidOption(
                        "file", f"{variable}: {error}", "set it to Base64 of 16 to 64 bytes"
                    ) from None
        return found


_KINDS: Mapping[str, Kind] = {"groups": "group", "individuals": "individual"}


def _there(session: Session) -> dict[Kind, plan.There]:
    groups, individuals = enrollments.groups(session), enrollments.individuals(session)

    async def listed_groups() -> AsyncIterator[tuple[str, bool]]:
        async for each in groups.calls.all():
            yield each.id, not each.enabled

    async def listed_individuals() -> AsyncIterator[tuple[str, bool]]:
        async for each in individuals.calls.all():
            yield each.id, not each.enabled

    return {
        "group": plan.There(groups.documents, listed_groups),
        "individual": plan.There(individuals.documents, listed_individuals),
    }


async def _documents(session: Session, kind: str) -> AsyncIterator[tuple[str, Document]]:
    """The enrollments, each with the file name that is its own."""
    if kind != "individuals":
        async for group in session.dps.groups.all():
            yield f"group.{group.id.lower()}", group.document()
    if kind != "groups":
        async for individual in session.dps.individuals.all():
            yield f"individual.{individual.id.lower()}", individual.document()


def _write(folder: Path, name: str, text: str, form: str) -> None:
    """A file of its own for each; ids have no case, and `:` is no sign of every file system."""
    path = folder / f"{name.replace(':', '%3A')}.{form}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Usage(
            f"--to: {str(path)!a} cannot be written ({error.strerror}); name another folder"
        ) from None


def _paths(named: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for each in named:
        path = each.expanduser()
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES and one.is_file())
            if not inside:
                raise Usage(f"--file: {str(path)!a} has no file that ends with {', '.join(_SUFFIXES)}")
            found += inside
        else:
            found.append(path)
    return found


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(JSON_BYTES + 1)
    except OSError as error:
        raise Usage(f"--file: {str(path)!a} cannot be read ({error.strerror}); name a file") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileRefused(os.fspath(path), "", "it is not UTF-8", "save it as UTF-8") from None


def _show(session: Session, made: plan.Plan) -> None:
    """The plan, item by item, on stderr."""
    confirmation = Confirmation(session.terminal)
    for item in made.items:
        what = "enrollment group" if item.kind == "group" else "enrollment"
        if item.action in ("create", "update", "delete"):
            confirmation.show(f"{item.action} {what} {item.id}", item.diff)
        elif item.action == "keep":
            session.terminal.note(f"not deleted: {what} {visible(item.id)} is {item.note}")
    session.terminal.note(_summary(made))


def _summary(made: plan.Plan) -> str:
    counts = made.counts
    told = ", ".join(f"{counts[each]} to {each}" for each in ("create", "update", "delete"))
    rate = f"{made.calls} calls of the DPS, {made.minutes} minutes of its rate"
    return f"{told}; {counts['unchanged']} unchanged; {rate}"


def register(root: App) -> None:
    """Add both commands."""
    root.command(export)
    root.command(apply)
