"""AzureTable when the service, the network or the credential fails, and what never reaches either."""

import asyncio
import base64
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.errors import NotStorable, TableUnavailable
from clients.http import http_client
from clients.ports import Change, Row, Table
from clients.table_rules import sent_bytes
from clients.tables import TableAccount, load

SECRET = base64.b64encode(b"not to be seen in any message, ever").decode()
ROW = Row("p", "k", {"n": 1}, 'W/"1"')

load()  # so that no test's time limit is spent on imports

CALLS: dict[str, Callable[[Table], Awaitable[object]]] = {
    "get": lambda table: table.get("p", "k"),
    "insert": lambda table: table.insert(ROW),
    "replace": lambda table: table.replace(ROW),
    "put": lambda table: table.put(ROW),
    "delete": lambda table: table.delete(ROW),
    "scan": lambda table: anext(aiter(table.scan("p"))),
    "write": lambda table: table.write([Change("put", ROW), Change("delete", Row("p", "k2"))]),
}


def by_the_sdk(call: Callable[[Any], Awaitable[object]]) -> Callable[[Any], Awaitable[object]]:
    """What has a plain call, the other way."""

    def called(table: Any) -> Awaitable[object]:
        table._account.by_sdk = True
        return call(table)

    return called


CALLS |= {f"{name} by the SDK": by_the_sdk(CALLS[name]) for name in ("get", "put", "scan")}
EVERY_CALL = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def connection(port: int) -> str:
    return f"AccountName=acct;AccountKey={SECRET};TableEndpoint=http://127.0.0.1:{port}/acct"


@asynccontextmanager
async def table_at(port: int, **options: Any) -> AsyncIterator[Table]:
    account = TableAccount.from_connection_string(connection(port), **options)
    yield account.table("ledger")
    await account.close()


@asynccontextmanager
async def table_answering(handler: Callable[[httpx.Request], httpx.Response]) -> AsyncIterator[Table]:
    async with table_at(1, http=lambda: http_client(transport=httpx.MockTransport(handler))) as table:
        yield table


class Server:
    """Takes a request's head and then does as told; counts the requests."""

    def __init__(self, act: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.act = act
        self.requests = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[None] | None] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = [task for task in self._tasks if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        try:
            while (await reader.readuntil(b"\r\n\r\n")).strip():
                self.requests += 1
                await self.act(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def never_answer(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drop_the_connection(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def drop_it_in_the_middle(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()


async def never_finish(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def talk_nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\0\1\2 HELLO\r\n\r\n")
    writer.close()


def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def unavailable(call: Awaitable[object]) -> TableUnavailable:
    """The exception, once it is sure that nothing it would print holds the key."""
    with pytest.raises(TableUnavailable) as caught:
        await call
    printed = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in printed
    assert caught.value.__cause__ is not None
    assert "table ledger of acct" in str(caught.value)
    return caught.value


# --- the network


@EVERY_CALL
async def test_dead_port_is_unavailable(call: Callable[[Table], Awaitable[object]]) -> None:
    async with table_at(dead_port()) as table:
        error = await unavailable(call(table))
        assert "check the endpoint and the network" in str(error)
        assert error.status is None


@EVERY_CALL
@pytest.mark.parametrize("act", [drop_the_connection, drop_it_in_the_middle, talk_nonsense])
async def test_broken_connection_is_unavailable_and_nothing_is_sent_twice(
    call: Callable[[Table], Awaitable[object]], act: Callable[[asyncio.StreamWriter], Awaitable[None]]
) -> None:
    async with Server(act) as server, table_at(server.port) as table:
        await unavailable(call(table))
        assert server.requests == 1


@EVERY_CALL
@pytest.mark.parametrize("act", [never_answer, never_finish])
async def test_server_that_never_ends_its_answer_is_unavailable_within_the_limit(
    call: Callable[[Table], Awaitable[object]], act: Callable[[asyncio.StreamWriter], Awaitable[None]]
) -> None:
    async with Server(act) as server, table_at(server.port, seconds=0.2) as table:
        error = await asyncio.wait_for(unavailable(call(table)), 5)
        assert "no answer within 0.2 s" in str(error)


async def test_cancelling_a_call_cancels_it_and_is_no_fault_of_the_table() -> None:
    async with Server(never_answer) as server, table_at(server.port) as table:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await table.get("p", "k")


# --- the service


def fault(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"odata.error": {"code": code, "message": {"value": "no"}}})


@EVERY_CALL
@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (503, "ServerBusy", "try again later"),
        (500, "InternalError", "try again later"),
        (500, "OperationTimedOut", "try again later"),
        (429, "TooManyRequests", "try again later"),
        (403, "AuthorizationPermissionMismatch", "Storage Table Data Contributor"),
        (401, "InvalidAuthenticationInfo", "token credential"),
        (400, "InvalidInput", "see the cause"),
        (409, "TableBeingDeleted", "see the cause"),
    ],
)
async def test_faults_of_the_service_are_unavailable_say_what_to_do_and_are_not_retried(
    call: Callable[[Table], Awaitable[object]], status: int, code: str, advice: str
) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return fault(status, code)

    async with table_answering(handler) as table:
        error = await unavailable(call(table))
    assert f"HTTP {status} {code}" in str(error)
    assert advice in str(error)
    assert error.status == status
    assert len(seen) == 1


@EVERY_CALL
@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx.Response(404, html="<h1>Not here</h1>"),
        lambda: httpx.Response(404),
        lambda: httpx.Response(409, text="conflict"),
        lambda: httpx.Response(412, json={"error": "no"}),
        lambda: fault(404, "\x1b[31m"),
        lambda: httpx.Response(302, headers={"location": "http://127.0.0.1:1/elsewhere"}),
    ],
    ids=["404 of a proxy", "bare 404", "409 of another kind", "412 of another kind", "hostile", "redirect"],
)
async def test_only_the_services_own_word_makes_a_row_gone_moved_or_present(
    call: Callable[[Table], Awaitable[object]], answer: Callable[[], httpx.Response]
) -> None:
    async with table_answering(lambda _: answer()) as table:
        error = await unavailable(call(table))
    assert str(error).isprintable()


@pytest.mark.parametrize("name", ["get", "get by the SDK", "scan", "scan by the SDK", "write"])
@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx.Response(200, html="<h1>Welcome to this network</h1>"),
        lambda: httpx.Response(200, json=[1]),
        lambda: httpx.Response(200, json={"value": [{"RowKey": "k"}], "PartitionKey": "p"}),
        lambda: httpx.Response(200, content=b"[" * 100_000),
        lambda: httpx.Response(
            202, content=b"--x\r\nnot a part", headers={"content-type": "multipart/mixed"}
        ),
        lambda: httpx.Response(
            202,
            content=b"--x\r\nContent-Type: application/http\r\n\r\nnot http\r\n--x--",
            headers={"content-type": "multipart/mixed; boundary=x"},
        ),
    ],
    ids=[
        *["a portal's page", "other JSON", "half a key", "no end of brackets"],
        *["no boundary", "a part that is not HTTP"],
    ],
)
async def test_answer_that_cannot_be_read_is_unavailable(
    name: str, answer: Callable[[], httpx.Response]
) -> None:
    async with table_answering(lambda _: answer()) as table:
        await unavailable(CALLS[name](table))


async def test_fault_in_the_middle_of_a_scan_ends_it_with_unavailable() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if "NextRowKey" in str(request.url):
            return fault(503, "ServerBusy")
        entity = {"PartitionKey": "p", "RowKey": "k", "Timestamp": "2026-01-01T00:00:00.1234567Z"}
        following = {"x-ms-continuation-NextPartitionKey": "p", "x-ms-continuation-NextRowKey": "l"}
        return httpx.Response(200, json={"value": [entity]}, headers=following)

    async with table_answering(handler) as table:
        rows = aiter(table.scan("p"))
        assert (await anext(rows)).key == "k"
        await unavailable(anext(rows))


async def test_empty_page_with_a_continuation_is_not_the_end_of_a_scan() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        following = {"x-ms-continuation-NextPartitionKey": "p", "x-ms-continuation-NextRowKey": "l"}
        if "NextRowKey" not in str(request.url):
            return httpx.Response(200, json={"value": []}, headers=following)
        entity = {"PartitionKey": "p", "RowKey": "l", "Timestamp": "2026-01-01T00:00:00Z"}
        return httpx.Response(200, json={"value": [entity]})

    async with table_answering(handler) as table:
        assert [row.key async for row in table.scan("p")] == ["l"]


async def test_failing_to_make_the_table_is_unavailable() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/Tables"):
            return fault(403, "AuthorizationPermissionMismatch")
        return fault(404, "TableNotFound")

    async with table_answering(handler) as table:
        assert "Data Contributor" in str(await unavailable(table.put(ROW)))


async def test_table_is_made_once_and_made_again_when_it_was_deleted_meanwhile() -> None:
    state = {"made": 0, "there": 0}

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/Tables"):
            state["made"] += 1
            state["there"] = 1
            return httpx.Response(201, json={"TableName": "ledger"})
        return (
            httpx.Response(204, headers={"etag": 'W/"2"'}) if state["there"] else fault(404, "TableNotFound")
        )

    async with table_answering(handler) as table:
        await asyncio.gather(*[table.put(ROW) for _ in range(10)])
        assert state["made"] == 1
        state["there"] = 0
        assert (await table.put(ROW)).outcome == "written"
        assert state["made"] == 2


async def test_wrong_key_is_unavailable_on_azurite(azurite: str) -> None:
    name, _, rest = azurite.partition("AccountKey=")
    account = TableAccount.from_connection_string(f"{name}AccountKey=AAAA{rest}")
    with pytest.raises(TableUnavailable, match="HTTP 403"):
        await account.table("ledger").get("p", "k")
    await account.close()


# --- Entra tokens


class Credential:
    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken(f"{SECRET} for {' '.join(scopes)}", 4_000_000_000)

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class NoIdentity(Credential):
    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        raise ClientAuthenticationError("no managed identity endpoint found")


async def test_token_of_the_storage_scope_is_sent_and_shown_nowhere() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return fault(503, "ServerBusy")

    account = TableAccount.at(
        "https://acct.table.core.windows.net",
        Credential(),
        http=lambda: http_client(transport=httpx.MockTransport(handler)),
    )
    with pytest.raises(TableUnavailable) as caught:
        await account.table("ledger").get("p", "k")
    assert seen == [f"Bearer {SECRET} for https://storage.azure.com/.default"]
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(account)
    assert "acct.table.core.windows.net" in str(caught.value)
    await account.close()


async def test_credential_without_identity_is_unavailable_and_says_so() -> None:
    account = TableAccount.at("https://acct.table.core.windows.net", NoIdentity())
    with pytest.raises(TableUnavailable, match="no token; check that the app has an identity"):
        await account.table("ledger").get("p", "k")
    await account.close()


# --- what never leaves the process


async def test_nothing_is_sent_when_a_row_is_refused() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError("sent")

    bad = Row("p", "k", {"a-b": 1})
    async with table_answering(handler) as table:
        for call in (
            table.insert(bad),
            table.replace(bad),
            table.put(bad),
            table.write([Change("put", bad)]),
        ):
            with pytest.raises(NotStorable):
                await call


def test_reprs_show_no_key() -> None:
    account = TableAccount.from_connection_string(connection(1))
    assert SECRET not in repr(account) + repr(account.table("ledger")) + str(vars(account.table("ledger")))


@pytest.mark.parametrize(
    "text", ["", "AccountName=x", f"AccountKey={SECRET}", f"SharedAccessSignature={SECRET}"]
)
def test_connection_string_without_name_and_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="lacks Account") as caught:
        TableAccount.from_connection_string(text)
    assert SECRET not in str(caught.value)


def test_connection_strings_of_the_usual_emulator_and_with_stray_spaces_are_taken() -> None:
    assert "devstoreaccount1" in repr(TableAccount.from_connection_string("UseDevelopmentStorage=true"))
    assert "acct" in repr(TableAccount.from_connection_string(f"\n {connection(1)};; \n"))


def test_cut_account_key_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="AccountKey is cut or mistyped") as caught:
        TableAccount.from_connection_string(f"AccountName=x;AccountKey={SECRET[:-2]}")
    assert SECRET[:8] not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "endpoint", ["http://acct.table.core.windows.net", "acct", f"https://a.example/?sig={SECRET}"]
)
def test_endpoint_that_is_not_plain_https_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="must look like https") as caught:
        TableAccount.at(endpoint, Credential())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["ab", "1abc", "a-b-c", "a" * 64, "Tables", "", "abc\n", "äbc"])
def test_impossible_table_name_is_refused(name: str) -> None:
    with pytest.raises(NotStorable, match="table name"):
        TableAccount.from_connection_string(connection(1)).table(name)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.builds(
            Row,
            st.just("p'é"),
            st.text(st.sampled_from("a'é\U0001f600%"), max_size=200),
            st.dictionaries(
                st.from_regex("[a-z]{1,9}", fullmatch=True),
                st.one_of(st.text(st.characters(codec="utf-8")), st.binary(), st.integers(0, 9), st.floats()),
            ),
            st.sampled_from([None, "W/\"datetime'2026-01-01T00%3A00%3A00.1234567Z'\""]),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda row: row.key,
    ),
    st.sampled_from(["insert", "replace", "put", "delete"]),
)
async def test_batch_is_never_larger_on_the_wire_than_it_was_counted(rows: list[Row], kind: Any) -> None:
    sent: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(len(request.content))
        return fault(503, "ServerBusy")

    changes = [Change(kind, row) for row in rows]
    async with table_answering(handler) as table:
        with pytest.raises(TableUnavailable):
            await table.write(changes)
    assert sent[0] <= sum(map(sent_bytes, changes))


def test_what_the_webhook_does_loads_no_sdk() -> None:
    code = (
        "import asyncio, sys, clients.tables\n"
        "from clients.http import http_client\n"
        "from clients.ports import Row\n"
        "import httpx\n"
        "def answer(request):\n"
        "    if request.method == 'PUT': return httpx.Response(204)\n"
        "    return httpx.Response(200, json={'PartitionKey': 'p', 'RowKey': 'k', 'value': []})\n"
        "async def main():\n"
        "    http = lambda: http_client(transport=httpx.MockTransport(answer))\n"
        f"    account = clients.tables.TableAccount.from_connection_string({connection(1)!r}, http=http)\n"
        "    table = account.table('ledger')\n"
        "    await table.get('p', 'k'), await table.put(Row('p', 'k'))\n"
        "    [row async for row in table.scan('p')]\n"
        "    await account.close()\n"
        "asyncio.run(main())\n"
        "heavy = {'azure', 'azure.core', 'yarl', 'aiohttp'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_module_loads_neither_the_sdk_nor_httpx() -> None:
    code = (
        "import sys, clients.tables; heavy = {'httpx', 'azure', 'azure.core', 'azure.data.tables', 'yarl'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); "
        "clients.tables.load(); assert {'httpx', 'azure.core', 'azure.data.tables.aio'} <= set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
