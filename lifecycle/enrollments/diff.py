"""What a change changes, member by member, fit to be shown: keys and webhook keys are masked."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

READ_ONLY = ("etag", "createdDateTimeUtc", "lastUpdatedDateTimeUtc", "registrationState")
"""Members that the service writes; no change is about them."""

_KEYS = re.compile(r"(?i)^(primarykey|secondarykey)$")


@dataclass(frozen=True, slots=True)
class Absent:
    """The value of a member that is not there."""


ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """One member that differs.

    Attributes:
        path: "reprovisionPolicy.migrateDeviceData".
        before: its JSON value, secrets masked; ABSENT: it was not there.
        after: likewise.
    """

    path: str
    before: Any
    after: Any


def differences(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> tuple[Difference, ...]:
    """What differs between two documents, in the order of their members.

    A member that is null and one that is absent are the same: the service writes both for "none".

    Args:
        before: None: there was no enrollment.
        after: None: there will be none.
    """
    return tuple(_walk("", before or {}, after or {}))


def masked(document: Any) -> Any:
    """The JSON value with symmetric keys as `****` and webhook URLs without their queries."""
    if isinstance(document, Mapping):
        return {name: _mask(name, value) for name, value in document.items()}
    return [masked(each) for each in document] if isinstance(document, list) else document


def _walk(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    found: list[Difference] = []
    for name in [*before, *(name for name in after if name not in before)]:
        if not path and name in READ_ONLY:
            continue
        old, new = before.get(name), after.get(name)
        if _same(old, new):
            continue
        inner = f"{path}.{name}" if path else name
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _walk(inner, old, new)
            continue
        shown_old = ABSENT if old is None else _mask(name, old)
        shown_new = ABSENT if new is None else _mask(name, new)
        if shown_old == shown_new:  # it differs in what is masked alone
            shown_old, shown_new = _fingerprint(old), _fingerprint(new)
        found.append(Difference(inner, shown_old, shown_new))
    return found


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return all(_same(old.get(name), new.get(name)) for name in {*old, *new})
    return type(old) is type(new) and bool(old == new)


def _mask(name: str, value: Any) -> Any:
    if isinstance(value, str):
        if _KEYS.match(name):
            return "****"
        if name.lower() == "webhookurl":
            base, mark, _ = value.partition("?")
            return f"{base}?****" if mark else base
    return masked(value)


def _fingerprint(secret: Any) -> str:
    """Tells two masked values apart without telling either: four digits of 2^16 suit no search."""
    return f"**** (SHA-256 …{hashlib.sha256(str(secret).encode()).hexdigest()[:4]})"
