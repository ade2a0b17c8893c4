"""What hubs tell of deleted devices, in both schemas of Event Grid, and its delivery."""

from typing import Any

from clients.hubs import HubShares
from clients.pacing import UnpacedShare
from lifecycle import events
from lifecycle.purge.gone import Noted, note_deleted
from lifecycle.purge.hubs import Hubs
from lifecycle.purge.marks import Marks
from provisioning.hubs import HubKey
from tests.lifecycle.purge.rig import NAME, PurgeRig

SHARE = UnpacedShare()


def event_grid(device: str, hub: str = "hub-a") -> dict[str, Any]:
    return {
        "id": "1",
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/hub-a",
        "subject": f"devices/{device}",
        "eventType": "Microsoft.Devices.DeviceDeleted",
        "eventTime": "2026-01-01T00:00:00Z",
        "data": {"deviceId": device, "hubName": hub},
    }


def cloud_event(device: str, hub: str = "hub-a") -> dict[str, Any]:
    return {
        "id": "1",
        "source": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/hub-a",
        "subject": f"devices/{device}",
        "type": "Microsoft.Devices.DeviceDeleted",
        "time": "2026-01-01T00:00:00Z",
        "specversion": "1.0",
        "data": {"deviceId": device, "hubName": hub},
    }


async def note(rig: PurgeRig, raw: dict[str, Any]) -> Noted:
    """Deliver one event."""
    ports = rig.ports()

    def hub(name: HubKey) -> Any:
        return ports.hub(name, HubShares(identities=SHARE, queries=SHARE, twins=SHARE))

    event = events.read([raw])
    return await note_deleted(
        events.device_deleted(event),
        event.id,
        ports.dps(SHARE).registrations,
        Hubs(hub),
        Marks(rig.memory, NAME),
        rig.now,
    )
