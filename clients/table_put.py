"""One row into Table storage by one plain PUT: what the webhook does for every device that registers.

azure-data-tables takes half a millisecond of processor time for it, most of it in policies and generated
code that an insert-or-replace of a row has no use for; this takes a quarter of that (measured). All other
calls, and this one wherever its answer is not plain, go by the SDK.

Source of the wire: Microsoft, "Insert Or Replace Entity", "Payload format for Table service operations" and
"Authorize with Shared Key" (Table service).
"""

import base64
import hashlib
import hmac
import json
import math
import time
from collections.abc import Mapping
from datetime import datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from clients.ports import Scalar

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

    from clients.http import Client

SCOPE = "https://storage.azure.com/.default"
"""What a token for Table storage is asked for."""

RENEW_SECONDS = 300.0
"""A token is renewed so long before it expires, as azure-core does."""

_AS_IN_PATHS = "!$&'()*+,;=:@"
"""What stands in a path as it is, besides letters, digits and `-._~`: RFC 3986, and yarl, as which the SDK
signs."""


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

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"HTTP {status} {code}".rstrip())
        self.status_code = status
        self.error_code = code


class SharedKey:
    """Authorizes by an account's key."""

    def __init__(self, account: str, key: str) -> None:
        """Make it.

        Raises:
            ValueError: the key is no base64.
        """
        self._account = account
        self._key = base64.b64decode(key, validate=True)

    async def authorization(self, path: str, date: str) -> str:
        """The Authorization header of a PUT of JSON.

        Args:
            path: of the URL, as it is sent.
            date: the x-ms-date header.
        """
        signed = f"PUT\n\n{_JSON}\n{date}\n/{self._account}{path}"
        digest = hmac.digest(self._key, signed.encode(), hashlib.sha256)
        return f"SharedKey {self._account}:{base64.b64encode(digest).decode()}"


class Bearer:
    """Authorizes by Entra tokens; an old one serves while a new one cannot be had."""

    def __init__(self, credential: TokenSource) -> None:
        """Ask for nothing yet."""
        self._credential = credential
        self._token: AccessToken | None = None

    async def authorization(self, path: str, date: str) -> str:
        """The Authorization header; raises what the credential raises."""
        del path, date
        held, now = self._token, time.time()
        if held is None or held.expires_on - now < RENEW_SECONDS:
            try:
                held = self._token = await self._credential.get_token(SCOPE)
            except Exception:
                if held is None or held.expires_on <= now:
                    raise
        return f"Bearer {held.token}"


class RowPut:
    """Puts rows into one table."""

    def __init__(self, client: "Client", url: str, table: str, version: str, key: SharedKey | Bearer) -> None:
        """Make it.

        Args:
            client: carries the calls.
            url: of the account.
            table: its name.
            version: of the service, as x-ms-version.
            key: authorizes.
        """
        self._client = client
        parts = urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._table = f"{parts.path.rstrip('/')}/{table}"
        self._headers = {
            "Accept": "application/json",
            "Content-Type": _JSON,
            "DataServiceVersion": "3.0",
            "x-ms-version": version,
        }
        self._key = key
        self.may_be_challenged = isinstance(key, Bearer)
        """Whether a 401 may say what token is wanted instead: one of another tenant, say."""

    async def put(self, partition: str, row_key: str, values: Mapping[str, Scalar]) -> str | None:
        """Insert or replace one row; its new ETag.

        Args:
            partition: the row's.
            row_key: the row's.
            values: as `table_rules.storable` gives them.

        Raises:
            Refused: the service's answer is a fault.
            azure.core.exceptions.AzureError: there is none.
        """
        from clients.http import azure_faults  # noqa: PLC0415 - imported long since

        path = f"{self._table}(PartitionKey='{_in_path(partition)}',RowKey='{_in_path(row_key)}')"
        date = formatdate(usegmt=True)
        headers = {
            **self._headers,
            "x-ms-date": date,
            "Authorization": await self._key.authorization(path, date),
        }
        content = entity(partition, row_key, values)
        with azure_faults():
            answer = await self._client.put(self._origin + path, headers=headers, content=content)
        if answer.status_code != 204:
            raise Refused(answer.status_code, _code(answer.content))
        etag: str | None = answer.headers.get("etag")
        return etag


def entity(partition: str, row_key: str, values: Mapping[str, Scalar]) -> bytes:
    """A row as the service takes it. Texts and booleans need no type (documented), all others have one."""
    told: dict[str, object] = {"PartitionKey": partition, "RowKey": row_key}
    for name, value in values.items():
        if isinstance(value, str | bool):
            told[name] = value
            continue
        match value:
            case int():
                kind, told[name] = "Edm.Int64", str(value)
            case float():
                kind, told[name] = "Edm.Double", value if math.isfinite(value) else _ENDLESS[str(value)]
            case datetime():
                moment = value.replace(tzinfo=None).isoformat(timespec="microseconds")
                kind, told[name] = "Edm.DateTime", f"{moment}Z"
            case _:
                kind, told[name] = "Edm.Binary", base64.b64encode(value).decode()
        told[f"{name}@odata.type"] = kind
    return _ENCODER.encode(told).encode()


_JSON = "application/json"
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_ENDLESS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _in_path(key: str) -> str:
    return quote(key.replace("'", "''"), safe=_AS_IN_PATHS)


def _code(body: bytes) -> str:
    try:
        return str(json.loads(body)["odata.error"]["code"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ""
