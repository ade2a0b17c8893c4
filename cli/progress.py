"""A progress bar on stderr, where somebody is looking."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from cli.terminal import Terminal


class Advance(Protocol):
    """Tells how far it is."""

    def __call__(self, done: float, said: str = "") -> None:
        """So much of the total is done; `said` stands beside the bar."""


@contextmanager
def progress(terminal: Terminal, title: str, total: float | None = None) -> Iterator[Advance]:
    """Show a bar while the block runs; nothing without a terminal, or where only errors are to be told.

    Args:
        terminal: its stderr.
        title: what is going on.
        total: of what `done` counts; None: not known.
    """
    if terminal.quiet or not terminal.stderr.isatty():
        yield lambda done, said="": None  # noqa: ARG005 - as Advance has it
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - rich takes a while

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=terminal.err(), transient=True) as bar:
        task = bar.add_task(title, total=total, said="")
        yield lambda done, said="": bar.update(task, completed=done, said=said)
