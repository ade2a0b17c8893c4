"""The ``context`` parameter of a function, and who is running: for the log."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, NamedTuple

import azure.functions as func

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


class TraceContext(func._abc.TraceContext):  # noqa: SLF001  the base class has no public name
    """W3C trace headers as the caller sent them; empty where there were none.

    The real host starts a span of its own when telemetry is on, so there the parent differs.
    """

    __slots__ = ("_parent", "_state")

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


class RetryContext(func._abc.RetryContext):  # noqa: SLF001  the base class has no public name
    """Always a first attempt: this host retries nothing."""

    __slots__ = ()

    @property
    def retry_count(self) -> int:
        """Zero."""
        return 0

    @property
    def max_retry_count(self) -> int:
        """Zero."""
        return 0

    @property
    def exception(self) -> func._abc.RpcException:
        """None, though the library's type does not say so."""
        return None  # type: ignore[return-value]


_FIRST_ATTEMPT = RetryContext()


class Context(func.Context):
    """What the app gets as its ``context`` parameter."""

    __slots__ = ("_directory", "_invocation", "_trace")

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
        """The directory of the app."""
        return self._directory

    @property
    def thread_local_storage(self) -> type[threading.local]:
        """Where threads of the app put ``invocation_id`` so that their log lines carry it."""
        return THREAD  # type: ignore[return-value]  # the library says the class and means an instance

    @property
    def trace_context(self) -> TraceContext:
        """The caller's trace headers."""
        return self._trace

    @property
    def retry_context(self) -> RetryContext:
        """Always a first attempt."""
        return _FIRST_ATTEMPT
