"""What hubs say of devices: by query pages for many, from the registry itself for one.

A hub that does not answer says nothing (Unasked), and so keeps every record that hangs on it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from clients.errors import NoCredential, ServiceError
from clients.hubs import HubDevice, HubRow, HubTwin, is_device_id
from lifecycle.purge.rules import AtHub, Seen, Unasked
from provisioning.hubs import HubKey

NO_DEVICE_ID = Unasked("no hub takes its id")


class Hub(Protocol):
    """What is asked of a hub."""

    async def devices_in(self, ids: Iterable[str]) -> dict[str, HubRow]:
        """Those of the devices that queries find."""

    async def device(self, device_id: str) -> HubDevice | None:
        """The registry's entry."""

    async def twin(self, device_id: str) -> HubTwin | None:
        """The twin."""


class Hubs:
    """The hubs of one slice. One that failed is not asked again in it."""

    def __init__(self, hub: Callable[[HubKey], Hub]) -> None:
        """Make nothing yet.

        Args:
            hub: a hub's client.
        """
        self._make = hub
        self._made: dict[HubKey, Hub] = {}
        self._down: dict[HubKey, Unasked] = {}

    @property
    def down(self) -> Mapping[HubKey, Unasked]:
        """The hubs that failed."""
        return self._down

    async def listed(self, hub: HubKey, ids: Iterable[str]) -> dict[str, AtHub]:
        """What queries find, by id. Queries lag: one that is missing may exist, one that is found may not."""
        wanted = list(ids)
        usable = [each for each in wanted if is_device_id(each)]
        answers: dict[str, AtHub] = dict.fromkeys(wanted, NO_DEVICE_ID)
        found: Any = await self._asked(hub, lambda client: client.devices_in(usable)) if usable else {}
        for each in usable:
            answers[each] = found if isinstance(found, Unasked) else _row(found.get(each))
        return answers

    async def direct(self, hub: HubKey, device_id: str, *, tags: bool) -> AtHub:
        """What the registry itself says.

        Args:
            hub: which.
            device_id: case-sensitive.
            tags: whether the twin's tags are wanted, which take a second read where there is a device.
        """
        if not is_device_id(device_id):
            return NO_DEVICE_ID
        found: Any = await self._asked(hub, lambda client: client.device(device_id))
        if found is None or isinstance(found, Unasked):
            return found
        connected = found.connection_state != "Disconnected"
        if not tags:
            return Seen(connected, found.last_activity, edge=found.edge)
        twin: Any = await self._asked(hub, lambda client: client.twin(device_id))
        if isinstance(twin, Unasked):
            return twin
        return Seen(connected, found.last_activity, None if twin is None else twin.tags, edge=found.edge)

    async def _asked(self, hub: HubKey, ask: Callable[[Hub], Any]) -> Any:
        if hub in self._down:
            return self._down[hub]
        if hub not in self._made:
            self._made[hub] = self._make(hub)
        try:
            return await ask(self._made[hub])
        except (ServiceError, NoCredential) as error:
            self._down[hub] = Unasked(str(error)[:300])
            return self._down[hub]


def _row(row: HubRow | None) -> AtHub:
    if row is None:
        return None
    return Seen(row.connection_state != "Disconnected", row.last_activity, row.tags, edge=row.edge)
