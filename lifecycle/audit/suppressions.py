"""Suppressions: somebody's word, for a time, that a finding is known. It stays visible all the while."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from clients.ports import Clock, Row, Table
from clients.wording import LONGEST, plain
from lifecycle.audit.finding import Finding
from lifecycle.audit.report import Suppression
from lifecycle.errors import InvalidOption

LONGEST_TIME = timedelta(days=366)
"""A suppression ends within a year."""

LONGEST_RESOURCE = 1024

_PLACE = "audit-suppressions"


class Suppressing:
    """Which suppression counts for a finding, at one moment."""

    def __init__(self, suppressions: Iterable[Suppression], now: datetime) -> None:
        self._exact: dict[tuple[str, str], Suppression] = {}
        self._patterns: defaultdict[str, list[Suppression]] = defaultdict(list)
        expired = []
        for each in sorted(suppressions, key=lambda each: (each.check, each.resource)):
            if each.until <= now:
                expired.append(each)
            elif _is_pattern(each.resource):
                self._patterns[each.check].append(each)
            else:
                self._exact[each.check, each.resource] = each
        self.expired = tuple(expired)
        """Those that do not count any more."""

    def of(self, finding: Finding) -> Suppression | None:
        """The one that names the resource itself, else the first whose pattern matches."""
        exact = self._exact.get((finding.check, finding.resource))
        if exact is not None:
            return exact
        patterns = self._patterns.get(finding.check, ())
        return next((each for each in patterns if _matches(each.resource, finding.resource)), None)


class Suppressions:
    """The suppressions of one DPS in a table."""

    def __init__(self, table: Table, dps: str, clock: Clock) -> None:
        self._table = table
        self._partition = f"{dps.lower()}!{_PLACE}"
        self._clock = clock

    async def all(self) -> tuple[Suppression, ...]:
        """Expired ones too.

        Raises:
            TableUnavailable.
        """
        return tuple([_read(row) async for row in self._table.scan(self._partition)])

    def made(self, check: str, resource: str, *, reason: str, by: str, until: datetime) -> Suppression:
        """One that may be put.

        Args:
            check: id of a check that there is; the caller knows which.
            resource: as findings name it, * and ? standing for any text and any character.
            reason: why.
            by: who says so.
            until: from when on it does not count any more.

        Raises:
            InvalidOption: names the parameter and the fix.
        """
        now = self._clock.now()
        if not 1 <= len(resource) <= LONGEST_RESOURCE:
            raise InvalidOption(
                "resource",
                f"it has {len(resource):,} characters",
                f"write 1 to {LONGEST_RESOURCE:,}, as `audit show` has it, like group:line-a",
            )
        if until <= now:
            raise InvalidOption("until", "it is in the past", "name a day to come")
        if until > now + LONGEST_TIME:
            raise InvalidOption("until", "it is over a year away", "look at it again within a year")
        return Suppression(check, resource, _told("reason", reason), _told("by", by), now, until)

    async def put(self, made: Suppression) -> None:
        """Keep one, in place of one of the same check and resource.

        Raises:
            TableUnavailable.
        """
        await self._table.put(
            Row(
                self._partition,
                _key(made.check, made.resource),
                {
                    "check_id": made.check,
                    "resource": made.resource,
                    "reason": made.reason,
                    "by": made.by,
                    "created": made.created,
                    "until": made.until,
                },
            )
        )

    async def remove(self, check: str, resource: str) -> bool:
        """Take one back; whether there was one.

        Raises:
            TableUnavailable.
        """
        receipt = await self._table.delete(Row(self._partition, _key(check, resource)))
        return receipt.outcome == "written"


def _told(parameter: str, text: str) -> str:
    clean = plain(text)
    if not clean:
        raise InvalidOption(parameter, "it is empty", "whoever reads the report wants to know")
    if "****" in clean and "****" not in text:
        raise InvalidOption(parameter, "it holds what looks like a key", "say it without")
    if len(clean) >= LONGEST:
        raise InvalidOption(parameter, "it is too long", f"say it in under {LONGEST} characters")
    return clean


def _key(check: str, resource: str) -> str:
    return f"{check}!{hashlib.sha256(resource.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _is_pattern(resource: str) -> bool:
    return "*" in resource or "?" in resource


def _matches(pattern: str, text: str) -> bool:
    """Glob with * and ?; a regular expression of many * would try every way to share a text among them."""
    at = here = 0
    star, resume = -1, 0
    while at < len(text):
        sign = pattern[here] if here < len(pattern) else ""
        if sign == "*":
            star, resume = here, at
            here += 1
        elif sign and sign in ("?", text[at]):
            at, here = at + 1, here + 1
        elif star >= 0:
            resume += 1
            at, here = resume, star + 1
        else:
            return False
    return not pattern[here:].strip("*")


def _read(row: Row) -> Suppression:
    values = row.values
    created, until = values["created"], values["until"]
    assert isinstance(created, datetime)
    assert isinstance(until, datetime)
    return Suppression(
        str(values["check_id"]),
        str(values["resource"]),
        str(values["reason"]),
        str(values["by"]),
        created,
        until,
    )
