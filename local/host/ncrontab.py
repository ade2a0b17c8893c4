"""NCRONTAB: the schedule language of timer triggers, by the rules of the .NET library of that name.

What differs from other crons [source: NCrontab's parser and search, as used by the Functions timer
extension]:

- six fields, seconds first; five are accepted and mean second 0;
- a day must match day-of-month AND day-of-week;
- Sunday is 0 and 7 is an error; there is no ``?``, ``L``, ``W``, ``#`` or ``@daily``;
- months and weekdays may be named by any prefix of the English name, the first that fits wins;
- ``a/n`` means ``a``, ``a+n``, … up to the field's maximum; a step below 1 counts as 1;
- a reversed range is swapped, not wrapped: ``FRI-MON`` is Monday to Friday;
- the next occurrence is strictly after the given time.

All times are UTC: the hosting plans this project is for have no time zone setting.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

_MONTHS = tuple(calendar.month_name[1:])
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_INTEGER = re.compile(r"[+-]?[0-9]+")
# 29 February comes back on the same weekday within 40 years, even across 2100, which has none.
_SEARCH_YEARS = 41


class ScheduleError(ValueError):
    """The text is not an NCRONTAB expression; the message names the field."""


@dataclass(frozen=True, slots=True)
class _Field:
    label: str
    minimum: int
    maximum: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A parsed expression: for each field the sorted values that match."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    def next_after(self, start: datetime) -> datetime | None:
        """The first occurrence strictly after ``start`` (aware), in UTC; None if there never is one.

        The search is bounded, so 30 February ends at None.
        """
        earliest = start.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        today = earliest.date()
        if self._matches(today):
            clock = self._time_from(earliest.hour, earliest.minute, earliest.second)
            if clock is not None:
                return datetime(today.year, today.month, today.day, *clock, tzinfo=UTC)
        day = self._day_after(today)
        if day is None:
            return None
        return datetime(
            day.year, day.month, day.day, self.hours[0], self.minutes[0], self.seconds[0], tzinfo=UTC
        )

    def _matches(self, day: date) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays

    def _time_from(self, hour: int, minute: int, second: int) -> tuple[int, int, int] | None:
        """The first matching time of day at or after the given one."""
        if hour in self.hours:
            if minute in self.minutes and (at := bisect_left(self.seconds, second)) < len(self.seconds):
                return hour, minute, self.seconds[at]
            if (at := bisect_left(self.minutes, minute + 1)) < len(self.minutes):
                return hour, self.minutes[at], self.seconds[0]
        if (at := bisect_left(self.hours, hour + 1)) < len(self.hours):
            return self.hours[at], self.minutes[0], self.seconds[0]
        return None

    def _day_after(self, day: date) -> date | None:
        last_year = min(day.year + _SEARCH_YEARS, 9999)
        for year in range(day.year, last_year + 1):
            for month in self.months:
                if (year, month) < (day.year, day.month):
                    continue
                length = calendar.monthrange(year, month)[1]
                for number in self.days:
                    if number > length:
                        break
                    candidate = date(year, month, number)
                    if candidate > day and candidate.isoweekday() % 7 in self.weekdays:
                        return candidate
        return None


def parse(expression: str) -> Schedule:
    """Read an expression of six fields (or five).

    Raises:
        ScheduleError: it is not one.
    """
    tokens = [token for token in expression.split(" ") if token]
    if len(tokens) == 5:
        tokens.insert(0, "0")
    if len(tokens) != 6:
        raise ScheduleError(
            f"{expression!r} has {len(tokens)} fields; an NCRONTAB expression has six, separated by spaces: "
            "second minute hour day month day-of-week"
        )
    return Schedule(*(_values(field, token) for field, token in zip(_FIELDS, tokens, strict=True)))


def _values(field: _Field, token: str) -> tuple[int, ...]:
    try:
        found: set[int] = set()
        # A leading comma is not a separator to NCrontab, but what is left is no value either.
        for part in token.split(","):
            found.update(_part(field, part))
    except ScheduleError as error:
        raise ScheduleError(f"{token!r} is not a valid {field.label} field: {error}") from None
    return tuple(sorted(found))


def _part(field: _Field, part: str) -> range:
    step: int | None = None
    if (slash := part.find("/")) > 0:
        step = max(_integer(part[slash + 1 :]), 1)
        part = part[:slash]
    if part == "*":
        return range(field.minimum, field.maximum + 1, step or 1)
    if (dash := part.find("-")) > 0:
        first, last = sorted((_value(field, part[:dash]), _value(field, part[dash + 1 :])))
        return range(first, last + 1, step or 1)
    value = _value(field, part)
    return range(value, value + 1) if step is None else range(value, field.maximum + 1, step)


def _value(field: _Field, text: str) -> int:
    if not text:
        raise ScheduleError("a value is empty")
    if text[0] in "0123456789":
        value = _integer(text)
    else:
        prefix = text.lower()
        matching = [i for i, name in enumerate(field.names) if name.lower().startswith(prefix)]
        if not matching:
            raise ScheduleError(f"{text!r} is neither a number nor a name known here")
        value = matching[0] + field.minimum
    if not field.minimum <= value <= field.maximum:
        raise ScheduleError(f"{value} is not between {field.minimum} and {field.maximum}")
    return value


def _integer(text: str) -> int:
    # Ten digits hold every number .NET would read, and keep a hostile text cheap.
    if len(text) > 10 or not _INTEGER.fullmatch(text):
        raise ScheduleError(f"{text!r} is not a number")
    return int(text)
