"""What counts as stale here, and how much may go at once: the operator's values, checked. Pure.

Only what may differ from fleet to fleet is a value. The guards of lifecycle.purge.rules are not: nothing in
here switches one off, and each number has a least value below which it would.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from lifecycle.errors import InvalidOption

PRICE_PER_THOUSAND = 0.123
"""US dollars for 1,000 service operations of DPS (list price, as seen published; regions differ)."""

_PATTERN = re.compile(r"[a-z0-9\-._:*?]{1,128}", re.ASCII)
_LONGEST_LIST = 1_000
_LONGEST_TEXT = 128
_LONGEST_LISTS = 20_000
"""Characters: a run keeps its rules in its row."""
_TAG = re.compile(r"[^\s=.$#\x00-\x1f]{1,128}=[^\x00-\x1f]{1,128}")


@dataclass(frozen=True, slots=True)
class PurgePolicy:
    """The section `purge`. Days are whole.

    Attributes:
        orphans: records of deleted groups.
        device_gone: assigned records whose hub has no such device.
        unlinked_hub: assigned records of a hub that is no longer linked.
        failed_days: failed records of so many days or more; None: not looked for.
        disabled_days: the same of disabled ones.
        old_days: the same of assigned ones whose device has been silent for as long.
        settle_hours: a record that changed within them is left: something may be under way.
        quiet_days: a device that its hub saw within them is a live one.
        quarantine_days: how long a record stays marked before it may be deleted.
        most: records deleted by one run, at most.
        most_percent: the same, of all records that the run counted.
        exclude: registration ids that are left, with * and ? as wildcards; lower case.
        exclude_groups: groups whose records are left, those of them too that are gone; lower case.
        keep_tags: NAME=VALUE: a device whose twin has this tag keeps its record.
        price: US dollars for 1,000 operations of DPS, for plans.
    """

    orphans: bool = True
    device_gone: bool = True
    unlinked_hub: bool = True
    failed_days: int | None = 30
    disabled_days: int | None = None
    old_days: int | None = None
    settle_hours: int = 24
    quiet_days: int = 30
    quarantine_days: int = 7
    most: int = 1_000
    most_percent: float = 5.0
    exclude: tuple[str, ...] = ()
    exclude_groups: tuple[str, ...] = ()
    keep_tags: tuple[str, ...] = ("purge=never",)
    price: float = PRICE_PER_THOUSAND

    def __post_init__(self) -> None:
        for name in ("orphans", "device_gone", "unlinked_hub"):
            if not isinstance(getattr(self, name), bool):
                raise _refused(name, "is neither true nor false", "write one of them")
        for name, least in (("failed_days", 1), ("disabled_days", 1), ("old_days", 30)):
            if getattr(self, name) is not None:
                self._whole(name, least, 36_500, "; or null, and it is not looked for")
        self._whole("settle_hours", 1, 24 * 365)
        self._whole("quiet_days", 1, 36_500)
        self._whole("quarantine_days", 1, 3_650)
        self._whole("most", 1, 1_000_000)
        self._number("most_percent", 0, 100)
        self._number("price", -1e-9, 1_000)
        for name in ("exclude", "exclude_groups", "keep_tags"):
            self._texts(name)
        letters = sum(len(each) + 3 for each in (*self.exclude, *self.exclude_groups, *self.keep_tags))
        if letters > _LONGEST_LISTS:
            raise _refused(
                "exclude",
                f"and the other lists have {letters:,} characters in all",
                f"write at most {_LONGEST_LISTS:,}: wildcards say more in less",
            )

    @classmethod
    def read(cls, section: Any) -> Self:
        """The values of a document's section; what it does not name is as above.

        Args:
            section: JSON or YAML, read.

        Raises:
            InvalidOption: names the setting, what is wrong and the fix.
        """
        if section is None:
            return cls()
        if not isinstance(section, Mapping):
            raise InvalidOption("purge", "is no mapping of settings", "write NAME: VALUE, one a line")
        names = [each.name for each in fields(cls)]
        for name in section:
            if name not in names:
                raise InvalidOption(
                    "purge", f"{str(name)[:80]!a} is no setting of it", f"there are {', '.join(names)}"
                )
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in section.items()
        }
        return cls(**values)

    def document(self) -> dict[str, Any]:
        """As `read` takes it: JSON."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def most_of(self, population: int) -> int:
        """How many records a run may delete, of so many."""
        return min(self.most, int(population * self.most_percent / 100))

    def _whole(self, name: str, least: int, most: int, rest: str = "") -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _refused(
                name, f"is {_shown(value)}", f"write a whole number from {least:,} to {most:,}{rest}"
            )

    def _number(self, name: str, above: float, most: float) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not above < value <= most:
            raise _refused(
                name, f"is {_shown(value)}", f"write a number over {max(0, above):g}, at most {most:g}"
            )

    def _texts(self, name: str) -> None:
        values = getattr(self, name)
        if not isinstance(values, tuple) or len(values) > _LONGEST_LIST:
            raise _refused(name, "is no list of texts", f"write a list of at most {_LONGEST_LIST:,}")
        pattern, how = (
            (_TAG, "NAME=VALUE, the name without dots and blanks")
            if name == "keep_tags"
            else (_PATTERN, "lower-case ids, with * and ? as wildcards")
        )
        for value in values:
            if not isinstance(value, str) or not pattern.fullmatch(value):
                raise _refused(name, f"has {_shown(value)}", f"write {how}")


def _refused(name: str, problem: str, fix: str) -> InvalidOption:
    return InvalidOption(f"purge.{name}", problem, fix)


def _shown(value: object) -> str:
    return ascii(value)[:_LONGEST_TEXT]
