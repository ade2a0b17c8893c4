"""The HTTP client's decisions, and azure-core's requests over it."""

import asyncio
import logging

import httpx
import pytest
from azure.core.exceptions import (
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.core.rest import HttpRequest

from clients.azure_transport import HttpxTransport
from clients.http import http_client


def answering(handler: httpx.MockTransport) -> httpx.AsyncClient:
    return http_client(transport=handler)


async def test_every_wait_of_the_client_is_finite() -> None:
    async with http_client() as client:
        assert None not in client.timeout.as_dict().values()


async def test_redirects_are_answers() -> None:
    async with answering(
        httpx.MockTransport(lambda _: httpx.Response(307, headers={"location": "/b"}))
    ) as client:
        assert (await client.get("https://a.example/")).status_code == 307


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, http_client() as client:
        port = server.sockets[0].getsockname()[1]
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 204


async def test_only_the_named_authorities_are_trusted(tmp_path_factory: pytest.TempPathFactory) -> None:
    missing = tmp_path_factory.mktemp("ca") / "ca.pem"
    with pytest.raises(FileNotFoundError):
        http_client(ca_file=missing)


async def test_calls_are_not_logged_at_info_unless_someone_asked_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with answering(httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        await client.get("https://a.example/registrations/device-7")
    assert "device-7" not in caplog.text


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (httpx.ConnectTimeout("slow"), ServiceRequestTimeoutError),
        (httpx.PoolTimeout("full"), ServiceRequestTimeoutError),
        (httpx.ConnectError("refused"), ServiceRequestError),
        (httpx.UnsupportedProtocol("gopher"), ServiceRequestError),
        (httpx.ReadTimeout("silent"), ServiceResponseTimeoutError),
        (httpx.WriteTimeout("stuck"), ServiceResponseTimeoutError),
        (httpx.ReadError(""), ServiceResponseError),
        (httpx.WriteError("reset"), ServiceResponseError),
        (httpx.RemoteProtocolError("nonsense"), ServiceResponseError),
    ],
)
async def test_transport_tells_what_was_not_sent_from_what_got_no_answer(
    failure: Exception, expected: type[Exception]
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise failure

    async with answering(httpx.MockTransport(handler)) as client:
        with pytest.raises(expected) as caught:
            await HttpxTransport(client).send(HttpRequest("GET", "https://a.example/"))
    assert type(caught.value) is expected
    assert type(failure).__name__ in str(caught.value)


async def test_a_crash_in_the_transport_passes_through() -> None:
    class Crash(BaseException):
        pass

    def handler(request: httpx.Request) -> httpx.Response:
        raise Crash

    async with answering(httpx.MockTransport(handler)) as client:
        with pytest.raises(Crash):
            await HttpxTransport(client).send(HttpRequest("GET", "https://a.example/"))


async def test_transport_sends_the_path_as_it_was_signed_and_the_query_as_it_was_made() -> None:
    seen: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return httpx.Response(200, json={"a": 1}, headers={"ETag": "x"})

    async with answering(httpx.MockTransport(handler)) as client:
        request = HttpRequest(
            "GET", "https://a.example/t(RowKey='it%27%27s%20%C3%A9%25')?$filter=a%20eq%20%27b%27"
        )
        response = await HttpxTransport(client).send(request)
    assert seen == [b"/t(RowKey='it''s%20%C3%A9%25')?$filter=a%20eq%20%27b%27"]
    assert response.json() == {"a": 1}
    assert response.headers["etag"] == "x"
    assert response.is_closed


async def test_closing_the_transport_leaves_the_client_to_its_owner() -> None:
    async with answering(httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        async with HttpxTransport(client):
            pass
        assert not client.is_closed
