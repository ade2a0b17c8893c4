"""The stand-in of Application Insights' ingestion."""

import gzip
import json

import pytest

from local.asgi import Request
from local.insights import Insights

LINE = {
    "tags": {"ai.operation.id": "ab" * 16, "ai.operation.parentId": "0" * 16},
    "data": {"baseType": "MessageData", "baseData": {"message": '{"event":"pruned","read":1}'}},
}


def post(body: bytes, path: str = "v2.1/track", encoding: str = "") -> Request:
    headers = {"content-encoding": encoding} if encoding else {}
    return Request("POST", tuple(path.split("/")), headers=headers, body=body)


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_batch_is_kept_and_acknowledged(encoding: str) -> None:
    insights = Insights()
    body = json.dumps([LINE, LINE]).encode()
    answer = insights.handle(post(gzip.compress(body) if encoding else body, encoding=encoding))
    assert (answer.status, answer.value) == (200, {"itemsReceived": 2, "itemsAccepted": 2, "errors": []})
    assert insights.raw == [body]
    assert list(insights.events("pruned")) == [{"event": "pruned", "read": 1}] * 2
    [first, _] = insights.rows("AppTraces")
    assert (first.operation, first.parent) == ("ab" * 16, "")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post(b"{"), 400),
        (post(b"{}"), 400),
        (post(b"[]", encoding="gzip"), 400),
        (post(b"[]", path="v2/track"), 404),
        (Request("GET", ("v2.1", "track")), 404),
    ],
)
def test_what_is_no_batch_is_refused_and_nothing_kept(request_: Request, status: int) -> None:
    insights = Insights()
    assert insights.handle(request_).status == status
    assert insights.raw == []
    assert insights.counted() == {}
