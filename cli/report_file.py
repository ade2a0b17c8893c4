"""A file that only its owner may read, and that is there whole or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from cli.errors import Usage


@contextmanager
def report_file(path: Path) -> Iterator[Callable[[str], object]]:
    """Write a file beside its place, and put it there once all of it is written.

    Yields:
        What writes a piece of text.

    Raises:
        Usage: it cannot be written there.
    """
    if path.is_dir():
        raise Usage(f"--to: {str(path)!a} is a folder; name a file")
    beside = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Usage(f"--to: {str(path)!a} cannot be written ({error.strerror})") from None
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="\n") as file:
            yield file.write
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
