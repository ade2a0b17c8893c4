"""A file of JSON lines that is whole or refused: a first line that names it, a last one that seals it."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FORMAT = "local dps stack"
VERSION = 1
_OPENING = {"format": FORMAT, "version": VERSION}
_LONGEST = 64 * 1024 * 1024


class Damaged(Exception):
    """A file that is not used; the text says why and what to do, and quotes nothing of it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} {why}: nothing of it is used. Put a good copy there, or take it away to start empty"
        )


def line(value: Any) -> bytes:
    """One line: compact ASCII JSON, always the same for the same value."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def write(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file atomically; only its owner may read it.

    A reader, and a machine that loses its power, finds the old file or the new one.

    Args:
        path: its folder must exist.
        lines: as `line` makes them; taken one by one.

    Raises:
        OSError: the disk is full, or the like. The old file stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=1 << 20) as file:
            opening, count = line(_OPENING), 0
            digest = hashlib.sha256(opening)
            file.write(opening)
            for each in lines:
                digest.update(each)
                file.write(each)
                count += 1
            file.write(line({"lines": count, "sha256": digest.hexdigest()}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that `check` has accepted, without the first and the last one.

    Raises:
        Damaged: it has been changed since.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=1 << 20) as file:
        file.readline()
        current = file.readline()
        while following := file.readline():
            yield _object(path, current)
            current = following


def check(path: Path) -> None:
    """Return if a file is whole and of this version.

    Raises:
        Damaged: it is not.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=1 << 20) as file:
        opening = file.readline(_LONGEST)
        _check_opening(path, opening)
        digest, count, last = hashlib.sha256(opening), -1, b""
        while current := file.readline(_LONGEST):
            digest.update(last)
            last, count = current, count + 1
    if not last.endswith(b"\n"):
        raise Damaged(path, "ends too early")
    if _object(path, last) != {"lines": count, "sha256": digest.hexdigest()}:
        raise Damaged(path, "is not as it was written")


def _check_opening(path: Path, opening: bytes) -> None:
    found = _object(path, opening)
    if found.get("format") != FORMAT:
        raise Damaged(path, "is no state of a local stack")
    if found.get("version") != VERSION:
        raise Damaged(path, f"is of version {str(found.get('version'))[:20]!r} and this reads {VERSION}")


def _object(path: Path, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Damaged(path, "has a line that is no JSON object")
    return value
