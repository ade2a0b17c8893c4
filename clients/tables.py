"""Azure Table storage behind the Table port, over azure-data-tables.

Importing this module is cheap. azure.data.tables, azure.core and httpx load at the first call, off the
event loop, or when `load` is called before it.
"""

import asyncio
import base64
import importlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

from clients.errors import ClientError, TableUnavailable
from clients.ports import Change, Receipt, Row, Scalar
from clients.table_put import Bearer, Refused, RowPut, SharedKey
from clients.table_rules import check_bound, check_changes, check_key, check_table_name, storable

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.data.tables.aio import TableClient

    from clients.http import Client

CALL_SECONDS = 10.0
"""How long one call may take, with everything in it: connecting, a token, creating the table, the answer.

A page of 1,000 rows or a batch of 100 changes takes well under a second; the service itself gives up after
30 seconds on a query and 10 on anything else.
"""

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


def load() -> None:
    """Import what the first call needs: about half a second, best spent before it, in a thread."""
    importlib.import_module("azure.data.tables.aio")
    importlib.import_module("clients.http")


class TableAccount:
    """A storage account, and the connections that its tables share.

    Make one with `from_connection_string` or `at`, and close it when no table is in use any more.
    """

    def __init__(
        self,
        where: str,
        arguments: Mapping[str, Any],
        *,
        connection_string: str | None,
        seconds: float,
        http: "Callable[[], Client] | None",
    ) -> None:
        self.where = where
        self.seconds = seconds
        self._arguments = arguments
        self._connection_string = connection_string
        self._make_http = http
        self._http: Client | None = None
        self._bearer = None if connection_string else Bearer(arguments["credential"])
        self._loading = asyncio.Lock()

    @classmethod
    def from_connection_string(
        cls, text: str, *, seconds: float = CALL_SECONDS, http: "Callable[[], Client] | None" = None
    ) -> "TableAccount":
        """The account that a connection string names: Azurite, or one that still allows its key.

        Args:
            text: the connection string, with AccountName and AccountKey; or UseDevelopmentStorage=true.
            seconds: how long one call may take.
            http: makes the HTTP client, once, at the first call; `close` closes it. None: http_client.

        Raises:
            ValueError: it lacks a part, or the key is no base64; the message does not repeat it.
        """
        parts = dict(part.split("=", 1) for part in text.strip().strip(";").split(";") if "=" in part)
        names = {name.strip().lower(): value.strip() for name, value in parts.items()}
        if names.get("usedevelopmentstorage", "").lower() != "true":
            missing = [name for name in ("AccountName", "AccountKey") if not names.get(name.lower())]
            if missing:
                raise ValueError(f"the storage connection string lacks {' and '.join(missing)}")
            try:
                base64.b64decode(names["accountkey"], validate=True)
            except ValueError:
                raise ValueError("the storage connection string's AccountKey is cut or mistyped") from None
        where = names.get("accountname", "devstoreaccount1")
        return cls(where, {}, connection_string=text.strip(), seconds=seconds, http=http)

    @classmethod
    def at(
        cls,
        endpoint: str,
        credential: "AsyncTokenCredential",
        *,
        seconds: float = CALL_SECONDS,
        http: "Callable[[], Client] | None" = None,
    ) -> "TableAccount":
        """The account at an endpoint, entered with Entra tokens.

        Args:
            endpoint: https://ACCOUNT.table.core.windows.net
            credential: an async credential of azure-identity; closing it is the caller's affair.
            seconds: how long one call may take.
            http: makes the HTTP client, once, at the first call; `close` closes it. None: http_client.

        Raises:
            ValueError: the endpoint is not an https URL without query: tokens go over TLS only, and a shared
                access signature would stand in every URL and so in logs.
        """
        url = urlsplit(endpoint)
        if url.scheme != "https" or not url.hostname or url.query:
            raise ValueError("the table endpoint must look like https://ACCOUNT.table.core.windows.net")
        arguments = {"endpoint": endpoint, "credential": credential}
        return cls(url.hostname, arguments, connection_string=None, seconds=seconds, http=http)

    def __repr__(self) -> str:
        return f"TableAccount({self.where!r})"

    def table(self, name: str) -> "AzureTable":
        """The table of that name, which is made when something is first written to it.

        Raises:
            NotStorable: no table may be called that.
        """
        check_table_name(name)
        return AzureTable(self, name)

    async def close(self) -> None:
        """Close the connections; the account's tables cannot be used afterwards."""
        client, self._http = self._http, None
        if client:
            await client.aclose()

    async def client(self, table: str) -> "TableClient":
        """The SDK's client of one table, over the shared connections."""
        async with self._loading:
            http = self._http = await asyncio.to_thread(self._open)
        from azure.data.tables.aio import TableClient  # noqa: PLC0415 - put off to the first call

        from clients.http import HttpxTransport  # noqa: PLC0415 - put off to the first call

        options: dict[str, Any] = {
            "transport": HttpxTransport(http),
            # The SDK would send a write again after a timeout, and take its own first success for somebody
            # else's: an insert would find its row there, a guarded replace its ETag moved. Reads go
            # unrepeated too, since the hot path has a budget that ten attempts with pauses would not
            # respect; but for those that met a dropped connection, which the transport sends once more.
            "retry_total": 0,
            "permit_redirects": False,
        }
        if self._connection_string is not None:
            return TableClient.from_connection_string(self._connection_string, table, **options)
        return TableClient(table_name=table, **self._arguments, **options)

    def row_put(self, client: "TableClient") -> RowPut:
        """Puts of single rows over the same connections, into the table of a client that `client` gave."""
        assert self._http is not None
        key: Any = client.credential
        authorizes = self._bearer or SharedKey(*key.named_key)
        return RowPut(self._http, client.url, client.table_name, client.api_version, authorizes)

    def _open(self) -> "Client":
        """Import and connect, off the event loop: the imports and the certificates take a while."""
        load()
        from clients.http import http_client  # noqa: PLC0415 - put off to the first call

        return self._http or (self._make_http or http_client)()


class AzureTable:
    """The Table port over one table of a storage account.

    A missing table reads as empty, and is made by the first write into it. Table storage keeps datetimes in
    ticks of 100 ns, so Python's microseconds survive exactly; a finer value that another program wrote is
    cut to microseconds.
    """

    def __init__(self, account: TableAccount, name: str) -> None:
        self._account = account
        self._name = name
        self._client: TableClient | None = None
        self._row_put: RowPut | None = None
        self._by_sdk = False
        self._creating = asyncio.Lock()
        self._created = 0

    def __repr__(self) -> str:
        return f"AzureTable({self._name!r}, {self._account!r})"

    async def get(self, partition: str, key: str) -> Row | None:
        """The row, or None."""
        check_key("partition key", partition)
        check_key("row key", key)
        async with self._call("reading a row") as client:
            answer = await _answer(client.get_entity(partition, key))
            return None if isinstance(answer, str) else _row(answer)

    async def insert(self, row: Row) -> Receipt:
        """Create the row: `written`, or `exists`."""
        entity = _entity(row)
        return await self._write(
            lambda client: client.create_entity(entity, response_preference="return-no-content"),
            creates=True,
        )

    async def replace(self, row: Row) -> Receipt:
        """Put the row in place of the one whose ETag is `row.etag` (None: whatever it is).

        `written`, `moved` or `gone`: a missing row is not made.
        """
        entity = _entity(row)
        return await self._write(
            lambda client: client.update_entity(entity, mode="replace", **_guard(row.etag)), creates=False
        )

    async def put(self, row: Row) -> Receipt:
        """Create or replace the row, whatever is there."""
        values = storable(row)

        async def call(client: "TableClient") -> Mapping[str, Any]:
            if not self._by_sdk:
                self._row_put = self._row_put or self._account.row_put(client)
                try:
                    return {"etag": await self._row_put.put(row.partition, row.key, values)}
                except Refused as refused:
                    if refused.status_code != 401 or not self._row_put.may_be_challenged:
                        raise
                # A definite no: nothing was written. The SDK reads the challenge, now and from now on.
                self._by_sdk = True
            return await client.upsert_entity(_entity(row), mode="replace")

        return await self._write(call, creates=True)

    async def delete(self, row: Row) -> Receipt:
        """Delete the row if its ETag is `row.etag` (None: whatever it is): `written`, `moved` or `gone`."""
        check_key("partition key", row.partition)
        check_key("row key", row.key)
        return await self._write(lambda client: _delete(client, row), creates=False)

    async def scan(self, partition: str, *, start: str = "", stop: str | None = None) -> AsyncIterator[Row]:
        """Rows of one partition with start <= key < stop, in key order, read page by page."""
        check_key("partition key", partition)
        check_bound("start", start)
        query = f"PartitionKey eq {_quoted(partition)}"
        if start:
            query += f" and RowKey ge {_quoted(start)}"
        if stop is not None:
            check_bound("stop", stop)
            query += f" and RowKey lt {_quoted(stop)}"
        async with self._call("scanning rows") as client:
            pages = client.query_entities(query).by_page()
        while True:
            async with self._call("scanning rows"):
                rows = await _answer(_page(pages))
            if rows is None or isinstance(rows, str):
                return
            for row in rows:
                yield row

    async def write(self, changes: Sequence[Change]) -> Receipt:
        """All of 1 to 100 changes of one partition, or none: then the outcome is that of one that failed."""
        check_changes(changes)
        creates = all(change.kind in ("insert", "put") for change in changes)
        return await self._write(lambda client: _transact(client, changes), creates=creates)

    async def _write(
        self, call: "Callable[[TableClient], Awaitable[Mapping[str, Any] | _Answer]]", *, creates: bool
    ) -> Receipt:
        async with self._call("writing (it may have happened: read before writing again)") as client:
            created = self._created
            answer = await _answer(call(client))
            if answer == "no table" and creates:
                # A definite no: nothing was written, so sending it again is safe.
                await self._create(client, created)
                answer = await _answer(call(client))
            if answer == "no table":
                if creates:
                    raise TableUnavailable(f"table {self._name} vanished as soon as it was made; try again")
                return Receipt("gone")
            if isinstance(answer, str):
                return Receipt(answer)
            return Receipt("written", answer.get("etag"))

    async def _create(self, client: "TableClient", created: int) -> None:
        """Make the table, unless another call of ours has made it since `created` was read."""
        async with self._creating:
            if self._created == created:
                await _answer(client.create_table())  # `exists`: another process was first
                self._created += 1

    @asynccontextmanager
    async def _call(self, doing: str) -> "AsyncIterator[TableClient]":
        """Bounds what is done within, and turns every fault of it into TableUnavailable."""
        try:
            async with asyncio.timeout(self._account.seconds):
                if self._client is None:
                    self._client = await self._account.client(self._name)
                yield self._client
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
    """What is wrong and what to do, in words of our own: the SDK's are chained, and repeat what was sent."""
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - put off to the first call

    status: int | None = getattr(error, "status_code", None)
    if status:
        code = _code(error)
        problem = f"HTTP {status} {code if code.isalnum() else ''}".rstrip()
        return problem, _ADVICE.get(status, "see the cause chained to this")
    if isinstance(error, ClientAuthenticationError):
        return "no token", "check that the app has an identity and that its settings name the right one"
    return type(error).__name__, "check the endpoint and the network, then try again"


async def _answer(call: Awaitable[T]) -> T | _Answer:
    """What the call returns, or the service's definite no; every other fault is raised."""
    try:
        return await call
    except Exception as error:
        answer = _ANSWERS.get((getattr(error, "status_code", None) or 0, _code(error)))
        if answer is None:
            raise
        return answer


def _code(error: Exception) -> str:
    """The service's own name for a fault; empty where it gave none."""
    code = getattr(error, "error_code", None)  # absent from some of the SDK's errors, e.g. a failed insert's
    if isinstance(code, str):
        return str(getattr(code, "value", code))
    return _code_in(getattr(error, "response", None))


def _code_in(response: Any) -> str:
    try:
        return str(json.loads(response.text())["odata.error"]["code"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""


async def _delete(client: "TableClient", row: Row) -> Mapping[str, Any] | _Answer:
    # The SDK keeps a 404 to itself: the hook is the way to see it.
    seen: list[Any] = []
    await client.delete_entity(
        row.partition,
        row.key,
        raw_response_hook=lambda response: seen.append(response.http_response),
        **_guard(row.etag),
    )
    if seen[-1].status_code == 404:
        answer = _ANSWERS.get((404, _code_in(seen[-1])))
        if answer is None:
            seen[-1].raise_for_status()
        return answer or "gone"
    return {}


async def _transact(client: "TableClient", changes: Sequence[Change]) -> Mapping[str, Any]:
    await client.submit_transaction([_operation(change) for change in changes])
    return {}


def _operation(change: Change) -> tuple[str, dict[str, Any], dict[str, Any]]:
    row = change.row
    match change.kind:
        case "insert":
            return "create", _entity(row), {}
        case "put":
            return "upsert", _entity(row), {"mode": "replace"}
        case "replace":
            return "update", _entity(row), {"mode": "replace", **_guard(row.etag)}
        case "delete":
            return "delete", {"PartitionKey": row.partition, "RowKey": row.key}, _guard(row.etag)


def _guard(etag: str | None) -> dict[str, Any]:
    """The SDK's way to say If-Match; without an ETag it sends `*`: any row, but there must be one."""
    from azure.core import MatchConditions  # noqa: PLC0415 - put off to the first call

    return {} if etag is None else {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _entity(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {
        # The SDK takes a bare int for 32 bits and refuses longer ones.
        name: (value, "Edm.Int64") if isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in storable(row).items()
    }
    return {"PartitionKey": row.partition, "RowKey": row.key, **values}


def _row(entity: Any) -> Row:
    values = {name: _value(value) for name, value in entity.items() if name not in ("PartitionKey", "RowKey")}
    return Row(entity["PartitionKey"], entity["RowKey"], values, entity.metadata["etag"])


def _value(value: Any) -> Scalar:
    if isinstance(value, tuple):  # the SDK's EntityProperty(value, type) for 64-bit integers
        value = value[0]
    if isinstance(value, datetime):  # the SDK's own subclass, which writes its old text back when changed
        return datetime.combine(value.date(), value.timetz())
    if isinstance(value, str | int | float | bytes):
        return value
    return str(value)  # a GUID, which only other programs write


async def _page(pages: Any) -> list[Row] | None:
    try:
        page = await anext(pages)
    except StopAsyncIteration:
        return None
    return [_row(entity) async for entity in page]


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
