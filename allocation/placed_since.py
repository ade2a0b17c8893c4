"""What one instance has placed since the hubs were last counted."""

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b

from provisioning.hubs import HubKey
from provisioning.registrations import RegistrationKey

REGISTRATIONS_PER_MINUTE = 1_000
"""Devices that one DPS registers in a minute, at most (documented)."""

SETTLING = timedelta(seconds=10)
"""A device that was placed so shortly before a count may not have been on its hub yet. It is counted twice
for so long instead of not at all."""

MOST_REMEMBERED = 20_000
"""Devices of one DPS remembered one by one; of those beyond, only how many went to each hub is kept."""


class PlacedSince:
    """Counts distinct devices that this instance sent to a hub they were not on, for one DPS.

    A request's body decides what is counted, and whoever has the webhook's key can forge one. So no load is
    ever raised by more than DPS can have registered since that hub was counted: 1,000 for each begun minute.
    Memory is bounded, too: a digest for each of MOST_REMEMBERED devices, and the hubs that were counted.
    """

    def __init__(self, settling: timedelta = SETTLING) -> None:
        self._settling = settling
        self._counted_at: Mapping[HubKey, datetime] = {}
        self._each: OrderedDict[bytes, tuple[HubKey, datetime]] = OrderedDict()
        self._counts: Counter[HubKey] = Counter()
        self._folded: dict[HubKey, tuple[int, datetime]] = {}
        self.uncounted = 0
        """Placements beyond what DPS can have registered."""

    def note(self, device: RegistrationKey, hub: HubKey, now: datetime) -> bool:
        """Count one placement of a device that was not on the hub; whether that changed anything.

        Placements on a hub that was never counted are not: it has no load that they could add to.
        """
        counted_at = self._counted_at.get(hub)
        if counted_at is None:
            return False
        digest = blake2b(device.encode("utf-8", "surrogatepass"), digest_size=12).digest()
        before = self._each.get(digest)
        if before is not None and before[0] == hub:
            self._each[digest] = (hub, now)
            self._each.move_to_end(digest)
            return False
        if self._counts[hub] >= allowance(now - counted_at + self._settling):
            self.uncounted += 1
            return False
        if before is not None:
            self._counts[before[0]] -= 1
        self._each[digest] = (hub, now)
        self._each.move_to_end(digest)
        self._counts[hub] += 1
        if len(self._each) > MOST_REMEMBERED:
            self._fold()
        return True

    def counted(self, at: Mapping[HubKey, datetime]) -> None:
        """The hubs were counted at these moments: forget what the counts hold by now."""
        if at == self._counted_at:
            return
        self._counted_at = dict(at)
        until = {hub: moment - self._settling for hub, moment in at.items()}
        self._folded = {
            hub: (count, last)
            for hub, (count, last) in self._folded.items()
            if hub in at and last > until[hub]
        }
        self._each = OrderedDict(
            (digest, (hub, placed_at))
            for digest, (hub, placed_at) in self._each.items()
            if hub in at and placed_at > until[hub]
        )
        self._counts = Counter(hub for hub, _ in self._each.values())
        for hub, (count, _) in self._folded.items():
            self._counts[hub] += count

    def on(self, hub: HubKey) -> int:
        """How many went to that hub."""
        return self._counts[hub]

    def _fold(self) -> None:
        """Keep of the older half only how many went where: they cannot be told from newcomers any more."""
        for _ in range(len(self._each) // 2):
            _, (hub, placed_at) = self._each.popitem(last=False)
            count, last = self._folded.get(hub, (0, placed_at))
            self._folded[hub] = (count + 1, max(last, placed_at))


def allowance(age: timedelta) -> int:
    """How many devices DPS can have registered in that time: 1,000 for each begun minute."""
    minutes = math.floor(max(0.0, age.total_seconds()) / 60) + 1
    return REGISTRATIONS_PER_MINUTE * minutes
