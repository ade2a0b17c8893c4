"""DeviceCreated and DeviceDeleted, whoever makes and deletes the device."""

from typing import Any

import pytest

from local.iothub.events import HubEvent
from tests.local.iothub.rig import HOST, Rig

TWIN = {
    "deviceId",
    "etag",
    "deviceEtag",
    "status",
    "statusUpdateTime",
    "connectionState",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
    "authenticationType",
    "x509Thumbprint",
    "version",
    "properties",
}


@pytest.fixture
def told(rig: Rig) -> list[HubEvent]:
    heard: list[HubEvent] = []
    rig.hub.subscribe(heard.append)
    return heard


async def test_a_created_device_is_told_of_with_a_default_twin(rig: Rig, told: list[HubEvent]) -> None:
    rig.make("dev-1")
    rig.make("dev-1")
    [event] = told
    assert (event.type, event.host_name, event.subject, event.time) == (
        "Microsoft.Devices.DeviceCreated",
        HOST,
        "devices/dev-1",
        rig.clock.now(),
    )
    assert (event.data["hubName"], event.data["deviceId"]) == ("hub-a", "dev-1")
    twin: dict[str, Any] = event.data["twin"]
    assert set(twin) == TWIN
    assert set(twin["properties"]["desired"]) == {"$metadata", "$version"}


async def test_a_deleted_device_is_told_of_with_its_last_twin(rig: Rig, told: list[HubEvent]) -> None:
    rig.make("dev-1")
    rig.hub.connect("dev-1")
    await rig.clock.advance(60)
    await rig.call("DELETE", "/devices/dev-1", if_match="*")
    await rig.call("DELETE", "/devices/dev-1", if_match="*")
    [_, event] = told
    assert (event.type, event.time) == ("Microsoft.Devices.DeviceDeleted", rig.clock.now())
    assert set(event.data["twin"]) == TWIN
    assert event.data["twin"]["connectionState"] == "Connected"
    assert event.data["twin"]["properties"]["desired"]["interval"] == 5


async def test_the_registry_and_bulk_calls_tell_too(rig: Rig, told: list[HubEvent]) -> None:
    await rig.put("a")
    await rig.put("a", etag="*", status="disabled")
    await rig.call("POST", "/devices", [{"id": "b", "importMode": "create"}])
    await rig.call("POST", "/devices", [{"id": "a", "importMode": "delete"}])
    assert [(event.type.rpartition(".")[2], event.subject) for event in told] == [
        ("DeviceCreated", "devices/a"),
        ("DeviceCreated", "devices/b"),
        ("DeviceDeleted", "devices/a"),
    ]


async def test_a_deletion_without_a_time_is_dated_by_the_worlds_clock(rig: Rig, told: list[HubEvent]) -> None:
    rig.make("dev-1")
    await rig.clock.advance(5)
    rig.hub.remove("dev-1")
    assert told[-1].time == rig.clock.now()


async def test_a_moved_device_is_created_anew_on_its_target(rig: Rig) -> None:
    async with Rig() as other:
        heard: list[HubEvent] = []
        other.hub.subscribe(heard.append)
        other.make("d")
        rig.make("d")
        from local.hub import migrate

        keys = rig.hub.devices["d"].identity.keys
        assert migrate("d", rig.hub, other.hub, keys=keys, now=rig.clock.now())
        assert [event.type.rpartition(".")[2] for event in heard] == [
            "DeviceCreated",
            "DeviceDeleted",
            "DeviceCreated",
        ]
