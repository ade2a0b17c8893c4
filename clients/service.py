"""One call to one REST service: its rate share, its token, its retries, its budget, its errors.

What may be sent again and what may not is decided here once for every service. Reads are repeated after
5xx, drops and timeouts. A write is repeated only after an answer that says it did not happen: 429, 401 with
an old token, or a connection that was never made. Anything else leaves a write's outcome open, and raises
OutcomeUnknown.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from clients.connections import Connections
from clients.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    NotSendable,
    OutcomeUnknown,
    PreconditionFailed,
    ServiceError,
    Throttled,
    Unauthenticated,
    Unavailable,
    UnexpectedReply,
    Unreachable,
    Untrusted,
)
from clients.ports import Clock, RateShare, SlowingShare
from clients.wording import plain

ATTEMPT_SECONDS = 15.0
"""How long one attempt may take, connecting and reading the answer included."""

CALL_SECONDS = 90.0
"""How long after its start a call may still begin an attempt."""

CONNECTS = 3
"""Attempts to reach a host that cannot be reached; who waits for a wrong name learns it in seconds."""

FIRST_PAUSE = 1.0
"""Seconds before the second attempt where the service names no time; doubled each time, with jitter."""

LONGEST_PAUSE = 30.0
"""Seconds between two attempts, at most, where the service names no time."""

REPLY_BYTES = 64 * 1024 * 1024
"""Largest answer that is read. The largest known is a page of 1,000 enrollments of 96 KB at most."""


class Auth(Protocol):
    """Enters a service."""

    async def header(self, *, fresh: bool = False) -> str:
        """The value of the Authorization header, in finite time.

        Args:
            fresh: make a new token: the service refused the last one.

        Raises:
            NoCredential: there is none to be had.
        """


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        path: percent-encoded, from "/" on, without segments "." and ".."; it may stand in messages.
        query: beside api-version.
        body: a JSON value, or None for no body.
        writes: whether it changes something. Only a request that does not may be sent again freely.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx answer. `body` is its JSON, None without one; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """What an error answer says of itself: the service's code, its words, its tracking id."""

    code: str = ""
    message: str = ""
    tracking_id: str = ""
    advice: str = ""


class Service:
    """A REST service at one base URL. Nothing else is ever called, whatever an answer or event says."""

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_version: str,
        auth: Auth,
        connections: Connections,
        share: RateShare,
        clock: Clock,
        fault: Callable[[Any], Fault],
        jitter: Callable[[], float],
        attempt_seconds: float = ATTEMPT_SECONDS,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        """Describe it; nothing is sent.

        Args:
            name: for messages: "DPS", "hub hub-a.azure-devices.net".
            base_url: https://HOST[:PORT]
            api_version: sent with each call.
            auth: its token or SAS.
            connections: shared with the other clients.
            share: asked once per attempt.
            clock: for pauses and budgets.
            fault: reads the JSON of an error answer.
            jitter: a random number in [0, 1), drawn per pause.
            attempt_seconds: how long one attempt may take.
            call_seconds: how long a call may take in all, waiting for the share excluded: a job's pace is
                no failure.

        Raises:
            NotSendable: the URL is not https://HOST[:PORT].
        """
        self.name = name
        self.host = _host(name, base_url)
        self._base = f"https://{self.host}"
        self._api_version = api_version
        self._auth = auth
        self._connections = connections
        self._share = share
        self._clock = clock
        self._fault = fault
        self._jitter = jitter
        self._attempt_seconds = attempt_seconds
        self._call_seconds = call_seconds

    def __repr__(self) -> str:
        return f"Service({self.name!r}, {self._base!r})"

    async def send(self, request: Request) -> Reply:
        """Send it, again where that is safe, and read the answer.

        Raises:
            OutcomeUnknown: a write got no answer, or a 5xx.
            ServiceError: one of its kinds; the change was not made.
            NoCredential: nothing was sent.
            NotSendable: a header or the body cannot be put on the wire; nothing was sent.
        """
        content = _content(request.body)
        _check_headers(request.headers)
        spent = 0.0
        pauses = 0
        unreached = 0
        renewed = fresh = False
        while True:
            await self._share.call()
            began = self._clock.monotonic()
            outcome = await self._attempt(request, content, fresh=fresh)
            if isinstance(outcome, Reply):
                return outcome
            error, fresh = outcome, False
            if isinstance(error, Throttled) and isinstance(self._share, SlowingShare):
                self._share.slow(error.retry_after)
            if isinstance(error, Unauthenticated) and not renewed:
                renewed = fresh = True
                spent += self._clock.monotonic() - began
                continue
            unreached += isinstance(error, Unreachable)
            pause = None if unreached == CONNECTS else self._pause(error, pauses)
            spent += self._clock.monotonic() - began + (pause or 0.0)
            if pause is None or spent > self._call_seconds:
                raise error
            pauses += 1
            await self._clock.sleep(pause)

    def _pause(self, error: ServiceError | OutcomeUnknown, pauses: int) -> float | None:
        """Seconds to wait before the next attempt; None: there must be none."""
        if not isinstance(error, Throttled | Unavailable) or isinstance(error, Untrusted):
            return None
        if error.retry_after:  # at once, as 0 says, a service that is in trouble is not asked again
            # A little later than told, and not all at once: the others were told the same.
            return error.retry_after + self._jitter() * min(1.0, error.retry_after)
        full = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**pauses)
        return full / 2 + self._jitter() * full / 2

    async def _attempt(
        self, request: Request, content: bytes | None, *, fresh: bool
    ) -> "Reply | ServiceError | OutcomeUnknown":
        client = await self._connections.client()
        from clients import http  # noqa: PLC0415 - put off to the first call

        headers = {"accept": "application/json", "authorization": await self._auth.header(fresh=fresh)}
        if content is not None:
            headers["content-type"] = "application/json; charset=utf-8"
        try:
            async with (
                asyncio.timeout(self._attempt_seconds),
                client.stream(
                    request.method,
                    f"{self._base}{request.path}",
                    params={**request.query, "api-version": self._api_version},
                    headers={**headers, **request.headers},
                    content=content,
                ) as answer,
            ):
                body = bytearray()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > REPLY_BYTES:
                        return self._unexpected(request, answer.status_code, "an answer beyond 64 MiB")
                return self._read(request, answer.status_code, answer.headers, bytes(body))
        except TimeoutError:
            return self._unanswered(request, f"no answer within {self._attempt_seconds:g} s")
        except Exception as error:
            verdict = http.sent_nothing(error)
            if verdict is None:
                raise
            if verdict:
                return self._unreached(error)
            return self._unanswered(request, f"the connection broke ({type(error).__name__})")

    def _unreached(self, error: Exception) -> Unreachable:
        from clients import http  # noqa: PLC0415 - put off to the first call

        who = f"{self.name} ({self.host})"
        if http.untrusted(error):
            return Untrusted(
                f"{who} shows a certificate that is not trusted, or not its own; nothing was sent: check the "
                "host name, and which certificate authority is trusted",
                service=self.name,
            )
        if http.no_connection_free(error):
            return Unreachable(
                f"{who}: all {http.CONNECTIONS} connections are busy; nothing was sent: try again later",
                service=self.name,
            )
        return Unreachable(
            f"{who} cannot be reached ({type(error).__name__}); nothing was sent: check its name and the "
            "network",
            service=self.name,
        )

    def _unanswered(
        self, request: Request, problem: str, status: int | None = None, fault: Fault | None = None
    ) -> "Unavailable | OutcomeUnknown":
        said = fault or Fault()
        code, tracking_id = plain(said.code), plain(said.tracking_id)
        doing = f"{self.name}: {request.method} {request.path}: {problem}" + (f" ({code})" if code else "")
        tracked = f" [trackingId {tracking_id}]" if tracking_id else ""
        if request.writes:
            return OutcomeUnknown(
                f"{doing}; it may have happened: read it before changing it again{tracked}",
                service=self.name,
                status=status,
                code=code,
                tracking_id=tracking_id,
            )
        return Unavailable(
            f"{doing}; try again later{tracked}",
            service=self.name,
            status=status,
            code=code,
            tracking_id=tracking_id,
        )

    def _unexpected(self, request: Request, status: int, problem: str) -> "UnexpectedReply | OutcomeUnknown":
        doing = f"{self.name}: {request.method} {request.path}: HTTP {status} with {problem}"
        if request.writes:
            return OutcomeUnknown(
                f"{doing}; it may have happened: read it before changing it again",
                service=self.name,
                status=status,
            )
        return UnexpectedReply(f"{doing}; check its host name", service=self.name, status=status)

    def _read(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> "Reply | ServiceError | OutcomeUnknown":
        if 200 <= status < 300:
            if not body.strip():
                return Reply(status, headers, None)
            try:
                return Reply(status, headers, json.loads(body))
            except (ValueError, RecursionError):
                return self._unexpected(request, status, "a body that is not JSON")
        if status < 400:  # 1xx and 3xx: nobody we know answers so
            return self._unexpected(request, status, "no result (a redirect or half an answer)")
        retry_after = _seconds(headers.get("retry-after"), self._clock.now())
        fault = self._fault(_json(body))
        if status >= 500 or status == 408:  # 408: a gateway lost patience, with whom is not said
            error = self._unanswered(request, f"HTTP {status}", status, fault)
            if isinstance(error, Unavailable):
                error.retry_after = retry_after
            return error
        kind = _KINDS.get(status, BadRequest)
        words = plain(fault.message) or "no explanation"
        code = plain(fault.code)
        advice = fault.advice or _ADVICE.get(status, "")
        tracking_id = plain(fault.tracking_id)
        refusal = kind(
            f"{self.name}: {request.method} {request.path}: HTTP {status}"
            + (f" ({code})" if code else "")
            + f": {words}"
            + (f"; {advice}" if advice else "")
            + (f" [trackingId {tracking_id}]" if tracking_id else ""),
            service=self.name,
            status=status,
            code=code,
            tracking_id=tracking_id,
            retry_after=retry_after,
        )
        if isinstance(refusal, Unauthenticated):
            refusal.challenge = headers.get("www-authenticate", "")
        return refusal


_KINDS: Mapping[int, type[ServiceError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    429: Throttled,
}

_ADVICE: Mapping[int, str] = {
    401: "check the key or the identity, and this machine's clock",
    403: "give the identity or the access policy the right for this",
    409: "it exists already, or somebody changes it right now: read it and decide again",
    412: "somebody changed it since it was read: read it and decide again",
    429: "the service is busy: try again later, or with a smaller share of its rate",
}


_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_SENDABLE = re.compile(r"[\x20-\x7e]*")


def _host(name: str, base_url: str) -> str:
    try:
        url = urlsplit(base_url)
    except ValueError:
        url = urlsplit("")
    if url.scheme != "https" or not _HOST.fullmatch(url.netloc) or url.path.strip("/") or url.query:
        raise NotSendable(f"{name}: the URL must look like https://HOST, without path or query")
    return url.netloc


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _SENDABLE.fullmatch(value):
            raise NotSendable(f"the header {name} holds characters that no header can hold; send it as read")


def _content(body: Any) -> bytes | None:
    """The JSON of a body: as short as can be, since the largest message counts in bytes."""
    if body is None:
        return None
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError):
        raise NotSendable(
            "the body holds what JSON cannot say: a number that is not finite, a value of another kind, or "
            "too deep a nesting; take it out"
        ) from None
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which a service may have sent: escaped, as it came
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _seconds(text: str | None, now: datetime) -> float | None:
    """Retry-After, in seconds or as a date (RFC 9110), as seconds from now; None if it says neither."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 9 else None
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
