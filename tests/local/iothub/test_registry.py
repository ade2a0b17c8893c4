"""The identity registry over its REST wire."""

from datetime import UTC, datetime
from typing import Any

import pytest

from local.hub import DeviceKeys, Thumbprints
from tests.local.iothub.rig import KEY, OTHER_KEY, PRIMARY, SECONDARY, Rig, code

KEYS = {"symmetricKey": {"primaryKey": PRIMARY, "secondaryKey": SECONDARY}, "type": "sas"}
THUMBPRINT = "AB" * 20


async def test_a_device_is_shown_with_all_documented_members(rig: Rig) -> None:
    made = await rig.put(authentication=KEYS, capabilities={"iotEdge": True})
    assert made.status_code == 200
    shown = (await rig.call("GET", "/devices/dev-1")).json()
    assert shown == made.json()
    generation, etag = shown.pop("generationId"), shown.pop("etag")
    assert generation.isdigit()
    assert made.headers["etag"] == f'"{etag}"'
    assert shown == {
        "deviceId": "dev-1",
        "connectionState": "Disconnected",
        "status": "enabled",
        "statusReason": None,
        "connectionStateUpdatedTime": "0001-01-01T00:00:00",
        "statusUpdatedTime": "0001-01-01T00:00:00",
        "lastActivityTime": "0001-01-01T00:00:00",
        "cloudToDeviceMessageCount": 0,
        "authentication": {
            **KEYS,
            "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
        },
        "capabilities": {"iotEdge": True},
    }


async def test_a_device_without_keys_gets_new_ones(rig: Rig) -> None:
    first = (await rig.put("a")).json()["authentication"]["symmetricKey"]
    second = (await rig.put("b", authentication={"type": "sas"})).json()["authentication"]["symmetricKey"]
    assert len({*first.values(), *second.values()}) == 4


async def test_put_without_if_match_only_creates(rig: Rig) -> None:
    etag = (await rig.put()).json()["etag"]
    again = await rig.put(etag=None, status="disabled")
    assert code(again) == (409, "DeviceAlreadyExists")
    assert rig.hub.devices["dev-1"].identity.etag == etag


async def test_put_with_if_match_only_updates(rig: Rig) -> None:
    missing = await rig.put(etag="*")
    assert code(missing) == (404, "DeviceNotFound")
    assert "dev-1" in missing.json()["Message"]
    assert not rig.hub.devices


@pytest.mark.parametrize("form", ['"{}"', "{}", 'W/"{}"'])
async def test_a_matching_etag_updates_and_changes_it(rig: Rig, form: str) -> None:
    etag = (await rig.put()).json()["etag"]
    updated = await rig.put(etag=form.format(etag), authentication=KEYS)
    assert updated.status_code == 200
    assert updated.json()["etag"] != etag
    assert code(await rig.put(etag=form.format(etag))) == (412, "PreconditionFailed")


@pytest.mark.parametrize("star", ["*", '"*"'])
async def test_a_star_matches_every_etag(rig: Rig, star: str) -> None:
    await rig.put()
    assert (await rig.put(etag=star)).status_code == 200
    assert (await rig.call("DELETE", "/devices/dev-1", if_match=star)).status_code == 204


async def test_a_status_change_is_dated_and_keeps_generation_and_twin(rig: Rig) -> None:
    rig.make("dev-1")
    before = rig.hub.devices["dev-1"]
    await rig.clock.advance(60)
    changed = await rig.put(etag="*", status="disabled", statusReason="lost", authentication=KEYS)
    shown = changed.json()
    assert (shown["status"], shown["statusReason"]) == ("disabled", "lost")
    assert shown["statusUpdatedTime"] == "2026-01-01T00:01:00.0000000Z"
    assert shown["generationId"] == before.identity.generation_id
    assert rig.hub.devices["dev-1"].twin == before.twin
    await rig.clock.advance(60)
    again = await rig.put(etag="*", status="disabled", statusReason="still lost", authentication=KEYS)
    assert again.json()["statusUpdatedTime"] == shown["statusUpdatedTime"]


async def test_an_update_that_leaves_the_authentication_out_makes_new_keys(rig: Rig) -> None:
    rig.make("dev-1")
    await rig.put(etag="*", status="disabled")
    assert rig.hub.devices["dev-1"].identity.keys not in (DeviceKeys(), DeviceKeys(PRIMARY, SECONDARY))


async def test_thumbprints_make_a_self_signed_device_without_keys(rig: Rig) -> None:
    given = {"x509Thumbprint": {"primaryThumbprint": THUMBPRINT}}
    shown = (await rig.put(authentication=given)).json()["authentication"]
    assert (shown["type"], shown["symmetricKey"]["primaryKey"]) == ("selfSigned", None)
    assert rig.hub.devices["dev-1"].identity.entry.thumbprints == Thumbprints(THUMBPRINT)
    twin = (await rig.call("GET", "/twins/dev-1")).json()
    assert (twin["authenticationType"], twin["x509Thumbprint"]["primaryThumbprint"]) == (
        "selfSigned",
        THUMBPRINT,
    )


async def test_delete_needs_a_matching_etag(rig: Rig) -> None:
    etag = (await rig.put()).json()["etag"]
    assert code(await rig.call("DELETE", "/devices/dev-1")) == (412, "PreconditionFailed")
    stale = await rig.call("DELETE", "/devices/dev-1", if_match='"AAAA"')
    assert code(stale) == (412, "PreconditionFailed")
    gone = await rig.call("DELETE", "/devices/dev-1", if_match=f'"{etag}"')
    assert (gone.status_code, gone.content) == (204, b"")
    assert code(await rig.call("DELETE", "/devices/dev-1", if_match="*")) == (404, "DeviceNotFound")
    assert code(await rig.call("GET", "/devices/dev-1")) == (404, "DeviceNotFound")


async def test_device_ids_keep_their_case_and_odd_characters(rig: Rig) -> None:
    await rig.put("Dev")
    assert code(await rig.call("GET", "/devices/dev")) == (404, "DeviceNotFound")
    odd = "a%23b%3Fc%25'(d)"
    made = await rig.call("PUT", f"/devices/{odd}", {"deviceId": "a#b?c%'(d)"})
    assert made.status_code == 200
    assert (await rig.call("GET", f"/devices/{odd}")).json()["deviceId"] == "a#b?c%'(d)"


@pytest.mark.parametrize(
    "members",
    [
        {"deviceId": "another"},
        {"status": "off"},
        {"statusReason": "x" * 129},
        {"authentication": {"type": "none"}},
        {"authentication": {"symmetricKey": {"primaryKey": PRIMARY}}},
        {"authentication": {"symmetricKey": {"primaryKey": "c2hvcnQ=", "secondaryKey": SECONDARY}}},
        {"authentication": {"symmetricKey": {"primaryKey": "é" * 40, "secondaryKey": SECONDARY}}},
        {"authentication": {"x509Thumbprint": {"primaryThumbprint": "AB:CD"}}},
        {"authentication": 7},
        {"capabilities": {"iotEdge": "yes"}},
    ],
)
async def test_an_entry_that_cannot_be_is_refused(rig: Rig, members: dict[str, Any]) -> None:
    body = {"deviceId": "dev-1", **members}
    assert code(await rig.call("PUT", "/devices/dev-1", body)) == (400, "ArgumentInvalid")
    assert not rig.hub.devices


@pytest.mark.parametrize("device_id", ["a%20b", "x" * 129, "%C3%A9", "a%2Fb", "a%22"])
async def test_an_id_with_other_characters_is_refused(rig: Rig, device_id: str) -> None:
    assert code(await rig.call("PUT", f"/devices/{device_id}", {})) == (400, "ArgumentInvalid")


@pytest.mark.parametrize(("top", "count"), [("", 5), ("?top=2", 2), ("?top=0", 5), ("?top=9999", 5)])
async def test_a_list_has_the_oldest_devices(rig: Rig, top: str, count: int) -> None:
    rig.make(*(f"d{number}" for number in range(5)))
    listed = (await rig.call("GET", f"/devices{top}")).json()
    assert [each["deviceId"] for each in listed] == [f"d{number}" for number in range(count)]
    assert code(await rig.call("GET", "/devices?top=many")) == (400, "ArgumentInvalid")


async def test_statistics_count_by_status_and_connection(rig: Rig) -> None:
    rig.make("a", "b", "c")
    await rig.put("b", etag="*", status="disabled")
    rig.hub.connect("a")
    rig.hub.connect("c")
    rig.hub.disconnect("c")
    assert (await rig.call("GET", "/statistics/devices")).json() == {
        "totalDeviceCount": 3,
        "enabledDeviceCount": 2,
        "disabledDeviceCount": 1,
    }
    assert (await rig.call("GET", "/statistics/service")).json() == {"connectedDeviceCount": 1}
    rig.hub.remove("b")
    rig.hub.remove("a")
    assert (await rig.call("GET", "/statistics/devices")).json()["totalDeviceCount"] == 1
    assert (await rig.call("GET", "/statistics/service")).json() == {"connectedDeviceCount": 0}


async def test_statistics_know_the_devices_that_were_there_before(rig: Rig) -> None:
    rig.make("a", "b")
    async with Rig(hub=rig.hub) as late:
        assert await late.total() == 2


async def test_connection_and_activity_show_and_move_no_etag(rig: Rig) -> None:
    rig.make("dev-1")
    before = (await rig.call("GET", "/twins/dev-1")).json()
    rig.hub.connect("dev-1")
    rig.hub.touch("dev-1", datetime(2025, 5, 1, 12, tzinfo=UTC))
    shown = (await rig.call("GET", "/devices/dev-1")).json()
    assert (shown["connectionState"], shown["lastActivityTime"]) == (
        "Connected",
        "2025-05-01T12:00:00.0000000Z",
    )
    assert shown["connectionStateUpdatedTime"] == "2026-01-01T00:00:00.0000000Z"
    after = (await rig.call("GET", "/twins/dev-1")).json()
    assert (after["etag"], after["deviceEtag"], after["version"]) == (
        before["etag"],
        before["deviceEtag"],
        before["version"],
    )


async def test_keys_are_not_in_the_journal(rig: Rig) -> None:
    await rig.put(authentication=KEYS)
    await rig.call("GET", "/devices/dev-1")
    await rig.call("GET", "/devices")
    told = repr(list(rig.world.journal.of("hub-a")))
    assert "/devices/dev-1" in told
    for secret in (KEY, OTHER_KEY, PRIMARY, SECONDARY):
        assert secret not in told
