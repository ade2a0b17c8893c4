"""What an NCRONTAB expression promises: how long it may be from one moment of it to the next."""

from datetime import timedelta

DAY = timedelta(days=1)


def longest_gap(schedule: str) -> timedelta | None:
    """A bound of the time between two moments; None where it promises nothing that is told here.

    Args:
        schedule: second, minute, hour, day, month and weekday, or the last five of them (documented for timer
            triggers). The bound is a day where only times of day are named, a week where weekdays are, and
            two months where days of the month are: the 31st is not in every month.
    """
    fields = schedule.split()
    if len(fields) not in (5, 6):
        return None
    day, month, weekday = (_any(field) for field in fields[-3:])
    if not month or not (day or weekday):
        return None
    return DAY if day and weekday else 7 * DAY if day else 62 * DAY


def _any(field: str) -> bool:
    return field in ("*", "*/1")
