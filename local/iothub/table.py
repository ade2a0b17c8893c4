"""The devices of a hub, packed, in the order they were made."""

from collections.abc import Iterator, Mapping

from local.dps.ordering import Ordering, Page
from local.iothub.device import HubDevice
from local.iothub.packing import pack, unpack


class DeviceTable(Mapping[str, HubDevice]):
    """Devices by their case-sensitive ids. What it gives out are copies: only its owner writes."""

    def __init__(self) -> None:
        self._order = Ordering[bytes]()

    def __getitem__(self, device_id: str) -> HubDevice:
        packed = self._order.get(device_id)
        if packed is None:
            raise KeyError(device_id)
        return unpack(packed)

    def __contains__(self, device_id: object) -> bool:
        return isinstance(device_id, str) and self._order.get(device_id) is not None

    def __iter__(self) -> Iterator[str]:
        return (unpack(packed).identity.device_id for packed in self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __repr__(self) -> str:
        return f"DeviceTable({len(self)} devices)"

    def packed(self, device_id: str) -> bytes | None:
        """A device in its compact form."""
        return self._order.get(device_id)

    def records(self) -> Iterator[bytes]:
        """All devices in their compact form, oldest first."""
        return iter(self._order)

    def page(self, after: int, limit: int) -> Page[bytes]:
        """Up to `limit` packed devices behind position `after` (0: from the start), oldest first."""
        return self._order.page(after, limit)

    def put(self, device: HubDevice) -> bytes:
        """Add or replace a device; a replaced one keeps its place."""
        packed = pack(device)
        self._order.put(device.identity.device_id, packed)
        return packed

    def discard(self, device_id: str) -> None:
        """Forget a device, if it is there."""
        self._order.discard(device_id)
