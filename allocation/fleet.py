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


_NOTHING: Mapping[HubKey, HubState] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FleetView:
    """The hubs as they were known at one moment.

    Attributes:
        states: hubs that are not open; a hub that is absent is open.
        as_of: when this was read; None when there is nothing to read and every hub is open.
    """

    states: Mapping[HubKey, HubState] = field(default_factory=lambda: _NOTHING)
    as_of: datetime | None = None

    def takes(self, hub: HubKey, *, current: bool) -> bool:
        """Whether the hub may be given to a device that is (`current`) or is not on it already."""
        state = self.states.get(hub, HubState.OPEN)
        return state is HubState.OPEN or (current and state is HubState.CORDONED)


ALL_OPEN = FleetView()
"""No hub is cordoned, draining or disabled."""


class KnownFleet:
    """A fleet view that does not change by itself."""

    def __init__(self, view: FleetView = ALL_OPEN) -> None:
        self._view = view

    def view(self) -> FleetView:
        """The view it was made with."""
        return self._view
