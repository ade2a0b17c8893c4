"""Whether a hub can take an initial twin at all, and what the Azure CLI once did to stored ones."""

import re
from collections.abc import Mapping
from typing import Any

from provisioning.enrollments import InitialTwin

TAGS_BYTES, DESIRED_BYTES = 8 * 1024, 32 * 1024
"""Most that a hub takes (documented)."""

DEPTH, NAME_BYTES, TEXT_BYTES = 10, 1024, 4096
"""Most levels of objects below a section, bytes of a name and of a text (documented)."""

NEST = "additional_properties"

_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f-\x9f.$ ]")
_RESERVED = ("count", "metadata", "version")
"""Members of DPS's own TwinCollection: what it makes of them at the top is unknown."""


def refused(twin: InitialTwin) -> str:
    """Why no hub takes the twin; "" if one may.

    Sizes are reckoned as the least that a hub may count, names and texts alone, for how it counts braces and
    numbers is its own affair: what is over the limit here is over it everywhere.
    """
    for section, value, most in (("tags", twin.tags, TAGS_BYTES), ("desired", twin.desired, DESIRED_BYTES)):
        own = {name: each for name, each in value.items() if name not in _RESERVED}
        problem, size = _walked(own)
        if problem:
            return f"{section}: {problem}"
        if size > most:
            return f"{section}: at least {size:,} bytes, and a hub takes {most:,}"
    return ""


def nested(twin: InitialTwin) -> dict[str, int]:
    """How deep each section is wrapped in additional_properties; sections that are not are left out."""
    found: dict[str, int] = {}
    for section, value in (("tags", twin.tags), ("desired", twin.desired)):
        depth, inner = 0, value
        while isinstance(deeper := inner.get(NEST), dict):
            depth, inner = depth + 1, deeper
        if depth:
            found[section] = depth
    return found


def _walked(value: Mapping[str, Any]) -> tuple[str, int]:
    """The first thing that a hub refuses, and the bytes of names and texts."""
    size = 0
    left: list[tuple[Any, int]] = [(value, 1)]
    while left:  # no recursion: how deep a document nests is its maker's choice
        each, depth = left.pop()
        if isinstance(each, str):
            length = len(each.encode("utf-8", "surrogatepass"))
            size += length
            if length > TEXT_BYTES:
                return f"a text of {length:,} bytes; a hub takes {TEXT_BYTES:,}", size
        elif isinstance(each, dict):
            if depth > DEPTH + 1:  # whether the section itself counts is not said
                return f"it nests deeper than {DEPTH} levels", size
            for name, inner in each.items():
                length = len(name.encode("utf-8", "surrogatepass"))
                size += length
                if length > NAME_BYTES or _NOT_IN_NAMES.search(name):
                    return "a name with a character that hubs refuse, or over 1,024 bytes", size
                left.append((inner, depth + 1))
        elif isinstance(each, list):
            left.extend((inner, depth) for inner in each)
    return "", size
