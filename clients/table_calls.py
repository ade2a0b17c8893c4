"""The calls that the webhook makes for each device and before its first: read a row, read a range, put a row.

Each is one plain request. azure-data-tables takes half a millisecond of processor time for one, most of it
in policies and generated code that it has no use for, where this takes a quarter of that; and importing it
takes 50 ms while a device waits (measured). All other calls, and these wherever an answer is not plain, go
by the SDK.

Source of the wire: Microsoft, "Query Entities", "Query timeout and pagination", "Insert Or Replace Entity"
and "Authorize with Shared Key" (Table service).
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from clients.ports import Row, Scalar
from clients.table_rows import address, code, entity, explanation, row
from clients.wording import plain

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

    from clients.http import Answer, Client

API_VERSION = "2019-02-02"
"""Of the Table service, as x-ms-version: what azure-data-tables asks for."""

SCOPE = "https://storage.azure.com/.default"
"""What a token for Table storage is asked for."""

RENEW_SECONDS = 300.0
"""A token is renewed so long before it expires, as azure-core does."""

_JSON = "application/json"
_MINIMAL = f"{_JSON};odata=minimalmetadata"
"""Types where JSON does not tell them, and ETags, and no more."""


class TokenSource(Protocol):
    """An async credential of azure-core."""

    async def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        """A token for the scopes."""


class Refused(Exception):
    """The service answered with a fault.

    Attributes:
        status_code: HTTP's.
        error_code: the service's own name for it, "" without one.
    """

    def __init__(self, answer: "Answer") -> None:
        status = answer.status_code
        named = code(answer.content) or answer.headers.get("x-ms-error-code", "")
        super().__init__(
            ": ".join(filter(None, (f"HTTP {status} {named}", plain(explanation(answer.content)))))
        )
        self.status_code = status
        self.error_code = named


class Unreadable(Exception):
    """The service's answer is none that Table storage gives.

    Attributes:
        status_code: HTTP's.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}, with a body that is no answer of Table storage")
        self.status_code = status


class Next(NamedTuple):
    """Where the next page begins, in the service's own words; each may be missing."""

    partition: str | None
    row: str | None


class Page(NamedTuple):
    """Rows, and where the next page begins; None: there is none. A page may be empty and not the last."""

    rows: list[Row]
    following: Next | None


class SharedKey:
    """Authorizes by an account's key."""

    def __init__(self, account: str, key: str) -> None:
        """Make it.

        Raises:
            ValueError: the key is no base64.
        """
        self._account = account
        self._key = base64.b64decode(key, validate=True)

    async def authorization(self, method: str, kind: str, path: str, date: str) -> str:
        """The Authorization header of a request.

        Args:
            method: GET or PUT.
            kind: its Content-Type, "" without one.
            path: of the URL, as it is sent. A query is not signed.
            date: the x-ms-date header.
        """
        signed = f"{method}\n\n{kind}\n{date}\n/{self._account}{path}"
        digest = hmac.digest(self._key, signed.encode(), hashlib.sha256)
        return f"SharedKey {self._account}:{base64.b64encode(digest).decode()}"


class Bearer:
    """Authorizes by Entra tokens; an old one serves while a new one cannot be had."""

    def __init__(self, credential: TokenSource) -> None:
        """Ask for nothing yet."""
        self._credential = credential
        self._token: AccessToken | None = None
        self._asking = asyncio.Lock()

    async def authorization(self, method: str, kind: str, path: str, date: str) -> str:
        """The Authorization header; raises what the credential raises."""
        del method, kind, path, date
        served = self._asking.locked() and self._lasts(0)  # while another call asks for the next one
        if not served and not self._lasts(RENEW_SECONDS):
            async with self._asking:
                if not self._lasts(RENEW_SECONDS):  # another call may have asked meanwhile
                    await self._renew()
        assert self._token is not None
        return f"Bearer {self._token.token}"

    async def _renew(self) -> None:
        try:
            self._token = await self._credential.get_token(SCOPE)
        except Exception:
            if not self._lasts(0):
                raise

    def _lasts(self, seconds: float) -> bool:
        return self._token is not None and self._token.expires_on - time.time() > seconds


class TableCalls:
    """Plain calls about the rows of one table."""

    def __init__(self, client: "Client", endpoint: str, table: str, key: SharedKey | Bearer) -> None:
        """Make it.

        Args:
            client: carries the calls.
            endpoint: URL of the account.
            table: its name.
            key: authorizes.
        """
        self._client = client
        parts = urlsplit(endpoint)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._table = f"{parts.path.rstrip('/')}/{table}"
        self._key = key

    async def get(self, partition: str, key: str) -> Row:
        """One row.

        Raises:
            Refused: the service's answer is a fault; 404 when there is no such row, or no table.
            Unreadable: it is no answer of Table storage.
            clients.http.NoAnswer: there is none.
        """
        answer = await self._get(address(partition, key))
        try:
            return row(json.loads(answer.content), answer.headers.get("etag"))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise Unreadable(answer.status_code) from error

    async def page(self, query: str, start: Next | None = None) -> Page:
        """One page of the rows that a filter lets through, at most 1,000.

        Args:
            query: the filter.
            start: where it begins, by the page before; None: the first.

        Raises:
            Refused, Unreadable, clients.http.NoAnswer: as `get`.
        """
        asked = {"$filter": query}
        if start and start.partition is not None:
            asked["NextPartitionKey"] = start.partition
        if start and start.row is not None:
            asked["NextRowKey"] = start.row
        # Quoted whole, but for the names, which the documentation has as they are.
        answer = await self._get(
            "()", "&".join(f"{name}={quote(text, safe='')}" for name, text in asked.items())
        )
        following = Next(
            answer.headers.get("x-ms-continuation-nextpartitionkey"),
            answer.headers.get("x-ms-continuation-nextrowkey"),
        )
        try:
            rows = [row(each) for each in json.loads(answer.content)["value"]]
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise Unreadable(answer.status_code) from error
        return Page(rows, following if any(following) else None)

    async def put(self, partition: str, key: str, values: Mapping[str, Scalar]) -> str | None:
        """Insert or replace one row; its new ETag.

        Args:
            partition: the row's.
            key: the row's.
            values: as `table_rules.storable` gives them.

        Raises:
            Refused: the service's answer is a fault.
            clients.http.NoAnswer: there is none; it may have been written.
        """
        headers = {"Accept": _JSON, "Content-Type": _JSON}
        answer = await self._send("PUT", address(partition, key), "", headers, entity(partition, key, values))
        if answer.status_code != 204:
            raise Refused(answer)
        etag: str | None = answer.headers.get("etag")
        return etag

    async def _get(self, what: str, query: str = "") -> "Answer":
        answer = await self._send("GET", what, query, {"Accept": _MINIMAL}, None)
        if answer.status_code != 200:
            raise Refused(answer)
        return answer

    async def _send(
        self, method: str, what: str, query: str, headers: Mapping[str, str], content: bytes | None
    ) -> "Answer":
        from clients.http import fetch  # noqa: PLC0415 - imported long since

        path, date = self._table + what, formatdate(usegmt=True)
        signed = await self._key.authorization(method, headers.get("Content-Type", ""), path, date)
        told = {
            **headers,
            "DataServiceVersion": "3.0",
            "x-ms-version": API_VERSION,
            "x-ms-date": date,
            "Authorization": signed,
        }
        url = f"{self._origin}{path}{'?' if query else ''}{query}"
        return await fetch(self._client, method, url, headers=told, content=content)
