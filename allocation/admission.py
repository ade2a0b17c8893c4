"""Which requests are taken at their word: enrollments by name, callers by address.

The function key is what keeps strangers out. These two lists are for the day on which somebody has it, or
points another enrollment at the webhook by mistake. Both are off by default and only log at first, for a list
that is wrong must not strand a fleet. Where a list refuses, a request it does not know is *withheld*
(`decision.withheld`): it is told nothing that it did not bring itself, and leaves no trace in the ledger.
A device that has a linked hub is told to stay there, any other to come again (503, which DPS tries ten times
over about seven minutes), and a `reject` of the policy still holds.

A caller's address is the entry of X-Forwarded-For that the nearest proxy appended: the last one, or the one
before it where a Front Door stands before the app. What is left of it was sent by the caller, who may have
made it up. App Service writes entries as ADDRESS:PORT (seen in public reports); whether it adds to what was
sent or replaces it makes no difference to the last entry. From where DPS calls is not documented: log first,
and read the log.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal

from allocation.facts import EnrollmentKind, Facts
from allocation.policy.matching import glob

Network = IPv4Network | IPv6Network
Mode = Literal["log", "refuse"]

TELL_AGAIN = timedelta(minutes=10)
"""How often one stranger is told of."""

MOST_TOLD = 256
"""Strangers remembered to have been told of; forged requests may bring any number."""

NO_ADDRESS = "unreadable"
"""What stands for a caller whose address is missing, or is none."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What a list has against a request.

    Attributes:
        what: which list.
        found: the caller's address, or the enrollment as KIND:ID.
        setting: the list's setting.
        refused: whether the request is withheld; else it is only told of.
    """

    what: Literal["caller", "enrollment"]
    found: str
    setting: str
    refused: bool


class Admission:
    """The two lists. An empty one doubts nobody."""

    def __init__(
        self,
        *,
        enrollments: Sequence[tuple[EnrollmentKind, str]] = (),
        enrollments_mode: Mode = "log",
        ranges: Sequence[Network] = (),
        ranges_mode: Mode = "log",
        proxies: int = 0,
    ) -> None:
        """Make one.

        Args:
            enrollments: kind and glob over the id, without case.
            enrollments_mode: what becomes of a request whose enrollment is on no glob.
            ranges: networks that DPS calls from.
            ranges_mode: what becomes of a request from elsewhere.
            proxies: how many proxies that append to X-Forwarded-For stand before App Service's own.
        """
        self._listed: dict[EnrollmentKind, Callable[[str], bool]] = {}
        kinds: tuple[EnrollmentKind, ...] = ("group", "individual")
        if enrollments:
            for kind in kinds:
                self._listed[kind] = glob([each for of, each in enrollments if of == kind], fold=True)
        # By what is cut off an address to have the network's: a thousand networks have a dozen lengths.
        self._networks: dict[tuple[int, int], set[int]] = {}
        for each in ranges:
            cut = each.max_prefixlen - each.prefixlen
            self._networks.setdefault((each.version, cut), set()).add(int(each.network_address) >> cut)
        self._refuses_enrollments = enrollments_mode == "refuse"
        self._refuses_ranges = ranges_mode == "refuse"
        self._proxies = proxies
        self._told: OrderedDict[Doubt, datetime] = OrderedDict()

    def doubts(self, facts: Facts, forwarded: str) -> tuple[Doubt, ...]:
        """What the lists have against a request; normally nothing.

        Args:
            facts: of the request.
            forwarded: its X-Forwarded-For as received; "" without one.
        """
        found = []
        if self._networks:
            address = caller(forwarded, self._proxies)
            if address is None or not self._within(address):
                where = NO_ADDRESS if address is None else str(address)
                found.append(Doubt("caller", where, "CALLER_RANGES", self._refuses_ranges))
        if self._listed:
            listed = self._listed.get(facts.enrollment_kind)
            if listed is None or not listed(facts.enrollment_id.lower()):
                name = f"{facts.enrollment_kind}:{facts.enrollment_id}"
                found.append(Doubt("enrollment", name, "ALLOWED_ENROLLMENTS", self._refuses_enrollments))
        return tuple(found)

    def _within(self, address: IPv4Address | IPv6Address) -> bool:
        return any(
            version == address.version and int(address) >> cut in held
            for (version, cut), held in self._networks.items()
        )

    def is_news(self, doubt: Doubt, now: datetime) -> bool:
        """Whether a doubt is to be told of: the first time, and once in a while when it goes on."""
        told = self._told.get(doubt)
        if told is not None and timedelta() <= now - told < TELL_AGAIN:
            return False
        self._told[doubt] = now
        self._told.move_to_end(doubt)
        if len(self._told) > MOST_TOLD:
            self._told.popitem(last=False)
        return True


def caller(forwarded: str, proxies: int = 0) -> IPv4Address | IPv6Address | None:
    """The address that the proxy nearest to us, or that many before it, says it was called from.

    Args:
        forwarded: X-Forwarded-For as received, repeated headers joined by commas.
        proxies: entries at the end to pass over.

    None where there is no such entry or it is no address. Never raises.
    """
    entries = forwarded.rsplit(",", proxies + 1)
    if len(entries) <= proxies:
        return None
    parts = _ENTRY.fullmatch(entries[-1 - proxies].strip())
    if parts is None:
        return None
    try:
        address = ip_address(parts[1] or parts[2] or parts[3])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


_PORT = r"(?::\d{1,5})?"
# A zone (fe80::1%eth0) is text of anybody's, and of no caller from outside.
_ENTRY = re.compile(rf"\[([^\]%]+)\]{_PORT}|([\d.]+){_PORT}|([^\[\]%]+)", re.ASCII)
