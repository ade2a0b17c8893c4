"""Reading requests strictly: a member that is not known is refused, with the ones that are."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

MOST_BODY = 64 * 1024
"""Bytes of a request's body."""


class Wrong(Exception):
    """A request that cannot be carried out; the text names what is wrong and the fix."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        Wrong: it is something else.
    """
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > MOST_BODY:
            raise Wrong(f"the body is larger than {MOST_BODY} bytes", 413)
    try:
        body = json.loads(bytes(parts))
    except (ValueError, RecursionError):
        raise Wrong("the body must be JSON in UTF-8") from None
    if not isinstance(body, dict):
        raise Wrong("the body must be a JSON object")
    return body


def only(body: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Refuse members that are not among `names`.

    Raises:
        Wrong: it is something else.
    """
    for name in body:
        if name not in names:
            raise Wrong(f"{name[:40]!r} is not known here; there are {', '.join(names)}")


def text(body: Mapping[str, Any], name: str, default: str) -> str:
    """A text of a body.

    Raises:
        Wrong: it is something else.
    """
    value = body.get(name, default)
    if not isinstance(value, str):
        raise Wrong(f"{name} must be a text")
    return value


def number(body: Mapping[str, Any], name: str, default: float) -> float:
    """A number of a body.

    Raises:
        Wrong: it is something else.
    """
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"{name} must be a number")
    try:
        return float(value)
    except OverflowError:
        raise Wrong(f"{name} is too large") from None


def whole(body: Mapping[str, Any], name: str, default: int) -> int:
    """A whole number of a body.

    Raises:
        Wrong: it is something else.
    """
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Wrong(f"{name} must be a whole number")
    return value


def whole_or_null(body: Mapping[str, Any], name: str, default: int | None) -> int | None:
    """A whole number of a body, or null.

    Raises:
        Wrong: it is something else.
    """
    return None if body.get(name, default) is None else whole(body, name, default or 0)


def digits(query: Mapping[str, str], name: str) -> int | None:
    """A whole number of a query; None: it is not there.

    Raises:
        Wrong: it is something else.
    """
    value = query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise Wrong(f"{name} must be a whole number")
    return int(value)
