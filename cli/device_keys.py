"""Device keys derived from a group's key, for one registration id or a file of them."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from cli.connect import Session
from cli.errors import CliError, Missing, Usage
from cli.output import member
from lifecycle.enrollments import validation
from lifecycle.errors import InvalidOption
from provisioning.attestation import SYMMETRIC_KEY
from provisioning.keys import SymmetricKey

COLUMNS = (member("registrationId"), member("deviceKey"))
LONGEST_LINE = 1024


async def group_key(session: Session, enrollment_id: str | None, key: str | None) -> SymmetricKey:
    """The key to derive from: the one given, without any call, or the group's primary key.

    Raises:
        Usage: neither a key nor a group is named.
        Missing: there is no such group.
        CliError: it does not attest by symmetric keys.
        InvalidOption: the key or the group's id cannot be.
    """
    if key is not None:
        session.terminal.hide(key)
        return validation.symmetric_key(key, "key")
    if enrollment_id is None:
        raise Usage("--enrollment-id: no group is named, and no --key; give one of both")
    name = validation.known_id(enrollment_id, "enrollment_id")
    attestation = await session.dps.groups.attestation(name)
    if attestation is None:
        raise Missing(f"there is no enrollment group {name}; list them to see what there is")
    if attestation.kind != SYMMETRIC_KEY or attestation.keys is None:
        raise CliError(
            f"enrollment group {name} attests by {attestation.kind[:20]!a}; device keys are derived from "
            "symmetric keys alone"
        )
    return attestation.keys.primary


def write_one(session: Session, key: SymmetricKey, registration_id: str) -> None:
    """Write the device's key, as az does: alone."""
    name = validation.known_id(registration_id, "registration_id")
    if name != name.lower():
        session.terminal.note(
            f"the key is that of {name} in exactly this case: an id ignores it at DPS, a derived key does not"
        )
    session.output.one(key.derive(name).reveal())


async def write_many(session: Session, key: SymmetricKey, path: Path) -> None:
    """Write a key for each line of a file, beside the id in the case it was derived from.

    A file is read twice, so that nothing is written if a line is no registration id; standard input ("-")
    once, and such a line ends the output where it stands.

    Raises:
        InvalidOption: names the line.
    """
    if str(path) != "-":
        with _opened(session, path) as lines:
            for _ in _ids(lines):
                pass

    async def keys() -> AsyncIterator[Mapping[str, Any]]:
        with _opened(session, path) as lines:
            for name in _ids(lines):
                yield {"registrationId": name, "deviceKey": key.derive(name).reveal()}

    await session.output.many(keys(), COLUMNS)


def _ids(lines: TextIO) -> Iterator[str]:
    number = 0
    while line := lines.readline(LONGEST_LINE):
        number += 1
        name = line.removeprefix("\ufeff").strip()
        if name:
            try:
                yield validation.known_id(name, "registration_ids")
            except InvalidOption as error:
                raise InvalidOption(
                    "registration_ids", f"line {number}: {error.problem}", f"one id a line; {error.fix}"
                ) from None


@contextmanager
def _opened(session: Session, path: Path) -> Iterator[TextIO]:
    if str(path) == "-":
        yield session.terminal.stdin
        return
    try:
        file = path.expanduser().open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Usage(
            f"--registration-ids: {str(path)!a} cannot be read ({error.strerror}); name a file, one id a line"
        ) from None
    with file:
        yield file
