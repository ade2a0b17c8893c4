"""Errors come in the words of the service they pretend to come from."""

import json
from typing import Any

import pytest

from local.faults import shapes
from local.world import ManualClock, World


def at(path: str, value: Any) -> Any:
    for part in path.split("/"):
        value = value[part]
    return value


@pytest.mark.parametrize(
    ("shape", "where", "codes"),
    [
        (shapes.dps, "errorCode", {429: 429001, 500: 500000, 503: 503000}),
        (
            shapes.vault,
            "error/code",
            {429: "Throttled", 500: "InternalServerError", 503: "ServiceUnavailable"},
        ),
        (shapes.arm, "error/code", {429: "TooManyRequests", 503: "ServiceUnavailable"}),
        (shapes.tables, "odata.error/code", {429: "ServerBusy", 500: "InternalError", 503: "ServerBusy"}),
    ],
)
def test_error_has_the_services_own_shape(
    shape: shapes.Shape, where: str, codes: dict[int, int | str]
) -> None:
    world = World(ManualClock(), seed=1)
    for status, code in codes.items():
        answer = shape(status, 4, world)
        assert answer.status == status
        assert at(where, json.loads(answer.body)) == code
        assert answer.headers["Retry-After"] == "4"
        assert "Retry-After" not in shape(status, None, world).headers


def test_hub_error_names_itself_in_its_header() -> None:
    answer = shapes.hub(429, None, World(ManualClock(), seed=1))
    assert answer.headers["iothub-errorcode"] == "ThrottlingBacklogTimeout"
    assert json.loads(answer.body)["Message"].startswith("ErrorCode:ThrottlingBacklogTimeout;")


def test_front_end_of_an_app_answers_without_a_body() -> None:
    assert shapes.plain(503, None, World()) == shapes.Answer(503)
