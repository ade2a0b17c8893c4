"""The times in DPS's documents."""

from datetime import UTC, datetime


def timestamp(text: str | None) -> datetime | None:
    """`2022-08-03T17:15:10.8464255Z` in UTC; None without one.

    DPS writes seven fractional digits (seen), of which a datetime keeps six. A time without a zone is UTC, as
    the members' names say. The first of January of the year 1 is .NET's "not set".

    Raises:
        ValueError: it is no time in ISO 8601.
    """
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    if moment.year == 1:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
