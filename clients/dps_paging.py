"""DPS's listings, page by page."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from clients.dps_answers import understood
from clients.errors import BadRequest, ContinuationExpired, NotSendable, UnexpectedReply
from clients.service import Request, Service
from provisioning.documents import MalformedDocument

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing.

    Attributes:
        items: in the service's order; may be none though more follow.
        continuation: where the next page starts, to be given to `pages(start=…)`, also by another process;
            None: this was the last.
    """

    items: tuple[T, ...]
    continuation: str | None


async def walk(
    service: Service,
    path: str,
    body: Mapping[str, Any] | None,
    read: Callable[[Any], T],
    *,
    start: str | None,
    size: int | None,
) -> AsyncIterator[Page[T]]:
    """The pages of one listing.

    Args:
        service: DPS.
        path: of the query.
        body: of the query; None sends none.
        read: reads one item, raising MalformedDocument.
        start: the continuation of a page read before; None: the beginning.
        size: items of a page, asked for; pages of any size are taken, empty ones too.

    Raises:
        ContinuationExpired: a continuation is answered 400.
        UnexpectedReply: a page is none, or a continuation comes a second time.
        NotSendable: a size below 1.
    """
    if size is not None and size < 1:
        raise NotSendable(f"size is {size}; a page has at least 1 item")
    headers = {} if size is None else {"x-ms-max-item-count": str(size)}
    token = start
    # A service that hands out a token again would be listed for ever: the token of every 2^n-th page is
    # kept, and one that comes back ends it.
    kept, since, until = token, 0, 1
    while True:
        asked = headers if token is None else {**headers, "x-ms-continuation": token}
        try:
            reply = await service.send(Request("POST", path, headers=asked, body=body))
        except BadRequest as error:
            if token is None or error.status != 400:
                raise
            raise _expired(error) from error
        following = reply.headers.get("x-ms-continuation") or None
        page = Page(understood(service.name, reply.body, lambda found: _items(found, read)), following)
        # Nothing here holds on to a page while the next is read: that would take half as long again.
        del reply
        yield page
        del page
        if following is None:
            return
        if following in (kept, token):
            raise UnexpectedReply(
                f"{service.name}: POST {path}: a continuation came a second time, so the listing would never "
                "end; try again later",
                service=service.name,
            )
        since += 1
        if since == until:
            kept, since, until = following, 0, until * 2
        token = following


def _items(found: Any, read: Callable[[Any], T]) -> tuple[T, ...]:
    if not isinstance(found, list):
        raise MalformedDocument("a page is no JSON array")
    return tuple(map(read, found))


def _expired(error: BadRequest) -> ContinuationExpired:
    return ContinuationExpired(
        f"{error}; the continuation is not taken (any more): list again from the start",
        service=error.service,
        status=error.status,
        code=error.code,
        tracking_id=error.tracking_id,
        retry_after=error.retry_after,
    )
