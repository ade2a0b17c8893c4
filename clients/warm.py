"""Heavy libraries, imported beside the first requests instead of before them.

They cost about a second of a cold start between them (measured: azure.identity alone half of it), and the
first request after a start has a device waiting.
"""

import importlib
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

HTTP = ("clients.http",)
"""What connections need; it brings httpx and azure.core."""

TABLES = (*HTTP, "azure.data.tables.aio")
"""What Table storage needs on first use."""

IDENTITY = ("azure.identity.aio",)
"""What a managed identity needs."""

HEAVY = (*TABLES, "cryptography.x509", *IDENTITY)
"""All that the clients import on first use."""

DELAY_SECONDS = 2.0
"""How long after indexing the warming starts: a start is caused by a request, which comes first."""


def warm(names: Sequence[str] = HEAVY) -> None:
    """Import them."""
    for name in names:
        importlib.import_module(name)


def warm_now(names: Sequence[str], connect: Callable[[], object]) -> threading.Thread:
    """Import them at once, off the event loop, and connect beside that, as soon as connections can be made.

    Reading the certificates takes as long as several imports and, unlike those, needs no interpreter.
    """

    def connected() -> None:
        with suppress(Exception):  # the first call meets the same fault, and tells of it
            connect()

    def run() -> None:
        warm(HTTP)
        threading.Thread(target=connected, daemon=True).start()
        warm(names)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def warm_later(delay: float = DELAY_SECONDS, names: Sequence[str] = HEAVY) -> threading.Timer:
    """Import them after a while, off the event loop, in a thread that does not keep the process alive."""
    timer = threading.Timer(delay, warm, [names])
    timer.daemon = True
    timer.start()
    return timer
