"""Pages of lists, and the links that lead to the next one."""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import quote

from local.asgi import Request, Response
from local.vault import errors
from local.vault.behaviour import VaultBehaviour

T = TypeVar("T")

_TOKEN = "$skiptoken"  # noqa: S105 - the name of a query parameter


def page(
    request: Request,
    items: Iterable[T],
    *,
    key: Callable[[T], str],
    show: Callable[[T], Any],
    behaviour: VaultBehaviour,
) -> Response:
    """One page of a list in the order of its keys.

    Secrets are ordered by name and versions by id, which is not the order they were made in (seen). A link
    holds the next key, so that what comes and goes meanwhile neither breaks it nor shifts what follows.

    Raises:
        VaultError: 400: `maxresults` is not 1 to 25, or the token is not one of this list's.
    """
    size = _size(request, behaviour)
    first, empty = _read(request)
    rest = sorted((item for item in items if key(item) >= first), key=key)
    if behaviour.empty_pages and rest and not empty:
        return _answer([], _link(request, key(rest[0]), empty=True))
    following = _link(request, key(rest[size]), empty=False) if len(rest) > size else None
    return _answer([show(item) for item in rest[:size]], following)


def _answer(shown: list[Any], link: str | None) -> Response:
    return Response(200, {"value": shown, "nextLink": link})


def _size(request: Request, behaviour: VaultBehaviour) -> int:
    text = request.query.get("maxresults")
    if text is None:
        return behaviour.default_page_size
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= behaviour.default_page_size):
        raise errors.bad(f"maxresults must be 1 to {behaviour.default_page_size}.")
    return int(text[:9])


def _link(request: Request, key: str, *, empty: bool) -> str:
    token = base64.urlsafe_b64encode(f"{int(empty)}{key}".encode()).decode().rstrip("=")
    host = request.headers.get("host", "localhost")
    query = f"api-version={quote(request.query.get('api-version', ''))}&{_TOKEN}={token}"
    if "maxresults" in request.query:
        query += f"&maxresults={quote(request.query['maxresults'])}"
    return f"https://{host}{quote(request.path)}?{query}"


def _read(request: Request) -> tuple[str, bool]:
    """The first key of the page, and whether the page before was left empty."""
    token = request.query.get(_TOKEN)
    if token is None:
        return "", False
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode(
            "ascii"
        )
    except (ValueError, binascii.Error):
        text = ""
    if text[:1] not in ("0", "1"):
        raise errors.bad("The skiptoken is not one of this vault's.")
    return text[1:], text[0] == "1"
