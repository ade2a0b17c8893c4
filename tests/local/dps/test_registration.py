"""What a device gets, and what is left of it in records and on hubs."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from local.dps.behaviour import Behaviour
from local.dps.keys import derive_key
from local.hub import DeviceKeys, HubEvent
from local.iothub.events import DEVICE_DELETED
from tests.local.dps.rig import (
    HUBS,
    MIGRATE,
    NEVER,
    OTHER_KEY,
    PRIMARY,
    RESET,
    SCOPE,
    SECONDARY,
    Rig,
    choose,
    custom,
    symmetric,
)


def twin(mark: str) -> dict[str, Any]:
    return {"tags": {"mark": mark}, "properties": {"desired": {"mark": mark}}}


async def test_register_answers_202_then_poll_answers_200(rig: Rig) -> None:
    await rig.put_group(allocationPolicy="static", iotHubs=[HUBS[1]])
    started = await rig.start("dev-1")
    assert (started.status_code, started.headers["retry-after"]) == (202, "3")
    body = started.json()
    assert body["status"] == "assigning"
    assert re.fullmatch(r"5\.[0-9a-f]{16}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", body["operationId"])
    path = f"/{SCOPE}/registrations/dev-1/operations/{body['operationId']}"
    assert started.headers["location"] == f"https://localhost:8443{path}?api-version=2021-10-01"
    polled = (await rig.poll("dev-1", body["operationId"])).json()
    state = polled["registrationState"]
    assert polled == {"operationId": body["operationId"], "status": "assigned", "registrationState": state}
    assert {**state, "etag": "", "createdDateTimeUtc": "", "lastUpdatedDateTimeUtc": ""} == {
        "symmetricKey": {"enrollmentGroupId": "g1"},
        "registrationId": "dev-1",
        "createdDateTimeUtc": "",
        "assignedHub": HUBS[1],
        "deviceId": "dev-1",
        "status": "assigned",
        "substatus": "initialAssignment",
        "lastUpdatedDateTimeUtc": "",
        "etag": "",
    }
    assert (await rig.look_up("dev-1")).json() == state


async def test_status_of_a_device_never_registered_is_a_404(rig: Rig) -> None:
    await rig.put_group()
    assert (await rig.look_up("dev-1")).status_code == 404
    assert (await rig.poll("dev-1", "5.x.y")).status_code == 404


async def test_hub_identity_has_the_derived_keys_and_the_enrollments_twin(rig: Rig) -> None:
    members: dict[str, Any] = {"initialTwin": twin("own"), "capabilities": {"iotEdge": True}}
    await rig.put_group(allocationPolicy="static", iotHubs=[HUBS[0]], **members)
    await rig.register()
    device = rig.hub_a.devices["dev-1"]
    assert device.identity.keys == DeviceKeys(derive_key(PRIMARY, "dev-1"), derive_key(SECONDARY, "dev-1"))
    assert device.identity.iot_edge
    assert (device.twin.tags, device.twin.desired) == ({"mark": "own"}, {"mark": "own"})


async def test_an_individual_enrollment_names_its_device_id_and_keys(rig: Rig) -> None:
    await rig.put_enrollment(deviceId="Device%1", allocationPolicy="static", iotHubs=[HUBS[0]])
    state = await rig.state(key=SECONDARY)
    assert (state["deviceId"], state["symmetricKey"]) == ("Device%1", {})
    assert rig.hub_a.devices["Device%1"].identity.keys == DeviceKeys(PRIMARY, SECONDARY)


KEYS = [
    ("group, primary", None, derive_key(PRIMARY, "dev-1"), 202),
    ("group, secondary", None, derive_key(SECONDARY, "dev-1"), 202),
    ("group, the group's own key", None, PRIMARY, 401),
    ("group, another device's key", None, derive_key(PRIMARY, "dev-2"), 401),
    ("individual, primary", OTHER_KEY, OTHER_KEY, 202),
    ("individual before group", OTHER_KEY, derive_key(PRIMARY, "dev-1"), 401),
]


@pytest.mark.parametrize(
    ("own", "used", "status"), [case[1:] for case in KEYS], ids=[case[0] for case in KEYS]
)
async def test_which_keys_open_a_registration(rig: Rig, own: str | None, used: str, status: int) -> None:
    await rig.put_group()
    await rig.put_group("g2", attestation=symmetric(OTHER_KEY))
    if own:
        await rig.put_enrollment(attestation=symmetric(own, None))
    answer = await rig.start("dev-1", used)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["errorCode"] == 401002


async def test_key_of_the_second_group_opens_too(rig: Rig) -> None:
    await rig.put_group()
    await rig.put_group("g2", attestation=symmetric(OTHER_KEY))
    state = await rig.state(key=derive_key(OTHER_KEY, "dev-1"))
    assert state["symmetricKey"] == {"enrollmentGroupId": "g2"}


async def test_a_rotated_group_key_opens_no_more(rig: Rig) -> None:
    await rig.put_group()
    await rig.register()
    body = {"enrollmentGroupId": "g1", "attestation": symmetric(OTHER_KEY, SECONDARY)}
    await rig.call("PUT", "/enrollmentGroups/g1", body, if_match="*")
    assert (await rig.start("dev-1")).json()["errorCode"] == 401002
    await rig.register("dev-1", derive_key(OTHER_KEY, "dev-1"))


@pytest.mark.parametrize(("follows", "key"), [(True, OTHER_KEY), (False, PRIMARY)])
async def test_new_keys_reach_the_hub_identity_as_the_behaviour_says(follows: bool, key: str) -> None:
    async with Rig(Behaviour(hub_key_follows_registration=follows)) as rig:
        await rig.put_enrollment(allocationPolicy="static", iotHubs=[HUBS[0]])
        await rig.register(key=PRIMARY)
        body = {"registrationId": "dev-1", "attestation": symmetric(OTHER_KEY)}
        await rig.call("PUT", "/enrollments/dev-1", {**body, "iotHubs": [HUBS[0]]}, if_match="*")
        await rig.register(key=OTHER_KEY)
        assert rig.hub_a.devices["dev-1"].identity.keys.primary == key


async def test_disabled_enrollment_ends_as_disabled_and_leaves_a_record(rig: Rig) -> None:
    await rig.put_group(provisioningStatus="disabled", **custom())
    assert (await rig.state())["status"] == "disabled"
    await rig.put_enrollment("dev-2", provisioningStatus="disabled")
    assert (await rig.state("dev-2", PRIMARY))["status"] == "disabled"
    assert (await rig.call("GET", "/registrations/dev-2")).json()["status"] == "disabled"
    assert not rig.asked
    assert not rig.hub_a.devices


async def test_a_tpm_device_registers_with_a_clear_error(rig: Rig) -> None:
    await rig.put_enrollment(attestation={"type": "tpm", "tpm": {"endorsementKey": "AAAA"}})
    answer = await rig.start("dev-1", PRIMARY)
    assert (answer.status_code, "tpm" in answer.json()["message"]) == (400, True)


@pytest.mark.parametrize(
    "members", [{"registrationId": "other"}, {"registrationId": 5}, {"payload": "text"}, {"payload": [1]}]
)
async def test_bad_register_body_is_a_400(rig: Rig, members: dict[str, Any]) -> None:
    await rig.put_group()
    assert (await rig.start("dev-1", **members)).status_code == 400


async def test_register_needs_no_body_and_takes_nulls(rig: Rig) -> None:
    await rig.put_group()
    await rig.register("dev-1", payload=None, tpm=None)
    answer = await rig.http.put(
        f"/{SCOPE.upper()}/Registrations/dev-2/register/?api-version=2019-03-31",
        headers={"authorization": rig.token("dev-2")},
    )
    assert answer.status_code == 202


async def test_another_id_scope_is_a_404(rig: Rig) -> None:
    await rig.put_group()
    path = "/0ne99999999/registrations/dev-1/register?api-version=2019-03-31"
    assert (await rig.http.put(path, headers={"authorization": rig.token("dev-1")})).status_code == 404


async def test_registration_id_counts_without_case(rig: Rig) -> None:
    await rig.put_group()
    await rig.register("Dev-1")
    state = await rig.state("DEV-1")
    assert (state["registrationId"], state["substatus"]) == ("Dev-1", "reprovisionedToInitialAssignment")


class TestAllocation:
    async def test_hashed_shares_follow_the_weights_and_stay(self, rig: Rig) -> None:
        rig.hub_b.allocation_weight = 3
        rig.hub_c.apply_allocation_policy = False
        await rig.put_group(reprovisionPolicy=MIGRATE)
        first = {f"d{number}": (await rig.state(f"d{number}"))["assignedHub"] for number in range(200)}
        assert not rig.hub_c.devices
        assert 120 <= len(rig.hub_b.devices) <= 180
        assert (await rig.state("d1"))["assignedHub"] == first["d1"]

    async def test_geo_latency_and_no_policy_do_as_hashed(self, rig: Rig) -> None:
        await rig.put_group("g1", allocationPolicy="hashed")
        await rig.put_group("g2", allocationPolicy="geoLatency", attestation=symmetric(OTHER_KEY))
        await rig.put_group("g3", attestation=symmetric(SECONDARY))
        keys = [derive_key(key, "dev-1") for key in (PRIMARY, OTHER_KEY, SECONDARY)]
        found = set()
        for key in keys:
            found.add((await rig.state(key=key))["assignedHub"])
            await rig.call("DELETE", "/registrations/dev-1")
        assert len(found) == 1

    async def test_named_hubs_are_the_only_candidates(self, rig: Rig) -> None:
        await rig.put_group(iotHubs=[HUBS[2].upper()])
        for number in range(10):
            assert (await rig.state(f"d{number}"))["assignedHub"] == HUBS[2]

    async def test_a_named_hub_unlinked_since_is_left_out(self, rig: Rig) -> None:
        await rig.put_group(iotHubs=[HUBS[0], HUBS[1]])
        rig.dps.unlink(HUBS[0])
        for number in range(5):
            assert (await rig.state(f"d{number}"))["assignedHub"] == HUBS[1]
        rig.dps.unlink(HUBS[1])
        state = await rig.state("d9")
        assert (state["status"], state["errorCode"]) == ("failed", 400000)

    async def test_custom_without_any_hub_asks_with_an_empty_list_and_fails(self, rig: Rig) -> None:
        await rig.put_group(**custom(iotHubs=[HUBS[0]]))
        rig.dps.unlink(HUBS[0])
        assert (await rig.state())["errorCode"] == 400207
        assert rig.asked[0]["linkedHubs"] == []

    async def test_hub_unlinked_while_the_webhook_thinks_fails_the_registration(self, rig: Rig) -> None:
        def unlink(_: Any) -> httpx.Response:
            rig.dps.unlink(HUBS[0])
            return httpx.Response(200, json={"iotHubHostName": HUBS[0]})

        rig.webhook = unlink
        await rig.put_group(**custom())
        assert (await rig.state())["status"] == "failed"

    @pytest.mark.parametrize("policy", [NEVER, MIGRATE, RESET])
    async def test_a_device_whose_hub_was_unlinked_can_register(self, rig: Rig, policy: Any) -> None:
        await rig.put_group(reprovisionPolicy=policy)
        first = (await rig.state())["assignedHub"]
        rig.dps.unlink(first)
        second = await rig.state()
        assert second["status"] == "assigned"
        assert (second["assignedHub"] == first) == (policy is NEVER)

    async def test_fifty_first_hub_is_refused(self, rig: Rig) -> None:
        for number in range(47):
            rig.dps.link(type(rig.hub_a)(f"hub-{number}"))
        with pytest.raises(ValueError, match="50"):
            rig.dps.link(type(rig.hub_a)("hub-too-many"))


CHANGES = [
    ("migrate", MIGRATE, "deviceDataMigrated", "first"),
    ("reset", RESET, "deviceDataReset", "second"),
    ("no policy", None, "deviceDataMigrated", "first"),
    ("flags left out", {}, "deviceDataMigrated", "first"),
]


class TestReprovisioning:
    """What becomes of hub and twin when a device registers again."""

    @pytest.mark.parametrize(
        ("policy", "substatus", "mark"), [case[1:] for case in CHANGES], ids=[c[0] for c in CHANGES]
    )
    async def test_changing_the_hub(self, rig: Rig, policy: Any, substatus: str, mark: str) -> None:
        await rig.put_group(**custom(reprovisionPolicy=policy, initialTwin=twin("enrollment")))
        rig.webhook = choose(HUBS[0], initialTwin=twin("first"))
        assert (await rig.state())["substatus"] == "initialAssignment"
        rig.hub_a.report("dev-1", {"firmware": 2})
        rig.webhook = choose(HUBS[1], initialTwin=twin("second"))
        state = await rig.state()
        assert (state["substatus"], state["assignedHub"]) == (substatus, HUBS[1])
        assert "dev-1" not in rig.hub_a.devices
        moved = rig.hub_b.devices["dev-1"].twin
        assert (moved.tags, moved.desired) == ({"mark": mark}, {"mark": mark})
        assert moved.reported == ({"firmware": 2} if mark == "first" else {})

    @pytest.mark.parametrize("policy", [MIGRATE, RESET])
    @pytest.mark.parametrize("told", [True, False])
    async def test_the_hub_left_behind_tells_of_it_as_its_behaviour_says(
        self, rig: Rig, policy: Any, told: bool
    ) -> None:
        rig.hub_a.move_sends_deleted = lambda: told
        await rig.put_group(**custom(reprovisionPolicy=policy))
        await rig.register()
        heard: list[HubEvent] = []
        rig.hub_a.subscribe(heard.append)
        rig.webhook = choose(HUBS[1])
        await rig.register()
        assert [event.type for event in heard] == ([DEVICE_DELETED] if told else [])

    @pytest.mark.parametrize("omitted", [{}, {"initialTwin": None}])
    async def test_without_a_twin_of_the_webhook_the_enrollments_is_used(
        self, rig: Rig, omitted: Any
    ) -> None:
        await rig.put_group(**custom(reprovisionPolicy=RESET, initialTwin=twin("enrollment")))
        for host in HUBS[:2]:
            rig.webhook = choose(host, **omitted)
            await rig.register()
        assert rig.hub_b.devices["dev-1"].twin.tags == {"mark": "enrollment"}

    @pytest.mark.parametrize("policy", [MIGRATE, RESET, NEVER])
    async def test_coming_back_to_the_same_hub_changes_no_twin(self, rig: Rig, policy: Any) -> None:
        await rig.put_group(**custom(reprovisionPolicy=policy))
        states = []
        for mark in ("first", "second"):
            rig.webhook = choose(HUBS[0].upper(), initialTwin=twin(mark), payload={"mark": mark})
            states.append(await rig.state())
        state = states[1]
        assert (state["substatus"], state["payload"]) == (
            "reprovisionedToInitialAssignment",
            {"mark": "second"},
        )
        assert rig.hub_a.devices["dev-1"].twin.tags == {"mark": "first"}
        assert (await rig.call("GET", "/registrations/dev-1")).json()["payload"] == {"mark": "second"}

    async def test_never_still_asks_but_offers_the_current_hub_only(self, rig: Rig) -> None:
        await rig.put_group(**custom(reprovisionPolicy=NEVER))
        await rig.register()
        rig.webhook = choose(HUBS[1])
        state = await rig.state()
        assert [each["linkedHubs"] for each in rig.asked] == [list(HUBS), [HUBS[0]]]
        assert (state["status"], state["errorCode"]) == ("failed", 400207)
        assert "dev-1" in rig.hub_a.devices

    async def test_never_keeps_the_hub_under_a_policy_of_dps_too(self, rig: Rig) -> None:
        await rig.put_group(allocationPolicy="static", iotHubs=[HUBS[0]], reprovisionPolicy=NEVER)
        await rig.register()
        body = {"enrollmentGroupId": "g1", "attestation": symmetric(), "reprovisionPolicy": NEVER}
        await rig.call("PUT", "/enrollmentGroups/g1", {**body, "iotHubs": [HUBS[1]]}, if_match="*")
        assert (await rig.state())["assignedHub"] == HUBS[0]

    @pytest.mark.parametrize("policy", [MIGRATE, NEVER])
    async def test_a_device_removed_from_its_hub_is_made_again(self, rig: Rig, policy: Any) -> None:
        await rig.put_group(**custom(reprovisionPolicy=policy, initialTwin=twin("enrollment")))
        await rig.register()
        rig.hub_a.remove("dev-1")
        await rig.register()
        assert rig.hub_a.devices["dev-1"].twin.tags == {"mark": "enrollment"}

    async def test_without_its_record_a_device_is_new(self, rig: Rig) -> None:
        await rig.put_group(**custom())
        await rig.register()
        await rig.call("DELETE", "/registrations/dev-1")
        assert (await rig.state())["substatus"] == "initialAssignment"
        assert "currentIotHubHostName" not in rig.asked[1]["deviceRuntimeContext"]

    @pytest.mark.parametrize(("existing", "mark"), [("reset", "new"), ("keep", "old")])
    async def test_twin_of_a_device_the_hub_has_already(self, existing: Any, mark: str) -> None:
        async with Rig(Behaviour(existing_twin=existing)) as rig:
            await rig.put_group(**custom())
            for each in ("old", "new"):
                rig.webhook = choose(HUBS[0], initialTwin=twin(each))
                await rig.register()
                await rig.call("DELETE", "/registrations/dev-1")
            assert rig.hub_a.devices["dev-1"].twin.tags == {"mark": mark}

    @pytest.mark.parametrize(("keeps", "hub"), [(True, HUBS[0]), (False, None)])
    async def test_a_failed_registration_remembers_the_hub_as_the_behaviour_says(
        self, keeps: bool, hub: Any
    ) -> None:
        async with Rig(Behaviour(failure_keeps_hub=keeps)) as rig:
            await rig.put_group(**custom())
            await rig.register()
            rig.webhook = lambda _: httpx.Response(403)
            assert (await rig.state()).get("assignedHub") == hub
            await rig.register()
            assert rig.asked[-1]["deviceRuntimeContext"].get("currentIotHubHostName") == hub

    async def test_record_times_move_with_each_registration(self, rig: Rig) -> None:
        await rig.put_group()
        first = await rig.state()
        await rig.clock.advance(10)
        second = await rig.state()
        assert second["createdDateTimeUtc"] == first["createdDateTimeUtc"]
        assert second["lastUpdatedDateTimeUtc"] > first["lastUpdatedDateTimeUtc"]
        assert second["etag"] != first["etag"]


async def test_group_is_named_to_the_device_as_it_was_written(rig: Rig) -> None:
    await rig.put_group("My-Group")
    assert (await rig.state())["symmetricKey"] == {"enrollmentGroupId": "My-Group"}
    assert len((await rig.call("POST", "/registrations/MY-GROUP/query")).json()) == 1


async def test_device_that_changes_from_group_to_individual_moves_between_lists(rig: Rig) -> None:
    await rig.put_group()
    await rig.register()
    await rig.put_enrollment()
    await rig.register(key=PRIMARY)
    assert (await rig.call("POST", "/registrations/g1/query")).json() == []
    inline = (await rig.call("GET", "/enrollments/dev-1")).json()["registrationState"]
    assert inline["substatus"] == "reprovisionedToInitialAssignment"


async def test_three_hundred_devices_at_once_each_get_their_own(rig: Rig) -> None:
    await rig.put_group(**custom())
    rig.webhook = lambda body: choose(
        HUBS[0], payload={"for": body["deviceRuntimeContext"]["registrationId"]}
    )(body)
    names = [f"dev-{number}" for number in range(300)]
    started = await asyncio.gather(*map(rig.start, names))
    while rig.dps.running:
        await rig.clock.advance(0)
    for name, answer in zip(names, started, strict=True):
        polled = (await rig.poll(name, answer.json()["operationId"])).json()
        assert polled["registrationState"]["payload"] == {"for": name}
    assert len(rig.hub_a.devices) == len(rig.asked) == 300


async def test_records_can_be_looked_at_directly(rig: Rig) -> None:
    await rig.put_group()
    await rig.put_enrollment("dev-2")
    await rig.register()
    record = rig.dps.registration("DEV-1")
    assert record is not None
    assert record in set(map(_hashable, rig.dps.registrations()))
    assert record.group == "g1"
    found, alone = rig.dps.group("G1"), rig.dps.enrollment("Dev-2")
    assert found is not None
    assert alone is not None
    assert (found.key, alone.key) == ("g1", "dev-2")
    assert PRIMARY not in repr((found, alone, rig.hub_a.devices, rig.dps.policies))
    assert rig.dps.hub(HUBS[0].upper()) is rig.hub_a


def _hashable(record: Any) -> Any:
    return replace(record, payload=None)
