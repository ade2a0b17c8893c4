"""A cookie that a function sets, as the worker understands it.

The library parses each ``Set-Cookie`` header; the worker hands the host a name, a value and the attributes it
knows, and fails on those it cannot read. The host writes the header anew; here the standard library does,
which sorts the attributes.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from http.cookies import Morsel

_KNOWN = ["domain", "path", "expires", "secure", "httponly", "max-age"]


def set_cookie(morsel: Morsel[str]) -> str:
    """The value of a ``Set-Cookie`` header.

    Raises:
        ValueError: ``expires`` is not a date as HTTP writes it.
        TypeError: ``max-age`` is not a number.
    """
    if morsel["expires"]:
        datetime.strptime(morsel["expires"], "%a, %d %b %Y %H:%M:%S GMT")  # noqa: DTZ007  only looked at
    if morsel["max-age"]:
        try:
            float(morsel["max-age"])
        except ValueError:
            raise TypeError(f"the cookie {morsel.key!r} has a max-age that is not a number") from None
    same_site = ["samesite"] if morsel["samesite"].lower() in {"lax", "strict", "none"} else []
    return morsel.OutputString(_KNOWN + same_site)
