"""The folder of a stack that is kept."""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from local.host.files import make_private_directory
from local.kept import file, head, services
from local.kept.file import Damaged
from local.kept.head import Head
from local.kept.services import Services

_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, StopIteration)


class InUse(Exception):
    """Another stack runs on the folder; the text says so."""


class Store:
    """One folder. What lies in it is a secret: whoever can read it can do everything to the stack."""

    def __init__(self, folder: Path) -> None:
        """Name it; nothing is read or made yet."""
        self.folder = folder

    @property
    def path(self) -> Path:
        """The file of the emulated services."""
        return self.folder / "services.jsonl"

    @cached_property
    def head(self) -> Head | None:
        """What must be known before services are made; None: there is nothing kept yet.

        Raises:
            Damaged: the file is not what was written.
            OSError: it cannot be read.
        """
        try:
            file.check(self.path)
        except FileNotFoundError:
            return None
        try:
            return head.read(file.read(self.path))
        except _UNREADABLE:
            raise Damaged(self.path, "lacks what a state begins with") from None

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Make the folder if it is not there, and keep others out of it until the block ends.

        Raises:
            InUse: another stack uses it.
            OSError: it cannot be made.
        """
        make_private_directory(self.folder)
        self.folder.chmod(0o700)
        descriptor = os.open(self.folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InUse(f"{self.folder} is in use by another ./run local: stop it first") from None
            yield
        finally:
            os.close(descriptor)

    def fill(self, into: Services) -> None:
        """Put the kept records into empty services; none if nothing is kept.

        Raises:
            Damaged: a record is not one.
        """
        if self.head is None:
            return
        try:
            services.fill(file.read(self.path), into)
        except _UNREADABLE:
            raise Damaged(self.path, "has a record that cannot be read") from None

    def save(self, lines: Iterable[bytes]) -> None:
        """Replace what is kept.

        Raises:
            OSError: it cannot be written; what was kept before stays.
        """
        file.write(self.path, lines)
