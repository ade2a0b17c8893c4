"""The terminal, or what stands in for one: streams, their width and colours, and the secrets not to show."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from cli.text import visible

if TYPE_CHECKING:
    from rich.console import Console

_MASK = "****"
_SHORTEST_SECRET = 8


@dataclass
class Terminal:
    """Where a command reads and writes.

    Attributes:
        environment: NO_COLOR, COLUMNS and the like are looked for here.
        quiet: whether notes are left out, and only errors told.
    """

    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    quiet: bool = False
    _secrets: set[str] = field(default_factory=set, repr=False)

    def hide(self, secret: str) -> None:
        """From now on, `scrub` takes this out of what it is given."""
        if len(secret) >= _SHORTEST_SECRET:
            self._secrets.add(secret)

    def scrub(self, text: str) -> str:
        """The text with every hidden secret as ****."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, _MASK)
        return text

    def out(self, *, width: int | None = None) -> "Console":
        """For results."""
        return self._console(self.stdout, width)

    def err(self) -> "Console":
        """For notes, questions and errors."""
        return self._console(self.stderr, None)

    def note(self, text: str) -> None:
        """A note for people, beside the results."""
        if not self.quiet:
            self._line("note", "dim", text)

    def error(self, text: str) -> None:
        """Why the command ends."""
        self._line("error", "bold red", text)

    def drop_output(self) -> None:
        """Forget what has not been written: its reader has gone."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stdout.fileno())
        os.close(nowhere)

    def _line(self, kind: str, style: str, text: str) -> None:
        from rich.text import Text  # noqa: PLC0415 - rich takes a while to load

        line = Text.assemble((f"{kind}: ", style), visible(self.scrub(text)))
        self.err().print(line, soft_wrap=True)

    async def ask(self, question: str) -> str | None:
        """What a person at the terminal answers; None: there is nobody, or the answer was no line."""
        if not (self.stdin.isatty() and self.stderr.isatty()):
            return None
        self.stderr.write(question)
        self.stderr.flush()
        # On the loop and not in a read of its own, so that Ctrl-C ends it at once.
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.stdin.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self.stdin.fileno())
        line = os.read(self.stdin.fileno(), 1024)  # a terminal hands over one line
        return line.decode(errors="replace").strip() if line else None

    async def ask_secret(self, question: str) -> str | None:
        """What a person types unseen; None: there is nobody to ask."""
        if not (self.stdin.isatty() and self.stderr.isatty()):
            return None
        import termios  # noqa: PLC0415 - not on every system, and only needed to ask unseen

        terminal = self.stdin.fileno()
        before = termios.tcgetattr(terminal)
        unseen = [*before]
        unseen[3] &= ~termios.ECHO
        termios.tcsetattr(terminal, termios.TCSADRAIN, unseen)
        try:
            return await self.ask(question)
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
            self.stderr.write("\n")

    def _console(self, stream: TextIO, width: int | None) -> "Console":
        from cli.console import Console  # noqa: PLC0415 - as above

        return Console(
            file=stream,
            width=width or (None if stream.isatty() else _FREE_WIDTH),
            markup=False,
            highlight=False,
            emoji=False,
            _environ=dict(self.environment),
        )


_FREE_WIDTH = 10_000
"""Columns of a file: nothing is wrapped or cut."""
