"""rich's console with this program's manners."""

from typing import NoReturn

from rich.console import Console as RichConsole


class Console(RichConsole):
    """A console that leaves it to its caller what a reader's going away means."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise what the write has raised; rich would exit."""
        raise BrokenPipeError
