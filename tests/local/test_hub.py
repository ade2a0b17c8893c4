"""Hub records as DPS changes them."""

import pytest

from local.hub import DeviceKeys, InitialTwin, IotHub, Thumbprints, migrate
from local.world import ManualClock

NOW = ManualClock().now()
KEYS, OTHER = DeviceKeys("a", "b"), DeviceKeys("c")
TWIN = InitialTwin({"site": "x"}, {"interval": 5})


def made(hub: IotHub, device_id: str = "d1") -> None:
    hub.create_or_get(device_id, keys=KEYS, iot_edge=True, twin=TWIN, now=NOW)


def test_create_or_get_makes_a_device_once() -> None:
    hub = IotHub("h", seed=1)
    made(hub)
    device, again = hub.create_or_get("d1", keys=OTHER, iot_edge=False, twin=InitialTwin(), now=NOW)
    assert (again, device.identity.keys, device.identity.iot_edge) == (False, KEYS, True)
    assert (device.twin.tags, device.twin.desired, device.twin.reported) == (
        {"site": "x"},
        {"interval": 5},
        {},
    )
    assert (device.identity.status, device.identity.created) == ("enabled", NOW)


def test_device_ids_are_case_sensitive() -> None:
    hub = IotHub("h")
    made(hub, "d1")
    made(hub, "D1")
    assert len(hub.devices) == 2


def test_removing_and_making_again_gives_another_generation() -> None:
    hub = IotHub("h", seed=1)
    made(hub)
    first = hub.devices["d1"].identity.generation_id
    assert hub.remove("d1")
    assert not hub.remove("d1")
    made(hub)
    assert hub.devices["d1"].identity.generation_id != first


def test_migration_moves_all_properties_and_gives_the_new_keys() -> None:
    source, target = IotHub("a"), IotHub("b")
    made(source)
    source.report("d1", {"firmware": 2})
    assert migrate("d1", source, target, keys=OTHER, now=NOW)
    device = target.devices["d1"]
    assert not source.devices
    assert (device.twin.tags, device.twin.desired, device.twin.reported) == (
        TWIN.tags,
        TWIN.desired,
        {"firmware": 2},
    )
    assert (device.identity.keys, device.identity.iot_edge) == (OTHER, True)
    assert not migrate("d1", source, target, keys=OTHER, now=NOW)


def test_reset_goes_back_to_the_given_twin() -> None:
    hub = IotHub("a")
    made(hub)
    hub.report("d1", {"firmware": 2})
    hub.reset("d1", InitialTwin({"site": "y"}))
    twin = hub.devices["d1"].twin
    assert (twin.tags, twin.desired, twin.reported, twin.reported_version) == ({"site": "y"}, {}, {}, 1)


def test_devices_do_not_share_their_initial_twin() -> None:
    hub, shared = IotHub("a"), {"nested": {"n": 1}}
    for name in ("d1", "d2"):
        hub.create_or_get(name, keys=KEYS, iot_edge=False, twin=InitialTwin(shared), now=NOW)
    shared["nested"]["n"] = 2
    assert hub.devices["d1"].twin.tags == {"nested": {"n": 1}}


def test_other_keys_change_the_etag_and_same_ones_nothing() -> None:
    hub = IotHub("a")
    made(hub)
    before = hub.devices["d1"]
    hub.set_keys("d1", KEYS, NOW)
    assert hub.devices["d1"] == before
    hub.set_keys("d1", OTHER, NOW)
    assert hub.devices["d1"].identity.etag != before.identity.etag
    hub.set_keys("nobody", OTHER, NOW)


@pytest.mark.parametrize("weight", [0, 1001, -1])
def test_weights_out_of_range_are_refused(weight: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        IotHub("a", allocation_weight=weight)


def test_devices_are_given_out_as_copies() -> None:
    hub = IotHub("a")
    made(hub)
    hub.devices["d1"].twin.tags["site"] = "changed"  # type: ignore[index]  # a mapping to read
    assert hub.devices["d1"].twin.tags == {"site": "x"}


def test_devices_read_as_a_mapping() -> None:
    hub = IotHub("a")
    made(hub, "d1")
    made(hub, "d2")
    assert (list(hub.devices), len(hub.devices), "d1" in hub.devices, "d3" in hub.devices) == (
        ["d1", "d2"],
        2,
        True,
        False,
    )
    assert hub.devices.get("d3") is None
    with pytest.raises(KeyError):
        hub.devices["d3"]


def test_a_device_without_keys_is_self_signed_unless_told_otherwise() -> None:
    hub = IotHub("a")
    for name, kind in (("d1", None), ("d2", "certificateAuthority")):
        hub.create_or_get(
            name, keys=DeviceKeys(), iot_edge=False, twin=TWIN, now=NOW, authentication_type=kind
        )
    kinds = [hub.devices[name].identity.entry.authentication_type for name in ("d1", "d2")]
    assert kinds == ["selfSigned", "certificateAuthority"]


def test_a_migrated_device_keeps_how_it_attests() -> None:
    source, target = IotHub("a"), IotHub("b")
    thumbprints = Thumbprints("AB")
    source.create_or_get("d1", keys=DeviceKeys(), iot_edge=False, twin=TWIN, now=NOW, thumbprints=thumbprints)
    assert migrate("d1", source, target, keys=DeviceKeys(), now=NOW)
    entry = target.devices["d1"].identity.entry
    assert (entry.authentication_type, entry.thumbprints) == ("selfSigned", thumbprints)


def test_watchers_see_every_change() -> None:
    hub, seen = IotHub("a"), list[tuple[str, bool, bool]]()
    hub.watch(lambda device, before, after: seen.append((device, before is not None, after is not None)))
    made(hub)
    hub.touch("d1", NOW)
    hub.remove("d1", NOW)
    assert seen == [("d1", False, True), ("d1", True, True), ("d1", True, False)]
