"""Queries: pages of twins, counts, and the tokens that continue them."""

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from local.asgi import Request, Response
from local.dps import wire
from local.iothub import errors, query, shapes
from local.iothub.behaviour import HubBehaviour
from local.iothub.errors import HubError
from local.iothub.index import Index
from local.iothub.packing import unpack
from local.iothub.query import Query
from local.world import Clock

MAX_ITEM_COUNT = "x-ms-max-item-count"
CONTINUATION = "x-ms-continuation"
ITEM_TYPE = "x-ms-item-type"
TWIN, RAW = "Twin", "Raw"
"""Item types (seen)."""
_STEP = 1000


class QueryApi:
    """`POST /devices/query`."""

    def __init__(self, index: Index, clock: Clock, behaviour: HubBehaviour) -> None:
        self._index = index
        self._clock = clock
        self._behaviour = behaviour

    def run(self, request: Request) -> Response:
        """One page, oldest devices first (the real order is unknown).

        A continuation is given only while more may remain, and is good for the same query only.

        Raises:
            HubError: 400: no query, one outside the grammar, or a continuation that is not good.
        """
        text = wire.parse_object(request.body).get("query")
        if not isinstance(text, str) or len(text) > self._behaviour.query_limit:
            limit = self._behaviour.query_limit
            message = f"The body needs a query, a text of at most {limit} characters."
            raise HubError(errors.ARGUMENT_INVALID, message)
        wanted = query.parse(text)
        if wanted.count_as is not None:
            return Response(200, [{wanted.count_as: self._count(wanted)}], {ITEM_TYPE: RAW})
        size, after = self._size(request), self._after(request, text)
        packed, last, more = self._page(wanted, after, size)
        headers = {ITEM_TYPE: TWIN}
        if more:
            headers[CONTINUATION] = self._continuation(text, last)
        return Response(200, [self._row(each) for each in packed], headers)

    def _row(self, packed: bytes) -> dict[str, Any]:
        return shapes.twin(unpack(packed), capital_thumbprints=self._behaviour.capital_thumbprints)

    def _count(self, wanted: Query) -> int:
        if wanted.ids is None and not wanted.filters:
            return len(self._index)
        count, last, more = 0, 0, True
        while more:
            found, last, more = self._page(wanted, last, _STEP)
            count += len(found)
        return count

    def _page(self, wanted: Query, after: int, size: int) -> tuple[Sequence[bytes], int, bool]:
        """The rows, the position to continue after, and whether more may follow."""
        if wanted.ids is not None:
            return self._page_of_ids(wanted, wanted.ids, after, size)
        found: list[bytes] = []
        while True:
            page = self._index.page(after, size - len(found))
            found += filter(wanted.wants, page.values) if wanted.filters else page.values
            after = page.last
            if len(found) >= size or not page.more:
                return found, after, page.more

    def _page_of_ids(
        self, wanted: Query, ids: Sequence[str], after: int, size: int
    ) -> tuple[Sequence[bytes], int, bool]:
        found: list[bytes] = []
        while after < len(ids) and len(found) < size:
            packed = self._index.packed(ids[after])
            after += 1
            if packed is not None and wanted.wants(packed):
                found.append(packed)
        return found, after, after < len(ids)

    def _size(self, request: Request) -> int:
        given = request.headers.get(MAX_ITEM_COUNT, "").strip()
        try:
            asked = int(given[:20]) if given else 0
        except ValueError:
            message = f"The header {MAX_ITEM_COUNT} must be a whole number."
            raise HubError(errors.ARGUMENT_INVALID, message) from None
        return min(asked, self._behaviour.max_page_size) if asked > 0 else self._behaviour.default_page_size

    def _continuation(self, text: str, last: int) -> str:
        token = f"{last}:{int(self._clock.now().timestamp())}:{_binding(text)}"
        return base64.urlsafe_b64encode(token.encode()).decode()

    def _after(self, request: Request, text: str) -> int:
        token = request.headers.get(CONTINUATION)
        if not token:
            return 0
        try:
            decoded = base64.urlsafe_b64decode(token.encode("ascii")).decode("ascii")
            last, issued, bound = decoded.split(":", 2)
            position, age = int(last[:20]), self._clock.now().timestamp() - int(issued[:20])
        except (ValueError, UnicodeError, binascii.Error):
            raise HubError(errors.ARGUMENT_INVALID, "The continuation token is not this hub's.") from None
        if bound != _binding(text) or position < 0:
            raise HubError(errors.ARGUMENT_INVALID, "The continuation token belongs to another query.")
        lifetime = self._behaviour.continuation_lifetime
        if lifetime is not None and age > lifetime:
            raise HubError(errors.ARGUMENT_INVALID, "The continuation token has expired.")
        return position


def _binding(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
