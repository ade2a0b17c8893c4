"""Where the audit's rows are and how values become columns: pure.

Partitions, one set per DPS (its name knows no case):

    DPS|audit|runs              one row per run, newest first: its summary
    DPS|audit|findings|RUN      the findings of a run that ended: by check, many in a row, in their order
    DPS|audit|groups            one row per group that was ever listed to its end: which run holds its ids;
                                one of the individual enrollments, and one of those that each run missed
    DPS|audit|kept|RUN          what a run is made of: ids in chunks, findings as they come, candidates

A run is named by its job's id.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from clients.ports import Row, Scalar

COLUMN_BYTES = 64 * 1024
"""Of one binary column, at most (documented)."""

TEXT_CHARACTERS = 32_000
"""Of one text column; it takes 32,768 (documented)."""

_PLAIN = re.compile(r"[a-z0-9\-._:@]{1,200}", re.ASCII)
_LATEST = 10**18


def runs(dps: str) -> str:
    """The partition of all runs' summaries."""
    return f"{dps.lower()}|audit|runs"


def findings(dps: str, run: str) -> str:
    """The partition of a run's findings."""
    return f"{dps.lower()}|audit|findings|{run}"


def groups(dps: str) -> str:
    """The partition that says which run holds each group's ids."""
    return f"{dps.lower()}|audit|groups"


def kept(dps: str, run: str) -> str:
    """The partition of what a run is made of."""
    return f"{dps.lower()}|audit|kept|{run}"


def settled(by: str) -> str:
    """The key of what is the same for every check of a run, as the lease of that mark read it."""
    return f"a|{by}"


def field(text: str) -> str:
    """A text as part of a key: as it is in lower case, or its hash where a key could not hold that."""
    lower = text.lower()
    if _PLAIN.fullmatch(lower):
        return lower
    return "=" + hashlib.sha256(lower.encode("utf-8", "surrogatepass")).hexdigest()


def newest_first(at: datetime) -> str:
    """A moment as digits that sort the later before the earlier."""
    microseconds = round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
    return f"{_LATEST - microseconds:018}"


def after(prefix: str) -> str:
    """The end of the range of keys that begin with the prefix, which ends in "|"."""
    return prefix[:-1] + "}"


def spread(letter: str, value: Any) -> dict[str, Scalar]:
    """A JSON value as compressed columns `a00`, `a01`, … for the letter a.

    Args:
        letter: of the columns.
        value: JSON; other mappings and sequences are written as JSON's own, anything else as text.
    """
    return spread_text(letter, as_text(value))


def as_text(value: Any) -> str:
    """A value as `spread` writes it: JSON in ASCII, so its length is its bytes."""
    return json.dumps(value, separators=(",", ":"), default=_plain)


def spread_text(letter: str, text: str) -> dict[str, Scalar]:
    """The same of JSON that was made by `as_text`."""
    data = zlib.compress(text.encode("ascii"), 3)
    return {
        f"{letter}{number:02}": data[start : start + COLUMN_BYTES]
        for number, start in enumerate(range(0, len(data), COLUMN_BYTES))
    }


def gathered(letter: str, values: Mapping[str, Scalar]) -> Any:
    """The JSON value of such columns; None where there are none."""
    parts: list[bytes] = []
    while isinstance(part := values.get(f"{letter}{len(parts):02}"), bytes):
        parts.append(part)
    if not parts:
        return None
    return json.loads(zlib.decompress(b"".join(parts)).decode("utf-8", "surrogatepass"))


def storable(text: str, longest: int = TEXT_CHARACTERS) -> str:
    """The text without halves of surrogate pairs, which no table takes, and cut."""
    return text.encode("utf-8", "backslashreplace").decode()[:longest]


def whole(row: Row, name: str) -> int:
    """A column's number; 0 where there is none."""
    value = row.values.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def moment(row: Row, name: str) -> datetime | None:
    """A column's time."""
    value = row.values.get(name)
    return value if isinstance(value, datetime) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
