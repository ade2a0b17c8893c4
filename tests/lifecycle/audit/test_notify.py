"""Telling of a run: events, metrics and a message of what is new, none of which can end the run."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.connections import Connections
from clients.telemetry import EVENTS
from lifecycle.audit.checks import CHECKS
from lifecycle.audit.finding import Finding, Severity
from lifecycle.audit.notify import MOST_BYTES, MOST_TOLD, Notifier, Shape, announce, message
from lifecycle.audit.report import Judged, Novelty, Report, Run, Tally, catalogue
from lifecycle.audit.suppressions import Suppressions
from tests.clocks import HandClock
from tests.failing_table import FailingTable
from tests.heard import Heard
from tests.lifecycle.audit.sample import NOW, MemoryArchive, busy_archive, finding, run_at, suppressions
from tests.memory_table import MemoryTable

TEAMS = "https://default.westeurope.environment.api.powerplatform.com/workflows/1/invoke?sig=not-to-be-seen"
SLACK = "https://hooks.slack.com/services/T0/B0/not-to-be-seen"


class Chat:
    """A chat's webhook that answers as it is told."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.content)
        answer = self.answers.pop(0) if self.answers else 202
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)

    @property
    def json(self) -> Any:
        [body] = self.bodies
        return json.loads(body)


def at(url: str, chat: Chat, clock: HandClock) -> Notifier:
    return Notifier(url, Connections(transport=httpx.MockTransport(chat.answer)), clock)


async def tell(
    archive: MemoryArchive, url: str = TEAMS, chat: Chat | None = None, *, table: Any = None
) -> tuple[Heard, HandClock]:
    clock, heard = HandClock(), Heard()
    clock.date = NOW
    kept = Suppressions(table or MemoryTable(), "plant-north", clock)
    if table is None:
        for each in suppressions():
            await kept.put(each)
    run = await archive.run()
    assert run is not None
    await announce(
        run,
        archive=archive,
        checks=CHECKS,
        suppressions=kept,
        telemetry=heard,
        clock=clock,
        notifier=None if chat is None else at(url, chat, clock),
    )
    return heard, clock


async def test_each_finding_is_an_event_and_the_sums_are_metrics() -> None:
    heard, _ = await tell(busy_archive())
    assert len(heard.of("audit_finding")) == 150
    assert len(heard.of("audit_finding_gone")) == 2
    [told] = heard.of("audit_told")
    assert (told["open"], told["new"], told["resolved"], told["suppressed"]) == (147, 5, 2, 3)
    assert heard.counted("audit_open_findings") == 147
    assert {name for name, _ in heard.events} <= EVENTS.keys()
    json.dumps(heard.events)


async def test_only_what_is_new_and_open_is_told_to_the_chat() -> None:
    chat = Chat()
    heard, _ = await tell(busy_archive(), TEAMS, chat)
    text = json.dumps(chat.json)
    assert "5 new findings" in text
    assert "ca:root-0" in text
    assert "press-0000" not in text
    assert "legacy" not in text
    assert heard.of("audit_notified")[0]["status"] == 202


async def test_with_nothing_new_nothing_is_sent() -> None:
    archive = MemoryArchive()
    archive.add(run_at(-1), [finding("DPS-CRED-001", "ca:a")])
    archive.add(run_at(), [finding("DPS-CRED-001", "ca:a")])
    chat = Chat()
    heard, _ = await tell(archive, TEAMS, chat)
    assert chat.bodies == []
    assert heard.of("audit_notified") == heard.of("audit_not_notified") == []


async def test_teams_gets_a_card_whose_texts_are_runs_without_markdown() -> None:
    chat = Chat()
    await tell(busy_archive(), TEAMS, chat)
    told = chat.json
    assert told["type"] == "message"
    [attachment] = told["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert "entities" not in card["msteams"]


async def test_slack_gets_plain_text_blocks() -> None:
    chat = Chat(200)
    await tell(busy_archive(), SLACK, chat)
    told = chat.json
    assert told["text"].startswith("Audit of plant-north: 5 new findings")
    assert {block["text"]["type"] for block in told["blocks"]} == {"plain_text"}
    assert "attachments" not in told


@pytest.mark.parametrize(
    ("answers", "tries"),
    [
        ([429, 503, 202], 3),
        ([httpx.ConnectError("nobody"), 202], 2),
        ([400], 1),
        ([500], 1),
        ([httpx.ReadError("gone")], 1),
        ([503, 503, 503], 3),
    ],
)
async def test_what_was_not_taken_is_sent_again_and_what_may_have_been_is_not(
    answers: list[int | Exception], tries: int
) -> None:
    chat = Chat(*answers)
    heard, _ = await tell(busy_archive(), TEAMS, chat)
    assert len(chat.bodies) == tries
    assert len(heard.of("audit_notified")) == (answers[-1] == 202)
    assert len(heard.of("audit_not_notified")) == (answers[-1] != 202)


async def test_a_chat_that_cannot_be_reached_ends_nothing_and_its_address_is_nowhere() -> None:
    for trouble in (httpx.ConnectError("x"), httpx.InvalidURL(TEAMS), RuntimeError(TEAMS)):
        heard, _ = await tell(busy_archive(), TEAMS, Chat(trouble, trouble, trouble))
        assert len(heard.of("audit_not_notified")) == 1
        assert "not-to-be-seen" not in repr(heard.events)
    assert "not-to-be-seen" not in repr(at(TEAMS, Chat(), HandClock()))


async def test_a_table_that_is_down_ends_nothing_and_is_told() -> None:
    table = FailingTable(MemoryTable())
    table.down = True
    heard, _ = await tell(busy_archive(), table=table)
    [told] = heard.of("audit_untold")
    assert told["run"] == "audit-20260314"


def judged(resource: str, number: int = 0) -> Judged:
    severity = list(Severity)[number % 5]
    return Judged(Finding("DPS-CRED-001", resource, severity), Novelty.NEW)


def told(run: Run, new: list[Judged], shape: Shape) -> Any:
    tally = Tally()
    for each in new:
        tally.add(each)
    body = message(Report(run, catalogue(CHECKS, run)), tally, new, shape, count=len(new))
    assert len(body) <= MOST_BYTES
    return json.loads(body)


@pytest.mark.parametrize("shape", ["teams", "slack"])
def test_a_message_has_a_bounded_size_and_says_how_many_more_there_are(shape: Shape) -> None:
    text = json.dumps(told(run_at(), [judged("ü" * 900, number) for number in range(5000)], shape))
    assert "5,000 new findings" in text
    more = int(text.split("and ")[-1].split(" more")[0].replace(",", ""))
    assert 5000 - MOST_TOLD <= more < 5000


@settings(max_examples=60, deadline=None)
@given(
    text=st.lists(
        st.sampled_from(
            ["<!channel>", "<@U1>", "<http://e|x>", "&amp;", "{{DATE(1)}}", "[a](b)", "\u202e", "\n"]
        )
        | st.text(max_size=20),
        max_size=5,
    ).map("".join)
)
def test_no_text_is_a_mention_a_link_or_a_function_there(text: str) -> None:
    run = run_at()
    for shape in ("teams", "slack"):
        plain, hostile = (told(run, [judged(each)], shape) for each in ("a", text))
        assert shape_of(plain) == shape_of(hostile)
        for sign in ("<", ">", "&", "{{", "\n", "\u202e"):
            assert sign not in "".join(texts_of(hostile))


def shape_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape_of(each) for name, each in value.items()}
    return [shape_of(each) for each in value] if isinstance(value, list) else type(value)


def texts_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts_of(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts_of(each)]
    return [value] if isinstance(value, str) else []
