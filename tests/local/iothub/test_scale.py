"""Many devices: little memory, and pages that cost what is on them."""

import time
import tracemalloc
from collections.abc import Callable

from local.hub import DeviceKeys, InitialTwin, IotHub
from local.iothub.device import Connection, Entry, HubDevice, Identity, Thumbprints, Twin
from local.iothub.packing import pack, unpack
from local.world import ManualClock
from tests.local.iothub.rig import PRIMARY, SECONDARY, Rig

FLEET = 200_000
ALL = "SELECT * FROM devices"
NOW = ManualClock().now()


def fill(hub: IotHub, count: int) -> None:
    keys, twin = DeviceKeys(PRIMARY, SECONDARY), InitialTwin({"site": "x"})
    for number in range(count):
        hub.create_or_get(f"device-{number:07}", keys=keys, iot_edge=False, twin=twin, now=NOW)


def seconds(work: Callable[[], object]) -> float:
    """The best of some runs."""
    times = []
    for _ in range(20):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


async def test_a_page_of_a_large_hub_costs_what_is_on_it(rig: Rig) -> None:
    fill(rig.hub, FLEET)
    assert await rig.total() == FLEET
    assert (await rig.query("SELECT COUNT() AS n FROM devices")).json() == [{"n": FLEET}]
    assert len((await rig.query(ALL, x_ms_max_item_count="1000")).json()) == 1000
    assert len((await rig.call("GET", "/devices")).json()) == 1000
    rig.hub.connect("device-0199990")
    assert await rig.found(f"{ALL} WHERE connectionState = 'Connected'") == ["device-0199990"]
    devices = rig.hub.devices
    first, last = devices.page(0, 1000), devices.page(FLEET - 1000, 1000)
    assert (first.more, last.more) == (True, False)
    assert unpack(last.values[-1]).identity.device_id == "device-0199999"
    assert seconds(lambda: devices.page(FLEET - 1000, 1000)) < 10 * seconds(lambda: devices.page(0, 1000))


def test_a_device_takes_less_than_a_kilobyte() -> None:
    hub = IotHub("h", seed=1)
    fill(hub, 100)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(5_000):
        hub.create_or_get(
            f"other-{number}",
            keys=DeviceKeys(PRIMARY, SECONDARY),
            iot_edge=False,
            twin=InitialTwin(),
            now=NOW,
        )
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used / 5_000 < 700


def test_packing_loses_nothing() -> None:
    entry = Entry(
        "d", DeviceKeys("a", None), "selfSigned", Thumbprints("AB", "CD"), True, "disabled", "why\ud800"
    )
    identity = Identity(entry, "123", 7, NOW, NOW)
    twin = Twin({"a": {"b": [1]}}, {"c": 1.5}, {"d": None}, 2, 3, 4, NOW, NOW)
    device = HubDevice(identity, twin, Connection(True, NOW, NOW))
    assert unpack(pack(device)) == device
    plain = HubDevice(Identity(Entry("e"), "1", 1, NOW), Twin({}, {}, {}))
    assert unpack(pack(plain)) == plain
