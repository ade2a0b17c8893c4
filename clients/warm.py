"""Heavy libraries, imported after the first devices have been answered instead of before.

They cost about a second of a cold start between them (measured: azure.identity alone half of it), and the
first request after a start has a device waiting.
"""

import importlib
import threading

HEAVY = ("clients.http", "cryptography.x509", "azure.data.tables.aio", "azure.identity.aio")
"""What the clients import on first use; clients.http brings httpx and azure.core."""

DELAY_SECONDS = 2.0
"""How long after indexing the warming starts: a start is caused by a request, which comes first."""


def warm() -> None:
    """Import them all."""
    for name in HEAVY:
        importlib.import_module(name)


def warm_later(delay: float = DELAY_SECONDS) -> threading.Timer:
    """Import them after a while, off the event loop, in a thread that does not keep the process alive."""
    timer = threading.Timer(delay, warm)
    timer.daemon = True
    timer.start()
    return timer
