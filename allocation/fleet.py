"""What is known of the hubs, and how old that is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from provisioning.hubs import HubKey


class HubState(StrEnum):
    """An operator's word on a hub."""

    OPEN = "open"
    CORDONED = "cordoned"
    """Takes no new device; those it has stay."""
    DRAINING = "draining"
    """Takes no new device and lets go of those it has, as they register again and have where to go."""
    DISABLED = "disabled"
    """As draining."""


_NO_STATES: Mapping[HubKey, HubState] = MappingProxyType({})
_NO_LOADS: Mapping[HubKey, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FleetView:
    """The hubs as they were known at one moment.

    Attributes:
        states: hubs that are not open; a hub that is absent is open.
        loads: devices on each hub, as last counted and with what was placed since; a hub that is absent has
            an unknown load, and neither its capacity nor a bound over it can be held.
        avoided: hubs that get no new device because they look unwell (their statistics cannot be read);
            devices they have stay, and a device with no other legal place goes there all the same.
        as_of: when this was read; None when there is nothing to read and every hub is open.
    """

    states: Mapping[HubKey, HubState] = field(default_factory=lambda: _NO_STATES)
    loads: Mapping[HubKey, int] = field(default_factory=lambda: _NO_LOADS)
    avoided: frozenset[HubKey] = frozenset()
    as_of: datetime | None = None

    def takes(self, hub: HubKey, *, current: bool) -> bool:
        """Whether the hub may be given to a device that is (`current`) or is not on it already."""
        state = self.states.get(hub, HubState.OPEN)
        return state is HubState.OPEN or (current and state is HubState.CORDONED)


ALL_OPEN = FleetView()
"""No hub is cordoned, draining or disabled."""
