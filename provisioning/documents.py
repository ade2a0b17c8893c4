"""Reading the service's JSON documents: tolerant of what is new, strict about what is known."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from provisioning.timestamps import timestamp


class MalformedDocument(ValueError):
    """A document that is not what DPS sends or takes. Names the member, never its value."""


def check_members(document: Any, known: Mapping[str, type], what: str) -> Mapping[str, Any]:
    """The document, if it is an object whose known members are absent, null or of their type.

    Raises:
        MalformedDocument: it is not.
    """
    if not isinstance(document, dict):
        raise MalformedDocument(f"the {what} is no JSON object")
    expected = known.get
    for name, value in document.items():  # of each of a million records: nothing is asked twice
        kind = type(value)
        if expected(name, kind) is not kind and value is not None:
            raise MalformedDocument(f"{name} of the {what} must be {_KINDS[known[name]]}")
    return document


def part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object within a document; an empty one where there is none.

    Raises:
        MalformedDocument: it is something else.
    """
    found = document.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise MalformedDocument(f"{name} must be an object")
    return found


def text(document: Mapping[str, Any], name: str) -> str | None:
    """A text; None where there is none.

    Raises:
        MalformedDocument: it is something else.
    """
    found = document.get(name)
    if found is None or isinstance(found, str):
        return found or None
    raise MalformedDocument(f"{name} must be a text")


def moment(document: Mapping[str, Any], name: str) -> datetime | None:
    """A time; None where there is none.

    Raises:
        MalformedDocument: it is something else.
    """
    try:
        return timestamp(text(document, name))
    except MalformedDocument:
        raise
    except (ValueError, OverflowError):
        raise MalformedDocument(f"{name} must be a time in ISO 8601") from None


_KINDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}
