"""Exceptions of the clients package.

ClientError
    TableUnavailable        the table gave no usable answer; a write may or may not have happened
    NotStorable             a row, key or batch that Table storage would refuse (also a ValueError)
    NotSendable             an argument that the service would refuse; nothing was sent (also a ValueError)
    NoCredential            no token or key to enter the service with
    OutcomeUnknown          a write was sent and got no usable answer: it may have happened
    Overwritten             two made the same thing at once, and the service let the second replace the first
    ServiceError            the service's definite no, or no answer to a read
        BadRequest          400 and every other 4xx without a class of its own
            ContinuationExpired     400 to a query that went on from a continuation token
        Unauthenticated     401
        Forbidden           403
        NotFound            404
        Conflict            409
        PreconditionFailed  412: the ETag moved
        Throttled           429, after all attempts
        Unavailable         5xx to a read, or nobody answered
            Unreachable             no connection was made, so nothing was sent
                Untrusted               who answers there shows a certificate that is not trusted
        UnexpectedReply     an answer that is not what the service is known to send
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


class NotSendable(ClientError, ValueError):
    """An argument that the service would refuse; nothing was sent. Names the argument and the fix."""


class NoCredential(ClientError):
    """There is no token or key to enter a service with; nothing was sent. Says what to set."""


class OutcomeUnknown(ClientError):
    """A write was sent and got no answer, or an answer that leaves open whether it happened.

    It is never sent again blindly: a repeated PUT would meet its own success as a moved ETag. Read first.

    Attributes:
        service: which one.
        status: the HTTP status of the answer; None where there was none.
        code: the service's own error code, as ServiceError has it.
        tracking_id: what Azure's support asks for; "" if none.
    """

    def __init__(
        self,
        message: str,
        *,
        service: str,
        status: int | None = None,
        code: str = "",
        tracking_id: str = "",
    ) -> None:
        super().__init__(message)
        self.service = service
        self.status = status
        self.code = code
        self.tracking_id = tracking_id


class Overwritten(ClientError):
    """Two callers created the same thing at once, and the service let the second replace the first.

    DPS is not known to do this, nor known not to. What is there now is one of the two, whole: read it.
    """


class ServiceError(ClientError):
    """The service's definite no, or no answer to a read. A write did not happen.

    Attributes:
        service: which one.
        status: the HTTP status; None where nobody answered.
        code: the service's own error code: DPS's errorCode as text, a hub's or the vault's name; "" if none.
        tracking_id: what Azure's support asks for; "" if none.
        retry_after: seconds the service asked to wait; None if it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        service: str,
        status: int | None = None,
        code: str = "",
        tracking_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.service = service
        self.status = status
        self.code = code
        self.tracking_id = tracking_id
        self.retry_after = retry_after


class BadRequest(ServiceError):
    """400, or a 4xx without a class of its own: the request is wrong and stays so."""


class ContinuationExpired(BadRequest):
    """The service does not take a continuation token (any more). List again from the start."""


class Unauthenticated(ServiceError):
    """401, with a fresh token too.

    Attributes:
        challenge: the WWW-Authenticate header as it came: to be looked at, never to be followed.
    """

    challenge: str = ""


class Forbidden(ServiceError):
    """403: the identity or policy lacks a right."""


class NotFound(ServiceError):
    """404."""


class Conflict(ServiceError):
    """409: it exists already, or its state forbids the change."""


class PreconditionFailed(ServiceError):
    """412: the ETag is not the one there now. Read again, decide again."""


class Throttled(ServiceError):
    """429 at every attempt within the call's time."""


class Unavailable(ServiceError):
    """5xx to a read at every attempt, or nobody could be reached; nothing was changed."""


class Unreachable(Unavailable):
    """No connection could be made; nothing was sent."""


class Untrusted(Unreachable):
    """The certificate of the one who answers is not trusted, or not this host's; nothing was sent."""


class UnexpectedReply(ServiceError):
    """An answer of a shape the service is not known to send. Nothing is concluded from it."""
