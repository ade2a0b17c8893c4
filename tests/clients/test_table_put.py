"""The plain PUT of a row: it says what the SDK would say, and leaves to the SDK what is not plain."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
from azure.core.credentials import AccessToken
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from clients.http import http_client
from clients.ports import Row
from clients.table_put import RENEW_SECONDS, Bearer, SharedKey, entity
from clients.tables import TableAccount, load

load()  # so that no test's time limit is spent on imports

ACCOUNT = "https://acct.table.core.windows.net"
KEYS = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\#?"), min_size=1, max_size=40
)
Handler = Callable[[httpx.Request], httpx.Response]


class Credential:
    """Gives tokens that name the tenant they are for."""

    def __init__(self, seconds: float = 3_600) -> None:
        self.seconds = seconds
        self.asked = 0
        self.fails = False

    async def get_token(self, *scopes: str, tenant_id: str = "ours", **_: Any) -> AccessToken:
        assert scopes == ("https://storage.azure.com/.default",)
        self.asked += 1
        if self.fails:
            raise ConnectionError("the identity endpoint is away")
        return AccessToken(f"{tenant_id}-{self.asked}", int(time.time() + self.seconds))


def written(_: httpx.Request) -> httpx.Response:
    return httpx.Response(204, headers={"ETag": 'W/"1"'})


async def put(handler: Handler, *rows: Row) -> None:
    credential: Any = Credential()
    transport = httpx.MockTransport(handler)
    account = TableAccount.at(ACCOUNT, credential, http=lambda: http_client(transport=transport))
    table = account.table("ledger")
    for row in rows:
        receipt = await table.put(row)
        assert (receipt.outcome, receipt.etag) == ("written", 'W/"1"')
    await account.close()


@given(partition=KEYS, key=KEYS)
async def test_a_rows_path_is_the_one_that_the_sdk_would_sign(partition: str, key: str) -> None:
    seen: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return written(request)

    await put(handler, Row(partition, key))
    doubled = [part.replace("'", "''") for part in (partition, key)]
    # Whole, for yarl quotes a colon in a path's first part alone, where it would end a scheme.
    whole = URL.build(path=f"/ledger(PartitionKey='{doubled[0]}',RowKey='{doubled[1]}')")
    assert seen == [whole.raw_path.encode()]


async def test_a_shared_key_signs_what_the_service_signs() -> None:
    key = base64.b64encode(b"key").decode()
    signed = await SharedKey("acct", key).authorization("/ledger", "Sun, 22 Nov 2026 10:00:00 GMT")
    # HMAC-SHA256 by openssl of "PUT\n\napplication/json\nSun, 22 Nov 2026 10:00:00 GMT\n/acct/ledger".
    assert signed == "SharedKey acct:Z9MfiVLfxXLxgPsKNRf9Ch+EfxIxPLHDakFsiIZoLR0="


def test_a_row_names_the_types_that_json_does_not_tell() -> None:
    row = json.loads(entity("p", "k", {"text": "1", "yes": True, "big": 2**40, "half": 0.5, "raw": b"\0"}))
    assert row == {
        "PartitionKey": "p",
        "RowKey": "k",
        "text": "1",
        "yes": True,
        "big": str(2**40),
        "big@odata.type": "Edm.Int64",
        "half": 0.5,
        "half@odata.type": "Edm.Double",
        "raw": "AA==",
        "raw@odata.type": "Edm.Binary",
    }


async def test_a_token_of_the_wrong_tenant_is_exchanged_and_the_row_written_once() -> None:
    seen: list[tuple[str, int]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        right = request.headers["authorization"].startswith("Bearer theirs-")
        seen.append((request.url.path, 204 if right else 401))
        if right:
            return written(request)
        challenge = "Bearer authorization_uri=https://login.microsoftonline.com/theirs/oauth2/authorize"
        return httpx.Response(401, headers={"WWW-Authenticate": challenge})

    await put(handler, Row("p", "k"), Row("p", "l"))
    assert [status for path, status in seen if path.endswith("RowKey='k')")].count(204) == 1
    assert [status for path, status in seen if path.endswith("RowKey='l')")] == [204]


async def test_a_token_is_asked_for_once_and_renewed_before_it_expires() -> None:
    fresh, ending = Credential(), Credential(seconds=RENEW_SECONDS - 10)
    for credential, times in ((fresh, 1), (ending, 2)):
        bearer = Bearer(credential)
        headers = [await bearer.authorization("", "") for _ in range(2)]
        assert headers[-1] == f"Bearer ours-{times}"
        assert credential.asked == times


async def test_an_old_token_serves_while_no_new_one_can_be_had() -> None:
    credential = Credential(seconds=RENEW_SECONDS - 10)
    bearer = Bearer(credential)
    assert await bearer.authorization("", "") == "Bearer ours-1"
    credential.fails = True
    assert await bearer.authorization("", "") == "Bearer ours-1"
