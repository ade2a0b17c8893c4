"""What Table storage refuses, checked before anything is sent.

The service answers a breach with a bare 400, and Azurite lets most of them pass, so a test against Azurite
proves nothing about them. Source: Microsoft, "Understanding the Table service data model" and "Performing
entity group transactions".
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from clients.errors import NotStorable
from clients.ports import Change, Row, Scalar

KEY_BYTES = 1024
"""Size of a partition or row key, at most, in UTF-8 and in UTF-16: the documentation does not say which."""

OWN_COLUMNS = 252
"""Columns of a row, at most: 255, less PartitionKey, RowKey and Timestamp."""

NAME_CHARACTERS = 255
"""Length of a column's name, at most."""

VALUE_BYTES = 64 * 1024
"""Size of one text (in UTF-16: 32,768 characters) or binary value, at most."""

ROW_BYTES = 1024 * 1024
"""Size of a row, at most."""

BATCH_CHANGES = 100
"""Changes of a batch, at most."""

BATCH_BYTES = 4 * 1024 * 1024
"""Size of a batch as sent; it must be less."""

EARLIEST = datetime(1601, 1, 1, tzinfo=UTC)
"""The first moment that can be stored."""

_SYSTEM_COLUMNS = frozenset({"PartitionKey", "RowKey", "Timestamp"})
# C# identifiers, says the documentation; the ASCII ones are enough, and no edge case of Unicode is met.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BAD_IN_KEY = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_TABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}", re.ASCII)

# Sizes as the service counts them: a row is 4 bytes, its keys' UTF-16, and for each column 8 bytes, the
# UTF-16 of its name and the value. (Microsoft, "Understanding Windows Azure Storage billing".)
_ROW_OVERHEAD = 4
_COLUMN_OVERHEAD = 8
_TIMESTAMP = _COLUMN_OVERHEAD + 2 * len("Timestamp") + 8

_PART_BYTES = 1024  # of a batch: a change's MIME and HTTP headers, table name and host name, rounded up
_ANNOTATION_BYTES = 48  # of a column: quotes, commas and "@odata.type": "Edm.DateTime"


def check_table_name(name: str) -> None:
    """Raises NotStorable unless a table may be called that."""
    if not _TABLE_NAME.fullmatch(name) or name.lower() == "tables":
        raise NotStorable(
            f"table name {name!r}: 3 to 63 letters and digits, beginning with a letter, and not 'tables'"
        )


def check_key(which: str, key: str) -> None:
    """Raises NotStorable unless the text may be a partition or row key.

    Args:
        which: what errors call it.
        key: the text.
    """
    if max(_utf16(which, key), len(key.encode())) > KEY_BYTES:
        raise NotStorable(f"{which}: longer than {KEY_BYTES} bytes")
    bad = _BAD_IN_KEY.search(key)
    if bad:
        raise NotStorable(f"{which}: holds {bad.group()!r}; a key has no / \\ # ? and no control characters")


def check_bound(which: str, bound: str) -> None:
    """Raises NotStorable unless keys can be compared with the text.

    It need not be a possible key itself: "b/" is a fine end of a range.
    """
    if max(_utf16(which, bound), len(bound.encode())) > KEY_BYTES:
        raise NotStorable(f"{which}: longer than {KEY_BYTES} bytes")


def storable(row: Row) -> dict[str, Scalar]:
    """The row's values as they will be read back: plain types, datetimes in UTC.

    Raises:
        NotStorable: names the column and the rule.
    """
    check_key("partition key", row.partition)
    check_key("row key", row.key)
    if len(row.values) > OWN_COLUMNS:
        raise NotStorable(f"{len(row.values)} columns: a row has at most {OWN_COLUMNS} of its own")
    values: dict[str, Scalar] = {}
    sizes: dict[str, int] = {}
    size = _ROW_OVERHEAD + _TIMESTAMP + _utf16("partition key", row.partition) + _utf16("row key", row.key)
    for name, value in row.values.items():
        _check_name(name)
        values[name], sizes[name] = _plain(name, value)
        size += _COLUMN_OVERHEAD + 2 * len(name) + sizes[name]
    if size > ROW_BYTES:
        largest = max(sizes, key=sizes.__getitem__)
        raise NotStorable(
            f"{size:,} bytes, of at most {ROW_BYTES:,}: column {largest} is the largest of the row"
        )
    return values


def check_changes(changes: Sequence[Change]) -> None:
    """Raises NotStorable unless the changes can be one batch."""
    if not 1 <= len(changes) <= BATCH_CHANGES:
        raise NotStorable(f"{len(changes)} changes: a batch has 1 to {BATCH_CHANGES}")
    if len({change.row.partition for change in changes}) > 1:
        raise NotStorable("a batch changes rows of one partition only")
    if len({change.row.key for change in changes}) < len(changes):
        raise NotStorable("a batch changes each row at most once")
    size = sum(sent_bytes(change) for change in changes)
    if size >= BATCH_BYTES:
        raise NotStorable(f"about {size:,} bytes to send: a batch must stay under {BATCH_BYTES:,}; split it")


def sent_bytes(change: Change) -> int:
    """The size of one change within a batch as it is sent; a little more than the truth.

    Raises:
        NotStorable: the change's row cannot be stored.
    """
    row = change.row
    if change.kind == "delete":
        check_key("partition key", row.partition)
        check_key("row key", row.key)
        values: dict[str, Scalar] = {}
    else:
        values = storable(row)
    size = _PART_BYTES
    for key in (row.partition, row.key):
        size += 6 * len(key.encode()) + _json_bytes(key)  # quotes are doubled, then each is three characters
    for name, value in values.items():
        size += 2 * len(name) + _ANNOTATION_BYTES
        if isinstance(value, bytes):
            size += 4 * (len(value) // 3 + 1)
        elif isinstance(value, str):
            size += _json_bytes(value)
        else:
            size += 32
    return size


def _json_bytes(text: str) -> int:
    return len(json.dumps(text))  # \uXXXX for all but ASCII, as the SDK sends it


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > NAME_CHARACTERS or name in _SYSTEM_COLUMNS:
        raise NotStorable(
            f"column {name[:NAME_CHARACTERS]!r}: a name has up to {NAME_CHARACTERS} ASCII letters, digits "
            f"and _, does not begin with a digit, and is none of {', '.join(sorted(_SYSTEM_COLUMNS))}"
        )


def _plain(name: str, value: object) -> tuple[Scalar, int]:
    """The value without subclass or time zone, and its size as the service counts it."""
    match value:
        case str():
            return str.__str__(value), 4 + _sized(name, _utf16(f"column {name}", value))
        case bool():
            return value, 1
        case int():
            if not -(2**63) <= value < 2**63:
                raise NotStorable(f"column {name}: an integer beyond 64 bits")
            return int(value), 8
        case float():
            return float(value), 8
        case bytes():
            return bytes(value), 4 + _sized(name, len(value))
        case datetime():
            return _utc(name, value), 8
        case _:
            raise NotStorable(
                f"column {name}: {type(value).__name__} cannot be stored (a column without value is left out)"
            )


def _sized(name: str, size: int) -> int:
    if size > VALUE_BYTES:
        raise NotStorable(f"column {name}: {size:,} bytes, of at most {VALUE_BYTES:,}; texts count in UTF-16")
    return size


def _utf16(what: str, text: str) -> int:
    if text.isascii():
        return 2 * len(text)
    try:
        return len(text.encode("utf-16-le"))
    except UnicodeEncodeError:
        raise NotStorable(f"{what}: holds half of a surrogate pair, which is no character") from None


def _utc(name: str, value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise NotStorable(f"column {name}: a datetime without time zone")
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        raise NotStorable(f"column {name}: a datetime beyond the year 9999") from None
    if value < EARLIEST:
        raise NotStorable(f"column {name}: a datetime before {EARLIEST.year}")
    return value
