"""What the tests of the clients share: a clock that does not wait, shares that count, a search for leaks."""

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from clients.connections import Connections
from local.faults.rules import Fault, answered, dropped, halved, throttled

FAULTS: dict[str, Fault] = {
    "429": throttled(),
    "429 with a time": throttled(retry_after=2),
    "500 instead": answered(500),
    "503 after all": answered(503, after=True),
    "dropped before": dropped(),
    "dropped after": dropped(after=True),
    "half a body": halved(),
}
"""What may meet a call. A stall is not among them: it ends by the clock of the event loop."""

every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())


class QuickClock:
    """The machine's time, ahead by whatever was slept."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic() + sum(self.pauses)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0.005)


class StoppedError(Exception):
    """The kill switch."""


class CountingShare:
    """Lets so many calls through, then raises StoppedError."""

    def __init__(self, most: int = 10**9) -> None:
        self.calls = 0
        self._most = most

    async def call(self) -> None:
        if self.calls >= self._most:
            raise StoppedError
        self.calls += 1


class Handed:
    """An Authorization header as it was given."""

    def __init__(self, header: str) -> None:
        self._header = header

    async def header(self, *, fresh: bool = False) -> str:
        return self._header


@asynccontextmanager
async def closing(connections: Connections) -> AsyncIterator[None]:
    """Closes them at the end, also of a test that fails: else the server waits for them, and sockets leak."""
    try:
        yield
    finally:
        await connections.close()


def no_jitter() -> float:
    return 0.0


def leaks(secrets: Iterable[str], caplog: pytest.LogCaptureFixture, *things: Any) -> list[str]:
    """The secrets that stand in the log, or in anything a thing or an exception would print."""
    texts = [caplog.text, *(repr(record.__dict__) for record in caplog.records)]
    for thing in things:
        texts += [str(thing), repr(thing), f"{thing}", repr(getattr(thing, "__dict__", ""))]
        if isinstance(thing, BaseException):
            texts += [*traceback.format_exception(thing), repr(thing.args)]
            texts += [repr(each) for each in (thing.__cause__, thing.__context__)]
    return [secret for secret in secrets if any(secret in text for text in texts)]


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All loggers at DEBUG, those of httpx and httpcore too."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "clients"):
        caplog.set_level(logging.DEBUG, name)
    return caplog
