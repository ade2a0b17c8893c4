"""The call layer: what is sent again and what never is, how long it tries, what its errors say."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.connections import Connections
from clients.errors import (
    BadRequest,
    ClientError,
    Conflict,
    Forbidden,
    NoCredential,
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
from clients.http import http_client
from clients.ports import RateShare
from clients.service import CALL_SECONDS, CONNECTS, REPLY_BYTES, Auth, Fault, Reply, Request, Service
from local.serve import serve
from local.tls import CertificateAuthority
from local.world import ManualClock
from tests.clients.stage import CountingShare, Handed, StoppedError, leaks, no_jitter

READ = Request("GET", "/things/one")
WRITE = Request("PUT", "/things/one", body={"a": 1}, writes=True)
CANARY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY="
both = pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])


class SteppingClock(ManualClock):
    """A sleep moves it on."""

    def __init__(self) -> None:
        super().__init__(datetime(2026, 1, 1, tzinfo=UTC))
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._elapsed += seconds


class Renewing:
    """Makes a new token each time it is told that the last was refused."""

    def __init__(self) -> None:
        self.asked: list[bool] = []

    async def header(self, *, fresh: bool = False) -> str:
        self.asked.append(fresh)
        return f"token {sum(self.asked)}"


def reads_fault(body: Any) -> Fault:
    if not isinstance(body, dict):
        return Fault()
    return Fault(str(body.get("code", "")), str(body.get("message", "")), str(body.get("track", "")))


Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Scene:
    """A service that gives these answers in turn; the last one again and again."""

    def __init__(
        self,
        *answers: Answer,
        auth: Auth | None = None,
        share: RateShare | None = None,
        jitter: Callable[[], float] = no_jitter,
        attempt_seconds: float = 15.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.clock = SteppingClock()
        self.sent: list[httpx.Request] = []
        self._answers = list(answers)
        self.share = CountingShare()
        self.service = Service(
            "the service",
            "https://service.example",
            api_version="v1",
            auth=auth or Handed("token"),
            connections=Connections(transport=transport or httpx.MockTransport(self._answer)),
            share=share or self.share,
            clock=self.clock,
            fault=reads_fault,
            jitter=jitter,
            attempt_seconds=attempt_seconds,
        )

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        answer = self._answers[min(len(self.sent), len(self._answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return answer(request)

    async def fails(self, request: Request, expected: type[ClientError]) -> ClientError:
        with pytest.raises(ClientError) as caught:
            await self.service.send(request)
        assert type(caught.value) is expected, caught.value
        return caught.value


def answer(status: int, body: Any = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    content = b"" if body is None else json.dumps(body).encode()
    return httpx.Response(status, content=content, headers=named)


OK = answer(200, {"fine": True})


async def test_a_call_carries_its_version_its_token_and_compact_json() -> None:
    scene = Scene(OK)
    request = Request("PUT", "/a%2Fb", query={"q": "x y"}, body={"é": [1, 2]}, headers={"if-match": '"1"'})
    reply = await scene.service.send(request)
    assert reply == Reply(200, reply.headers, {"fine": True})
    [sent] = scene.sent
    assert sent.url.raw_path == b"/a%2Fb?q=x+y&api-version=v1"
    assert sent.content == '{"é":[1,2]}'.encode()
    assert sent.headers["authorization"] == "token"
    assert sent.headers["if-match"] == '"1"'
    assert "fine" not in repr(reply)


async def test_an_empty_answer_is_no_body() -> None:
    assert (await Scene(answer(204)).service.send(WRITE)).body is None


# What is sent again


@both
async def test_429_is_repeated_also_for_a_write(request_: Request) -> None:
    scene = Scene(answer(429), answer(429), OK)
    assert (await scene.service.send(request_)).status == 200
    assert len(scene.sent) == 3
    assert scene.share.calls == 3


@both
async def test_a_429_storm_ends_within_the_calls_time(request_: Request) -> None:
    scene = Scene(answer(429, {"code": "429001", "message": "slow down"}))
    error = await scene.fails(request_, Throttled)
    assert sum(scene.clock.pauses) <= CALL_SECONDS
    assert len(scene.sent) <= 10
    assert "slow down" in str(error)


async def test_retry_after_is_waited_for_and_a_little_longer() -> None:
    scene = Scene(answer(429, retry_after="7"), OK, jitter=lambda: 0.5)
    await scene.service.send(WRITE)
    assert scene.clock.pauses == [7.5]


async def test_retry_after_may_be_a_date() -> None:
    at = format_datetime(SteppingClock().now() + timedelta(seconds=20), usegmt=True)
    scene = Scene(answer(503, retry_after=at), OK)
    await scene.service.send(READ)
    assert scene.clock.pauses == [20]


async def test_retry_after_beyond_the_calls_time_is_told_and_not_waited_for() -> None:
    scene = Scene(answer(429, retry_after="3600"))
    error = await scene.fails(READ, Throttled)
    assert isinstance(error, ServiceError)
    assert (error.retry_after, scene.clock.pauses) == (3600, [])


@pytest.mark.parametrize("said", ["0", "-5", "soon", "1e9", "9" * 400, "", "Wed, 99 Foo 2026", "१"])
async def test_a_retry_after_that_says_nothing_useful_is_as_none(said: str) -> None:
    scene = Scene(answer(429, retry_after=said), OK)
    await scene.service.send(READ)
    assert scene.clock.pauses == [0.5]


@given(
    st.lists(st.sampled_from(["0", "1", "30", "soon", None]), min_size=1, max_size=40), st.floats(0, 0.999)
)
async def test_a_service_in_trouble_is_never_hammered(said: list[str | None], luck: float) -> None:
    answers = [answer(503, **({} if each is None else {"retry_after": each})) for each in said]
    scene = Scene(*answers, jitter=lambda: luck)
    await scene.fails(READ, Unavailable)
    assert all(pause >= 0.5 for pause in scene.clock.pauses)
    assert sum(scene.clock.pauses) <= CALL_SECONDS


async def test_a_share_that_can_slow_down_is_told_of_each_429() -> None:
    class Slowing(CountingShare):
        told: tuple[float | None, ...] = ()

        def slow(self, retry_after: float | None) -> None:
            self.told += (retry_after,)

    share = Slowing()
    await Scene(answer(429), answer(429, retry_after="3"), answer(503), OK, share=share).service.send(READ)
    assert share.told == (None, 3.0)


async def test_the_kill_switch_stops_between_two_attempts() -> None:
    scene = Scene(answer(429), share=CountingShare(most=2))
    with pytest.raises(StoppedError):
        await scene.service.send(WRITE)
    assert len(scene.sent) == 2


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
async def test_a_read_is_repeated_after_5xx(status: int) -> None:
    assert (await Scene(answer(status), OK).service.send(READ)).status == 200
    error = await Scene(answer(status, {"code": "500001", "track": "t-1"})).fails(READ, Unavailable)
    assert isinstance(error, Unavailable)
    assert (error.status, error.code, error.tracking_id) == (status, "500001", "t-1")


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
async def test_a_write_is_never_sent_again_after_5xx(status: int) -> None:
    scene = Scene(answer(status, {"code": "500001", "track": "t-1"}, retry_after="1"), OK)
    error = await scene.fails(WRITE, OutcomeUnknown)
    assert len(scene.sent) == 1
    assert isinstance(error, OutcomeUnknown)
    assert (error.status, error.code, error.tracking_id) == (status, "500001", "t-1")
    assert "[trackingId t-1]" in str(error)


LOST = [
    httpx.ReadTimeout("silent"),
    httpx.ReadError("reset"),
    httpx.WriteError("reset"),
    httpx.RemoteProtocolError("Server disconnected"),
    ssl.SSLError(1, "bad record mac"),
    OSError(110, "timed out"),
]


@pytest.mark.parametrize("failure", LOST, ids=lambda each: type(each).__name__)
async def test_a_lost_answer_is_asked_for_again_by_a_read_and_by_no_write(failure: Exception) -> None:
    assert (await Scene(failure, OK).service.send(READ)).status == 200
    scene = Scene(failure, OK)
    await scene.fails(WRITE, OutcomeUnknown)
    assert len(scene.sent) == 1


async def test_a_body_cut_in_half_is_no_answer() -> None:
    class Half(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b'[{"a":'
            raise httpx.RemoteProtocolError("peer closed connection")

    def half(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Half())

    assert (await Scene(half, OK).service.send(READ)).body == {"fine": True}
    await Scene(half, OK).fails(WRITE, OutcomeUnknown)


async def test_a_silent_service_is_given_up() -> None:
    class Silent(httpx.AsyncBaseTransport):
        calls = 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.calls += 1
            await asyncio.Event().wait()
            raise AssertionError

    silent = Silent()
    await Scene(transport=silent, attempt_seconds=0.01).fails(WRITE, OutcomeUnknown)
    assert silent.calls == 1
    await Scene(transport=silent, attempt_seconds=0.01).fails(READ, Unavailable)
    assert silent.calls > 2


async def test_cancelling_a_write_stops_it_and_sends_nothing_more() -> None:
    begun = asyncio.Event()

    class Silent(httpx.AsyncBaseTransport):
        calls = 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.calls += 1
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

    silent = Silent()
    task = asyncio.create_task(Scene(transport=silent).service.send(WRITE))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert silent.calls == 1


async def test_a_crash_passes_through() -> None:
    class Crash(BaseException):
        pass

    def die(_: httpx.Request) -> httpx.Response:
        raise Crash

    with pytest.raises(Crash):
        await Scene(die).service.send(WRITE)


# Nobody there, or somebody else


@both
async def test_a_host_that_cannot_be_reached_is_tried_a_few_times_only(request_: Request) -> None:
    scene = Scene(httpx.ConnectError("refused"))
    error = await scene.fails(request_, Unreachable)
    assert len(scene.sent) == CONNECTS
    assert sum(scene.clock.pauses) < 5
    assert "service.example" in str(error)
    assert (await Scene(httpx.ConnectTimeout(""), OK).service.send(request_)).status == 200


async def test_busy_connections_are_named_as_that() -> None:
    assert "connections are busy" in str(await Scene(httpx.PoolTimeout("")).fails(WRITE, Unreachable))


@both
async def test_a_certificate_that_is_not_trusted_fails_at_once(request_: Request, tmp_path: Path) -> None:
    served: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        served.append(scope)

    certificate = CertificateAuthority(tmp_path / "ca").issue()
    clock, share = SteppingClock(), CountingShare()
    connections = Connections()
    async with serve(app, certificate) as address:
        service = Service(
            "the service",
            address.url,
            api_version="v1",
            auth=Handed("token"),
            connections=connections,
            share=share,
            clock=clock,
            fault=reads_fault,
            jitter=no_jitter,
        )
        with pytest.raises(Untrusted, match="certificate that is not trusted"):
            await service.send(request_)
        await connections.close()
    assert (share.calls, clock.pauses, served) == (1, [], [])


@pytest.mark.parametrize("status", [301, 302, 307, 308, 304])
async def test_a_redirect_is_followed_by_no_call(status: int) -> None:
    elsewhere = answer(status, location="https://elsewhere.example/")
    scene = Scene(elsewhere, OK)
    await scene.fails(READ, UnexpectedReply)
    assert len(scene.sent) == 1
    await Scene(elsewhere, OK).fails(WRITE, OutcomeUnknown)


NO_JSON = [b"<html>", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}", b"{}{}"]


@pytest.mark.parametrize("body", NO_JSON, ids=["html", "no text", "deep", "long number", "two values"])
async def test_200_without_json_concludes_nothing(body: bytes) -> None:
    await Scene(httpx.Response(200, content=body)).fails(READ, UnexpectedReply)
    await Scene(httpx.Response(200, content=body)).fails(WRITE, OutcomeUnknown)


async def test_a_gigantic_answer_is_not_read_to_its_end() -> None:
    read = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 1 << 20
                yield b"x" * (1 << 20)

    def endless(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Endless())

    await Scene(endless).fails(READ, UnexpectedReply)
    assert read <= REPLY_BYTES + (2 << 20)
    await Scene(endless).fails(WRITE, OutcomeUnknown)


async def test_a_compressed_bomb_is_a_gigantic_answer() -> None:
    bomb = gzip.compress(b" " * (REPLY_BYTES + 1), 1)

    def blow_up(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=bomb, headers={"content-encoding": "gzip"})

    await Scene(blow_up).fails(READ, UnexpectedReply)


# Refusals


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, BadRequest),
        (403, Forbidden),
        (404, NotFound),
        (405, BadRequest),
        (409, Conflict),
        (412, PreconditionFailed),
        (413, BadRequest),
        (415, BadRequest),
    ],
)
async def test_a_refusal_is_an_exception_with_the_services_words(
    status: int, expected: type[ServiceError]
) -> None:
    scene = Scene(answer(status, {"code": f"{status}007", "message": "no\nway", "track": "t-1"}))
    error = await scene.fails(WRITE, expected)
    assert isinstance(error, ServiceError)
    assert (error.status, error.code, error.tracking_id) == (status, f"{status}007", "t-1")
    assert "no way" in str(error)
    assert len(scene.sent) == 1


async def test_a_refused_token_is_renewed_once_and_only_for_the_next_attempt() -> None:
    auth = Renewing()
    scene = Scene(answer(401), answer(429), OK, auth=auth)
    await scene.service.send(WRITE)
    assert auth.asked == [False, True, False]
    assert [sent.headers["authorization"] for sent in scene.sent] == ["token 0", "token 1", "token 1"]


@both
async def test_two_401_in_one_call_are_the_answer(request_: Request) -> None:
    scene = Scene(answer(401, {"code": "401002"}), auth=Renewing())
    error = await scene.fails(request_, Unauthenticated)
    assert len(scene.sent) == 2
    assert "clock" in str(error)


async def test_without_a_credential_nothing_is_sent() -> None:
    class Without:
        async def header(self, *, fresh: bool = False) -> str:
            raise NoCredential("set DPS_LOGIN")

    scene = Scene(OK, auth=Without())
    await scene.fails(WRITE, NoCredential)
    assert scene.sent == []


# What cannot be sent


@pytest.mark.parametrize(
    "body", [{"a": float("nan")}, {"a": float("inf")}, {"a": b"x"}, {"a": {1, 2}}, {"a": object()}]
)
async def test_what_json_cannot_say_is_refused_before_any_call(body: Any) -> None:
    scene = Scene(OK)
    await scene.fails(Request("PUT", "/x", body=body, writes=True), NotSendable)
    assert (scene.sent, scene.share.calls) == ([], 0)


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "é", "\x00", "tab\t"])
async def test_a_header_cannot_bring_others_with_it(value: str) -> None:
    scene = Scene(OK)
    await scene.fails(Request("PUT", "/x", headers={"if-match": value}, writes=True), NotSendable)
    assert scene.sent == []


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(
            st.characters(codec=None)  # half surrogate pairs too
        ),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec=None)), inner)
        ),
        max_leaves=10,
    ).filter(lambda value: value is not None)
)
async def test_every_json_value_is_sent_as_it_was_read(value: Any) -> None:
    read = json.loads(json.dumps(value))
    scene = Scene(OK)
    await scene.service.send(Request("PUT", "/x", body=read, writes=True))
    assert json.loads(scene.sent[0].content) == read


@pytest.mark.parametrize(
    "url",
    [
        "http://service.example",
        "service.example",
        "https://",
        "https://user@service.example",
        "https://service.example/path",
        "https://service.example?x",
        "https://[::1",
        "https://a b.example",
        "https://service.example:port",
        "https://service.example;SharedAccessKey=x",
    ],
)
def test_only_https_hosts_are_called(url: str) -> None:
    with pytest.raises(NotSendable, match="must look like https://HOST"):
        Service(
            "the service",
            url,
            api_version="v1",
            auth=Handed("token"),
            connections=Connections(),
            share=CountingShare(),
            clock=SteppingClock(),
            fault=reads_fault,
            jitter=no_jitter,
        )


# Secrets


SAYINGS = [
    f"SharedAccessKey={CANARY} is wrong",
    f"the key '{CANARY}' does not match",
    f'{{"primaryKey": "{CANARY}", "secondaryKey":"{CANARY}"}}',
    f"https://app.example/api/allocate?code={CANARY}&x=1 is unreachable",
    f"SharedAccessSignature sr=x&sig={CANARY}&se=1&skn=owner",
    f"Bearer {CANARY}",
    f"https://user:{CANARY}@app.example/",
    f"{'x' * 4080} key={CANARY}",
    f"password: {CANARY}",
]


@pytest.mark.parametrize("saying", SAYINGS)
@pytest.mark.parametrize("status", [400, 401, 404, 409, 412, 429, 500, 503])
async def test_secrets_in_a_services_words_stay_out_of_messages(
    status: int, saying: str, caplog: pytest.LogCaptureFixture
) -> None:
    for request in (READ, WRITE):
        scene = Scene(
            answer(status, {"code": saying, "message": saying, "track": saying}),
            auth=Handed(f"Bearer {CANARY}"),
        )
        with pytest.raises(ClientError) as caught:
            await scene.service.send(request)
        assert leaks([CANARY, CANARY[:30]], caplog, caught.value, scene.service) == []


@given(st.binary(max_size=200) | st.text().map(str.encode))
async def test_no_error_body_breaks_the_reading_of_errors(body: bytes) -> None:
    scene = Scene(httpx.Response(400, content=body))
    error = await scene.fails(READ, BadRequest)
    assert str(error).isprintable()


# Connections


async def test_connections_are_made_once_and_made_anew_after_closing() -> None:
    connections = Connections(transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    first: Iterable[Any] = await asyncio.gather(*(connections.client() for _ in range(10)))
    assert len(set(map(id, first))) == 1
    await connections.close()
    again = await connections.client()
    assert not again.is_closed
    assert again is connections.open()
    await connections.close()
    await connections.close()


async def test_all_connections_wait_finitely() -> None:
    async with http_client() as client:
        assert None not in client.timeout.as_dict().values()
