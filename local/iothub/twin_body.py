"""What clients write of twins, read, checked and merged."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from local import asgi
from local.dps import shapes, wire
from local.iothub import errors
from local.iothub.device import Properties, Twin
from local.iothub.errors import HubError

_MOST_DEPTH = 10
_MOST_NAME, _MOST_TEXT = 1024, 4096
_MOST_TAGS, _MOST_DESIRED = 8 * 1024, 32 * 1024
_FORBIDDEN = frozenset(". $#")
_OWN = ("$metadata", "$version")
_object = shapes.members({})
MEMBERS = {"tags": _object, "properties": shapes.members({"desired": _object})}
"""The members of a twin that may be written, with their checks; others are passed over."""
_BODY = shapes.members(MEMBERS)
Change = tuple[Properties | None, Properties | None]
"""Tags and desired properties as a body has them; None: it says nothing of them."""


def read(body: bytes) -> Change:
    """The tags and desired properties of a body.

    Raises:
        HubError: 400: a name, a text or a depth that is not allowed.
        DpsError: 400: not JSON, or members of another type.
    """
    return change(_BODY(wire.parse_object(body), "The body"))


def change(members: Mapping[str, Any]) -> Change:
    """The tags and desired properties of `MEMBERS`; what the hub adds to twins itself is passed over.

    Raises:
        HubError: 400: a name, a text or a depth that is not allowed (seen).
    """
    tags, desired = members.get("tags"), members.get("properties", {}).get("desired")
    if desired is not None:
        desired = {name: value for name, value in desired.items() if name not in _OWN}
    for section in (tags, desired):
        if section is not None:
            _check(section, 1)
    return tags, desired


def merged(twin: Twin, change: Change, now: datetime) -> Twin:
    """The twin after a PATCH: members are merged, a null takes one away, lists are replaced (seen)."""
    tags, desired = change
    return _written(
        twin,
        twin.tags if tags is None else _merge(twin.tags, tags),
        twin.desired if desired is None else _merge(twin.desired, desired),
        now,
        desired_too=desired is not None,
    )


def replaced(twin: Twin, change: Change, now: datetime) -> Twin:
    """The twin after a PUT: what the body does not have is gone (seen).

    Raises:
        HubError: 400: a null.
    """
    tags, desired = ({} if each is None else dict(each) for each in change)
    for section in (tags, desired):
        _refuse_nulls(section)
    return _written(twin, tags, desired, now, desired_too=True)


def _written(twin: Twin, tags: Properties, desired: Properties, now: datetime, *, desired_too: bool) -> Twin:
    for section, most in ((tags, _MOST_TAGS), (desired, _MOST_DESIRED)):
        if len(asgi.text(section)) > most:
            raise HubError(errors.ARGUMENT_INVALID, f"Tags or desired properties exceed {most} bytes.")
    return replace(
        twin,
        tags=tags,
        desired=desired,
        writes=twin.writes + 1,
        desired_version=twin.desired_version + desired_too,
        desired_updated=now if desired_too else twin.desired_updated,
    )


def _merge(held: Properties, change: Properties) -> dict[str, Any]:
    result = dict(held)
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            before = result.get(name)
            result[name] = _merge(before if isinstance(before, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str) and _size(value) > _MOST_TEXT:
        raise HubError(errors.ARGUMENT_INVALID, f"A text in a twin has at most {_MOST_TEXT} bytes.")
    if not isinstance(value, dict | list):
        return
    if depth > _MOST_DEPTH:
        raise HubError(errors.ARGUMENT_INVALID, f"A twin nests at most {_MOST_DEPTH} levels deep.")
    if isinstance(value, list):
        for inner in value:
            _refuse_nulls(inner)
            _check(inner, depth + 1)
        return
    for name, inner in value.items():
        if _size(name) > _MOST_NAME or any(sign in _FORBIDDEN or _is_control(sign) for sign in name):
            raise HubError(errors.ARGUMENT_INVALID, "A twin has a name that is not allowed.")
        _check(inner, depth + 1)


def _refuse_nulls(value: Any) -> None:
    if value is None:
        raise HubError(errors.ARGUMENT_INVALID, "A twin holds no null.")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_nulls(inner)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _is_control(sign: str) -> bool:
    return sign < " " or "\x7f" <= sign <= "\x9f"
