"""How a guarded change ended, as values: that something is gone or has moved on is no error."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deleted:
    """It was there, as the caller had read it, and is no more."""


@dataclass(frozen=True, slots=True)
class Gone:
    """It was not there; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Its ETag is not the one the caller read; it was left alone. Read it and decide again."""


Deletion = Deleted | Gone | Moved
"""What a delete came to."""
