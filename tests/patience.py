"""Waiting for what other tasks do, without asking them how long it takes."""

import asyncio
from collections.abc import Callable


async def until(true: Callable[[], bool]) -> None:
    """Wait until the condition holds; the test's own time limit ends a wait in vain."""
    while not true():  # noqa: ASYNC110 - conditions of many tasks, none of which tells
        await asyncio.sleep(0.001)
