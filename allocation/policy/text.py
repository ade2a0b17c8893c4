"""A policy's text becomes plain values: YAML 1.2's core schema, or JSON, which is part of it.

No aliases or anchors (a policy says what it means where it means it, and none can blow up), no tags, no key
twice, one document, bounded in size and depth. `no` and `12:30` are texts.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from allocation.errors import PolicyError

LARGEST = 1024 * 1024
"""Bytes of a policy's text."""

DEEPEST = 32
"""Objects and lists inside each other."""

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def read_text(text: str) -> Any:
    """Read YAML or JSON into dicts, lists, texts, numbers, truths and None.

    Raises:
        PolicyError: too large, too deep, not YAML, or more than the subset above; names the place and the
        fix.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LARGEST:
        raise PolicyError(f"policy: {size} bytes; at most {LARGEST} are read")
    value = read_json(text) if text.lstrip("\ufeff \t\r\n").startswith(("{", "[")) else _NOT_JSON
    if value is _NOT_JSON:
        value = _read_yaml(text)
    _check(value)
    return value


_NOT_JSON = object()


def read_json(text: str) -> Any:
    """Read JSON; what is none gives a marker that `read_text` takes for YAML."""
    try:
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_unique_members)
    except RecursionError:
        raise PolicyError(f"policy: nests too deep; at most {DEEPEST} objects and lists") from None
    except ValueError:
        return _NOT_JSON


def read_canonical_text(text: str) -> Any:
    """Read what `canonical` wrote, without the cost of YAML.

    Raises:
        PolicyError: it is not JSON.
    """
    value = read_json(text)
    if value is _NOT_JSON:
        raise PolicyError("policy: not JSON; store what `canonical` wrote")
    _check(value)
    return value


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise PolicyError(f"policy: member {twice[0]!r} stands twice in one object; keep one")
    return members


def _check(value: Any) -> None:
    """Refuse what could not be sent: each device that a rule places would meet a fault of ours."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            below
            for each in level
            if isinstance(each, dict | list)
            for below in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            break
    else:
        raise PolicyError(f"policy: nests too deep; at most {DEEPEST} objects and lists")
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise PolicyError(
            "policy: holds NaN, a number beyond a double or of thousands of digits, or half a "
            "surrogate pair; "
            "nobody could be sent it"
        ) from None


def _read_yaml(text: str) -> Any:
    from ruamel.yaml import YAML  # noqa: PLC0415 - only people write YAML: a deployed app rarely meets it
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415

    try:
        return _document(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as error:
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise PolicyError(f"policy: not YAML{_place(error.problem_mark)}: {problem}") from None
    except (YAMLError, ValueError) as error:
        raise PolicyError(f"policy: not YAML: {str(error).splitlines()[0]}") from None


def _place(mark: Any) -> str:
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""


def _document(events: Iterator[Any]) -> Any:
    """Build the values of the one document of a stream."""
    documents, value = 0, None
    for event in events:
        kind = type(event).__name__
        if kind == "DocumentStartEvent":
            documents += 1
            if documents > 1:
                raise PolicyError(
                    f"policy{_place(event.start_mark)}: a second document begins; write one policy"
                )
            value = _value(next(events), events, 0)
    if documents == 0:
        raise PolicyError("policy: is empty; the least policy is {}")
    return value


def _value(event: Any, events: Iterator[Any], depth: int) -> Any:
    kind = type(event).__name__
    place = _place(event.start_mark)
    if kind == "AliasEvent" or event.anchor is not None:
        raise PolicyError(f"policy{place}: aliases and anchors are not read; write the value out")
    if event.tag is not None:
        raise PolicyError(f"policy{place}: tags ({event.tag}) are not read; write the plain value")
    if depth > DEEPEST:
        raise PolicyError(f"policy{place}: nests too deep; at most {DEEPEST} objects and lists")
    if kind == "ScalarEvent":
        plain = event.implicit[0] and event.style is None
        return _scalar(event.value, place) if plain else _joined(event.value)
    if kind == "SequenceStartEvent":
        items = []
        while type(item := next(events)).__name__ != "SequenceEndEvent":
            items.append(_value(item, events, depth + 1))
        return items
    members: dict[str, Any] = {}
    while type(item := next(events)).__name__ != "MappingEndEvent":
        key = _value(item, events, depth + 1)
        if not isinstance(key, str):
            raise PolicyError(
                f"policy{_place(item.start_mark)}: member name {key!r} is no text; put quotes round it"
            )
        if key in members:
            raise PolicyError(
                f"policy{_place(item.start_mark)}: member {key!r} stands twice in one object; keep one"
            )
        members[key] = _value(next(events), events, depth + 1)
    return members


def _joined(text: str) -> str:
    """Join pairs of surrogates: JSON spells so what lies beyond 16 bits, and YAML's reader leaves them."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _scalar(text: str, place: str) -> Any:
    """A plain scalar by the core schema."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NO_NUMBER.fullmatch(text):
        raise PolicyError(
            f"policy{place}: holds {text}, which nobody could be sent; write a number or quote it"
        )
    return text
