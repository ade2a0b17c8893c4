"""Telemetry: one event is one line of JSON, and measures are folded."""

import json
import logging
from datetime import UTC, datetime

import pytest

from clients.telemetry import EVENTS, FLUSH_SECONDS, LogTelemetry


class Still:
    """A clock that moves when it is told to."""

    seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def logger(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    caplog.set_level(logging.INFO, "telemetry-test")
    return logging.getLogger("telemetry-test")


def test_an_event_is_one_line_of_json_whatever_a_device_wrote(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    hostile = "a\nb\x1b[31m\u202e\ud800"
    LogTelemetry(Still(), logger).event("allocation", registration_id=hostile, status=200)
    [record] = caplog.records
    line = record.getMessage()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {"event": "allocation", "registration_id": hostile, "status": 200}


@pytest.mark.parametrize(
    ("event", "level"),
    [
        ("allocation", logging.INFO),
        ("allocation_refused", logging.WARNING),
        ("allocation_broken", logging.ERROR),
        ("policy_unavailable", logging.ERROR),
        ("measures", logging.INFO),
    ],
)
def test_each_event_has_its_level(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, event: str, level: int
) -> None:
    assert event in EVENTS
    LogTelemetry(Still(), logger).event(event)
    assert [record.levelno for record in caplog.records] == [level]


def test_measures_are_folded_and_written_with_the_first_one_after_a_minute(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Still()
    telemetry = LogTelemetry(clock, logger)
    for value in (3.0, 1.0, 2.0):
        telemetry.measure("allocation_ms", value, outcome="placed")
    assert caplog.records == []
    clock.seconds = FLUSH_SECONDS
    telemetry.measure("allocation_ms", 9.0, outcome="wait")
    [record] = caplog.records
    assert json.loads(record.getMessage())["measures"] == [
        {"metric": "allocation_ms", "outcome": "placed", "count": 3, "sum": 6.0, "least": 1.0, "most": 3.0},
        {"metric": "allocation_ms", "outcome": "wait", "count": 1, "sum": 9.0, "least": 9.0, "most": 9.0},
    ]
    clock.seconds *= 2
    telemetry.measure("allocation_ms", 5.0, outcome="wait")
    assert [each["count"] for each in json.loads(caplog.records[1].getMessage())["measures"]] == [1]
