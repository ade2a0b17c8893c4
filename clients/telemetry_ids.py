"""What telemetry says of devices' ids: as they are, as a keyed hash, or not at all.

Telemetry is read by more people than the ledger is, and kept by other rules. Registration ids are often
serial numbers, and who knows how serial numbers are made finds the one behind a plain hash in seconds by
trying them all: so a hash is keyed, and the key is a secret of its own.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

HASH_DIGITS = 16
"""Hexadecimal digits of a hashed id: two of a million devices share one with a chance of 1 in 37 million."""

WITHHELD = "[id]"
"""What stands in a text in place of an id."""


class IdMode(StrEnum):
    """How ids are told."""

    NONE = "none"
    HASHED = "hashed"
    CLEAR = "clear"


_IDS = frozenset({"registration_id", "device"})
_OF_A_KIND = frozenset({"enrollment", "resource", "found"})
_TEXTS = frozenset({"problem", "trail", "why", "fix", "message", "noted", "result", "detail"})
_PER_DEVICE = frozenset({"registration", "individual", "device"})
_SIGNS = r"[A-Za-z0-9\-._:]"
_PATH = re.compile(r"(/(?:registrations|enrollments|devices|twins)/)[^\s/?\"']+")
# Messages of this app write ids as Python's ascii() does. An apostrophe within a word opens no quotation, and
# one that was cut off, at an ellipsis or the text's end, is an id all the same.
_QUOTED = re.compile(
    r"(?<!\w)'(?:[^'\\…]|\\.)*(?:['…]|\\?\Z)|(?<!\w)\"(?:[^\"\\…]|\\.)*(?:[\"…]|\\?\Z)", re.DOTALL
)


class Ids:
    """Tells the ids in the fields of events and spans as the setting wants them."""

    def __init__(self, mode: IdMode, key: str = "") -> None:
        """Make it.

        Args:
            mode: how ids are told.
            key: of the hashes; any text.

        Raises:
            ValueError: hashes without a key.
        """
        if mode is IdMode.HASHED and not key:
            raise ValueError("hashed ids need a key")
        self._mode = mode
        self._key = key.encode()

    def one(self, text: str) -> str | None:
        """An id as it is told; None where it is not. Ids that DPS takes for equal are told alike."""
        if self._mode is IdMode.CLEAR:
            return text
        if self._mode is IdMode.NONE:
            return None
        folded = text.lower().encode("utf-8", "surrogatepass")
        return hmac.new(self._key, folded, hashlib.sha256).hexdigest()[:HASH_DIGITS]

    def told(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        """The fields as they are told.

        Known by their names: ids, the enrollment of one device, what a finding of the audit is about. In
        sentences, the ids of the same event, parts of paths and whatever stands in quotes. Of a finding's
        evidence only numbers, yes and no are told: the report has it whole.
        """
        if self._mode is IdMode.CLEAR:
            return fields
        known = _known(fields)
        told: dict[str, object] = {}
        for name, value in fields.items():
            if name in _IDS:
                if (shown := self.one(str(value))) is not None:
                    told[name] = shown
            elif name in _OF_A_KIND:
                told[name] = self._of_kind(str(value))
            elif name == "evidence":
                told[name] = _figures(value)
            elif name in _TEXTS:
                told[name] = _each(value, lambda text: self._text(text, known))
            else:
                told[name] = value
        return told

    def _of_kind(self, text: str) -> str:
        """`group:a` as it is, `individual:a` with its id told."""
        kind, _, identifier = text.partition(":")
        return f"{kind}:{self.one(identifier) or WITHHELD}" if kind in _PER_DEVICE else text

    def _text(self, text: str, known: list[str]) -> str:
        for identifier in known:
            if identifier.lower() in text.lower():
                whole = rf"(?<!{_SIGNS}){re.escape(identifier)}(?!{_SIGNS})"
                text = re.sub(whole, self.one(identifier) or WITHHELD, text, flags=re.IGNORECASE)
        text = _PATH.sub(lambda found: f"{found[1]}{WITHHELD}", text) if "/" in text else text
        return _QUOTED.sub(WITHHELD, text) if "'" in text or '"' in text else text


def _known(fields: Mapping[str, object]) -> list[str]:
    """The ids that the fields name, for the sentences beside them; a device's is told as HUB/DEVICE, too."""
    known = [str(fields[name]) for name in _IDS if fields.get(name)]
    for name in _OF_A_KIND & fields.keys():
        kind, _, identifier = str(fields[name]).partition(":")
        if kind in _PER_DEVICE and identifier:
            known += {identifier, identifier.rpartition("/")[2]}
    return sorted(filter(None, known), key=len, reverse=True)


def _each(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _each(each, change) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_each(each, change) for each in value]
    return value


def _figures(value: object) -> object:
    """Of evidence, what cannot name a device."""
    if not isinstance(value, Mapping):
        return {}
    return {name: each for name, each in value.items() if isinstance(each, bool | int | float)}
