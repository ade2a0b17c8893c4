"""One call of an allocation webhook, as DPS makes it: once, without a token, following nothing."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from clients.connections import Connections
from clients.ports import Clock

SECONDS = 30.0
"""How long an answer is waited for. How long DPS waits is unknown."""

ANSWER_BYTES = 256 * 1024
"""Of the answer, at most; DPS's messages have up to 96 KB (documented)."""

Trouble = Literal["", "untrusted", "unreachable", "silent", "dropped"]


@dataclass(frozen=True, slots=True)
class WebhookReply:
    """What came back.

    Attributes:
        status: None: no answer.
        body: cut at ANSWER_BYTES.
        seconds: from the first byte sent to the last one read, connecting included.
        trouble: why there is no answer: its certificate is not trusted, nobody is there, it said nothing in
            time, the connection broke.
    """

    status: int | None
    body: bytes = field(default=b"", repr=False)
    seconds: float = 0.0
    trouble: Trouble = ""


async def call_webhook(
    connections: Connections, clock: Clock, url: str, body: bytes, *, seconds: float = SECONDS
) -> WebhookReply:
    """POST a body to a webhook. Never raises for what the other side does.

    Args:
        connections: shared with the clients.
        clock: measures the time.
        url: with its key; it is in nothing that comes back.
        body: JSON.
        seconds: how long to wait for the answer.
    """
    client = await connections.client()
    from clients import http  # noqa: PLC0415 - put off to the first call

    began = clock.monotonic()
    headers = {"content-type": "application/json; charset=utf-8"}
    answer = bytearray()
    try:
        async with (
            asyncio.timeout(seconds),
            client.stream("POST", url, content=body, headers=headers) as reply,
        ):
            async for chunk in reply.aiter_bytes():
                answer += chunk
                if len(answer) > ANSWER_BYTES:
                    break
            return WebhookReply(reply.status_code, bytes(answer[:ANSWER_BYTES]), clock.monotonic() - began)
    except TimeoutError:
        trouble: Trouble = "silent"
    except Exception as error:
        nothing_sent = http.sent_nothing(error)
        if nothing_sent is None:
            raise
        trouble = "untrusted" if http.untrusted(error) else "unreachable" if nothing_sent else "dropped"
    return WebhookReply(None, seconds=clock.monotonic() - began, trouble=trouble)
