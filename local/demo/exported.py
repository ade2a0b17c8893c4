"""What the app told Application Insights of the story so far: spans, log lines and metrics."""

import asyncio
from collections import Counter

from local.demo.judge import Check
from local.demo.screen import Screen
from local.insights import Insights
from local.stack import Stack

PATIENCE_SECONDS = 20.0


async def show_exported(stack: Stack, screen: Screen) -> None:
    """Show it, and judge that nothing is missing and no key is in it."""
    screen.chapter("What the app exported by OpenTelemetry, as Application Insights has it")
    insights, answered = stack.insights, sum(call.status is not None for call in stack.webhook_calls())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while _answers(insights) < answered or _spans(insights) < answered:
                await asyncio.sleep(0.1)
    except TimeoutError:
        pass  # the checks say what is missing
    tables = insights.counted()
    screen.table(("table", "rows"), [(table, str(tables[table])) for table in sorted(tables)])
    by_rule: Counter[tuple[str, str, str]] = Counter()
    for row in insights.rows("AppMetrics", "allocations"):
        told = row.properties
        by_rule[told["outcome"], told["rule"], told["hub"]] += round(row.figures["value"])
    screen.table(
        ("metric allocations: outcome", "rule", "hub", "answers"),
        [(*names, str(count)) for names, count in sorted(by_rule.items())],
    )
    span = next(insights.rows("AppDependencies", "allocation"))
    screen.document("one span of an allocation, in the trace of its request", dict(span.properties))
    keys = (stack.allocate_url.partition("code=")[2], stack.functions.master_key)
    found = sum(key.encode() in body for key in keys for body in insights.raw)
    screen.check(
        Check("each answer is one span", _spans(insights) == answered, f"{_spans(insights)} of {answered}"),
        Check("no key is in what was exported", not found, f"{len(insights.raw)} batches looked through"),
    )


def _spans(insights: Insights) -> int:
    return sum(1 for _ in insights.rows("AppDependencies", "allocation"))


def _answers(insights: Insights) -> int:
    return round(sum(row.figures["value"] for row in insights.rows("AppMetrics", "allocations")))
