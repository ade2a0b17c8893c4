"""Conditions on etags."""

from collections.abc import Callable

from local.iothub import errors
from local.iothub.errors import HubError


def check(if_match: str, etag: str, *, unquoted: Callable[[], bool] = lambda: True) -> None:
    """Return if an `If-Match` matches an etag; `*`, quoted or not, matches every one.

    Args:
        if_match: as sent.
        etag: the stored one, without quotes.
        unquoted: asked of one without quotes, whether it may come so.

    Raises:
        HubError: 412.
    """
    given = if_match.strip().removeprefix("W/")
    bare = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
    if bare == "*":
        return
    if bare == given and not unquoted():
        raise HubError(errors.PRECONDITION_FAILED, "Precondition failed: Invalid ETag")
    if bare != etag:
        raise HubError(errors.PRECONDITION_FAILED, "PreconditionFailed, ETag may be invalid.")
