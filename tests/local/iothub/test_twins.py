"""Twins over their REST wire."""

from typing import Any

import pytest

from local.hub import DeviceKeys, InitialTwin
from tests.local.iothub.rig import Rig, code

MADE = "2026-01-01T00:00:00.0000000Z"


async def test_a_new_twin_is_as_samples_show_it(rig: Rig) -> None:
    rig.make("dev-1")
    answer = await rig.call("GET", "/twins/dev-1")
    shown = answer.json()
    identity = (await rig.call("GET", "/devices/dev-1")).json()
    stamp = {"$lastUpdated": MADE, "$lastUpdatedVersion": 1}
    assert answer.headers["etag"] == '"AAAAAAAAAAE="'
    assert shown == {
        "deviceId": "dev-1",
        "etag": "AAAAAAAAAAE=",
        "deviceEtag": identity["etag"],
        "status": "enabled",
        "statusUpdateTime": "0001-01-01T00:00:00Z",
        "connectionState": "Disconnected",
        "lastActivityTime": "0001-01-01T00:00:00Z",
        "cloudToDeviceMessageCount": 0,
        "authenticationType": "sas",
        "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
        "modelId": "",
        "version": 2,
        "tags": {"site": "x"},
        "properties": {
            "desired": {"interval": 5, "$metadata": {**stamp, "interval": stamp}, "$version": 1},
            "reported": {"$metadata": stamp, "$version": 1},
        },
        "capabilities": {"iotEdge": False},
    }


async def test_a_missing_device_has_no_twin(rig: Rig) -> None:
    for method in ("GET", "PATCH", "PUT"):
        assert code(await rig.call(method, "/twins/nobody", {})) == (404, "DeviceNotFound")


async def test_a_patch_merges_and_null_takes_away(rig: Rig) -> None:
    rig.make("dev-1")
    await rig.clock.advance(60)
    body = {"tags": {"site": None, "at": {"floor": 2}}, "properties": {"desired": {"a": {"b": 1, "c": [1]}}}}
    first = (await rig.call("PATCH", "/twins/dev-1", body)).json()
    assert first["tags"] == {"at": {"floor": 2}}
    assert (first["properties"]["desired"]["interval"], first["properties"]["desired"]["$version"]) == (5, 2)
    assert first["properties"]["desired"]["$metadata"]["$lastUpdated"] == "2026-01-01T00:01:00.0000000Z"
    assert (first["etag"], first["version"]) == ("AAAAAAAAAAI=", 3)
    body = {"properties": {"desired": {"a": {"b": None}, "$version": 9, "$metadata": {}}}}
    second = (await rig.call("PATCH", "/twins/dev-1", body, if_match='"AAAAAAAAAAI="')).json()
    assert second["properties"]["desired"]["a"] == {"c": [1]}
    assert second["properties"]["desired"]["$version"] == 3


async def test_tags_alone_leave_the_desired_version(rig: Rig) -> None:
    rig.make("dev-1")
    shown = (await rig.call("PATCH", "/twins/dev-1", {"tags": {"a": 1}})).json()
    assert (shown["properties"]["desired"]["$version"], shown["etag"]) == (1, "AAAAAAAAAAI=")


async def test_a_put_replaces_tags_and_desired_properties(rig: Rig) -> None:
    rig.make("dev-1")
    rig.hub.report("dev-1", {"firmware": 2})
    shown = (await rig.call("PUT", "/twins/dev-1", {"tags": {"new": 1}})).json()
    assert shown["tags"] == {"new": 1}
    assert "interval" not in shown["properties"]["desired"]
    assert shown["properties"]["reported"]["firmware"] == 2


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_stale_etag_changes_no_twin(rig: Rig, method: str) -> None:
    rig.make("dev-1")
    refused = await rig.call(method, "/twins/dev-1", {"tags": {"a": 1}}, if_match='"AAAAAAAAAAc="')
    assert code(refused) == (412, "PreconditionFailed")
    assert rig.hub.devices["dev-1"].twin.tags == {"site": "x"}


@pytest.mark.parametrize(
    "tags",
    [
        {"a.b": 1},
        {"a b": 1},
        {"$a": 1},
        {"a": {"\x01": 1}},
        {"a": "x" * 4097},
        {"a": [None]},
        {"a": [[{"b": None}]]},
        {"x" * 1025: 1},
        {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": {}}}}}}}}}}},
        {f"k{number}": "x" * 1000 for number in range(9)},
        "text",
    ],
)
async def test_what_a_twin_cannot_hold_is_refused(rig: Rig, tags: Any) -> None:
    rig.make("dev-1")
    assert code(await rig.call("PATCH", "/twins/dev-1", {"tags": tags})) == (400, "ArgumentInvalid")


async def test_a_put_holds_no_null(rig: Rig) -> None:
    rig.make("dev-1")
    assert code(await rig.call("PUT", "/twins/dev-1", {"tags": {"a": None}}))[0] == 400


async def test_a_report_moves_the_version_but_no_etag(rig: Rig) -> None:
    rig.make("dev-1")
    await rig.clock.advance(5)
    rig.hub.report("dev-1", {"firmware": 2})
    shown = (await rig.call("GET", "/twins/dev-1")).json()
    assert (shown["version"], shown["etag"]) == (3, "AAAAAAAAAAE=")
    assert shown["properties"]["reported"]["$metadata"]["firmware"] == {
        "$lastUpdated": "2026-01-01T00:00:05.0000000Z",
        "$lastUpdatedVersion": 2,
    }


async def test_a_reset_by_dps_starts_the_versions_again(rig: Rig) -> None:
    rig.make("dev-1")
    await rig.call("PATCH", "/twins/dev-1", {"tags": {"a": 1}})
    rig.hub.reset("dev-1", InitialTwin({"fresh": True}))
    shown = (await rig.call("GET", "/twins/dev-1")).json()
    assert (shown["tags"], shown["version"], shown["etag"]) == ({"fresh": True}, 2, "AAAAAAAAAAE=")


async def test_another_key_moves_the_device_etag_alone(rig: Rig) -> None:
    rig.make("dev-1")
    before = (await rig.call("GET", "/twins/dev-1")).json()
    rig.hub.set_keys("dev-1", DeviceKeys("c"), rig.clock.now())
    after = (await rig.call("GET", "/twins/dev-1")).json()
    assert after["deviceEtag"] != before["deviceEtag"]
    assert after["etag"] == before["etag"]
