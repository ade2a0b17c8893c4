"""What a command ends with: its exit code, and one paragraph that says why.

CliError
    Usage           the command line cannot be understood, or a value cannot be; nothing was sent
    NotConsented    nobody agreed to the change; nothing was changed
    Missing         what was named is not there
    ChangedMeanwhile    it is not what the caller saw
    Incomplete          some of it was done, and some could not be
"""

from enum import IntEnum

from allocation.errors import AllocationError, NotStored, Overtaken
from clients.errors import (
    ClientError,
    Conflict,
    NoCredential,
    NotFound,
    NotSendable,
    OutcomeUnknown,
    Overwritten,
    PreconditionFailed,
    TableUnavailable,
    Throttled,
    Unavailable,
)
from clients.wording import plain
from lifecycle.errors import (
    AlreadyThere,
    EnrollmentMoved,
    InvalidOption,
    LifecycleError,
    NoSuchEnrollment,
    NoSuchJob,
    NotAdopted,
)
from provisioning.keys import KeyFormatError
from settings import SettingsError  # noqa: TID251 - the type alone, to tell it from a fault of this program


class ExitCode(IntEnum):
    """How a command ended. docs/commands.md has the same table."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNKNOWN = 3
    MISSING = 4
    MOVED = 5
    TRY_AGAIN = 6
    NOT_CONSENTED = 7
    FAULT = 70
    INTERRUPTED = 130
    READER_GONE = 141

    @property
    def meaning(self) -> str:
        """For docs/commands.md."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done, or there was nothing to change",
    ExitCode.FAILED: "refused or failed: the service or a safety rule said no",
    ExitCode.USAGE: "the command line or a setting cannot be used; nothing was sent",
    ExitCode.UNKNOWN: "a change was sent and got no answer: it may have happened",
    ExitCode.MISSING: "what was named is not there",
    ExitCode.MOVED: "somebody else changed or made it in the meantime",
    ExitCode.TRY_AGAIN: "the service is busy or cannot be reached: try again",
    ExitCode.NOT_CONSENTED: "nobody agreed to the change (declined, or no terminal and no `--yes`)",
    ExitCode.FAULT: "a fault of this program",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
    ExitCode.READER_GONE: "whoever read the output stopped reading",
}


class CliError(Exception):
    """Base of what this package raises. The message is one paragraph without secrets."""


class Usage(CliError):
    """The command line cannot be understood, or a value cannot be; nothing was sent. Names the fix."""


class NotConsented(CliError):
    """Nobody agreed to the change, so nothing was changed."""


class Missing(CliError):
    """What was named is not there."""


class ChangedMeanwhile(CliError):
    """It is not what the caller saw; it was left alone."""


class Incomplete(CliError):
    """Some of it was done, and some could not be; run again, it goes on from there."""


_CODES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], ExitCode], ...] = (
    ((Usage, InvalidOption, SettingsError, NotSendable, KeyFormatError), ExitCode.USAGE),
    (NotConsented, ExitCode.NOT_CONSENTED),
    ((Missing, NoSuchEnrollment, NotAdopted, NoSuchJob, NotFound, NotStored), ExitCode.MISSING),
    (OutcomeUnknown, ExitCode.UNKNOWN),
    (
        (
            *(ChangedMeanwhile, EnrollmentMoved, AlreadyThere, PreconditionFailed, Conflict, Overwritten),
            Overtaken,
        ),
        ExitCode.MOVED,
    ),
    ((TableUnavailable, Throttled, Unavailable), ExitCode.TRY_AGAIN),
    (NoCredential, ExitCode.FAILED),
    ((AllocationError, CliError, ClientError, LifecycleError), ExitCode.FAILED),
)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code of a command that ended with this."""
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            return code
    if isinstance(error, BrokenPipeError):
        return ExitCode.READER_GONE
    return ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.FAULT


def option(parameter: str) -> str:
    """The option of a parameter: "iot_hubs" -> "--iot-hubs"."""
    return "--" + parameter.replace("_", "-")


def paragraph(error: BaseException) -> str:
    """What to tell, without the word "error"."""
    if isinstance(error, InvalidOption):
        return f"{option(error.parameter)}: {error.problem}; {error.fix}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; read what you were changing before you change it again"
    if exit_code(error) is ExitCode.FAULT:
        return f"a fault of this program ({type(error).__name__}: {plain(str(error))}); --debug shows where"
    return str(error)
