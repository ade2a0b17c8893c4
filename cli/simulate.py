"""`simulate`: what a draft policy would do to devices, before they feel it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from cyclopts import Parameter

from allocation.errors import PolicyError
from allocation.fleet import ALL_OPEN
from allocation.fleet_file import FleetFile, read_fleet_file
from allocation.policy import CompiledPolicy, compile_policy
from allocation.replay import Device, Enrolled, of_entries, of_lines, of_registrations
from allocation.simulation import Change, Side, Simulation
from cli.connect import Session
from cli.errors import CliError, Missing, Usage
from cli.options import Injected
from cli.output import Column, member
from cli.progress import progress
from cli.state import Route, State, Unusable, linked_hubs, packaged, policy_file, text_of, view_of
from cli.text import json_text
from clients.arm import Unknown
from lifecycle.enrollments import validation
from provisioning.hubs import HubKey

TURN = 500
"""Devices between two looks at the rest of the world, such as Ctrl-C."""

_MOVES: tuple[Column, ...] = tuple(map(member, ("from", "to", "devices", "rule", "why")))
_HUBS: tuple[Column, ...] = tuple(
    map(member, ("hub", "devicesBefore", "devicesAfter", "loadBefore", "loadAfter"))
)


class TooMany(CliError):
    """More devices would be affected than --max-moves allows."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many devices may be affected: a count, or a part of all."""

    number: float
    of_all: bool

    @classmethod
    def read(cls, text: str) -> "Limit":
        """Read N or P%.

        Raises:
            Usage: it is neither.
        """
        number, of_all = (text[:-1], True) if text.endswith("%") else (text, False)
        try:
            value = float(number) if of_all else int(number)
        except ValueError:
            value = -1
        if not 0 <= value <= (100 if of_all else 10**9):
            raise Usage(
                f"--max-moves: {text[:40]!a} is no limit; write a number like 500, or a share like 2%"
            )
        return cls(value, of_all)

    def holds(self, count: int, of: int) -> bool:
        """Whether so many of so many are within it."""
        return count * 100 <= self.number * of if self.of_all else count <= self.number


async def simulate(
    draft: Annotated[Path, Parameter(help="The draft policy: YAML or JSON.", allow_leading_hyphen=True)],
    *,
    devices: Annotated[
        Path | None, Parameter(help="Replay the devices of this file: CSV, or JSON lines (.jsonl).")
    ] = None,
    ledger: Annotated[
        bool, Parameter(negative=(), help="Replay every device of the ledger, as it last asked.")
    ] = False,
    group: Annotated[
        list[str] | None,
        Parameter(
            consume_multiple=(1, None),
            negative=(),
            help="Replay the registrations of these enrollment groups.",
        ),
    ] = None,
    against: Annotated[
        Path | None, Parameter(help="Compare with this policy's file; else with the policy in force.")
    ] = None,
    fleet: Annotated[
        Path | None,
        Parameter(help="A fleet file: hubs linked, in other states or fuller than they are. YAML or JSON."),
    ] = None,
    as_new: Annotated[
        bool, Parameter(negative=(), help="As if every device registered for the first time, on empty hubs.")
    ] = False,
    from_empty: Annotated[
        bool, Parameter(negative=(), help="Let every hub begin with no device, instead of what was counted.")
    ] = False,
    moves: Annotated[
        Path | None, Parameter(help="Write every change into this file, a JSON object a line.")
    ] = None,
    max_moves: Annotated[
        str | None,
        Parameter(
            help="Exit code 1 if more devices (N, or P% of them) move, are newly rejected or told to wait, "
            "or cannot be decided."
        ),
    ] = None,
    route: Route = None,
    session: Injected[Session],
) -> None:
    """Try a draft policy on devices: who moves, from where to where, and why. Nothing is changed.

    Loads grow as the devices come, one after another, as on one instance that misses nothing.
    """
    if sum((devices is not None, ledger, bool(group))) != 1:
        raise Usage("simulate: name the devices by one of --devices FILE, --ledger or --group ID")
    limit = None if max_moves is None else Limit.read(max_moves)
    after = compile_policy(policy_file(draft, "DRAFT"))
    imagined = _fleet_file(fleet)
    dps = session.settings.dps_name if route is None else route
    stored = State(session, route) if session.settings.state_tables else None
    if ledger and stored is None:
        raise Usage("--ledger: STATE_TABLES is not set, and the ledger is kept there")
    before = await _in_force(session, stored, against)
    view = ALL_OPEN if stored is None else view_of(await stored.rows(), session)
    simulation = Simulation(
        Side(before, imagined.before(view)),
        Side(after, imagined.after(view), imagined.linked_hubs),
        as_new=as_new,
        from_empty=from_empty or as_new,
    )
    with ExitStack() as files:
        write = _writer(moves, files)
        file = None if devices is None else _Lines(devices, files)
        if devices is not None and file is not None:
            form: Literal["csv", "jsonl"] = "csv" if devices.suffix.lower() == ".csv" else "jsonl"
            source = _of_file(file, form, dps, await _linked(session, imagined))
        elif stored is not None and ledger:
            source = of_entries(stored.ledger.of_dps(stored.dps, latest=True))
        else:
            source = _of_groups(session, group or (), dps, await _linked(session, imagined))
        await _replay(session, simulation, source, write, file)
    await _report(session, simulation, before, after)
    found = simulation.summary
    if limit is not None and not limit.holds(found.changed, found.devices):
        raise TooMany(
            f"{found.changed:,} of {found.devices:,} devices move, are newly rejected or told to wait, or "
            f"cannot be decided; --max-moves allows {max_moves}"
        )


async def _in_force(session: Session, stored: State | None, against: Path | None) -> CompiledPolicy:
    if against is not None:
        return compile_policy(policy_file(against, "--against"))
    if stored is not None:
        return (await stored.active()).policy
    policy, document = packaged(session)
    if document is None:
        session.terminal.note(
            "neither STATE_TABLES nor POLICY_FILE is set: the draft is compared with the packaged policy, "
            "every linked hub alike; --against names another"
        )
    return policy


def _fleet_file(path: Path | None) -> FleetFile:
    if path is None:
        return FleetFile()
    try:
        return read_fleet_file(text_of(path, "--fleet"))
    except PolicyError as error:
        raise Unusable(f"{str(path)!a}: {error}") from None


async def _linked(session: Session, imagined: FleetFile) -> Mapping[HubKey, str]:
    found = await linked_hubs(session)
    if isinstance(found, Unknown):
        return imagined.linked_hubs or {}
    return found


async def _replay(
    session: Session,
    simulation: Simulation,
    source: AsyncIterator[Device],
    write: Callable[[Change], None],
    file: "_Lines | None" = None,
) -> None:
    with progress(session.terminal, "devices", None if file is None else file.size) as advance:
        count = 0
        async for device in source:
            if change := simulation.add(device):
                write(change)
            count += 1
            if count % TURN == 0:
                advance(file.read if file else count, f"{count:,}")
                await asyncio.sleep(0)


async def _of_file(
    file: "_Lines", form: Literal["csv", "jsonl"], dps: str, hubs: Mapping[HubKey, str]
) -> AsyncIterator[Device]:
    for device in of_lines(file, form, dps, hubs):
        yield device


async def _of_groups(
    session: Session, groups: Sequence[str], dps: str, hubs: Mapping[HubKey, str]
) -> AsyncIterator[Device]:
    for each in groups:
        name = validation.known_id(each, "group")
        group = await session.dps.groups.get(name)
        if group is None:
            raise Missing(f"there is no enrollment group {name}; list them to see what there is")
        records = session.dps.registrations.of_group(group.id)
        async for device in of_registrations(Enrolled(group, dps, hubs), records):
            yield device


class _Lines:
    """The lines of a file as text, how many bytes have been read, and of how many."""

    def __init__(self, path: Path, files: ExitStack) -> None:
        try:
            self._file: IO[bytes] = files.enter_context(path.open("rb"))
            self.size = path.stat().st_size
        except OSError as error:
            raise Usage(f"--devices: {str(path)!a} cannot be read ({error.strerror}); name a file") from None
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        encoding = "utf-8-sig"
        for line in self._file:
            self.read += len(line)
            yield line.decode(encoding, "replace")
            encoding = "utf-8"


def _writer(path: Path | None, files: ExitStack) -> Callable[[Change], None]:
    if path is None:
        return lambda _: None
    try:
        file = files.enter_context(path.open("w", encoding="utf-8"))
    except OSError as error:
        raise Usage(f"--moves: {str(path)!a} cannot be written ({error.strerror})") from None

    def write(change: Change) -> None:
        file.write(json_text(_change(change)) + "\n")

    return write


def _change(change: Change) -> dict[str, Any]:
    return {
        "registrationId": change.registration_id,
        "currentHub": change.current,
        "from": change.before,
        "to": change.after,
        "rule": change.rule,
        "why": change.why,
        "trail": list(change.trail),
    }


async def _report(
    session: Session, simulation: Simulation, before: CompiledPolicy, after: CompiledPolicy
) -> None:
    found = simulation.summary
    document = {
        "policies": {"before": before.version, "after": after.version},
        "devices": found.devices,
        "moved": found.moved,
        "newlyRejected": found.newly_rejected,
        "newlyWaiting": found.newly_waiting,
        "newlyPlaced": found.newly_placed,
        "moves": [
            {"from": old, "to": new, "rule": rule, "why": why, "devices": count}
            for (old, new, rule, why), count in found.moves.most_common()
        ],
        "leavingTheirHub": {"before": found.leaving_before, "after": found.leaving_after},
        "rejected": dict(found.rejected.most_common()),
        "undecidable": dict(found.undecidable.most_common()),
        "skipped": dict(found.skipped.most_common()),
        "twinsChanged": found.twins_changed,
        "payloadsChanged": found.payloads_changed,
        "hubs": _hubs(simulation),
        "evenness": dict(zip(("before", "after"), map(dict, simulation.evenness()), strict=True)),
        "examples": [_change(each) for each in found.examples],
    }
    if session.output.form != "table":
        session.output.one(document, _MOVES if session.output.form in ("csv", "tsv") else ())
        return
    await _tables(session, document)


def _hubs(simulation: Simulation) -> list[dict[str, Any]]:
    found = simulation.summary
    loads_before, loads_after = simulation.loads()
    hubs = {*found.homes_before, *found.homes_after, *loads_before, *loads_after}
    return [
        {
            "hub": hub,
            "devicesBefore": found.homes_before[hub],
            "devicesAfter": found.homes_after[hub],
            "loadBefore": loads_before.get(hub),
            "loadAfter": loads_after.get(hub),
        }
        for hub in sorted(hubs)
    ]


async def _tables(session: Session, document: Mapping[str, Any]) -> None:
    output = session.output
    single = (
        "devices",
        "moved",
        "newlyRejected",
        "newlyWaiting",
        "newlyPlaced",
        "twinsChanged",
        "payloadsChanged",
    )
    output.one({name: document[name] for name in single})
    for name in ("leavingTheirHub", "undecidable", "skipped", "rejected"):
        if document[name]:
            output.one({f"{name}: {what}": count for what, count in document[name].items()})
    if document["moves"]:
        await output.many(_each(document["moves"]), _MOVES)
    await output.many(_each(document["hubs"]), _HUBS)
    even = {
        f"{measure} {side}": f"{value:.3f}"
        for side, measures in document["evenness"].items()
        for measure, value in measures.items()
    }
    if even:
        output.one(even)


async def _each(rows: list[Mapping[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
    for row in rows:
        yield row
