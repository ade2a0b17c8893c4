"""The ``context`` parameter of a function, and who is running: for the log.

What the classes here have is what the worker's own have. Like those they do not derive from the library's
abstract ones, whose ``RetryContext`` differs.
"""

from __future__ import annotations

import contextvars
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Invocation(NamedTuple):
    """One run of one function."""

    function: str
    id: str


CURRENT: contextvars.ContextVar[Invocation | None] = contextvars.ContextVar("invocation", default=None)
"""The invocation that the running task or worker thread belongs to."""

THREAD = threading.local()
"""What ``context.thread_local_storage`` is: a thread the app started puts the invocation id here, and its log
lines carry it (documented for the Python worker)."""


class TraceContext:
    """W3C trace headers as the caller sent them; empty where there were none.

    The real host starts a span of its own when telemetry is on, so there the parent differs.
    """

    def __init__(self, parent: str, state: str) -> None:
        self._parent = parent
        self._state = state

    @property
    def trace_parent(self) -> str:
        """The ``traceparent`` header."""
        return self._parent

    @property
    def trace_state(self) -> str:
        """The ``tracestate`` header."""
        return self._state

    @property
    def attributes(self) -> dict[str, str]:
        """Empty: what the real host puts here is its own telemetry."""
        return {}

    # The worker has these spellings too, and Microsoft's samples use them.
    @property
    def Traceparent(self) -> str:  # noqa: N802  the worker's spelling
        """The same as ``trace_parent``."""
        return self._parent

    @property
    def Tracestate(self) -> str:  # noqa: N802  the worker's spelling
        """The same as ``trace_state``."""
        return self._state

    @property
    def Attributes(self) -> dict[str, str]:  # noqa: N802  the worker's spelling
        """The same as ``attributes``."""
        return {}


@dataclass(frozen=True)
class RpcException:
    """Why the attempt before failed."""

    source: str
    stack_trace: str
    message: str


@dataclass(frozen=True)
class RetryContext:
    """How often this invocation has been tried.

    The library's documentation speaks of an ``exception``; the worker gives ``rpc_exception``.
    """

    retry_count: int
    max_retry_count: int
    rpc_exception: RpcException


_FIRST_ATTEMPT = RetryContext(0, 0, RpcException("", "", ""))
"""This host retries nothing."""


class Context:
    """What the app gets as its ``context`` parameter."""

    def __init__(self, invocation: Invocation, directory: str, headers: Mapping[str, str]) -> None:
        self._invocation = invocation
        self._directory = directory
        self._trace = TraceContext(headers.get("traceparent", ""), headers.get("tracestate", ""))

    @property
    def invocation_id(self) -> str:
        """The id in the log lines of this run."""
        return self._invocation.id

    @property
    def function_name(self) -> str:
        """The function's name."""
        return self._invocation.function

    @property
    def function_directory(self) -> str:
        """The directory of the file that holds the function."""
        return self._directory

    @property
    def thread_local_storage(self) -> threading.local:
        """Where threads of the app put ``invocation_id`` so that their log lines carry it."""
        return THREAD

    @property
    def trace_context(self) -> TraceContext:
        """The caller's trace headers."""
        return self._trace

    @property
    def retry_context(self) -> RetryContext:
        """Always a first attempt."""
        return _FIRST_ATTEMPT
