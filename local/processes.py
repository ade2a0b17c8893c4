"""Child processes: Azurite, the Functions host, the emulators. POSIX only, as ./run is."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

STOP_SECONDS = 5.0
"""How long a child may take to end by itself once it has been asked to."""

POLL_SECONDS = 0.02
"""How often a child that is starting is asked whether it is ready."""

TAIL_CHARACTERS = 4_000
"""How much of a child's output an error quotes: its end."""

# Linux kills the child when the thread that started it ends (PR_SET_PDEATHSIG, prctl(2)), so start children
# from a thread that lives as long as they should. The call is made in the child, by a Python that then
# becomes the real program: code between fork and exec (preexec_fn) may deadlock a process with threads.
# A parent that died before the call was made is noticed by its pid.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent process is gone")
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]} cannot be started: {error}")
"""


class ChildFailed(Exception):
    """A child process ended, or was not ready in time; the message ends with the last of its output."""


class Child:
    """One child process in a process group of its own, so that stopping it stops its own children too.

    On Linux it is killed when this process dies, however that happens. Elsewhere (macOS) a killed parent
    leaves it running, and `pid` is what to end.

    Args:
        name: what errors call it.
        argv: the program and its arguments.
        log: where its output goes (both streams); made readable by its owner only.
        env: its whole environment; None hands on this process's.
        cwd: its working directory.
        stop_signal: how it is asked to end.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.log = log
        self._env = env
        self._cwd = cwd
        self._stop_signal = stop_signal
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The process's id; None before the start."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None before its end."""
        return self._process.returncode if self._process else None

    def output(self) -> str:
        """The end of what it wrote."""
        with suppress(FileNotFoundError):
            return self.log.read_text(errors="replace")[-TAIL_CHARACTERS:].strip()
        return ""

    async def start(self) -> None:
        """Start it, its log emptied. A program that does not exist shows as an early end."""
        argv = self.argv
        if sys.platform == "linux":
            argv = (sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *argv)
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=asyncio.subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise ChildFailed(f"{self.name} cannot be started: {error}") from error
        finally:
            os.close(descriptor)

    async def until(self, ready: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
        """Wait until `ready` says so.

        Raises:
            ChildFailed: the child ended instead, or the seconds passed; it is left as it is.
        """
        try:
            async with asyncio.timeout(seconds):
                while not await ready():
                    if not self.running:
                        raise self._failure(f"ended with status {self.returncode} instead of starting")
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise self._failure(f"was not ready within {seconds:g} s") from None

    async def ended(self) -> int:
        """Wait for its end, asked for or not; the exit status."""
        if self._process is None:
            raise ChildFailed(f"{self.name} was not started")
        return await self._process.wait()

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask it to end, wait at most `seconds`, then kill it and whatever it left behind."""
        if self._process is None:
            return
        try:
            if self.running:
                self._signal(self._stop_signal)
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._process.wait()
        finally:  # also when we are cancelled while waiting
            self._signal(signal.SIGKILL)
        await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            os.killpg(self._process.pid, number)

    def _failure(self, what: str) -> ChildFailed:
        return ChildFailed(f"{self.name} {what}. It wrote:\n{self.output() or '(nothing)'}")
