"""The trace that an invocation belongs to, as the app's OpenTelemetry sees it.

With telemetry on, the real host begins a span for every invocation, under the caller's `traceparent` if there
is one, and hands it to the worker. The worker makes it the current one when PYTHON_ENABLE_OPENTELEMETRY says
so (read in azure_functions_runtime 1.3.0, which imports the libraries when it starts, before the app).
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Traced = Callable[[Mapping[str, str]], AbstractContextManager[None]]
"""Given the headers of a call, makes the host's span the current one for a while."""

_SWITCHES = ("PYTHON_ENABLE_OPENTELEMETRY", "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY")
_TRUE = frozenset({"1", "true", "yes", "t", "y"})


def traced_runs(environment: Mapping[str, str]) -> Traced | None:
    """What makes runs belong to traces; None where the worker would not."""
    if not any(environment.get(name, "").lower() in _TRUE for name in _SWITCHES):
        return None
    from opentelemetry import context  # noqa: PLC0415 - a worker imports it only then
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    propagator = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def traced(headers: Mapping[str, str]) -> Iterator[None]:
        carrier = {"traceparent": _hosts(headers.get("traceparent", ""))}
        token = context.attach(propagator.extract(carrier))
        try:
            yield
        finally:
            context.detach(token)

    return traced


def _hosts(callers: str) -> str:
    """The span that the host begins: in the caller's trace, if there is one."""
    parts = callers.split("-")
    trace = parts[1] if len(parts) == 4 else f"{random.getrandbits(128) or 1:032x}"
    return f"00-{trace}-{random.getrandbits(64) or 1:016x}-01"
