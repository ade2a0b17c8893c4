"""Exceptions of the clients package.

ClientError
    TableUnavailable    the table gave no usable answer; a write may or may not have happened
    NotStorable         a row, key or batch that Table storage would refuse (also a ValueError)
"""


class ClientError(Exception):
    """Base of what this package raises."""


class TableUnavailable(ClientError):
    """Table storage did not answer in time, or answered with a fault.

    A write may have happened: read before writing again. What the service or the network said is chained
    as the cause; the message holds neither keys nor connection strings.

    Attributes:
        status: the HTTP status of the answer; None where there was none.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotStorable(ClientError, ValueError):
    """A row, key or batch that Table storage would refuse; nothing was sent.

    The message names the column and the rule, and shows no value.
    """
