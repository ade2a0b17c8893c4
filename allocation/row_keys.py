"""Keys of the rows in which this package keeps its state. Every one of them starts with the DPS's name.

A key is fields joined by `|`. A field keeps lower-case letters, digits, `-`, `.`, `_` and `:`, which is all
that DPS allows in its ids (documented); any other byte, as only a forged request brings it, becomes `=XX`.
So no text can end its field early or reach what Table storage refuses in a key.
"""

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256

LONGEST_FIELD = 200
"""Characters of a field, at most. DPS's ids have 128 (documented); a longer one is cut, its hash appended."""

_OTHER = re.compile(rb"[^a-z0-9\-._:]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROSECOND = 10**16 - 1  # in the year 2286

AFTER = "}"
"""The character that follows `|`: `key + AFTER` is the end of the range of rows whose keys start so."""


def field(text: str) -> str:
    """A text as a field of a key. Case is dropped: no id of DPS has any (documented)."""
    raw = text.lower().encode("utf-8", "surrogatepass")
    escaped = _OTHER.sub(lambda found: f"={found.group()[0]:02x}".encode(), raw).decode("ascii")
    if len(escaped) <= LONGEST_FIELD:
        return escaped
    # "==" is in no escaped text, so a cut field equals no whole one.
    return f"{escaped[:100]}=={sha256(raw).hexdigest()[:32]}"


def dps_field(dps: str) -> str:
    """A DPS's name as the first field of every key; `-` for the one that calls without a name."""
    return field(dps) or "-"


def key(*fields: str) -> str:
    """Fields, already escaped, as one key."""
    return "|".join(fields)


def newest_first(at: datetime) -> str:
    """A moment as 16 digits that sort the later before the earlier; microseconds."""
    return f"{_LAST_MICROSECOND - (at - _EPOCH) // timedelta(microseconds=1):016d}"


def moment(digits: str) -> datetime:
    """The moment that `newest_first` wrote.

    Raises:
        ValueError: these are not its digits.
    """
    return _EPOCH + timedelta(microseconds=_LAST_MICROSECOND - int(digits))


def storable_text(text: str, longest: int) -> str:
    """The text without halves of surrogate pairs, which no table takes, and cut."""
    return text[:longest].encode("utf-8", "backslashreplace").decode()
