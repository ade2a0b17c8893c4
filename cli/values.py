"""What options say in files and JSON texts."""

import ast
import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

from cli.errors import Usage, option
from lifecycle.enrollments.certificates import MOST_TEXT

MOST_FILE = 256 * 1024
"""Bytes of a file that an option names, at most."""


def text_or_file(text: str | None, parameter: str) -> str | None:
    """The text, or that of the file it names as @FILE, which keeps secrets out of a shell's history."""
    if text is None or not text.startswith("@"):
        return text
    return _read(text[1:], parameter, MOST_FILE).strip()


def json_value(text: str | None, parameter: str) -> Any:
    """A JSON value, from the text or @FILE. Single quotes do too, as for az.

    Raises:
        Usage: it is neither, or an object names a member twice.
    """
    text = text_or_file(text, parameter)
    if text is None:
        return None
    try:
        return json.loads(text, object_pairs_hook=_once)
    except _Twice as error:
        raise Usage(f'{option(parameter)}: it names "{error}" twice; name each member once') from None
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise Usage(
            f'{option(parameter)}: it is no JSON; write an object like {{"site": "north"}} within \'…\', or '
            "@FILE"
        ) from None


def certificate_file(path: Path | None, parameter: str) -> str | None:
    """The text of a certificate's file; one in another encoding (DER) comes back unfit, to be refused."""
    return None if path is None else _read(str(path), parameter, MOST_TEXT * 2)


def duration(text: str | None, parameter: str) -> timedelta | None:
    """A time span: 30 or 30d (days), 12h, 2w.

    Raises:
        Usage: it is none.
    """
    if text is None:
        return None
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].lower() in _UNITS else (text, "d")
    try:
        amount = float(number)
        if 0 <= amount < 1e6:  # neither NaN nor endless
            return _UNITS[unit] * amount
    except ValueError:
        pass
    raise Usage(f"{option(parameter)}: {text[:40]!a} is no time span; write 30 (days), 30d, 12h or 2w")


_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "w": timedelta(weeks=1)}


class _Twice(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(ascii(name[:40])[1:-1])
        found[name] = value
    return found


def _read(path: str, parameter: str, most: int) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            if stat.S_ISDIR(Path(path).expanduser().stat().st_mode):
                raise Usage(f"{option(parameter)}: {path[:200]!a} is a folder; name a file")
            raw = file.read(most + 1)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "no such user"
        raise Usage(f"{option(parameter)}: {path[:200]!a} cannot be read ({why}); name a file") from None
    if len(raw) > most:
        raise Usage(f"{option(parameter)}: {path[:200]!a} has over {most:,} bytes; is it the right file?")
    return raw.decode("utf-8-sig", "replace")
