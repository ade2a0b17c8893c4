"""How the text of an app setting becomes its value.

Each reader takes the text of a setting, and raises ValueError that says what belongs there. An empty text
is a setting that is not set, where that is allowed.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from provisioning.hubs import HIGH_TIER, HubKey, hub_key

EnrollmentKind = Literal["group", "individual"]
Mode = Literal["log", "refuse"]
Network = IPv4Network | IPv6Network
Listed = TypeVar("Listed")

LONGEST_GLOB = 256
"""Characters of one glob of ALLOWED_ENROLLMENTS, as in a policy."""

MOST_LISTED = 1_000
"""Entries of a list that every request is held against."""

_CANARY_PREFIX = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d{1,5})?")
_DPS = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/(?!\.{1,2}/)[\w.()-]{1,90}"
    r"/providers/Microsoft\.Devices/provisioningServices/[a-z0-9-]{1,64}",
    re.IGNORECASE,
)
"""What the client of the management plane takes: a test holds the two together."""

_SITE = re.compile(
    r"/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.Web/sites/[^/\s]+",
    re.IGNORECASE,
)
_VAULT = re.compile(
    r"/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.KeyVault/vaults/[^/\s]+",
    re.IGNORECASE,
)
_SECRET = re.compile(r"[0-9A-Za-z-]{1,100}", re.ASCII)
_SCHEDULE_PART = re.compile(
    r"(?:\*|(?P<first>\d{1,10}|[A-Za-z]+)(?:-(?P<last>\d{1,10}|[A-Za-z]+))?)(?:/\d{1,10})?", re.ASCII
)
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_SCHEDULE_FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (0, 59, ()),
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (0, 6, _WEEKDAYS),
)
"""Second, minute, hour, day, month, weekday: least, most, names (NCrontab's own rules; Sunday is 0)."""
_SCHEDULE_FIX = "set it to an NCRONTAB expression of six fields, like 0 17 2 * * * for 02:17:00 UTC each day"
_UNITS = re.compile(r"(?:([BS][123]):)?([1-9]\d{0,3})", re.ASCII | re.IGNORECASE)
_MOST_UNITS = 200
"""More than any hub has without a word to Azure's support; a typing error is more likely."""


def one_of(*words: str) -> Callable[[str], str]:
    """One of a few words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"set it to {', '.join(words[:-1])} or {words[-1]}")
        return text

    return read


def truth(text: str) -> bool:
    """True or false, and nothing else: a typing error must not start a purge."""
    if text.lower() not in ("true", "false"):
        raise ValueError("set it to true or false")
    return text.lower() == "true"


def switch(text: str) -> bool:
    """As the Functions worker reads its own settings: what is not true is false."""
    return text.lower() in {"1", "true", "yes", "t", "y"}


def seconds(text: str) -> float:
    """A time that is waited for, in seconds."""
    return _number(text, 0.01, 3_600)


def zero_or_more(text: str) -> float:
    """A number that may be 0, for never."""
    return _number(text, 0, 100_000)


def percent(text: str) -> float:
    """A share of a quota."""
    return _number(text, 0.01, 100)


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number from `least` to `most`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= most):
            raise ValueError(f"set it to a whole number from {least} to {most}")
        return int(text)

    return read


def path(text: str) -> Path | None:
    """A file; None: none."""
    return Path(text) if text else None


def host(text: str) -> str:
    """A host name, with a port where it has one."""
    if text and _HOST.fullmatch(text) is None:
        raise ValueError("set it to the host name alone, like NAME.azure-devices-provisioning.net")
    return text


def https(text: str) -> str:
    """An https URL without a query, or an http one of this machine; no slash at its end."""
    if not text:
        return ""
    parts = urlsplit(text)
    loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme not in ("https", "http" if loopback else "https"):
        raise ValueError("set it to an https URL; http is for this machine alone")
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("set it to an https URL without user, query and key")
    return text.rstrip("/")


def chat(text: str) -> str:
    """The URL that a chat gave, secret in it and all."""
    if text:
        parts = urlsplit(text)
        if parts.scheme != "https" or not parts.hostname or parts.username or not text.isascii():
            raise ValueError("set it to the https URL that Teams or Slack gave you, as it is")
    return text


def schedule(text: str) -> str:
    """An NCRONTAB expression of five or six fields, as timer triggers take it (documented)."""
    fields = [field for field in text.split(" ") if field]
    if len(fields) not in (5, 6):
        raise ValueError(_SCHEDULE_FIX)
    for field, (least, most, names) in zip(reversed(fields), reversed(_SCHEDULE_FIELDS), strict=False):
        for part in field.split(","):
            found = _SCHEDULE_PART.fullmatch(part)
            ends = () if found is None else [each for each in found.group("first", "last") if each]
            if found is None or not all(_in_field(end, least, most, names) for end in ends):
                raise ValueError(_SCHEDULE_FIX)
    return text


def _in_field(text: str, least: int, most: int, names: tuple[str, ...]) -> bool:
    if text.isdigit():
        return least <= int(text) <= most
    return any(name.startswith(text.lower()) for name in names)


def tables(text: str) -> str:
    """An account's table endpoint, or a connection string."""
    if text and "=" not in text and not text.startswith("https://"):
        raise ValueError("set it to https://ACCOUNT.table.core.windows.net, or to a connection string")
    return text


def _like(pattern: re.Pattern[str], fix: str) -> Callable[[str], str]:
    """A text that a pattern matches whole, or none."""

    def read(text: str) -> str:
        if text and pattern.fullmatch(text) is None:
            raise ValueError(fix)
        return text

    return read


dps_resource = _like(
    _DPS,
    "set it to the id that the portal shows under Properties: /subscriptions/…/resourceGroups/…/"
    "providers/Microsoft.Devices/provisioningServices/NAME",
)
"""The resource id of a DPS."""

vault_resource = _like(
    _VAULT,
    "set it to the vault's resource id: /subscriptions/…/resourceGroups/…/providers/"
    "Microsoft.KeyVault/vaults/NAME",
)
"""The resource id of a Key Vault."""

site_resource = _like(
    _SITE,
    "set it to the app's resource id: /subscriptions/…/resourceGroups/…/providers/Microsoft.Web/sites/NAME",
)
"""The resource id of a Functions app."""

secret_name = _like(_SECRET, "set it to a secret's name: 1 to 100 letters, digits and dashes")
"""The name of a secret in a Key Vault."""


def id_scope(text: str) -> str:
    """The id scope of a DPS."""
    if text and not (text.isascii() and text.isalnum()):
        raise ValueError("set it to the id scope that the portal shows: letters and digits")
    return text


def canary_prefix(text: str) -> str:
    """What the registration ids of canaries begin with."""
    if _CANARY_PREFIX.fullmatch(text) is None:
        raise ValueError(
            "set it to 1 to 64 small letters, digits, - and _, the first a letter or digit: a digest and a "
            "slot's name follow, and ids have at most 128 characters"
        )
    return text


def hubs(text: str) -> Mapping[HubKey, str]:
    """NAME, NAME=https://…: hubs, and where each is served; "": at its name."""
    listed: dict[HubKey, str] = {}
    for part in _parts(text):
        name, _, url = part.partition("=")
        host(name.strip())
        listed[hub_key(name)] = https(url.strip())
    return listed


def hub_units(text: str) -> Mapping[HubKey, int]:
    """NAME=4, NAME=S3:2: how many units of the smallest tier each hub is worth."""
    units: dict[HubKey, int] = {}
    for part in _parts(text):
        name, _, size = map(str.strip, part.partition("="))
        found = _UNITS.fullmatch(size)
        if not name or not found or not 1 <= int(found[2]) <= _MOST_UNITS:
            raise ValueError(f"set it to NAME=4, or NAME=S3:2, with 1 to {_MOST_UNITS} units")
        tier = (found[1] or "").upper()
        units[hub_key(host(name))] = int(found[2]) * (HIGH_TIER if tier in ("S3", "B3") else 1)
    return units


def enrollments(text: str) -> tuple[tuple[EnrollmentKind, str], ...]:
    """group:GLOB, individual:GLOB: enrollments by kind and glob."""
    listed: list[tuple[EnrollmentKind, str]] = []
    for part in _parts(text):
        kind, mark, pattern = part.partition(":")
        if kind not in ("group", "individual") or not mark or not 0 < len(pattern) <= LONGEST_GLOB:
            raise ValueError(f"set it to KIND:GLOB, KIND:GLOB, … like group:line-*; {part[:40]!r} is none")
        listed.append(("group" if kind == "group" else "individual", pattern))
    return _short_enough(listed)


def ranges(text: str) -> tuple[Network, ...]:
    """Networks, as 40.74.0.0/15."""
    listed: list[Network] = []
    for part in _parts(text):
        try:
            listed.append(ip_network(part))
        except ValueError:
            raise ValueError(
                f"set it to networks like 40.74.0.0/15, without bits beyond the prefix; {part[:40]!r} is none"
            ) from None
    return _short_enough(listed)


def _parts(text: str) -> list[str]:
    """What stands between the commas, blanks left out."""
    return [part for part in map(str.strip, text.split(",")) if part]


def _short_enough(listed: list[Listed]) -> tuple[Listed, ...]:
    if len(listed) > MOST_LISTED:
        raise ValueError(f"it has {len(listed)} entries; at most {MOST_LISTED} are looked through")
    return tuple(listed)


def _number(text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:  # not a number is in no range
        raise ValueError(f"set it to a number from {least:g} to {most:g}")
    return value
