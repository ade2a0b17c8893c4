"""Telling of a run: metrics, an event for each finding, and a message to a chat of what is new.

None of it may end a run: telemetry never raises, and a message that cannot be sent is an event of its own.

The message's shape. Teams takes an Adaptive Card within a message, at the URL of a workflow ("When a Teams
webhook request is received"; the connectors before it were retired in 2026), of at most 28 KB (documented;
less was seen to be refused). Slack takes `text` and `blocks` at an incoming webhook, 3,000 characters a block
(documented), 13,000 in all (seen). Texts from devices stand in text runs, of which Teams reads no Markdown
(documented), and in Slack's plain_text without the signs that Slack would read.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from clients.connections import Connections
from clients.errors import ClientError
from clients.ports import Clock, Telemetry
from clients.webhook import WebhookReply, call_webhook
from lifecycle.audit.compare import compared
from lifecycle.audit.finding import Check, Severity
from lifecycle.audit.formats.kept import Kept
from lifecycle.audit.formats.shape import finding_document, plural, severity_words, unkept_words, visible
from lifecycle.audit.report import RANK, Archive, Judged, Novelty, Report, Run, Tally
from lifecycle.audit.suppressions import Suppressing, Suppressions
from lifecycle.errors import LifecycleError

Shape = Literal["teams", "slack"]

MOST_TOLD = 15
"""Findings of a message; the others are counted."""

LONGEST_LINE = 240
MOST_BYTES = 12 * 1024
"""Of a message, well below what either service takes."""

SECONDS = 10.0
PAUSES = (2.0, 10.0)
"""Seconds before the second and third try. Only what surely was not taken is sent again."""

_SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
_AGAIN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Notifier:
    """Where messages go. The URL is a secret: who has it can post."""

    url: str = field(repr=False)
    connections: Connections = field(repr=False)
    clock: Clock = field(repr=False)

    @property
    def shape(self) -> Shape:
        """Slack's at its hosts, Teams' elsewhere."""
        return "slack" if urlsplit(self.url).hostname in _SLACK_HOSTS else "teams"

    async def send(self, message: bytes) -> WebhookReply:
        """POST it, up to three times; what came back last."""
        reply = await self._once(message)
        for pause in PAUSES:
            if reply.trouble != "unreachable" and reply.status not in _AGAIN:
                break
            await self.clock.sleep(pause)
            reply = await self._once(message)
        return reply

    async def _once(self, message: bytes) -> WebhookReply:
        return await call_webhook(self.connections, self.clock, self.url, message, seconds=SECONDS)


@dataclass(frozen=True, slots=True)
class _New:
    """Findings that are new and open: some of them, and how many there are."""

    kept: Kept
    count: int


async def announce(
    run: Run,
    *,
    archive: Archive,
    checks: Sequence[Check],
    suppressions: Suppressions,
    telemetry: Telemetry,
    clock: Clock,
    notifier: Notifier | None = None,
) -> None:
    """Tell of a run that ended. Raises nothing that a service or table can cause; it may be told twice.

    Args:
        run: which.
        archive: has its findings and the earlier runs.
        checks: the catalogue.
        suppressions: those in force now count.
        telemetry: hears of each finding and the sums.
        clock: tells now.
        notifier: hears of what is new; None: nobody does.
    """
    try:
        suppressing = Suppressing(await suppressions.all(), clock.now())
        comparison = await compared(archive, run, checks, suppressing)
        tally, new, count = Tally(), Kept(MOST_TOLD), 0
        async for each in comparison.findings():
            tally.add(each)
            _tell(telemetry, run, each, comparison.report)
            if each.novelty is Novelty.NEW and each.open:
                new.add(each)
                count += 1
        tally.close(run, comparison.report.checks)
        _measure(telemetry, run, tally)
        if notifier is not None:
            await _notify(notifier, comparison.report, tally, _New(new, count), telemetry)
    except (ClientError, LifecycleError) as error:
        telemetry.event("audit_untold", dps=run.dps, run=run.id, problem=str(error))


def _tell(telemetry: Telemetry, run: Run, judged: Judged, report: Report) -> None:
    document = finding_document(judged, report.checks.get(judged.finding.check))
    name = "audit_finding" if judged.found else "audit_finding_gone"
    telemetry.event(name, dps=run.dps, run=run.id, **document)


def _measure(telemetry: Telemetry, run: Run, tally: Tally) -> None:
    whole = tally.whole
    for severity in RANK:
        telemetry.measure(
            "audit_open_findings", tally.severities[severity], dps=run.dps, severity=severity.value
        )
    sums = {"new": whole.new, "resolved": whole.resolved, "suppressed": whole.suppressed}
    for name, count in sums.items():
        telemetry.measure(f"audit_{name}_findings", count, dps=run.dps)
    unread = max(len(run.not_evaluated), run.not_evaluated_count)
    telemetry.measure("audit_not_evaluated", unread, dps=run.dps)
    telemetry.event(
        "audit_told",
        dps=run.dps,
        run=run.id,
        open=whole.open,
        unkept=whole.unkept,
        not_evaluated=unread,
        severities={severity.value: tally.severities[severity] for severity in RANK},
        **sums,
    )


async def _notify(notifier: Notifier, report: Report, tally: Tally, new: _New, telemetry: Telemetry) -> None:
    told = sorted(
        (each for check in report.checks for each in new.kept.found(check)),
        key=lambda each: (RANK[each.finding.severity], each.finding.check, each.finding.resource),
    )
    if not told:
        return
    body = message(report, tally, told, notifier.shape, count=new.count)
    try:
        reply = await notifier.send(body)
    except Exception as error:  # noqa: BLE001 - an address that httpx refuses must not end the run
        telemetry.event(
            "audit_not_notified", dps=report.run.dps, run=report.run.id, trouble=type(error).__name__
        )
        return
    taken = reply.status is not None and 200 <= reply.status < 300
    telemetry.event(
        "audit_notified" if taken else "audit_not_notified",
        dps=report.run.dps,
        run=report.run.id,
        status=reply.status,
        trouble=reply.trouble,
        bytes=len(body),
    )


def message(report: Report, tally: Tally, new: Sequence[Judged], shape: Shape, *, count: int) -> bytes:
    """The message, at most MOST_BYTES.

    Args:
        report: of the run.
        tally: all of its findings, counted.
        new: new and open findings, worst first: some of them.
        shape: whom it is for.
        count: how many new and open ones there are.
    """
    write: Callable[[str, str, list[tuple[Severity, str]], int], Any] = _teams if shape == "teams" else _slack
    head = f"Audit of {report.run.dps or 'DPS'}: {plural(count, 'new finding')}"
    state = f"{plural(tally.whole.open, 'open finding')} in all: {severity_words(tally)}"
    if unkept := unkept_words(tally.whole.unkept):
        state += f"; {unkept}"
    lines = [(each.finding.severity, _line(each, report)) for each in new[:MOST_TOLD]]
    while True:
        left = max(0, count - len(lines))
        body = json.dumps(write(_clean(head), state, lines, left)).encode("ascii")
        if len(body) <= MOST_BYTES or not lines:
            return body
        lines.pop()


def _line(judged: Judged, report: Report) -> str:
    finding = judged.finding
    check = report.checks.get(finding.check)
    return _clean(f"{check.title if check else finding.check}: {finding.resource} ({finding.check})")


def _clean(text: str) -> str:
    """Nothing in it is a mention, a link in angle brackets, an entity or a date's function."""
    clean = visible(text).replace("&", "\\x26").replace("<", "\\x3c").replace(">", "\\x3e")
    clean = clean.replace("{{", "{ {")
    return clean if len(clean) <= LONGEST_LINE else clean[: LONGEST_LINE - 1] + "…"


def _teams(head: str, state: str, lines: list[tuple[Severity, str]], left: int) -> Any:
    body: list[Any] = [
        _run_of(head, size="Large", weight="Bolder"),
        _run_of(state, isSubtle=True),
        *(
            {
                "type": "RichTextBlock",
                "inlines": [
                    {
                        "type": "TextRun",
                        "text": f"{severity.value}  ",
                        "weight": "Bolder",
                        "color": _COLOURS[severity],
                    },
                    {"type": "TextRun", "text": line},
                ],
            }
            for severity, line in lines
        ),
    ]
    if left:
        body.append(_run_of(f"and {left:,} more", isSubtle=True))
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


_COLOURS = {
    Severity.CRITICAL: "Attention",
    Severity.HIGH: "Attention",
    Severity.MEDIUM: "Warning",
    Severity.LOW: "Accent",
    Severity.INFO: "Default",
}


def _run_of(text: str, **style: Any) -> Any:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}


def _slack(head: str, state: str, lines: list[tuple[Severity, str]], left: int) -> Any:
    texts = [head, state, *(f"{severity.value}: {line}" for severity, line in lines)]
    if left:
        texts.append(f"and {left:,} more")
    blocks = [
        {"type": "section", "text": {"type": "plain_text", "text": text, "emoji": False}} for text in texts
    ]
    return {"text": head, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False, "blocks": blocks}


Announce = Callable[[Run], Awaitable[None]]
"""`announce` with everything but the run."""
