"""The judge itself: it lets good answers pass and finds what is not as published."""

import json
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.openapi import published
from tests.openapi.judge import OPERATIONS, Judge

ERROR = {
    "errorCode": 404201,
    "trackingId": "x",
    "message": "x",
    "timestampUtc": "2026-01-01T00:00:00.0000000Z",
}
CODE = {"x-ms-error-code": "404201"}
ENROLLMENT = {"registrationId": "a", "attestation": {"type": "symmetricKey"}, "laterMember": 1}
PAGE = {"x-ms-max-item-count": "10", "x-ms-item-type": "enrollment"}


async def judged(
    method: str, path: str, status: int, body: Any, headers: dict[str, str] | None = None
) -> list[str]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"content-length": str(len(content)), "content-type": "application/json", **(headers or {})}

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        raw = [(name.encode(), value.encode()) for name, value in named.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})

    judge = Judge(app, tally=Counter())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(judge), base_url="https://dps") as http:
        await http.request(method, path)
    return judge.violations


GOOD: list[tuple[str, str, int, Any, dict[str, str] | None]] = [
    ("GET", "/enrollments/a", 200, ENROLLMENT, None),
    ("GET", "/Enrollments/a/", 404, ERROR, CODE),
    ("DELETE", "/enrollments/a", 204, b"", None),
    ("POST", "/enrollments/query", 200, [ENROLLMENT], PAGE),
    ("POST", "/enrollments", 200, {"isSuccessful": True, "errors": []}, None),
    ("GET", "/nowhere", 404, ERROR, CODE),
    ("GET", "/scope/registrations/a/operations/o", 202, {"operationId": "o"}, {"retry-after": "3"}),
]


@pytest.mark.parametrize("answer", GOOD, ids=lambda answer: f"{answer[0]} {answer[1]} {answer[2]}")
async def test_what_is_as_published_passes(answer: Any) -> None:
    assert await judged(*answer) == []


BAD: list[tuple[str, tuple[Any, ...]]] = [
    ("a status that is not listed", ("PUT", "/enrollments/a", 201, ENROLLMENT)),
    ("an error of the server's", ("GET", "/enrollments/a", 500, {**ERROR, "errorCode": 500000})),
    ("a required member missing", ("GET", "/enrollments/a", 200, {"registrationId": "a"})),
    ("a null", ("GET", "/enrollments/a", 200, {**ENROLLMENT, "deviceId": None})),
    (
        "a text outside an enumeration",
        ("GET", "/enrollments/a", 200, {**ENROLLMENT, "provisioningStatus": "on"}),
    ),
    ("a time that is none", ("GET", "/enrollments/a", 200, {**ENROLLMENT, "createdDateTimeUtc": "now"})),
    ("a number beyond 32 bits", ("GET", "/registrations/a", 200, {"errorCode": 2**31})),
    ("a member nobody published", ("GET", "/registrations/a", 200, {"enrollmentGroupId": "g"})),
    ("a page that is no list", ("POST", "/enrollments/query", 200, {}, PAGE)),
    ("a header of a wrong type", ("POST", "/enrollments/query", 200, [], {"x-ms-max-item-count": "many"})),
    ("an error without its header", ("GET", "/enrollments/a", 404, ERROR)),
    ("an error with another code", ("GET", "/enrollments/a", 404, ERROR, {"x-ms-error-code": "404000"})),
    ("a code of another status", ("GET", "/enrollments/a", 409, ERROR, CODE)),
    ("a body with a 204", ("DELETE", "/enrollments/a", 204, b"{}")),
    ("no JSON", ("GET", "/enrollments/a", 200, b"<html>")),
    ("a number that JSON does not know", ("GET", "/enrollments/a", 200, b'{"a":NaN}')),
    ("another content type", ("GET", "/enrollments/a", 200, ENROLLMENT, {"content-type": "text/plain"})),
    ("another length", ("GET", "/enrollments/a", 200, ENROLLMENT, {"content-length": "3"})),
    ("a success at no published path", ("GET", "/nowhere", 200, {})),
]


@pytest.mark.parametrize("answer", [answer for _, answer in BAD], ids=[name for name, _ in BAD])
async def test_what_is_not_as_published_is_found(answer: Any) -> None:
    assert await judged(*answer)


def test_both_descriptions_are_whole() -> None:
    assert len(OPERATIONS) == 18
    assert {published.raw(name)["info"]["version"] for name in published.NAMES} == {published.VERSION}


def test_every_quirk_names_a_schema_and_says_why() -> None:
    schemas = {schema for name in published.NAMES for schema in published.raw(name)["definitions"]}
    assert {quirk.schema for quirk in published.QUIRKS} <= schemas
    assert set(published.CLOSED) <= schemas
    assert all(len(quirk.reason) > 40 for quirk in published.QUIRKS)
