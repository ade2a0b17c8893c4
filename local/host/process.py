"""The host as a process: its port, its signals, the ready file, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import uvicorn

from local.host.errors import HostError
from local.host.files import write_private_json
from local.host.indexing import HTTP
from local.host.runtime import THREAD_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from local.host.runtime import FunctionsHost

_log = logging.getLogger("host")


def bind(port: int) -> socket.socket:
    """A socket on 127.0.0.1, not yet listening; port 0 takes any free one.

    Raises:
        HostError: the port cannot be had.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise HostError(f"port {port} of 127.0.0.1 cannot be used: {error}") from error
    return listener


class ParentWatch:
    """Ends the host when the other end of its standard input closes, as it does when the parent dies.

    Until something has been given to do at that moment, the process ends at once.
    """

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        threading.Thread(target=self._watch, name="parent", daemon=True).start()

    def call_when_gone(self, stop: Callable[[], None]) -> None:
        """Do this instead of ending at once. It is called from another thread."""
        self._stop = stop

    def _watch(self) -> None:
        # os.read, not sys.stdin: a thread blocked in a buffered reader upsets the interpreter's exit.
        with contextlib.suppress(OSError):  # a standard input that is not open is a parent that is gone
            while os.read(0, 4096):
                pass
        if self._stop is None:
            os._exit(0)
        self._stop()


class _Server(uvicorn.Server):
    """uvicorn, without its signal handling: it would die of the signal it was stopped by."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def serve(
    host: FunctionsHost,
    listener: socket.socket,
    *,
    ready_file: Path | None,
    grace: float,
    parent: ParentWatch | None,
) -> None:
    """Serve until SIGTERM, SIGINT or the parent's end; then let running invocations finish.

    Args:
        host: what to serve.
        listener: a bound socket.
        ready_file: written once requests are answered, removed at the end.
        grace: how many seconds running invocations have to finish.
        parent: stops the host as a signal would.

    Raises:
        HostError: the ready file cannot be written, or a remembered timer status cannot be understood.
    """
    # What has been imported stays; left to the collector it would be walked again and again under load.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(host, listener, ready_file, grace, parent))
    host.threads.shutdown(wait=False, cancel_futures=True)
    _end_without(threading.enumerate())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  not on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop


def _end_without(threads: list[threading.Thread]) -> None:
    """End now if a function still runs in a thread: the interpreter would wait for it for ever."""
    for thread in threads:
        if thread.name.startswith(THREAD_PREFIX):
            thread.join(timeout=0.5)  # an idle one ends by itself
            if thread.is_alive():
                _log.warning("a function still runs in a thread after its grace; the host ends without it")
                logging.shutdown()
                sys.stdout.flush()
                os._exit(0)


async def _serve(
    host: FunctionsHost,
    listener: socket.socket,
    ready_file: Path | None,
    grace: float,
    parent: ParentWatch | None,
) -> None:
    loop = asyncio.get_running_loop()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def ready() -> None:
        if ready_file is not None:
            write_private_json(ready_file, describe(host, url))
        _log.info("%d functions on %s", len(host.functions), url)

    config = uvicorn.Config(
        host.http,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    server = _Server(config, ready)

    # One deadline for all: HTTP is waited for first, the rest gets what is left.
    deadline = 0.0

    def stop() -> None:
        nonlocal deadline
        if not server.should_exit:
            deadline = loop.time() + grace
            _log.info("stopping; running invocations have %g s", grace)
        host.timers.stop()
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            loop.add_signal_handler(number, stop)
    if parent is not None:
        parent.call_when_gone(lambda: _call_soon(loop, stop))
    try:
        async with host.ticking():
            await server.serve(sockets=[listener])
        late = await host.background.finish(max(0.0, deadline - loop.time()))
        if late:
            _log.warning("%d invocations did not finish in time", late)
    finally:
        if ready_file is not None:
            await asyncio.to_thread(ready_file.unlink, missing_ok=True)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(callback)


def describe(host: FunctionsHost, url: str) -> dict[str, Any]:
    """What the ready file says: where the host is, its keys, its functions."""
    keys = host.keys
    return {
        "url": url,
        "port": int(url.rpartition(":")[2]),
        "pid": os.getpid(),
        "master_key": keys.master,
        "host_key": keys.host,
        "function_keys": {function.name: keys.functions[function.name] for function in host.functions},
        "system_keys": dict(keys.system),
        "functions": [
            {
                "name": function.name,
                "trigger": function.kind,
                **({"url": url + host.paths[function.name]} if function.kind == HTTP else {}),
            }
            for function in host.functions
        ],
    }
