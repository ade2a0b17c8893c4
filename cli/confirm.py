"""Nothing is changed before somebody has seen what it changes and agreed."""

from collections.abc import Sequence
from typing import Any

from cli.errors import CliError, NotConsented
from cli.terminal import Terminal
from cli.text import cell, json_text
from lifecycle.enrollments.diff import ABSENT, Difference


class OnlyShown(CliError):
    """--dry-run: the change was shown, and that is all that was asked for."""


class Confirmation:
    """Shows each change and asks."""

    def __init__(self, terminal: Terminal, *, yes: bool = False, dry_run: bool = False) -> None:
        """Prepare.

        Args:
            terminal: shows on stderr, for stdout is for results.
            yes: somebody has agreed beforehand.
            dry_run: show and stop.
        """
        self._terminal = terminal
        self._yes = yes
        self._dry_run = dry_run

    async def ask(self, action: str, differences: Sequence[Difference]) -> None:
        """Return if the change may be made.

        Args:
            action: what is about to be done: "change enrollment group line-a".
            differences: of it, secrets masked.

        Raises:
            OnlyShown: it is a dry run.
            NotConsented: no, or nobody there to ask.
        """
        self.show(action, differences)
        if self._dry_run:
            raise OnlyShown(f"--dry-run: it would {action}; nothing was changed")
        if self._yes:
            return
        answer = await self._terminal.ask("go on? [y/N] ")
        if answer is None:
            raise NotConsented(
                f"there is no terminal to ask whether to {action}; say --yes to do it, or --dry-run to see it"
            )
        if answer.lower() not in ("y", "yes"):
            raise NotConsented(f"not agreed to {action}; nothing was changed")

    def show(self, action: str, differences: Sequence[Difference]) -> None:
        """What is about to be done and what it changes, on stderr."""
        from rich.text import Text  # noqa: PLC0415 - rich takes a while to load

        console = self._terminal.err()
        console.print(Text(cell(action), style="bold"), soft_wrap=True)
        for each in differences:
            for sign, style, value in (("-", "red", each.before), ("+", "green", each.after)):
                if value is not ABSENT:
                    line = Text(f"  {sign} {cell(each.path)}: {_shown(value)}", style=style)
                    console.print(line, soft_wrap=True)


def _shown(value: Any) -> str:
    return json_text(value)
