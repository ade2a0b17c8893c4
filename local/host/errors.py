"""The errors a person who starts the host can meet.

HostError
    └── AppError    the app is at fault, not the command line
"""


class HostError(Exception):
    """The host cannot start. The message says what is wrong and what to do about it."""


class AppError(HostError):
    """The app cannot be served: a bad module, a bad binding, a trigger this host does not run."""
