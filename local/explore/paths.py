"""What an exploration chose and what it found, as values."""

from collections.abc import Sequence
from dataclasses import dataclass, field

CRASH = "crash@"
"""What the names of choices begin with that are crashes."""


class NotRepeatable(Exception):
    """A scenario asked other questions under the same answers: it reads a clock, randomness or a past run."""


class NotThisPath(Exception):
    """A path to replay names a choice that the scenario never asked for, or an option it does not have."""


class Opaque(Exception):
    """A world holds something whose content cannot be told, so that its states cannot be compared."""


class TooLong(Exception):
    """A run asked for more choices than the budget allows: perhaps it never ends."""


class Hung(Exception):
    """A run did not end within the seconds it was given."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One choice of a run."""

    name: str
    """Of a switch; `crash@N` for the N-th call of the run."""
    options: tuple[str, ...]
    index: int
    about: str = ""
    """Of a crash: the call."""
    states: tuple[bytes | None, ...] = ()
    """Of a crash: the state that each option leaves; None: not known without a run."""
    merged: frozenset[int] = frozenset()
    """Of a crash: the options that leave a state which another one left."""

    @property
    def option(self) -> str:
        """What was chosen, as text."""
        return self.options[self.index]

    def __str__(self) -> str:
        return f"{self.name}={self.option}"


@dataclass(frozen=True, slots=True)
class Path:
    """The choices of one run that were not the first option; that is all it takes to repeat it."""

    choices: tuple[Taken, ...] = ()

    def __str__(self) -> str:
        """As `replay` takes it: `dps.put_without_keys=regenerate; crash@4=after`."""
        return "; ".join(map(str, self.choices)) or "(no choice but the first)"

    def told(self) -> str:
        """For people: with the call of each crash."""
        return "; ".join(f"{each} ({each.about})" if each.about else str(each) for each in self.choices)


def path_of(taken: Sequence[Taken]) -> Path:
    """The path of a run's choices."""
    return Path(tuple(each for each in taken if each.index))


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that ended in an exception."""

    path: Path
    error: BaseException

    def __str__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}\n  path: {self.path.told() or self.path}"


@dataclass(slots=True)
class Report:
    """What an exploration found."""

    runs: int = 0
    merged: int = 0
    """Deaths that left a state which another death left, and were not followed once more."""
    failures: list[Failure] = field(default_factory=list)
    consulted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The choices that some run asked for, crashes left out, with their options."""
    complete: bool = False
    """Whether every path was walked; False: a budget ended it before."""

    def check(self) -> None:
        """Return if every path was walked and none failed.

        Raises:
            AssertionError: otherwise; the text has the paths.
        """
        told = "\n".join(map(str, self.failures))
        assert not self.failures, f"{len(self.failures)} of {self.runs} runs failed\n{told}"
        assert self.complete, f"not every path was walked in {self.runs} runs: raise most_runs"
