"""Does the webhook take a key, on all instances? Asked by calling it as DPS would, often.

A host keeps its keys in memory, and how soon each instance sees a new one is not documented. So the new key
must open the function many times in a row over a stated time; one refusal, and the count begins anew. The
canary that follows is the proof by DPS itself.

The call is harmless: its body is an empty object, which this app answers 400, naming the field, without
placing or recording anything. Only that answer counts: a 400 of what stands in between does not.
"""

import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta

from clients.ports import Clock
from clients.webhook import WebhookReply
from lifecycle.rotation.webhook_key.row import RollTerms
from lifecycle.rotation.webhook_key.urls import with_key

BODY = b"{}"
PATIENCE = timedelta(minutes=15)
"""How long the app may go on refusing the new key, or not answering, before somebody must look."""

CONTROLS = 5
"""How often the call with a key of nobody is tried until it is answered."""

Call = Callable[[str, bytes], Awaitable[WebhookReply]]


async def probe(
    call: Call,
    clock: Clock,
    base: str,
    key: str,
    terms: RollTerms,
    *,
    going_on: Callable[[], Awaitable[None]],
) -> str:
    """Call the webhook with a key until it was taken often enough.

    Args:
        call: makes one call of a URL with a body.
        clock: for the pauses between.
        base: the webhook's URL without a key.
        key: the new one.
        terms: how often in a row, and over which time.
        going_on: called before each call; what it raises ends this.

    Returns:
        "" if it was taken; else why not, in words without the key.
    """
    if problem := await _control(call, clock, base, terms, going_on):
        return problem
    pause = terms.probe_time.total_seconds() / (terms.probes - 1)
    began, row, last = clock.now(), 0, ""
    while clock.now() - began < PATIENCE + terms.probe_time:
        await going_on()
        reply = await call(with_key(base, key), BODY)
        last = _problem(reply)
        row = 0 if last else row + 1
        if row == terms.probes:
            return ""
        await clock.sleep(max(1.0, pause) if last else pause)
    return f"the webhook did not take the new key {terms.probes} times in a row: {last or 'it takes it now'}"


async def _control(
    call: Call, clock: Clock, base: str, terms: RollTerms, going_on: Callable[[], Awaitable[None]]
) -> str:
    """A key of nobody must be refused: else whatever is taken proves nothing."""
    reply = WebhookReply(None)
    for _ in range(CONTROLS):
        await going_on()
        reply = await call(with_key(base, secrets.token_urlsafe(32)), BODY)
        if reply.status == 401:
            return ""
        if reply.status is not None and reply.status < 500 and reply.status != 429:
            return (
                f"the webhook answered HTTP {reply.status} to a key that nobody has, and not 401: it asks "
                "for no key, or something else answers there: see WEBHOOK_URL"
            )
        await clock.sleep(max(1.0, terms.probe_time.total_seconds() / terms.probes))
    return f"the webhook could not be called: {_problem(reply)}"


def _problem(reply: WebhookReply) -> str:
    """Why an answer is not that of this app with an open door; "" if it is."""
    if reply.status is None:
        return f"no answer ({reply.trouble or 'dropped'})"
    if reply.status != 400:
        return f"HTTP {reply.status}"
    try:
        said = json.loads(reply.body)
    except (ValueError, RecursionError):
        said = None
    ours = isinstance(said, dict) and isinstance(said.get("field"), str)
    return "" if ours else "HTTP 400 of something else than this app"
