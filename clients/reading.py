"""Members of an answer, read strictly: what is wrong is told by the member's name, never by its value."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from clients.errors import OutcomeUnknown, UnexpectedReply

T = TypeVar("T")


class Misshapen(ValueError):
    """A member that is missing, or of another type than the service is known to send."""


class Members:
    """The members of one JSON object."""

    __slots__ = ("_values", "_what")

    def __init__(self, value: Any, what: str) -> None:
        """Take an object.

        Args:
            value: decoded JSON.
            what: for messages: "the device", "properties".

        Raises:
            Misshapen: it is no object.
        """
        if not isinstance(value, dict):
            raise Misshapen(f"{what} is no object")
        self._values: Mapping[str, Any] = value
        self._what = what

    def text(self, name: str) -> str:
        """A text that is there and not empty."""
        found = self.text_or_none(name)
        if not found:
            raise self._wrong(name, "must be a text that is not empty")
        return found

    def text_or_none(self, name: str) -> str | None:
        """A text, or None where there is none."""
        found = self._values.get(name)
        if found is None or isinstance(found, str):
            return found
        raise self._wrong(name, "must be a text")

    def one_of(self, name: str, *choices: str) -> str:
        """A text that is one of those."""
        found = self.text(name)
        if found not in choices:
            raise self._wrong(name, f"must be one of {', '.join(choices)}")
        return found

    def whole(self, name: str) -> int:
        """A whole number that is there and not negative."""
        found = self.whole_or_none(name)
        if found is None:
            raise self._wrong(name, "must be a whole number")
        return found

    def whole_or_none(self, name: str) -> int | None:
        """A whole number that is not negative, or None where there is none."""
        found = self._values.get(name)
        if found is None or (isinstance(found, int) and not isinstance(found, bool) and found >= 0):
            return found
        raise self._wrong(name, "must be a whole number")

    def flag(self, name: str) -> bool:
        """True or false, and there."""
        found = self.flag_or_none(name)
        if found is None:
            raise self._wrong(name, "must be true or false")
        return found

    def flag_or_none(self, name: str) -> bool | None:
        """True or false, or None where there is none."""
        found = self._values.get(name)
        if found is None or isinstance(found, bool):
            return found
        raise self._wrong(name, "must be true or false")

    def object(self, name: str) -> "Members":
        """An object that is there."""
        return Members(self._values.get(name), f"{name} of {self._what}")

    def object_or_empty(self, name: str) -> Mapping[str, Any]:
        """An object as it is; an empty one where there is none."""
        found = self._values.get(name)
        if found is None:
            return {}
        if isinstance(found, dict):
            return found
        raise self._wrong(name, "must be an object")

    def moment(self, name: str) -> datetime | None:
        """A time in ISO 8601, in UTC where it names no zone; None where there is none.

        Hubs write a time that never was as the first of January of the year 1: None too. They write seven
        digits of a second; datetime keeps six.
        """
        found = self.text_or_none(name)
        if not found:
            return None
        try:
            at = datetime.fromisoformat(found)
        except ValueError:
            raise self._wrong(name, "must be a time in ISO 8601") from None
        if at.year == 1:
            return None
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)

    def second(self, name: str) -> datetime | None:
        """A time in seconds since 1970; None where there is none."""
        found = self.whole_or_none(name)
        if found is None:
            return None
        try:
            return datetime.fromtimestamp(found, UTC)
        except (ValueError, OverflowError, OSError):
            raise self._wrong(name, "must be seconds since 1970") from None

    def _wrong(self, name: str, rule: str) -> Misshapen:
        return Misshapen(f"{name} of {self._what} {rule}")


def items(value: Any, what: str) -> Sequence[Any]:
    """A JSON array.

    Raises:
        Misshapen: it is none.
    """
    if not isinstance(value, list):
        raise Misshapen(f"{what} is no array")
    return value


def understood(service: str, body: Any, read: Callable[[Any], T], *, wrote: bool = False) -> T:
    """What a 2xx answer says.

    Args:
        service: its name, for the message.
        body: decoded JSON.
        read: reads it, raising Misshapen.
        wrote: whether it answers a change, which has then probably happened.

    Raises:
        UnexpectedReply: it is not what the service is known to send.
        OutcomeUnknown: the same, in answer to a change.
    """
    try:
        return read(body)
    except Misshapen as error:
        problem = f"{service}: an answer that cannot be understood: {error}"
    if wrote:
        raise OutcomeUnknown(f"{problem}; read it before changing it again", service=service)
    raise UnexpectedReply(f"{problem}; check the service's host name", service=service)
