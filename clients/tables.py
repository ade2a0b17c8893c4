"""Azure Table storage: an account, how it is entered, and the connections that its tables share.

Importing this module is cheap. httpx loads at the first call, azure.core and azure.data.tables at the first
that is not plain (`azure_table`), off the event loop, or when `load` is called before it.
"""

import asyncio
import base64
import importlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clients import table_sdk
from clients.azure_table import AzureTable
from clients.table_calls import Bearer, SharedKey, TableCalls
from clients.table_rules import check_table_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials_async import AsyncTokenCredential
    from azure.data.tables.aio import TableClient

    from clients.http import Client

CALL_SECONDS = 10.0
"""How long one call may take, with everything in it: connecting, a token, creating the table, the answer.

A page of 1,000 rows or a batch of 100 changes takes well under a second; the service itself gives up after
30 seconds on a query and 10 on anything else.
"""

_EMULATOR = {
    # What UseDevelopmentStorage=true stands for (documented); the key is no secret.
    "accountname": "devstoreaccount1",
    "accountkey": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "tableendpoint": "http://127.0.0.1:10002/devstoreaccount1",
}


def load() -> None:
    """Import what any first call needs: best done before it, in a thread."""
    importlib.import_module("clients.http")
    table_sdk.load()


class TableAccount:
    """A storage account, and the connections that its tables share.

    Make one with `from_connection_string` or `at`, and close it when no table is in use any more.

    Attributes:
        where: what errors call it.
        seconds: how long one call may take.
        by_sdk: whether every call goes by the SDK: so once a token was refused, as only the SDK reads which
            one is wanted.
        may_be_challenged: whether a 401 may say that: a key is right or wrong.
    """

    def __init__(
        self,
        where: str,
        endpoint: str,
        login: "tuple[str, str] | AsyncTokenCredential",
        *,
        seconds: float,
        http: "Callable[[], Client] | None",
    ) -> None:
        self.where = where
        self.seconds = seconds
        self.by_sdk = False
        self.may_be_challenged = not isinstance(login, tuple)
        self._endpoint = endpoint
        self._login = login
        self._key = SharedKey(*login) if isinstance(login, tuple) else Bearer(login)
        self._make_http = http
        self._http: Client | None = None
        self._opening = asyncio.Lock()

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
        if names.get("usedevelopmentstorage", "").lower() == "true":
            names = _EMULATOR
        missing = [name for name in ("AccountName", "AccountKey") if not names.get(name.lower())]
        if missing:
            raise ValueError(f"the storage connection string lacks {' and '.join(missing)}")
        name, key = names["accountname"], names["accountkey"]
        try:
            base64.b64decode(key, validate=True)
        except ValueError:
            raise ValueError("the storage connection string's AccountKey is cut or mistyped") from None
        return cls(name, _endpoint(names), (name, key), seconds=seconds, http=http)

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
        return cls(url.hostname, endpoint, credential, seconds=seconds, http=http)

    def __repr__(self) -> str:
        return f"TableAccount({self.where!r})"

    def table(self, name: str) -> AzureTable:
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

    async def calls(self, table: str) -> TableCalls:
        """Plain calls to a table, over the shared connections."""
        return TableCalls(await self._open(), self._endpoint, table, self._key)

    async def sdk(self, table: str) -> table_sdk.SdkCalls:
        """Calls to a table by the SDK, over the shared connections."""
        return table_sdk.SdkCalls(await self.client(table))

    async def client(self, table: str) -> "TableClient":
        """The SDK's client of a table, over the shared connections."""
        http = await self._open()
        await asyncio.to_thread(table_sdk.load)
        return table_sdk.table_client(http, self._endpoint, table, self._login)

    async def _open(self) -> "Client":
        """The HTTP client; imported and made off the event loop, for certificates take a while."""
        async with self._opening:
            if self._http is None:
                self._http = await asyncio.to_thread(self._connect)
            return self._http

    def _connect(self) -> "Client":
        from clients.http import http_client  # noqa: PLC0415 - put off to the first call

        return (self._make_http or http_client)()


def _endpoint(names: dict[str, str]) -> str:
    """The URL of the account that the parts of a connection string name."""
    given = names.get("tableendpoint")
    if given:
        return given if given.lower().startswith("http") else f"https://{given}"
    scheme, suffix = names.get("defaultendpointsprotocol"), names.get("endpointsuffix")
    return f"{scheme or 'https'}://{names['accountname']}.table.{suffix or 'core.windows.net'}"
