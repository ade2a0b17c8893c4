"""Continuation tokens and pages of the service API's queries."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from local.asgi import Request, Response
from local.dps import wire
from local.dps.behaviour import Behaviour
from local.dps.errors import BAD_REQUEST, DpsError
from local.dps.ordering import Ordering
from local.world import Clock

T = TypeVar("T")

MAX_ITEM_COUNT = "x-ms-max-item-count"
CONTINUATION = "x-ms-continuation"
ITEM_TYPE = "x-ms-item-type"


def page(
    request: Request,
    order: Ordering[T],
    show: Callable[[Sequence[T]], Any],
    *,
    item_type: str,
    of: str,
    behaviour: Behaviour,
    clock: Clock,
) -> Response:
    """One page of a query, oldest records first (the real order is unknown).

    A continuation is given only while more remains. It is opaque to clients and good for the query it
    came from; what was deleted meanwhile neither breaks it nor shifts what follows.

    Args:
        request: its headers name the page size and the continuation.
        order: what to page over.
        show: the body that has those values in it.
        item_type: the `x-ms-item-type` header.
        of: what the continuation is bound to.
        behaviour: page sizes and the continuation's lifetime.
        clock: for that lifetime.

    Raises:
        DpsError: 400: a page size that is no number, or a continuation that is not (or no longer) good.
    """
    asked = wire.int_header(request, MAX_ITEM_COUNT)
    size = behaviour.default_page_size if asked is None or asked < 1 else min(asked, behaviour.max_page_size)
    binding, now = f"{item_type}:{of}", clock.now().timestamp()
    token = request.headers.get(CONTINUATION)
    after = _read(token, binding, now, behaviour.continuation_lifetime) if token else 0
    found = order.page(after, size)
    headers = {MAX_ITEM_COUNT: str(size), ITEM_TYPE: item_type}
    if found.more:
        text = f"{found.last}:{int(now)}:{binding}"
        headers[CONTINUATION] = base64.urlsafe_b64encode(text.encode()).decode()
    return Response(200, show(found.values), headers)


def _read(token: str, binding: str, now: float, lifetime: float | None) -> int:
    try:
        last, issued, bound = base64.urlsafe_b64decode(token.encode("ascii")).decode("ascii").split(":", 2)
        position, age = int(last[:20]), now - int(issued[:20])
    except (ValueError, UnicodeError, binascii.Error):
        raise DpsError(BAD_REQUEST, "The continuation token is not one of this service's.") from None
    if bound != binding or position < 0:
        raise DpsError(BAD_REQUEST, "The continuation token belongs to another query.")
    if lifetime is not None and age > lifetime:
        raise DpsError(BAD_REQUEST, "The continuation token has expired.")
    return position
