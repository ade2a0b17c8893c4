"""An operator at a terminal: commands of `./run dps`, each a process of its own."""

import asyncio
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from local.demo import judge
from local.demo.screen import Screen
from local.functions import ROOT
from local.host.files import write_private_json
from local.stack import Stack

_WIDEST = 220
"""Characters of a line that are shown: a certificate's text is longer, and tells a reader nothing."""


class Commands:
    """What an operator types against a stack, and what is written."""

    def __init__(
        self, stack: Stack, screen: Screen, folder: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        """Write the stack's state file, owner-only, into the folder.

        Args:
            stack: that commands work on, at the date that its clock shows.
            screen: what they say.
            folder: for the state file, and for files that commands read and write.
            settings: the operator's own, beside those of the state file.
        """
        self._clock = stack.clock
        self._settings = dict(settings or {})
        self._screen = screen
        self._folder = folder
        self._state = folder / "state.json"
        write_private_json(self._state, stack.state())

    async def run(self, *words: str, shown: bool = True, notes: bool = True, results: bool = True) -> str:
        """One command of `./run dps`, as an operator types it; what it writes. Its failure is a check.

        Args:
            words: after `./run dps`.
            shown: whether the screen has the command and what it says.
            notes: of a shown one, whether its notes are, which tell what it does.
            results: of a shown one, whether what it writes is.
        """
        short = [word.replace(f"{self._folder}{os.sep}", "") for word in words]
        if shown:
            self._screen.say(f"$ ./run dps {shlex.join(short)}")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "local.demo.dated", repr(self._clock.ahead), "cli"),
            *("--state", str(self._state), *words),
            cwd=ROOT,
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
                "COLUMNS": "110",
                **self._settings,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = (stream.decode() for stream in await process.communicate())
        said = (err if notes else "") + (out if results else "")
        if process.returncode:
            self._screen.say((err + out).strip("\n"))
        elif shown and said:
            self._screen.say("\n".join(map(_clipped, said.strip("\n").splitlines())))
        self._screen.check(*judge.command_done(short, process.returncode))
        return out


def _clipped(line: str) -> str:
    return line if len(line) <= _WIDEST else f"{line[:_WIDEST]}…"
