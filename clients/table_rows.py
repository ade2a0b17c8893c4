"""Rows of Table storage on the wire: their addresses, their JSON, the filter of a range; and its faults.

Source: Microsoft, "Payload format for Table service operations", "Query Entities" and "Querying tables and
entities" (Table service). What azure-data-tables makes of the same bytes is what is made of them here: the
tests hold both side by side.
"""

import base64
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from clients.ports import Row, Scalar

_AS_IN_PATHS = "!$&'()*,;=:@"
"""What stands in a path as it is, besides letters, digits and `-._~`, where the SDK sends and signs it (as
yarl writes it): what RFC 3986 lets stand, but for `+`, which some take for a space."""

_TYPE = "@odata.type"
_SYSTEM_COLUMNS = frozenset({"PartitionKey", "RowKey", "Timestamp"})
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_ENDLESS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_CODE_IN_XML = re.compile(rb"<(?:\w+:)?code>(\w+)<", re.ASCII | re.IGNORECASE)
_MESSAGE_IN_XML = re.compile(rb"<(?:\w+:)?message[^>]*>([^<]+)<", re.ASCII | re.IGNORECASE)


def address(partition: str, key: str) -> str:
    """What follows the table's name in the path of one row, percent-encoded."""
    return f"(PartitionKey='{_in_path(partition)}',RowKey='{_in_path(key)}')"


def range_filter(partition: str, start: str, stop: str | None) -> str:
    """The filter of the rows of a partition with start <= key < stop."""
    parts = [f"PartitionKey eq {_quoted(partition)}"]
    if start:
        parts.append(f"RowKey ge {_quoted(start)}")
    if stop is not None:
        parts.append(f"RowKey lt {_quoted(stop)}")
    return " and ".join(parts)


def entity(partition: str, key: str, values: Mapping[str, Scalar]) -> bytes:
    """A row as the service takes it. Texts and booleans need no type (documented), all others have one."""
    told: dict[str, object] = {"PartitionKey": partition, "RowKey": key}
    for name, value in values.items():
        if isinstance(value, str | bool):
            told[name] = value
            continue
        match value:
            case int():
                kind, told[name] = "Edm.Int64", str(value)
            case float():
                kind, told[name] = "Edm.Double", value if math.isfinite(value) else _ENDLESS[str(value)]
            case datetime():
                moment = value.replace(tzinfo=None).isoformat(timespec="microseconds")
                kind, told[name] = "Edm.DateTime", f"{moment}Z"
            case _:
                kind, told[name] = "Edm.Binary", base64.b64encode(value).decode()
        told[f"{name}{_TYPE}"] = kind
    return _ENCODER.encode(told).encode()


def row(told: Mapping[str, Any], etag: str | None = None) -> Row:
    """A row as the service gives it. A column without value is left out.

    Args:
        told: its JSON, with minimal metadata.
        etag: where the JSON has none. Without one it is made of the time of the last change, as it is there.

    Raises:
        KeyError, TypeError, ValueError: it is no row.
    """
    types = {name[: -len(_TYPE)]: kind for name, kind in told.items() if name.endswith(_TYPE)}
    values = {
        name: _value(types.get(name), value)
        for name, value in told.items()
        # No column has a dot in its name (documented); what the service says of one has.
        if "." not in name and name not in _SYSTEM_COLUMNS and value is not None
    }
    etag = told.get("odata.etag") or etag
    if not etag and told.get("Timestamp"):
        etag = f"W/\"datetime'{quote(told['Timestamp'])}'\""
    return Row(told["PartitionKey"], told["RowKey"], values, etag)


def code(body: bytes) -> str:
    """The service's own name for a fault, in the body of an answer; "" where it gives none."""
    try:
        return str(json.loads(body)["odata.error"]["code"])
    except (KeyError, TypeError, ValueError, RecursionError):
        found = _CODE_IN_XML.search(body)
        return found[1].decode() if found else ""


def explanation(body: bytes) -> str:
    """What the service says of a fault, as it came; "" where it says nothing."""
    try:
        return str(json.loads(body)["odata.error"]["message"]["value"])
    except (KeyError, TypeError, ValueError, RecursionError):
        found = _MESSAGE_IN_XML.search(body)
        return found[1].decode(errors="replace") if found else ""


def _value(kind: str | None, value: Any) -> Scalar:
    match kind:
        case "Edm.Int64":
            return int(value)
        case "Edm.DateTime":
            return _moment(value)
        case "Edm.Double":
            return float(value)
        case "Edm.Binary":
            return base64.b64decode(value)
        case "Edm.Guid":  # which only other programs write
            return str(UUID(value))
        case _:
            return value if isinstance(value, str | int | float) else str(value)


def _moment(text: str) -> datetime:
    """In UTC; what is finer than a microsecond is cut off."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _in_path(key: str) -> str:
    return quote(key.replace("'", "''"), safe=_AS_IN_PATHS)


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
