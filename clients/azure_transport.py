"""azure-core's requests over the app's own HTTP client. Importing this takes azure-core's 30 ms."""

from collections.abc import AsyncIterator

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

from clients.http import Answer, Client, NoAnswer, TookTooLong, fetch, sent_nothing

_FAULTS = {
    # (may have been sent, took too long)
    (False, False): ServiceRequestError,
    (False, True): ServiceRequestTimeoutError,
    (True, False): ServiceResponseError,
    (True, True): ServiceResponseTimeoutError,
}


class HttpxTransport(AsyncHttpTransport[HttpRequest, AsyncHttpResponse]):
    """azure-core's requests over an httpx client, which the caller owns and closes.

    So Azure's SDKs need no aiohttp, and timeouts, tracing and faults have one seam for every call the app
    makes. Answers are read whole: those of Table storage are at most 4 MiB.
    """

    def __init__(self, client: Client) -> None:
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
        try:
            answer = await fetch(
                self._client,
                request.method,
                _as_signed(request.url),
                headers=request.headers,
                content=request.content,
            )
        except NoAnswer as error:
            # An address that cannot be called is neither: nothing was sent.
            sent = sent_nothing(error) is False
            raise _FAULTS[sent, isinstance(error, TookTooLong)](_said(error), error=error) from error
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
    answer: Answer = response.internal_response
    yield answer.content


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
