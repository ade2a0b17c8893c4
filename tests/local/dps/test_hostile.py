"""No input makes the emulator answer 5xx, hang or answer what is no JSON."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local.dps.rig import HUBS, PRIMARY, SCOPE, WEBHOOK, Rig, group, individual

BODIES = [
    ("ten megabytes", b"x" * 10_000_000),
    ("just over the limit", b" " * (96 * 1024 + 1)),
    ("deep lists", b"[" * 90_000),
    ("deep closed lists", b"[" * 40_000 + b"]" * 40_000),
    ("deep objects", b'{"a":' * 900 + b"1" + b"}" * 900),
    ("NaN", b'{"enrollmentGroupId":"g1","x":NaN}'),
    ("infinite", b'{"enrollmentGroupId":"g1","x":1e999}'),
    ("huge number", b'{"enrollmentGroupId":"g1","x":' + b"9" * 5000 + b"}"),
    ("bad UTF-8", b'{"a":"\xff"}'),
    ("UTF-16", '{"a":1}'.encode("utf-16")),
    ("cut off", b'{"a":'),
    ("a list", b"[]"),
    ("a number", b"7"),
    ("null", b"null"),
    ("NUL bytes", b"\0\0"),
]
TARGETS = [
    ("PUT", "/enrollmentGroups/g1"),
    ("PUT", "/enrollments/dev-1"),
    ("POST", "/enrollments"),
    ("POST", "/enrollmentGroups/query"),
]


@pytest.mark.parametrize("body", [body for _, body in BODIES], ids=[name for name, _ in BODIES])
async def test_hostile_bodies_are_4xx(rig: Rig, body: bytes) -> None:
    for method, path in TARGETS:
        answer = await rig.call(method, path, body)
        assert 400 <= answer.status_code < 500
        assert answer.json()["errorCode"] // 1000 == answer.status_code
    await rig.put_enrollment()
    path = f"/{SCOPE}/registrations/dev-1/register?api-version=2021-10-01"
    answer = await rig.http.put(path, content=body, headers={"authorization": rig.token("dev-1", PRIMARY)})
    assert answer.status_code == 202 if body == b"null" else 400 <= answer.status_code < 500


async def test_a_client_that_leaves_while_sending_changes_nothing(rig: Rig) -> None:
    messages: Iterator[dict[str, Any]] = iter(
        [
            {"type": "http.request", "body": json.dumps(group()).encode(), "more_body": True},
            {"type": "http.disconnect"},
        ]
    )
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", rig.owner().encode())]
    scope = {"type": "http", "method": "PUT", "path": "/enrollmentGroups/g1", "headers": headers}
    await rig.judge({**scope, "query_string": b"api-version=2021-10-01"}, receive, send)
    assert (sent, rig.dps.group("g1")) == ([], None)


async def test_lone_surrogates_and_odd_numbers_come_back_as_json(rig: Rig) -> None:
    body = (
        b'{"enrollmentGroupId":"g1","attestation":{"type":"symmetricKey"},"\\ud800":["\\udfff",1e308,-0.0]}'
    )
    made = await rig.call("PUT", "/enrollmentGroups/g1", body)
    assert made.status_code == 200
    assert made.json()["\ud800"] == ["\udfff", 1e308, -0.0]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=8), v, max_size=3)
)
words = st.sampled_from(
    [
        "symmetricKey",
        "x509",
        "tpm",
        "none",
        "custom",
        "static",
        "hashed",
        "enabled",
        WEBHOOK,
        "2021-10-01",
        *HUBS,
        PRIMARY,
    ]
)
NAMES = [
    "attestation",
    "type",
    "symmetricKey",
    "primaryKey",
    "secondaryKey",
    "x509",
    "tpm",
    "endorsementKey",
    "clientCertificates",
    "primary",
    "certificate",
    "info",
    "caReferences",
    "deviceId",
    "optionalDeviceInformation",
    "capabilities",
    "iotEdge",
    "iotHubHostName",
    "initialTwin",
    "tags",
    "properties",
    "desired",
    "etag",
    "provisioningStatus",
    "reprovisionPolicy",
    "updateHubAssignment",
    "migrateDeviceData",
    "allocationPolicy",
    "iotHubs",
    "customAllocationDefinition",
    "webhookUrl",
    "apiVersion",
    "payload",
    "enrollments",
    "mode",
    "query",
]
shaped = st.recursive(
    values | words,
    lambda v: st.dictionaries(st.sampled_from(NAMES), v, max_size=6) | st.lists(v, max_size=3),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def body_of(value: Any) -> bytes:
    return json.dumps(value).encode()  # NaN and Infinity included, as a careless client sends them


def sane(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code != 204:
        json.loads(answer.content, parse_constant=pytest.fail)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=st.dictionaries(st.sampled_from(NAMES), shaped, max_size=5), keep=st.booleans())
def test_no_enrollment_body_is_a_5xx_then_or_later(loop: Any, members: dict[str, Any], keep: bool) -> None:
    async def run() -> None:
        async with Rig() as rig:
            for path, base in (("enrollmentGroups/g1", group()), ("enrollments/dev-1", individual())):
                merged = {**base, **members} if not keep else {**members, **base}
                sane(await rig.call("PUT", f"/{path}", body_of(merged)))
                sane(await rig.call("GET", f"/{path}"))
                sane(await rig.call("POST", f"/{path}/attestationmechanism"))
            sane(
                await rig.call("POST", "/enrollments", body_of({"enrollments": [members], "mode": "create"}))
            )
            sane(await rig.start("dev-1", PRIMARY))
            await rig.clock.advance(500)
            sane(await rig.look_up("dev-1", PRIMARY))
            sane(await rig.call("GET", "/registrations/dev-1"))
            record = rig.dps.registration("dev-1")
            assert record is None or record.error_code != 500000

    loop.run_until_complete(run())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answer=shaped | st.fixed_dictionaries({"iotHubHostName": st.sampled_from(HUBS), "initialTwin": shaped})
)
def test_no_webhook_answer_breaks_the_emulator(loop: Any, answer: Any) -> None:
    async def run() -> None:
        async with Rig() as rig:
            definition = {"webhookUrl": WEBHOOK, "apiVersion": "2021-10-01"}
            await rig.put_group(allocationPolicy="custom", customAllocationDefinition=definition)
            rig.webhook = lambda _: httpx.Response(200, content=body_of(answer))
            state = await rig.state()
            assert state.get("errorCode") in (None, 400207, 400208)
            sane(await rig.call("GET", "/registrations/dev-1"))

    loop.run_until_complete(run())


segments = st.lists(
    st.sampled_from(
        ["enrollments", "enrollmentGroups", "registrations", "query", SCOPE, "register", "operations", "a"]
    )
    | st.text(max_size=6)
    | st.sampled_from(["%00", "%ff", "%2F", "..", ".", "a" * 300]),
    max_size=5,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "BREW"]),
    path=segments,
    query=st.binary(max_size=20) | st.just(b"api-version=2021-10-01"),
    headers=st.dictionaries(
        st.sampled_from(
            [b"if-match", b"x-ms-continuation", b"x-ms-max-item-count", b"host", b"authorization"]
        ),
        st.binary(max_size=30),
    ),
    body=st.binary(max_size=40) | values.map(body_of),
    signed=st.booleans(),
)
def test_no_request_at_all_is_a_5xx(
    loop: Any,
    method: str,
    path: list[str],
    query: bytes,
    headers: dict[bytes, bytes],
    body: bytes,
    signed: bool,
) -> None:
    async def run() -> None:
        async with Rig() as rig:
            sent: list[dict[str, Any]] = []
            named = [*headers.items()]
            if signed:
                named.append((b"authorization", rig.owner().encode()))
            raw = ("/" + "/".join(path)).encode("utf-8", "surrogatepass")
            scope = {"type": "http", "method": method, "path": "/", "raw_path": raw}
            scope |= {"query_string": query, "headers": named}

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": body, "more_body": False}

            async def send(message: Any) -> None:
                sent.append(message)

            await rig.judge(scope, receive, send)
            assert sent[0]["status"] < 500
            if sent[1]["body"]:
                json.loads(sent[1]["body"])

    loop.run_until_complete(run())
