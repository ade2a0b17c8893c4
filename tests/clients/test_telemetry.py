"""Telemetry: one event is one line of JSON, measures are folded, ids and secrets are told as they may be."""

import hashlib
import hmac
import json
import logging
import re
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.outbox import ExportedTelemetry, Item, Line, Measure, Outbox, Span
from clients.ports import Telemetry
from clients.telemetry import EVENTS, FLUSH_SECONDS, MOST_VALUES, OTHER, Bounded, LogTelemetry
from clients.telemetry_ids import HASH_DIGITS, WITHHELD, IdMode, Ids
from clients.wording import masked

CLEAR = Ids(IdMode.CLEAR)
KEY = "a key of the operator"


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


@pytest.fixture
def outbox(logger: logging.Logger) -> Iterator[Outbox]:
    outbox = Outbox(logger.name)
    logging.getLogger().addHandler(outbox)
    yield outbox
    logging.getLogger().removeHandler(outbox)


Make = Callable[[Ids], Telemetry]


@pytest.fixture(params=["log", "exported"])
def make(request: pytest.FixtureRequest, logger: logging.Logger, outbox: Outbox) -> Make:
    """Both implementations of the port: what the log says is the same."""
    if request.param == "log":
        return lambda ids: LogTelemetry(Still(), logger, ids)
    return lambda ids: ExportedTelemetry(Still(), logger, ids, outbox)


def test_an_event_is_one_line_of_json_whatever_a_device_wrote(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    hostile = "a\nb\x1b[31m\u202e\ud800"
    make(CLEAR).event("allocation", registration_id=hostile, status=200)
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
    make: Make, caplog: pytest.LogCaptureFixture, event: str, level: int
) -> None:
    assert event in EVENTS
    make(CLEAR).event(event)
    assert [record.levelno for record in caplog.records] == [level]


@pytest.mark.parametrize("kind", ["log", "exported"])
def test_measures_are_folded_and_written_with_the_first_one_after_a_minute(
    logger: logging.Logger, outbox: Outbox, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    clock = Still()
    telemetry: Telemetry = LogTelemetry(clock, logger, CLEAR)
    if kind == "exported":
        telemetry = ExportedTelemetry(clock, logger, CLEAR, outbox)
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


def test_nothing_secret_is_in_a_line(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    make(CLEAR).event(
        "job_ended", problem="https://a.example/api/allocate?code=CANARY&x=1", result={"sas": "x?sig=CANARY"}
    )
    assert "CANARY" not in caplog.text
    assert "a.example" in caplog.text


# --- ids

TOLD: dict[str, Any] = {
    "dps": "factory",
    "registration_id": "Press-7",
    "enrollment": "individual:press-7",
    "hub": "hub-a.azure-devices.net",
    "rule": "presses",
    "why": "rule 'x' of press-7",
    "trail": ("rule: press-7 is one", "hub: hub-a"),
    "problem": "dps: GET /registrations/press-7: HTTP 500",
    "status": 200,
}


def test_an_id_in_clear_is_an_operators_choice(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    make(CLEAR).event("allocation", **TOLD)
    assert json.loads(caplog.messages[0])["registration_id"] == "Press-7"


@pytest.mark.parametrize("ids", [Ids(IdMode.NONE), Ids(IdMode.HASHED, KEY)], ids=["none", "hashed"])
def test_no_field_of_an_event_or_span_has_the_id_in_clear(
    make: Make, outbox: Outbox, caplog: pytest.LogCaptureFixture, ids: Ids
) -> None:
    telemetry = make(ids)
    telemetry.event("allocation", **TOLD)
    telemetry.event(
        "audit_finding",
        resource="registration:press-7",
        evidence={"a": "press-7", "days": 3},
        fix="dps registrations delete press-7",
    )
    telemetry.event("audit_finding", resource="device:hub-a/press-7", fix="delete press-7 of hub-a")
    telemetry.event("job_ended", problem="registration id 'press-7' is none", result={"of": ["'press-7'"]})
    telemetry.span("allocation", 0.1, **TOLD)
    assert "press-7" not in (caplog.text + str(outbox.take())).lower()
    allocation, finding, *_ = (json.loads(line) for line in caplog.messages)
    assert (allocation["rule"], allocation["hub"], allocation["status"]) == ("presses", TOLD["hub"], 200)
    assert finding["evidence"] == {"days": 3}


def test_a_hashed_id_can_be_found_again_by_who_has_the_key_and_whatever_its_case() -> None:
    by_hand = hmac.new(KEY.encode(), b"press-7", hashlib.sha256).hexdigest()[:HASH_DIGITS]
    told = Ids(IdMode.HASHED, KEY).told(TOLD)
    assert told["registration_id"] == by_hand
    assert told["enrollment"] == f"individual:{by_hand}"
    assert Ids(IdMode.HASHED, "another key").one("press-7") != by_hand


def test_what_is_no_device_is_told_in_every_mode() -> None:
    for ids in (Ids(IdMode.NONE), Ids(IdMode.HASHED, KEY)):
        assert ids.told({"enrollment": "group:line-a", "resource": "hub:h", "group": "g"}) == {
            "enrollment": "group:line-a",
            "resource": "hub:h",
            "group": "g",
        }


def test_hashes_without_a_key_are_refused_for_they_hide_nothing() -> None:
    with pytest.raises(ValueError, match="key"):
        Ids(IdMode.HASHED)


SIGNS = st.sampled_from("abcDEF019-._:")


@given(st.text(SIGNS, min_size=3, max_size=20), st.sampled_from([IdMode.NONE, IdMode.HASHED]))
def test_whatever_an_id_looks_like_it_is_gone_from_the_sentences_of_its_event(
    identifier: str, mode: IdMode
) -> None:
    told = Ids(mode, KEY).told({"registration_id": identifier, "problem": f"the device {identifier} moved"})
    assert re.fullmatch(rf"the device ({re.escape(WITHHELD)}|[0-9a-f]{{16}}) moved", str(told["problem"]))


@pytest.mark.parametrize(
    "text",
    [
        "this roll's enrollment 'press-7' moved",
        "the devices' record 'press-7' of DPS's is gone",
        "enrollment 'press-7' and one's 'press-7'",
        """the app's "press-7's" is none, and 'press-7' too""",
        "refused, cut off within 'press-7",
        "cut off 'press-7…; the group's 'press-7' too",
    ],
)
def test_an_apostrophe_or_a_cut_opens_no_gap_for_an_id_in_quotes(text: str) -> None:
    told = Ids(IdMode.NONE).told({"problem": text})
    assert "press-7" not in str(told)


# --- keys in texts


@pytest.mark.parametrize(
    "text",
    [
        "POST https://h/api/allocate?code={}",
        "https://h/?a=b&code={}&c=d",
        "https://h/x?sv=1&sig={}",
        "https://h/?code=a/{}",
        "Endpoint=sb://x;SharedAccessKey={};y=z",
        "DefaultEndpointsProtocol=https;AccountKey={}",
        "Authorization: Bearer {}",
        "AUTHORIZATION: BEARER {}",
        "SharedAccessSignature {}",
        "https://user:{}@host/",
        '{{"url":"https://h/?code={}"}}',
    ],
)
def test_keys_are_masked_in_whatever_form_they_come(text: str) -> None:
    canary = "CANARY-key_of+the.webhook=="  # a slash cannot stand in the user's part of a URL
    assert "CANARY" not in masked(text.format(canary))


def test_a_line_without_a_key_stays_as_it_is() -> None:
    line = '{"event":"rotation_expired","secret":"line-a","status code":500,"password":"policy"}'
    assert masked(line) == line


# --- bounds


@given(st.lists(st.text(max_size=4), max_size=300))
def test_a_dimension_never_takes_more_values_than_it_may(hubs: list[str]) -> None:
    bounded = Bounded()
    told = {bounded.few("allocations", {"hub": hub})["hub"] for hub in hubs}
    assert len(told - {OTHER}) <= MOST_VALUES


def test_values_that_were_there_first_keep_their_names() -> None:
    bounded = Bounded(most=2)
    told = [bounded.few("m", {"hub": hub})["hub"] for hub in ("a", "b", "c", "a", "d", "b")]
    assert told == ["a", "b", OTHER, "a", OTHER, "b"]


def test_a_full_outbox_loses_the_oldest_and_says_how_many() -> None:
    outbox = Outbox("own", most=3)
    for number in range(5):
        outbox.put(Measure("m", number, {}))
    assert outbox.take() == [*(Measure("m", n, {}) for n in (2, 3, 4)), Measure("telemetry_lost", 2, {})]
    assert outbox.take() == []


def test_an_outbox_that_nobody_empties_holds_nothing() -> None:
    outbox = Outbox("own")
    outbox.put(Measure("m", 1, {}))
    outbox.give_up()
    outbox.put(Measure("m", 2, {}))
    assert outbox.take() == []


def test_an_outbox_that_is_emptied_while_something_is_noted_raises_nothing() -> None:
    class Emptied(deque[Item]):
        """The exporter's thread takes all there is right after an item was added."""

        def __len__(self) -> int:
            size = super().__len__()
            self.clear()
            return size

    outbox = Outbox("own", most=0)
    outbox._items = Emptied()
    outbox.put(Measure("m", 1, {}))
    assert list(outbox._items) == []


def test_a_line_whose_arguments_do_not_fit_costs_its_writer_nothing(outbox: Outbox) -> None:
    record = logging.LogRecord("some.library", logging.WARNING, "", 0, "%d devices", ("CANARY",), None)
    outbox.handle(record)
    [line] = outbox.take()
    assert isinstance(line, Line)
    assert line.text == "some.library: a line that cannot be put together"


def test_of_other_loggers_only_warnings_are_exported_in_one_line_without_keys(
    logger: logging.Logger, outbox: Outbox
) -> None:
    outside = logging.getLogger("some.library")
    outside.setLevel(logging.INFO)
    outside.info("GET https://h/?code=CANARY")
    try:
        int("CANARY")
    except ValueError:
        outside.warning("went wrong at https://h/?code=%s\nagain", "CANARY", exc_info=True)
    for exporting in ("azure.monitor.opentelemetry.exporter", "urllib3.connectionpool", "azure.identity"):
        logging.getLogger(exporting).error("not sent")
    logger.info("own")
    first, own = outbox.take()
    assert isinstance(first, Line)
    assert first.text == "some.library: went wrong at https://h/?code=**** again (ValueError)"
    assert isinstance(own, Line)
    assert own.text == "own"


def test_lines_and_spans_belong_to_the_trace_of_the_invocation(
    logger: logging.Logger, outbox: Outbox
) -> None:
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    telemetry = ExportedTelemetry(Still(), logger, CLEAR, outbox)
    parent = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    token = context.attach(TraceContextTextMapPropagator().extract(parent))
    try:
        telemetry.event("allocation")
        telemetry.span("allocation", 0.1)
    finally:
        context.detach(token)
    telemetry.span("job_slice", 0.1)
    line, span, outside = outbox.take()
    assert isinstance(line, Line)
    assert isinstance(span, Span)
    assert isinstance(outside, Span)
    for each in (line, span):
        assert (f"{each.parent.trace_id:x}", f"{each.parent.span_id:x}") == ("ab" * 16, "cd" * 8)
    assert not outside.parent.is_valid
