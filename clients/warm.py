"""Heavy libraries, imported beside the first requests instead of before them.

They cost about a second of a cold start between them (measured: azure.identity alone half of it), and the
first request after a start has a device waiting.
"""

import importlib
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

HTTP = ("clients.http",)
"""What connections need; it brings httpx."""

HTTPCORE = ("httpcore",)
"""What httpx imports for its first client."""

TABLES = ("clients.azure_transport", "azure.data.tables.aio")
"""What guarded writes and batches of Table storage need; its plain calls need connections alone."""

IDENTITY = ("clients.azure_transport", "azure.identity.aio")
"""What a managed identity needs."""

HEAVY = (*HTTP, *TABLES, "cryptography.x509", *IDENTITY)
"""All that the clients import on first use."""

DELAY_SECONDS = 2.0
"""How long after indexing the warming starts: a start is caused by a request, which comes first."""


def warm(names: Sequence[str] = HEAVY) -> None:
    """Import them."""
    for name in names:
        importlib.import_module(name)


def warm_now(names: Sequence[str], connect: Callable[[], object]) -> threading.Thread:
    """Import what connections need at once, off the event loop, then these names, and connect beside that.

    Reading the certificates, the first step of that, takes as long as httpcore's import and, unlike it, needs
    no interpreter.
    """

    def connected() -> None:
        with suppress(Exception):  # the first call meets the same fault, and tells of it
            connect()

    def run() -> None:
        warm(HTTP)
        threading.Thread(target=connected, daemon=True).start()
        warm((*HTTPCORE, *names))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def warm_later(delay: float = DELAY_SECONDS, names: Sequence[str] = HEAVY) -> threading.Timer:
    """Import them after a while, off the event loop, in a thread that does not keep the process alive."""
    timer = threading.Timer(delay, warm, [names])
    timer.daemon = True
    timer.start()
    return timer
