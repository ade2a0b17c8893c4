"""What DPS's answers say: errors, results of bulk calls, and what may not be concluded from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from clients.errors import NotFound, OutcomeUnknown, UnexpectedReply
from clients.service import Fault
from clients.wording import plain
from provisioning.documents import MalformedDocument
from provisioning.error_codes import error_code

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BulkError:
    """Why one enrollment of a bulk call was refused."""

    id: str
    code: int
    message: str
    advice: str


@dataclass(frozen=True, slots=True)
class BulkResult:
    """How a bulk call ended: each enrollment succeeds or fails for itself."""

    succeeded: bool
    errors: tuple[BulkError, ...]


def fault_of(body: Any) -> Fault:
    """What DPS says in an error's body (documented): errorCode, message, trackingId."""
    if not isinstance(body, dict):
        return Fault()
    code = body.get("errorCode")
    number = code if isinstance(code, int) and not isinstance(code, bool) else None
    known = error_code(number) if number is not None else None
    message, tracking_id = body.get("message"), body.get("trackingId")
    return Fault(
        code=str(number) if number is not None and 0 < number < 10**9 else "",
        message=message if isinstance(message, str) else "",
        tracking_id=tracking_id if isinstance(tracking_id, str) else "",
        advice=known.advice if known else "",
    )


def believe(error: NotFound) -> None:
    """Return if DPS itself says that something is not there.

    Raises:
        UnexpectedReply: the 404 has none of its error codes.
    """
    if not error.code.startswith("404"):
        raise UnexpectedReply(
            f"{error}; it has no error code of DPS, so nothing is concluded from it: check the host name",
            service=error.service,
            status=error.status,
        ) from error


def understood(service: str, body: Any, read: Callable[[Any], T]) -> T:
    """What a 2xx answer to a read says.

    Raises:
        UnexpectedReply: it is not what the service is known to send.
    """
    try:
        return read(body)
    except MalformedDocument as error:
        raise UnexpectedReply(
            f"{service}: an answer that cannot be understood: {error}; check the host name",
            service=service,
        ) from None


def outcome_unknown(service: str, error: MalformedDocument) -> OutcomeUnknown:
    """What a 2xx answer to a change means that is not what the service is known to send."""
    return OutcomeUnknown(
        f"{service}: a change was answered with something that cannot be understood: {error}; it may have "
        "happened: read it before changing it again",
        service=service,
    )


def bulk_result(body: Any, id_member: str) -> BulkResult:
    """How a bulk call ended.

    Raises:
        MalformedDocument: the answer is none.
    """
    if not isinstance(body, dict) or not isinstance(body.get("isSuccessful"), bool):
        raise MalformedDocument("isSuccessful must be true or false")
    errors = body.get("errors") or []
    if not isinstance(errors, list) or not all(isinstance(each, dict) for each in errors):
        raise MalformedDocument("errors must be a list of objects")
    read = tuple(_bulk_error(each, id_member) for each in errors)
    return BulkResult(body["isSuccessful"] and not read, read)


def _bulk_error(error: Mapping[str, Any], id_member: str) -> BulkError:
    code = error.get("errorCode")
    if not isinstance(code, int):
        raise MalformedDocument("errorCode must be a whole number")
    known = error_code(code)
    return BulkError(
        id=plain(str(error.get(id_member) or "")),
        code=code,
        message=plain(str(error.get("errorStatus") or "")),
        advice=known.advice if known else "",
    )
