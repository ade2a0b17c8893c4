"""The text of a file of enrollments becomes JSON values: YAML without its tricks, or JSON. Pure.

No aliases, anchors, tags and merges (a file says what it means where it means it, and none can blow up), no
member twice, bounded in size and depth; nothing that JSON has not.
"""

import json
import re
from datetime import date
from typing import Any

from lifecycle.errors import FileRefused

YAML_BYTES = 4 * 1024 * 1024
"""Largest YAML file: some 3,000 enrollments. It takes a minute to read more; JSON lines take more."""

JSON_BYTES = 256 * 1024 * 1024
"""Largest JSON file."""

DEEPEST = 40
"""Objects and lists inside each other."""


def values(text: str, file: str) -> list[Any]:
    """The documents of a text.

    Args:
        text: YAML or JSON, by what it looks like; JSON in one document, a list, or one a line.
        file: its name, for messages.

    Raises:
        FileRefused: names the file, the place in it, and the fix.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    is_json = text.lstrip("\ufeff \t\r\n").startswith(("{", "["))
    most = JSON_BYTES if is_json else YAML_BYTES
    if size > most:
        raise FileRefused(
            file, "", f"it has {size:,} bytes, and at most {most:,} are read", "split it, or write JSON lines"
        )
    return _json_values(text, file) if is_json else _yaml_values(text, file)


def _json_values(text: str, file: str) -> list[Any]:
    """One document, a list of them, or one a line."""
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
    found: list[Any] = []
    text = text.removeprefix("\ufeff")
    at = _next(text, 0)
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except RecursionError:
            raise FileRefused(file, "", "it nests too deep", "flatten it") from None
        except ValueError as error:
            line = text.count("\n", 0, getattr(error, "pos", at)) + 1
            problem = str(error) if not isinstance(error, json.JSONDecodeError) else error.msg
            raise FileRefused(file, f"line {line}", f"not JSON: {problem}", "correct it") from None
        at = _next(text, at)
        found += value if isinstance(value, list) else [value]
    for number, value in enumerate(found, 1):
        _check_depth(value, f"{file}, document {number}")
    return found


_SPACE = re.compile(r"[ \t\r\n]*")


def _next(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice in one object")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _yaml_values(text: str, file: str) -> list[Any]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - it takes a while to load
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415 - as above

    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            _check_event(event, file)
        found = [each for each in YAML(typ="safe", pure=True).load_all(text) if each is not None]
    except RecursionError:
        raise FileRefused(file, "", "it nests too deep", "flatten it") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}" if mark is not None else ""
        problem = (
            "a member stands twice in one object" if "duplicate" in str(error.problem) else error.problem
        )
        raise FileRefused(file, place, f"not YAML: {problem}", "correct it") from None
    except (YAMLError, ValueError) as error:
        raise FileRefused(file, "", f"not YAML: {str(error).splitlines()[0][:200]}", "correct it") from None
    for number, value in enumerate(found, 1):
        _check_depth(value, f"{file}, document {number}")
    return found


def _check_event(event: Any, file: str) -> None:
    """Nothing that says one thing in another place, or more than JSON can."""
    place = f"line {event.start_mark.line + 1}"
    if type(event).__name__ == "AliasEvent" or getattr(event, "anchor", None) is not None:
        raise FileRefused(file, place, "aliases and anchors are not read", "write the value out")
    if getattr(event, "tag", None) is not None:
        raise FileRefused(file, place, "tags are not read", "write the plain value")
    if getattr(event, "value", None) == "<<" and event.style is None:
        raise FileRefused(file, place, "merges (<<) are not read", "write the members out")


def _check_depth(value: Any, where: str, path: str = "", depth: int = 0) -> None:
    if depth > DEEPEST:
        raise FileRefused(where, path[:200], f"it nests deeper than {DEEPEST} levels", "flatten it")
    if isinstance(value, dict):
        for name, each in value.items():
            if not isinstance(name, str):
                raise FileRefused(
                    where, path, f"the name {ascii(name)[:40]} is no text", "put quotes round it"
                )
            _check_depth(each, where, f"{path}.{name[:60]}" if path else name[:60], depth + 1)
    elif isinstance(value, list):
        for each in value:
            _check_depth(each, where, path, depth + 1)
    elif isinstance(value, date):
        raise FileRefused(where, path, "it is a date, which JSON has not", "put quotes round it")
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124 - NaN
        raise FileRefused(where, path, "it is no finite number", "write a number, or quote it")
    elif not isinstance(value, str | int | float | bool | None):
        raise FileRefused(where, path, "it is nothing that JSON has", "write text, numbers, lists, objects")
