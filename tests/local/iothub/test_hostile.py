"""No input makes a hub answer 5xx, hang or answer what is no JSON."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local.iothub.rig import Rig

BODIES = {
    "ten megabytes": b"x" * 10_000_000,
    "deep lists": b"[" * 90_000,
    "deep objects": b'{"tags":' * 900 + b"1" + b"}" * 900,
    "NaN": b'{"tags":{"a":NaN}}',
    "infinite": b'{"tags":{"a":1e999}}',
    "huge number": b'{"tags":{"a":' + b"9" * 5000 + b"}}",
    "bad UTF-8": b'{"a":"\xff"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "cut off": b'{"a":',
    "a list in a list": b"[[]]",
    "a number": b"7",
    "NUL bytes": b"\0\0",
    "nothing": b"",
    "null": b"null",
}
TARGETS = [
    ("PUT", "/devices/d"),
    ("POST", "/devices"),
    ("POST", "/devices/query"),
    ("PATCH", "/twins/d"),
    ("PUT", "/twins/d"),
]
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "deviceId",
        "id",
        "status",
        "statusReason",
        "authentication",
        "symmetricKey",
        "primaryKey",
        "type",
        "x509Thumbprint",
        "capabilities",
        "iotEdge",
        "tags",
        "properties",
        "desired",
        "importMode",
        "eTag",
        "query",
        "$version",
    ]
)
MEMBERS = st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=3), max_size=5)
WORDS = st.sampled_from(
    [
        r"SELECT",
        r"*",
        r"COUNT",
        r"(",
        r")",
        r"AS",
        r"n",
        r"FROM",
        r"devices",
        r"WHERE",
        r"AND",
        r"deviceId",
        r"IN",
        r"[",
        r"]",
        r",",
        r"=",
        r"status",
        r"connectionState",
        r"tags.a",
        r"'d'",
        r'"e"',
        r"''",
        r"'\u0064'",
        r"'\x'",
    ]
)


def told(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code != 204:
        json.loads(answer.content)


def try_it(method: str, path: str, body: Any, **headers: str) -> None:
    async def run() -> None:
        async with Rig() as rig:
            rig.make("d", "e")
            told(await rig.call(method, path, body, **headers))
            told(await rig.query("SELECT * FROM devices"))
            told(await rig.call("GET", "/devices"))

    asyncio.run(run())


FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_hostile_bodies_are_4xx(rig: Rig, body: bytes) -> None:
    rig.make("d")
    for method, path in TARGETS:
        answer = await rig.call(method, path, body, if_match="*")
        assert 400 <= answer.status_code < 500, (method, path)
        assert answer.json()["Message"]


@FAST
@given(target=st.sampled_from(TARGETS), body=MEMBERS | st.lists(MEMBERS, max_size=3) | JSON)
def test_any_json_is_answered(target: tuple[str, str], body: Any) -> None:
    try_it(*target, body, if_match="*")


@FAST
@given(st.lists(WORDS, max_size=14).map(" ".join) | st.text(max_size=60))
def test_any_query_is_answered(text: str) -> None:
    try_it("POST", "/devices/query", {"query": text})


@FAST
@given(
    name=st.text(min_size=1, max_size=20).map(lambda text: quote(text.encode("utf-8", "replace"), safe="")),
    method=st.sampled_from(["GET", "PUT", "DELETE", "PATCH", "POST"]),
    root=st.sampled_from(["devices", "twins", "statistics", ""]),
)
def test_any_path_is_answered(name: str, method: str, root: str) -> None:
    try_it(method, f"/{root}/{name}", {}, if_match="*")


@FAST
@given(
    name=st.sampled_from(["if_match", "x_ms_continuation", "x_ms_max_item_count", "authorization"]),
    value=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    target=st.sampled_from([("GET", "/devices"), ("DELETE", "/devices/d"), ("POST", "/devices/query")]),
)
def test_any_header_is_answered(name: str, value: str, target: tuple[str, str]) -> None:
    try_it(*target, {"query": "SELECT * FROM devices"}, **{name: value})


async def test_odd_characters_come_back_as_json(rig: Rig) -> None:
    rig.make("d")
    body = b'{"tags":{"site":null,"\\ud800":["\\udfff",1e308,-0.0]}}'
    answer = await rig.call("PATCH", "/twins/d", body)
    assert answer.json()["tags"] == {"\ud800": ["\udfff", 1e308, -0.0]}
    assert (await rig.query("SELECT * FROM devices")).json()[0]["tags"] == answer.json()["tags"]


async def test_a_client_that_leaves_while_sending_changes_nothing(rig: Rig) -> None:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{}", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", rig.token().encode())]
    scope = {"type": "http", "method": "PUT", "path": "/devices/d", "headers": headers}
    await rig.service.asgi({**scope, "query_string": b"api-version=2021-04-12"}, receive, send)
    assert (sent, len(rig.hub.devices)) == ([], 0)


async def test_other_connections_are_ended_politely(rig: Rig) -> None:
    sent: list[str] = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, Any]:
        return dict(next(messages))

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await rig.service.asgi({"type": "lifespan"}, receive, send)
    await rig.service.asgi({"type": "websocket"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]
