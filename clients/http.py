"""The one import of httpx: a client with finite timeouts, and what its failures mean."""

import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

Client = httpx.AsyncClient
"""The type of an HTTP client, for those who are handed one."""

Transport = httpx.AsyncBaseTransport
"""The type of what carries a client's requests."""

Answer = httpx.Response
"""The type of an answer that was read whole."""

NoAnswer = (httpx.RequestError, httpx.InvalidURL)
"""What a call without an answer raises."""

TookTooLong = httpx.TimeoutException
"""Those of them that are about a wait that was too long."""

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
    trust: ssl.SSLContext | bool = True
    if ca_file:
        trust = ssl.create_default_context(cafile=str(ca_file))
    elif transport is None:
        # Before the client, which imports httpcore: another thread may do that meanwhile (clients/warm.py).
        trust = httpx.create_ssl_context(trust_env=False)
    return httpx.AsyncClient(
        verify=trust,
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


async def fetch(
    client: Client, method: str, url: str, *, headers: Mapping[str, str], content: Any = None
) -> Answer:
    """Send a request and read its answer whole; a GET once more where a kept connection had been dropped.

    A service drops idle connections at times of its own, and a request may cross with that. A write is never
    sent again, for what broke may have been its answer.

    Raises:
        NoAnswer: one of its kinds.
    """
    fate = _Fate()
    extensions = {"trace": fate} if method == "GET" else None
    try:
        return await client.request(method, url, headers=headers, content=content, extensions=extensions)
    except (httpx.RemoteProtocolError, httpx.NetworkError):
        if not fate.met_a_dropped_connection:
            raise
    return await client.request(method, url, headers=headers, content=content)


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
