"""Calls to one table by azure-data-tables: every guarded write and batch, and whatever is not plain.

Importing this module is cheap; the SDK is imported by `load`.
"""

import importlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from clients.ports import Change, Row, Scalar
from clients.table_calls import Next, Page
from clients.table_rules import storable

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

    from clients.http import Client


def load() -> None:
    """Import the SDK: 50 ms and more, best spent in a thread."""
    importlib.import_module("azure.data.tables.aio")
    importlib.import_module("clients.azure_transport")


def table_client(http: "Client", endpoint: str, table: str, credential: Any) -> "TableClient":
    """The SDK's client of one table.

    Args:
        http: carries the calls.
        endpoint: URL of the account.
        table: its name.
        credential: the account's name and key, or an async credential of azure-identity.
    """
    from azure.core.credentials import AzureNamedKeyCredential  # noqa: PLC0415 - as the module says
    from azure.data.tables.aio import TableClient  # noqa: PLC0415 - as the module says

    from clients.azure_transport import HttpxTransport  # noqa: PLC0415 - as the module says

    return TableClient(
        endpoint,
        table,
        credential=AzureNamedKeyCredential(*credential) if isinstance(credential, tuple) else credential,
        transport=HttpxTransport(http),
        # The SDK would send a write again after a timeout, and take its own first success for somebody
        # else's: an insert would find its row there, a guarded replace its ETag moved. Reads go
        # unrepeated too, since the hot path has a budget that ten attempts with pauses would not
        # respect; but for those that met a dropped connection, which the transport sends once more.
        retry_total=0,
        permit_redirects=False,
    )


class SdkCalls:
    """Calls about the rows of one table.

    Each raises what the SDK raises, and NotStorable. Those that write a row give its new ETag.
    """

    def __init__(self, client: "TableClient") -> None:
        self._client = client

    async def get(self, partition: str, key: str) -> Row:
        """One row."""
        return _row(await self._client.get_entity(partition, key))

    async def page(self, query: str, start: Next | None = None) -> Page:
        """One page of the rows that a filter lets through."""
        token: Any = start and {"PartitionKey": start.partition, "RowKey": start.row}
        pages: Any = self._client.query_entities(query).by_page(token)
        page = await anext(pages)
        rows = [_row(entity) async for entity in page]
        token = pages.continuation_token
        return Page(rows, Next(token["PartitionKey"], token["RowKey"]) if token else None)

    async def put(self, partition: str, key: str, values: Mapping[str, Scalar]) -> str | None:
        """Insert or replace one row."""
        receipt = await self._client.upsert_entity(_entity(Row(partition, key, values)), mode="replace")
        return receipt.get("etag")

    async def insert(self, row: Row) -> str | None:
        """Create one row."""
        receipt = await self._client.create_entity(_entity(row), response_preference="return-no-content")
        return receipt.get("etag")

    async def replace(self, row: Row) -> str | None:
        """Replace the row whose ETag it has, without one any that is there."""
        receipt = await self._client.update_entity(_entity(row), mode="replace", **_guard(row.etag))
        return receipt.get("etag")

    async def delete(self, row: Row) -> None:
        """Delete the row whose ETag it has, without one any that is there."""
        # The SDK keeps a 404 to itself: the hook is the way to see it.
        seen: list[Any] = []
        await self._client.delete_entity(
            row.partition,
            row.key,
            raw_response_hook=lambda response: seen.append(response.http_response),
            **_guard(row.etag),
        )
        seen[-1].raise_for_status()

    async def write(self, changes: Sequence[Change]) -> None:
        """Write a batch."""
        await self._client.submit_transaction([_operation(change) for change in changes])

    async def create_table(self) -> None:
        """Make the table."""
        await self._client.create_table()


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
    from azure.core import MatchConditions  # noqa: PLC0415 - as the module says

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
