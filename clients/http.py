"""The one import of httpx: a client with finite timeouts, and azure-core's transport over such a client."""

import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from azure.core.exceptions import (
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest

# azure-core has no public class for "an answer of a transport of your own", and azure-data-tables reads a
# batch's answer through this one's deprecated parts(). requirements.txt pins azure-core for its sake.
from azure.core.rest._http_response_impl_async import AsyncHttpResponseImpl
from yarl import URL

Client = httpx.AsyncClient
"""The type of an HTTP client, for those who are handed one."""

Transport = httpx.AsyncBaseTransport
"""The type of what carries a client's requests."""

CONNECT_SECONDS = 3.0
"""Longest wait for a connection with TLS. In one Azure region it takes some ten milliseconds."""

SILENCE_SECONDS = 10.0
"""Longest silence of a peer while it is sent to or read from; callers bound the whole call themselves."""

POOL_SECONDS = 3.0
"""Longest wait for one of our own connections to become free."""

CONNECTIONS = 50
"""Connections of one client, at most: an instance on the smallest Functions plan may hold 600 in all."""

IDLE_SECONDS = 15.0
"""How long an unused connection is kept. Services drop idle ones at times of their own, and a write sent
into a dropped one has an unknown outcome; so not much longer than the bursts that share a connection."""

_CHATTY = ("httpx", "azure.core.pipeline.policies.http_logging_policy")
"""Loggers that write every call at INFO, with its URL, which carries registration ids."""


def http_client(
    *, ca_file: Path | None = None, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """A client with finite timeouts, HTTP/1.1 only, that follows no redirect.

    It ignores the environment (HTTP_PROXY, .netrc, SSL_CERT_FILE): calls that carry keys go where they are
    addressed, and nothing set for another program changes whom they trust. A private certificate authority
    is named by the caller.

    Args:
        ca_file: PEM file of the only certificate authorities to trust; None trusts certifi's.
        transport: what carries the requests instead of the network (tests: faults, crashes, ASGI apps).
    """
    for name in _CHATTY:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:  # someone who has set a level wants to see them
            logger.setLevel(logging.WARNING)
    return httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=str(ca_file)) if ca_file else True,
        trust_env=False,
        follow_redirects=False,
        http1=True,
        http2=False,
        timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS, pool=POOL_SECONDS),
        limits=httpx.Limits(
            max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE_SECONDS
        ),
        transport=transport,
    )


def sent_nothing(error: Exception) -> bool | None:
    """Whether a request that failed so never left (True), or may have (False); None: no failed connection.

    TLS failures within a connection reach us as they are, not as an error of httpx.
    """
    if isinstance(
        error, httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ConnectError | httpx.UnsupportedProtocol
    ):
        return True
    return False if isinstance(error, httpx.RequestError | httpx.StreamError | OSError) else None


def untrusted(error: Exception) -> bool:
    """Whether a connection failed because the peer's certificate was refused."""
    seen: BaseException | None = error
    for _ in range(8):  # httpx and httpcore wrap it twice
        if seen is None or isinstance(seen, ssl.SSLCertVerificationError):
            break
        seen = seen.__cause__ or seen.__context__
    return isinstance(seen, ssl.SSLCertVerificationError)


def no_connection_free(error: Exception) -> bool:
    """Whether a request failed because all our own connections are busy."""
    return isinstance(error, httpx.PoolTimeout)


@contextmanager
def azure_faults() -> Iterator[None]:
    """A call that gets no answer, in azure-core's words.

    Raises:
        ServiceRequestError: the request was not sent.
        ServiceResponseError: it may have been, and there is no answer.
    """
    try:
        yield
    except (httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise ServiceRequestTimeoutError(_said(error), error=error) from error
    except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise ServiceRequestError(_said(error), error=error) from error
    except httpx.TimeoutException as error:
        raise ServiceResponseTimeoutError(_said(error), error=error) from error
    except httpx.RequestError as error:
        raise ServiceResponseError(_said(error), error=error) from error


class HttpxTransport(AsyncHttpTransport[HttpRequest, AsyncHttpResponse]):
    """azure-core's requests over an httpx client, which the caller owns and closes.

    So Azure's SDKs need no aiohttp, and timeouts, tracing and faults have one seam for every call the app
    makes. Answers are read whole: those of Table storage are at most 4 MiB.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def open(self) -> None:
        """Nothing: the client opens connections as it needs them."""

    async def close(self) -> None:
        """Nothing: the client is its owner's to close."""

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, request: HttpRequest, **_options: object) -> AsyncHttpResponse:
        """Send the request and read the answer; a read once more where a kept connection had been dropped.

        azure-core's options (its own timeouts, proxies, streaming) are not looked at: the client has its
        own, and whoever calls the SDK bounds the whole call.

        Raises:
            ServiceRequestError: the request was not sent.
            ServiceResponseError: it may have been, and there is no answer.
        """
        with azure_faults():
            answer = await self._sent(request)
        response = _Response(
            request=request,
            internal_response=answer,
            status_code=answer.status_code,
            reason=answer.reason_phrase,
            content_type=answer.headers.get("content-type"),
            headers=answer.headers,
            stream_download_generator=_body,
        )
        await response.read()
        return response

    async def _sent(self, request: HttpRequest) -> httpx.Response:
        """Its answer.

        A service drops idle connections at times of its own, and a request may cross with that. Such a read
        is sent once more; a write never is, for what broke may have been its answer.
        """
        fate = _Fate()
        try:
            return await self._once(request, {"trace": fate} if request.method == "GET" else {})
        except (httpx.RemoteProtocolError, httpx.NetworkError):
            if not fate.met_a_dropped_connection:
                raise
        return await self._once(request, {})

    async def _once(self, request: HttpRequest, extensions: dict[str, Any]) -> httpx.Response:
        return await self._client.request(
            request.method,
            _as_signed(request.url),
            headers=request.headers,
            content=request.content,
            extensions=extensions,
        )


class _Fate:
    """How far a request came, as httpcore tells it step by step."""

    def __init__(self) -> None:
        self._steps: set[str] = set()

    async def __call__(self, step: str, _info: object) -> None:
        self._steps.add(step)

    @property
    def met_a_dropped_connection(self) -> bool:
        """Whether it went over a connection that was there before, and no answer began."""
        return (
            "http11.send_request_headers.started" in self._steps
            and "http11.receive_response_headers.complete" not in self._steps
            and not any(step.startswith("connection.connect") for step in self._steps)
        )


class _Response(AsyncHttpResponseImpl):
    def body(self) -> bytes:
        """What parts() parses; the class above would read it again, and not await that."""
        return self.content

    async def close(self) -> None:
        """Nothing: the answer was read whole, and its connection is free again."""
        self._is_closed = True


def _as_signed(url: str) -> str:
    # azure-data-tables signs the path as yarl writes it (%27 becomes '), since that is what aiohttp would
    # send; sent otherwise, the signature of a call about a key with a quote in it is refused.
    path, mark, query = url.partition("?")
    return f"{URL(path)}{mark}{query}"


async def _body(*, response: AsyncHttpResponseImpl, **_options: object) -> AsyncIterator[bytes]:
    answer: httpx.Response = response.internal_response
    yield answer.content


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
