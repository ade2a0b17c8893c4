"""The plain calls: they say what the SDK would say, read what it would read, and leave the rest to it."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.data.tables import EdmType, EntityProperty
from azure.data.tables.aio import TableClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.azure_transport import HttpxTransport
from clients.errors import TableUnavailable
from clients.http import http_client
from clients.ports import Row, Table
from clients.table_calls import RENEW_SECONDS, Bearer, SharedKey
from clients.table_rows import entity
from clients.tables import TableAccount, load

load()  # so that no test's time limit is spent on imports

ACCOUNT = "https://acct.table.core.windows.net"
KEY = base64.b64encode(b"key").decode()
# Some of what hypothesis seldom makes: a path's, a filter's and a header's own characters, and markup.
ODD = st.sampled_from(
    ["it's", "''", "%27", "a%2Fb", "..", "&$filter=x", "<b>&amp;", "\u2028", "e\u0301", "+"]
)
KEYS = st.one_of(
    ODD,
    st.text(
        st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\#?"), min_size=1, max_size=40
    ),
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
        asked = self.asked
        await asyncio.sleep(0)
        if self.fails:
            raise ConnectionError("the identity endpoint is away")
        return AccessToken(f"{tenant_id}-{asked}", int(time.time() + self.seconds))


def written(_: httpx.Request) -> httpx.Response:
    return httpx.Response(204, headers={"ETag": 'W/"1"'})


def answered(request: httpx.Request) -> httpx.Response:
    """As a service with one row."""
    if request.method == "PUT":
        return written(request)
    row = {"odata.etag": 'W/"1"', "PartitionKey": "p", "RowKey": "k"}
    return httpx.Response(200, json={**row, "value": [row]})


@asynccontextmanager
async def table_at(handler: Handler, *, by_sdk: bool = False, key: bool = False) -> AsyncIterator[Table]:
    transport, credential = httpx.MockTransport(handler), Credential()
    if key:
        text = f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={KEY}"
        account = TableAccount.from_connection_string(text, http=lambda: http_client(transport=transport))
    else:
        account = TableAccount.at(ACCOUNT, credential, http=lambda: http_client(transport=transport))  # type: ignore[arg-type]  # all that is called of it
    account.by_sdk = by_sdk
    yield account.table("ledger")
    await account.close()


async def put(handler: Handler, *rows: Row) -> None:
    async with table_at(handler) as table:
        for row in rows:
            receipt = await table.put(row)
            assert (receipt.outcome, receipt.etag) == ("written", 'W/"1"')


async def scanned(table: Table, partition: str = "p", **bounds: str) -> list[Row]:
    return [row async for row in table.scan(partition, **bounds)]


# --- what is sent


SENT_ALIKE = ("accept", "dataserviceversion", "x-ms-version", "content-type")


@settings(max_examples=60, deadline=None)
@given(partition=KEYS, key=KEYS, stop=st.one_of(st.none(), KEYS), following=st.tuples(KEYS, KEYS))
async def test_what_is_sent_and_signed_is_what_the_sdk_would_send_and_sign(
    partition: str, key: str, stop: str | None, following: tuple[str, str]
) -> None:
    tokens = [base64.b64encode(each.encode()).decode() for each in following]

    async def sent(*, by_sdk: bool) -> list[httpx.Request]:
        seen: list[httpx.Request] = []

        def handler(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            answer = answered(request)
            if b"RowKey%20ge" in request.url.query and b"NextRowKey" not in request.url.query:
                answer.headers["x-ms-continuation-NextPartitionKey"] = tokens[0]
                answer.headers["x-ms-continuation-NextRowKey"] = tokens[1]
            return answer

        async with table_at(handler, by_sdk=by_sdk, key=True) as table:
            await table.put(Row(partition, key, {"n": 1}))
            await table.get(partition, key)
            await scanned(table, partition)
            await scanned(table, partition, start=key, **({} if stop is None else {"stop": stop}))
        return seen

    ours, theirs = await sent(by_sdk=False), await sent(by_sdk=True)
    assert [each.method for each in ours] == ["PUT", "GET", "GET", "GET", "GET"]
    for our, their in zip(ours, theirs, strict=True):
        assert (our.method, our.url.host, our.url.raw_path.partition(b"?")[0]) == (
            their.method,
            their.url.host,
            their.url.raw_path.partition(b"?")[0],
        )
        assert sorted(parse_qsl(our.url.query.decode(), strict_parsing=bool(our.url.query))) == sorted(
            parse_qsl(their.url.query.decode(), strict_parsing=bool(their.url.query))
        )
        for name in SENT_ALIKE:
            assert our.headers.get(name) == their.headers.get(name), name
        # By the time of theirs, the signature of ours is theirs.
        path, date = our.url.raw_path.partition(b"?")[0].decode(), their.headers["x-ms-date"]
        signed = await SharedKey("acct", KEY).authorization(
            our.method, our.headers.get("content-type", ""), path, date
        )
        assert signed == their.headers["authorization"]
        again = await SharedKey("acct", KEY).authorization(
            our.method, our.headers.get("content-type", ""), path, our.headers["x-ms-date"]
        )
        assert again == our.headers["authorization"]


async def test_a_shared_key_signs_what_the_service_signs() -> None:
    date = "Sun, 22 Nov 2026 10:00:00 GMT"
    signed = await SharedKey("acct", KEY).authorization("PUT", "application/json", "/ledger", date)
    # HMAC-SHA256 by openssl of "PUT\n\napplication/json\nSun, 22 Nov 2026 10:00:00 GMT\n/acct/ledger".
    assert signed == "SharedKey acct:Z9MfiVLfxXLxgPsKNRf9Ch+EfxIxPLHDakFsiIZoLR0="


@pytest.mark.parametrize(
    "text",
    [
        f"AccountName=acct;AccountKey={KEY}",
        f"DefaultEndpointsProtocol=http;AccountName=acct;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn",
        f"AccountName=acct;AccountKey={KEY};TableEndpoint=https://acct.table.example",
        f"AccountName=acct;AccountKey={KEY};TableEndpoint=http://127.0.0.1:10002/acct/",
        f"AccountName=acct;AccountKey={KEY};TableEndpoint=tables.example:8443",
        "UseDevelopmentStorage=true",
    ],
)
async def test_a_connection_string_names_the_account_that_the_sdk_finds_in_it(text: str) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answered(request)

    http = http_client(transport=httpx.MockTransport(handler))
    account = TableAccount.from_connection_string(text, http=lambda: http)
    await account.table("ledger").get("p", "k")
    client = TableClient.from_connection_string(text, "ledger", transport=HttpxTransport(http))
    await client.get_entity("p", "k")
    await account.close()
    ours, theirs = seen
    assert ours.url == theirs.url
    key: Any = client.credential
    signed = await SharedKey(*key.named_key).authorization(
        "GET", "", ours.url.raw_path.decode(), ours.headers["x-ms-date"]
    )
    assert signed == ours.headers["authorization"]


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


# --- what is read


def told(row: Row | None) -> object:
    """Something that is equal where rows are, types and what is not a number included."""
    assert row is not None
    columns = {name: (type(value), repr(value)) for name, value in row.values.items()}
    return row.partition, row.key, columns, row.etag


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True).filter(
    lambda name: name.lower() not in ("partitionkey", "rowkey", "timestamp")
)
TEXTS = st.one_of(ODD, st.text(st.characters(codec="utf-8")), st.just("<p>'\"\\\x00\n\u200e" * 3_000))
TICKS = st.tuples(st.datetimes(datetime(1601, 1, 2), datetime(9999, 12, 30)), st.integers(0, 9_999_999))  # noqa: DTZ001 - the service's are in UTC
WRITTEN_BY_OTHERS = st.one_of(
    TEXTS,
    st.binary(max_size=200),
    st.booleans(),
    st.floats(),
    st.integers(-(2**31), 2**31 - 1),  # which the SDK stores as 32 bits
    st.integers(-(2**63), 2**63 - 1).map(lambda value: EntityProperty(value, EdmType.INT64)),
    st.uuids(),
    st.datetimes(datetime(1601, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds it
)


@pytest.fixture
async def both_ways(azurite: str) -> AsyncIterator[tuple[Table, Table, Any]]:
    """One table, by plain calls and by the SDK; and the SDK itself."""
    plain, sdk = (TableAccount.from_connection_string(azurite) for _ in range(2))
    sdk.by_sdk = True
    name = f"t{uuid4().hex}"
    client = await sdk.client(name)
    await client.create_table()
    yield plain.table(name), sdk.table(name), client
    await plain.close()
    await sdk.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(partition=KEYS, key=KEYS, columns=st.dictionaries(NAMES, WRITTEN_BY_OTHERS, max_size=6))
async def test_a_row_that_anybody_wrote_is_read_as_the_sdk_reads_it(
    both_ways: tuple[Table, Table, Any], partition: str, key: str, columns: dict[str, Any]
) -> None:
    plain, by_sdk, client = both_ways
    await client.upsert_entity({"PartitionKey": partition, "RowKey": key, **columns}, mode="replace")
    expected = told(await by_sdk.get(partition, key))
    assert told(await plain.get(partition, key)) == expected
    [found] = await scanned(plain, partition, start=key, stop=key + "\x00")
    assert told(found) == expected


def moment(tick: tuple[datetime, int]) -> str:
    """To 100 ns, as the service keeps it, without the zeros at its end."""
    fraction = f".{tick[1]:07}".rstrip("0").rstrip(".")
    return f"{tick[0].replace(microsecond=0).isoformat()}{fraction}Z"


SENT_BY_THE_SERVICE = st.one_of(
    st.tuples(st.none(), st.one_of(TEXTS, st.booleans(), st.floats(allow_nan=False, allow_infinity=False))),
    st.tuples(st.none(), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just("Edm.Int64"), st.integers(-(2**63), 2**63 - 1).map(str)),
    st.tuples(st.just("Edm.Double"), st.sampled_from([0, 1.5, "1.0", "NaN", "Infinity", "-Infinity"])),
    st.tuples(st.just("Edm.Binary"), st.binary().map(lambda raw: base64.b64encode(raw).decode())),
    st.tuples(st.just("Edm.Guid"), st.uuids().map(str)),
    st.tuples(st.just("Edm.DateTime"), TICKS.map(moment)),
    st.tuples(st.just("Edm.String"), TEXTS),
)
ENTITIES = st.builds(
    lambda keys, changed, etag, columns: {
        "odata.metadata": f"{ACCOUNT}/$metadata#ledger/@Element",
        **({"odata.etag": etag} if etag else {}),
        **dict(zip(("PartitionKey", "RowKey"), keys, strict=True)),
        "Timestamp": moment(changed),
        **{name: value for name, (_, value) in columns.items()},
        **{f"{name}@odata.type": kind for name, (kind, _) in columns.items() if kind},
    },
    st.tuples(KEYS, KEYS),
    TICKS,
    st.sampled_from(["", "W/\"datetime'2026-11-22T10%3A00%3A00.1234567Z'\""]),
    st.dictionaries(NAMES, SENT_BY_THE_SERVICE, max_size=6),
)


@settings(deadline=None)
@given(st.lists(ENTITIES, max_size=4))
async def test_every_type_and_etag_the_service_may_send_is_read_as_the_sdk_reads_it(
    entities: list[dict[str, Any]],
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if "filter" in str(request.url.query):
            return httpx.Response(200, json={"value": entities})
        return httpx.Response(200, json=entities[0])

    rows = []
    for by_sdk in (False, True):
        async with table_at(handler, by_sdk=by_sdk) as table:
            got = [await table.get("p", "k")] if entities else []
            rows.append([told(row) for row in [*got, *await scanned(table)]])
    assert rows[0] == rows[1]


async def test_a_column_without_value_is_left_out() -> None:
    row = {"PartitionKey": "p", "RowKey": "k", "a": None, "b": 1}
    async with table_at(lambda _: httpx.Response(200, json=row, headers={"ETag": 'W/"2"'})) as table:
        assert await table.get("p", "k") == Row("p", "k", {"b": 1}, 'W/"2"')


# --- page after page

# As a header may carry it: no space at either end.
TOKENS = st.one_of(
    st.none(),
    ODD.filter(str.isascii),
    st.text("aZ0!'=/+&%~ ", min_size=1, max_size=9).map(lambda text: f"1!8!{text}=="),
)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    tokens=st.lists(st.tuples(TOKENS, TOKENS), min_size=4, max_size=4, unique=True).filter(
        lambda pairs: (None, None) not in pairs
    ),
    by_sdk=st.booleans(),
)
async def test_a_walk_over_pages_gives_each_row_once_whatever_the_tokens_and_the_empty_pages(
    sizes: list[int], tokens: list[tuple[str | None, str | None]], by_sdk: bool
) -> None:
    """A page may be empty and not the last, and either token may be missing (documented)."""

    def name(page: int, row: int) -> str:
        return f"{page}-{row}"

    def handler(request: httpx.Request) -> httpx.Response:
        asked = dict(parse_qsl(request.url.query.decode(), keep_blank_values=True))
        token = asked.get("NextPartitionKey"), asked.get("NextRowKey")
        page = 0 if token == (None, None) else tokens.index(token) + 1
        rows = [{"PartitionKey": "p", "RowKey": name(page, row)} for row in range(sizes[page])]
        headers = {}
        if page + 1 < len(sizes):
            names = ("x-ms-continuation-NextPartitionKey", "x-ms-continuation-NextRowKey")
            headers = {key: text for key, text in zip(names, tokens[page], strict=True) if text is not None}
        return httpx.Response(200, json={"value": rows}, headers=headers)

    async with table_at(handler, by_sdk=by_sdk) as table:
        walked = [row.key for row in await scanned(table)]
    assert walked == [name(page, row) for page, size in enumerate(sizes) for row in range(size)]


async def test_a_table_deleted_between_two_pages_ends_the_scan() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if b"NextRowKey" in request.url.query:
            return httpx.Response(404, json={"odata.error": {"code": "TableNotFound"}})
        following = {"x-ms-continuation-NextRowKey": "l"}
        return httpx.Response(200, json={"value": [{"PartitionKey": "p", "RowKey": "k"}]}, headers=following)

    async with table_at(handler) as table:
        assert [row.key for row in await scanned(table)] == ["k"]


# --- what is refused


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(
            400,
            content=b'<?xml version="1.0"?><m:error xmlns:m="m"><m:code>InvalidInput</m:code>'
            b'<m:message xml:lang="en-US">One of the request inputs is not valid.</m:message></m:error>',
        ),
        httpx.Response(
            400,
            json={
                "odata.error": {
                    "code": "InvalidInput",
                    "message": {"value": "One of the request inputs is not valid.\nRequestId:1"},
                }
            },
        ),
        httpx.Response(400, headers={"x-ms-error-code": "InvalidInput"}),
    ],
    ids=["XML", "JSON", "a header"],
)
@pytest.mark.parametrize("by_sdk", [False, True])
async def test_a_fault_is_named_however_the_service_tells_it(answer: httpx.Response, by_sdk: bool) -> None:
    async with table_at(lambda _: answer, by_sdk=by_sdk) as table:
        with pytest.raises(TableUnavailable, match="HTTP 400 InvalidInput") as caught:
            await table.get("p", "k")
    if answer.content:
        assert "One of the request inputs is not valid" in str(caught.value.__cause__)


@pytest.mark.parametrize("code", [(409, "EntityAlreadyExists"), (412, "ConditionNotMet")])
@pytest.mark.parametrize("by_sdk", [False, True])
async def test_what_a_write_may_be_told_is_no_answer_to_a_read(code: tuple[int, str], by_sdk: bool) -> None:
    answer = httpx.Response(code[0], json={"odata.error": {"code": code[1], "message": {"value": "no"}}})
    async with table_at(lambda _: answer, by_sdk=by_sdk) as table:
        for call in (table.get("p", "k"), scanned(table)):
            with pytest.raises(TableUnavailable, match=f"HTTP {code[0]} {code[1]}"):
                await call


# --- tokens


@pytest.mark.parametrize("first", ["put", "get", "scan"])
async def test_a_refused_token_is_exchanged_by_the_sdk_from_then_on(first: str) -> None:
    seen: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        right = request.headers["authorization"].startswith("Bearer theirs-")
        seen.append(200 if right else 401)
        if right:
            return answered(request)
        challenge = "Bearer authorization_uri=https://login.microsoftonline.com/theirs/oauth2/authorize"
        return httpx.Response(401, headers={"WWW-Authenticate": challenge})

    async with table_at(handler) as table:
        calls: dict[str, Callable[[], Any]] = {
            "put": lambda: table.put(Row("p", "k")),
            "get": lambda: table.get("p", "k"),
            "scan": lambda: scanned(table),
        }
        assert await calls[first]()
        assert seen.count(401) == 2  # one of the plain call, one that tells the SDK the tenant
        for call in calls.values():
            assert await call()
    assert seen[3:] == [200] * 3


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
        headers = [await bearer.authorization("GET", "", "", "") for _ in range(2)]
        assert headers[-1] == f"Bearer ours-{times}"
        assert credential.asked == times


async def test_an_old_token_serves_while_no_new_one_can_be_had() -> None:
    credential = Credential(seconds=RENEW_SECONDS - 10)
    bearer = Bearer(credential)
    assert await bearer.authorization("GET", "", "", "") == "Bearer ours-1"
    credential.fails = True
    assert await bearer.authorization("GET", "", "", "") == "Bearer ours-1"


async def test_calls_that_begin_together_ask_for_one_token() -> None:
    credential = Credential()
    bearer = Bearer(credential)
    headers = await asyncio.gather(*[bearer.authorization("GET", "", "", "") for _ in range(5)])
    assert set(headers) == {"Bearer ours-1"}
    assert credential.asked == 1


async def test_a_token_that_still_lasts_serves_while_the_next_one_is_asked_for() -> None:
    class Slow(Credential):
        async def get_token(self, *scopes: str, tenant_id: str = "ours", **_: Any) -> AccessToken:
            if self.asked:
                await asyncio.Event().wait()
            return await super().get_token(*scopes, tenant_id=tenant_id)

    bearer = Bearer(Slow(seconds=RENEW_SECONDS - 10))
    await bearer.authorization("GET", "", "", "")
    asking = asyncio.create_task(bearer.authorization("GET", "", "", ""))
    await asyncio.sleep(0)
    assert await asyncio.wait_for(bearer.authorization("GET", "", "", ""), 5) == "Bearer ours-1"
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
