"""The Table port over one table of Azure Table storage.

What the webhook does goes by plain calls (`table_calls`), everything else by azure-data-tables (`table_sdk`).
Both ways mean the same by a row, by a missing row or table, and by a fault.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal, Protocol, TypeVar

from clients.errors import ClientError, TableUnavailable
from clients.ports import Change, Receipt, Row, Scalar
from clients.table_calls import Next, Page, Refused, TableCalls
from clients.table_rows import code, range_filter
from clients.table_rules import check_bound, check_changes, check_key, storable
from clients.table_sdk import SdkCalls

T = TypeVar("T")

_Answer = Literal["moved", "gone", "exists", "no table"]

# A status alone does not do: a proxy or a wrong endpoint answers 404 too, and "there is no such row" must
# be the service's own word.
_ANSWERS: Mapping[tuple[int, str], _Answer] = {
    (412, "UpdateConditionNotSatisfied"): "moved",
    (412, "ConditionNotMet"): "moved",
    (404, "ResourceNotFound"): "gone",
    (404, "EntityNotFound"): "gone",
    (404, "TableNotFound"): "no table",
    (409, "EntityAlreadyExists"): "exists",
    (409, "TableAlreadyExists"): "exists",
}

_ADVICE: Mapping[int, str] = {
    401: "check the connection string, or that the token credential is for this tenant",
    403: "give the app's identity the role Storage Table Data Contributor, or check the connection string",
    404: "check the endpoint: this is not the answer of a storage account",
    429: "the service is busy: try again later",
    500: "the service failed: try again later",
    503: "the service is busy: try again later",
}


class Plain(Protocol):
    """What both ways can do."""

    async def get(self, partition: str, key: str) -> Row:
        """One row."""

    async def page(self, query: str, start: Next | None = None) -> Page:
        """One page of the rows that a filter lets through."""

    async def put(self, partition: str, key: str, values: Mapping[str, Scalar]) -> str | None:
        """Insert or replace one row; its new ETag."""


class Account(Protocol):
    """What a table needs of its account.

    Attributes:
        where: what errors call it.
        seconds: how long one call may take.
        by_sdk: whether every call goes by the SDK.
        may_be_challenged: whether a 401 may say what token is wanted instead: one of another tenant, say.
    """

    where: str
    seconds: float
    by_sdk: bool
    may_be_challenged: bool

    async def calls(self, table: str) -> TableCalls:
        """Plain calls to a table, over the shared connections."""

    async def sdk(self, table: str) -> SdkCalls:
        """Calls to a table by the SDK, over the shared connections."""


class AzureTable:
    """The Table port over one table of a storage account.

    A missing table reads as empty, and is made by the first write into it. Table storage keeps datetimes in
    ticks of 100 ns, so Python's microseconds survive exactly; a finer value that another program wrote is
    cut to microseconds.
    """

    def __init__(self, account: Account, name: str) -> None:
        """Open nothing yet."""
        self._account = account
        self._name = name
        self._calls: TableCalls | None = None
        self._sdk: SdkCalls | None = None
        self._creating = asyncio.Lock()
        self._created = 0

    def __repr__(self) -> str:
        return f"AzureTable({self._name!r}, {self._account!r})"

    async def get(self, partition: str, key: str) -> Row | None:
        """The row, or None."""
        check_key("partition key", partition)
        check_key("row key", key)
        async with self._call("reading a row"):
            return await _there(self._plainly(lambda calls: calls.get(partition, key)))

    async def insert(self, row: Row) -> Receipt:
        """Create the row: `written`, or `exists`."""
        return await self._write(self._by_sdk(lambda sdk: sdk.insert(row)), creates=True)

    async def replace(self, row: Row) -> Receipt:
        """Put the row in place of the one whose ETag is `row.etag` (None: whatever it is).

        `written`, `moved` or `gone`: a missing row is not made.
        """
        return await self._write(self._by_sdk(lambda sdk: sdk.replace(row)), creates=False)

    async def put(self, row: Row) -> Receipt:
        """Create or replace the row, whatever is there."""
        values = storable(row)
        return await self._write(
            lambda: self._plainly(lambda calls: calls.put(row.partition, row.key, values)), creates=True
        )

    async def delete(self, row: Row) -> Receipt:
        """Delete the row if its ETag is `row.etag` (None: whatever it is): `written`, `moved` or `gone`."""
        check_key("partition key", row.partition)
        check_key("row key", row.key)
        return await self._write(self._by_sdk(lambda sdk: sdk.delete(row)), creates=False)

    async def scan(self, partition: str, *, start: str = "", stop: str | None = None) -> AsyncIterator[Row]:
        """Rows of one partition with start <= key < stop, in key order, read page by page."""
        check_key("partition key", partition)
        check_bound("start", start)
        if stop is not None:
            check_bound("stop", stop)
        query = range_filter(partition, start, stop)
        following: Next | None = None
        while True:
            page = await self._page(query, following)
            if page is None:
                return
            for row in page.rows:
                yield row
            following = page.following
            if following is None:
                return

    async def write(self, changes: Sequence[Change]) -> Receipt:
        """All of 1 to 100 changes of one partition, or none: then the outcome is that of one that failed."""
        check_changes(changes)
        creates = all(change.kind in ("insert", "put") for change in changes)
        return await self._write(self._by_sdk(lambda sdk: sdk.write(changes)), creates=creates)

    async def _page(self, query: str, start: Next | None) -> Page | None:
        async with self._call("scanning rows"):
            return await _there(self._plainly(lambda calls: calls.page(query, start)))

    async def _plainly(self, call: "Callable[[Plain], Awaitable[T]]") -> T:
        """A plain call; by the SDK once a token was refused, for only the SDK reads the challenge."""
        account = self._account
        if not account.by_sdk:
            if self._calls is None:
                self._calls = await account.calls(self._name)
            try:
                return await call(self._calls)
            except Refused as refused:
                if refused.status_code != 401 or not account.may_be_challenged:
                    raise
            # A definite no: nothing was written.
            account.by_sdk = True
        return await self._by_sdk(call)()

    def _by_sdk(self, call: "Callable[[SdkCalls], Awaitable[T]]") -> "Callable[[], Awaitable[T]]":
        async def made() -> T:
            if self._sdk is None:
                self._sdk = await self._account.sdk(self._name)
            return await call(self._sdk)

        return made

    async def _write(self, call: Callable[[], Awaitable[str | None]], *, creates: bool) -> Receipt:
        """Write; `call` gives the row's new ETag, if there is one."""
        async with self._call("writing (it may have happened: read before writing again)"):
            created = self._created
            receipt = await _receipt(call())
            if receipt is None and creates:
                # A definite no: nothing was written, so sending it again is safe.
                await self._create(created)
                receipt = await _receipt(call())
                if receipt is None:
                    raise TableUnavailable(f"table {self._name} vanished as soon as it was made; try again")
            return receipt or Receipt("gone")

    async def _create(self, created: int) -> None:
        """Make the table, unless another call of ours has made it since `created` was read."""
        async with self._creating:
            if self._created == created:
                await _receipt(self._by_sdk(SdkCalls.create_table)())  # `exists`: another process was first
                self._created += 1

    @asynccontextmanager
    async def _call(self, doing: str) -> AsyncIterator[None]:
        """Bounds what is done within, and turns every fault of it into TableUnavailable."""
        try:
            async with asyncio.timeout(self._account.seconds):
                yield
        except ClientError:
            raise
        # Besides AzureError the SDK raises ValueError, AttributeError and http.client's errors at an answer
        # that it cannot parse.
        except Exception as error:
            problem, advice = _diagnosis(error)
            if isinstance(error, TimeoutError):
                problem = f"no answer within {self._account.seconds:g} s"
            raise TableUnavailable(
                f"table {self._name} of {self._account.where}, {doing}: {problem}; {advice}",
                status=getattr(error, "status_code", None),
            ) from error


def _diagnosis(error: Exception) -> tuple[str, str]:
    """What is wrong and what to do, in words of our own: others are chained, and may repeat what was sent."""
    status: int | None = getattr(error, "status_code", None)
    if status:
        name = _code(error)
        problem = f"HTTP {status} {name if name.isalnum() else ''}".rstrip()
        return problem, _ADVICE.get(status, "see the cause chained to this")
    azure = sys.modules.get("azure.core.exceptions")  # whoever raises one of them has imported it
    if azure and isinstance(error, azure.ClientAuthenticationError):
        return "no token", "check that the app has an identity and that its settings name the right one"
    # Without an answer the SDK's exception is about one of httpx, which plain calls raise as it is.
    met = getattr(error, "inner_exception", None) or error
    return type(met).__name__, "check the endpoint and the network, then try again"


async def _there(reading: Awaitable[T]) -> T | None:
    """What is read; None where the service says that there is none. Every other fault is raised."""
    try:
        return await reading
    except Exception as error:
        if _answer(error) in ("gone", "no table"):
            return None
        raise


async def _receipt(writing: Awaitable[str | None]) -> Receipt | None:
    """The outcome, with the new ETag that `writing` gives; None: there is no table. Faults are raised."""
    try:
        return Receipt("written", await writing)
    except Exception as error:
        answer = _answer(error)
        if answer is None:
            raise
        return None if answer == "no table" else Receipt(answer)


def _answer(error: Exception) -> _Answer | None:
    """The service's definite no; None where a fault is none."""
    return _ANSWERS.get((getattr(error, "status_code", None) or 0, _code(error)))


def _code(error: Exception) -> str:
    """The service's own name for a fault; empty where it gave none."""
    named = getattr(error, "error_code", None)  # absent from some of the SDK's errors, e.g. a failed insert's
    if isinstance(named, str):
        return str(getattr(named, "value", named))
    try:
        return code(error.response.content)  # type: ignore[attr-defined]  # one of azure-core's
    except AttributeError:
        return ""
