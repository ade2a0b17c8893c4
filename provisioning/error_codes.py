"""DPS's error codes: what each means and what to do.

A code is an HTTP status times 1000 plus a number of its own; few of them are published. A row of three
digits is for every code of that status without a row of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One row.

    Attributes:
        code: six digits, or an HTTP status.
        meaning: what DPS says with it.
        advice: what to do.
    """

    code: int
    meaning: str
    advice: str


ERROR_CODES: tuple[ErrorCode, ...] = (
    ErrorCode(
        400,
        "the request or the enrollment is not one that DPS takes",
        "read the message: it names what is wrong",
    ),
    ErrorCode(
        400004,
        "the allocation policy is custom, but there is no whole custom allocation definition",
        "give both the webhook's URL and its API version",
    ),
    ErrorCode(
        400207,
        "the webhook answered 4xx other than 401 and 429, so the registration failed at once",
        "see the ledger for why the device was rejected; 403 from this app is a policy's `reject`",
    ),
    ErrorCode(
        400208,
        "the webhook answered 200 without a hub",
        "this app never does: check which webhook the enrollment names",
    ),
    ErrorCode(
        400209,
        "the webhook answered 401: the function key in its URL is wrong or has been replaced",
        "attach the webhook again with the present key",
    ),
    ErrorCode(
        401,
        "the signature or token is not accepted",
        "check the policy's key or the identity, the host name and this machine's clock",
    ),
    ErrorCode(
        401002,
        "the key is not, or no longer, the device's or policy's, or the token has expired",
        "check which key is used, and the clock; a key that was just changed may take a while",
    ),
    ErrorCode(
        403,
        "the identity or access policy lacks a right, or a quota is used up",
        "give it the role Device Provisioning Service Data Contributor (Reader to read), or the policy's "
        "permission",
    ),
    ErrorCode(404, "there is nothing of that id", "check the id, and that it is this DPS"),
    ErrorCode(
        404201, "there is no individual enrollment of that id", "check the id, and that it is this DPS"
    ),
    ErrorCode(404202, "there is nothing of that id", "check the id, and that it is this DPS"),
    ErrorCode(404204, "there is no enrollment group of that id", "check the id, and that it is this DPS"),
    ErrorCode(405, "the path lacks an id, or the method does not go with it", "check the id: it is empty"),
    ErrorCode(
        409,
        "it exists already, or somebody changes it right now",
        "read it; change it with its ETag, or choose another id",
    ),
    ErrorCode(412, "the ETag has moved: somebody changed it since it was read", "read it and decide again"),
    ErrorCode(415, "the body is not sent as JSON", "report it: this app always sends JSON"),
    ErrorCode(
        429,
        "more calls than DPS allows: 1,000 service operations a minute for everybody together",
        "try again later, or give the job a smaller share of the rate",
    ),
    ErrorCode(429001, "the same", "try again later, or give the job a smaller share of the rate"),
    ErrorCode(500, "DPS failed", "try again later; Azure's support asks for the tracking id"),
)
"""Every row, in order. Documented or seen; `404202` is seen without its meaning."""

_BY_CODE: Mapping[int, ErrorCode] = {row.code: row for row in ERROR_CODES}


def error_code(code: int) -> ErrorCode | None:
    """The row of a code, or else of its HTTP status; None for what is not known at all."""
    return _BY_CODE.get(code) or _BY_CODE.get(code // 1000)
