"""Bulk registry operations."""

from typing import Any

from tests.local.iothub.rig import PRIMARY, SECONDARY, Rig, code

KEYS = {"symmetricKey": {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}}


async def bulk(rig: Rig, *items: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = await rig.call("POST", "/devices", list(items))
    return answer.status_code, answer.json()


async def test_devices_are_made_changed_and_deleted_in_one_call(rig: Rig) -> None:
    rig.make("old", "gone")
    status, result = await bulk(
        rig,
        {
            "id": "new",
            "importMode": "create",
            "authentication": KEYS,
            "tags": {"site": "y"},
            "properties": {"desired": {"rate": 1}},
        },
        {"id": "old", "importMode": "update", "status": "disabled", "authentication": KEYS},
        {"id": "gone", "importMode": "delete"},
        {"id": "either"},
    )
    assert (status, result) == (200, {"isSuccessful": True, "errors": [], "warnings": []})
    assert list(rig.hub.devices) == ["old", "new", "either"]
    assert rig.hub.devices["old"].identity.status == "disabled"
    made = (await rig.call("GET", "/twins/new")).json()
    assert (made["tags"], made["properties"]["desired"]["rate"], made["version"]) == ({"site": "y"}, 1, 2)


async def test_each_failure_is_told_and_the_rest_is_done(rig: Rig) -> None:
    rig.make("a", "b", "c")
    etag = rig.hub.devices["c"].identity.etag
    status, result = await bulk(
        rig,
        {"id": "a", "importMode": "create"},
        {"id": "b", "importMode": "deleteIfMatchETag", "eTag": '"AAAA"'},
        {"id": "c", "importMode": "deleteIfMatchETag", "eTag": etag},
        {"id": "nobody", "importMode": "update"},
        {"id": "bad id", "importMode": "create"},
        {"id": "x", "importMode": "odd"},
        {"id": "y", "importMode": "create", "authentication": {"symmetricKey": {"primaryKey": PRIMARY}}},
        {"id": "z", "importMode": "create", "tags": {"a.b": 1}},
    )
    assert (status, result["isSuccessful"]) == (400, False)
    assert [(failure["deviceId"], failure["errorCode"]) for failure in result["errors"]] == [
        ("a", "DeviceAlreadyExists"),
        ("b", "PreconditionFailed"),
        ("nobody", "DeviceNotFound"),
        ("bad id", "ArgumentInvalid"),
        ("x", "ArgumentInvalid"),
        ("y", "ArgumentInvalid"),
        ("z", "ArgumentInvalid"),
    ]
    assert list(rig.hub.devices) == ["a", "b"]


async def test_twins_are_merged(rig: Rig) -> None:
    rig.make("a")
    status, _ = await bulk(rig, {"id": "a", "importMode": "updateTwin", "tags": {"site": None, "n": 1}})
    assert status == 200
    assert rig.hub.devices["a"].twin.tags == {"n": 1}


async def test_a_call_is_refused_as_a_whole(rig: Rig) -> None:
    many = [{"id": f"d{number}"} for number in range(101)]
    assert code(await rig.call("POST", "/devices", many)) == (400, "BulkRegistryOperationFailure")
    twice = [{"id": "a"}, {"id": "a"}]
    assert code(await rig.call("POST", "/devices", twice)) == (400, "DeviceDefinedMultipleTimes")
    bodies: list[Any] = [{"devices": []}, [7], [{}], [{"id": "a", "status": "odd"}], None]
    for body in bodies:
        assert code(await rig.call("POST", "/devices", body)) == (400, "ArgumentInvalid")
    assert not rig.hub.devices
