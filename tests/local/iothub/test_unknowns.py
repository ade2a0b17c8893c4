"""Every choice on what is unknown about a hub changes what it does."""

from dataclasses import fields

import pytest

from local.hub import IotHub, migrate
from local.iothub.behaviour import HubBehaviour
from local.iothub.events import DEVICE_CREATED, DEVICE_DELETED, HubEvent
from local.switches import Switches
from tests.local.iothub.rig import HOST, KEY, PRIMARY, Rig, code

ALL = "SELECT * FROM devices"
COUNT = "SELECT COUNT() AS n FROM devices"
TRIED = {
    "statistics_lag",
    "statistics_never_fall",
    "statistics_count_as_identity",
    "query_lag",
    "query_ghosts",
    "default_page_size",
    "max_page_size",
    "continuation_lifetime",
    "query_limit",
    "retry_after",
    "bulk_counts_devices",
    "unquoted_if_match",
    "capital_thumbprints",
    "numbered_errors",
    "move_sends_deleted",
    "message_limit",
}


def test_every_choice_is_tried_here() -> None:
    assert {field.name for field in fields(HubBehaviour)} == TRIED


@pytest.mark.parametrize("lag", [0.0, 30.0])
async def test_statistics_lag(lag: float) -> None:
    async with Rig(HubBehaviour(statistics_lag=lag)) as rig:
        rig.make("a", "b")
        assert await rig.total() == (2 if lag == 0 else 0)
        await rig.clock.advance(10)
        rig.hub.remove("a")
        await rig.clock.advance(20)
        assert await rig.total() == (1 if lag == 0 else 2)
        await rig.clock.advance(10)
        assert await rig.total() == 1


@pytest.mark.parametrize("never", [False, True])
async def test_statistics_never_fall(never: bool) -> None:
    async with Rig(HubBehaviour(statistics_never_fall=never)) as rig:
        rig.make("a", "b", "c")
        rig.hub.remove("a")
        rig.hub.remove("b")
        assert await rig.total() == (3 if never else 1)
        rig.make("d", "e")
        assert await rig.total() == 3
        rig.make("f")
        assert await rig.total() == 4


@pytest.mark.parametrize("counts", [True, False])
async def test_statistics_count_as_identity_operations(counts: bool) -> None:
    async with Rig(HubBehaviour(statistics_count_as_identity=counts), throttled=True) as rig:
        rig.hub.registry_budget.take(100)
        answer = await rig.call("GET", "/statistics/devices")
        assert answer.status_code == (429 if counts else 200)


@pytest.mark.parametrize("lag", [0.0, 5.0])
async def test_queries_lag_behind_the_registry(lag: float) -> None:
    async with Rig(HubBehaviour(query_lag=lag)) as rig:
        rig.make("a")
        await rig.clock.advance(10)
        rig.make("b")
        rig.hub.connect("a")
        rig.hub.remove("a")
        assert await rig.found() == (["b"] if lag == 0 else ["a"])
        assert (await rig.query(COUNT)).json() == [{"n": 1}]
        connected = f"{ALL} WHERE deviceId IN ['a', 'b'] AND connectionState = 'Connected'"
        assert await rig.found(connected) == []
        assert (await rig.call("GET", "/devices/b")).status_code == 200
        await rig.clock.advance(5)
        assert await rig.found() == ["b"]


@pytest.mark.parametrize("ghosts", [0.0, 1500.0])
async def test_queries_still_find_deleted_devices(ghosts: float) -> None:
    async with Rig(HubBehaviour(query_ghosts=ghosts)) as rig:
        rig.make("a", "b")
        rig.hub.remove("a")
        rig.hub.remove("b")
        rig.make("b")
        await rig.clock.advance(1499)
        assert await rig.found() == (["a", "b"] if ghosts else ["b"])
        assert await rig.found(f"{ALL} WHERE deviceId = 'a'") == (["a"] if ghosts else [])
        assert (await rig.query(COUNT)).json() == [{"n": 2 if ghosts else 1}]
        assert code(await rig.call("GET", "/devices/a")) == (404, "DeviceNotFound")
        await rig.clock.advance(1)
        assert await rig.found() == ["b"]


async def test_a_late_index_knows_what_was_there_before() -> None:
    hub = IotHub(HOST)
    async with Rig(hub=hub) as early:
        early.make("a")
    async with Rig(HubBehaviour(query_lag=5), hub=hub) as rig:
        assert await rig.found() == ["a"]


async def test_a_switch_is_consulted_when_it_matters_and_not_before() -> None:
    switches = Switches()
    async with Rig(switches.behaviour(HubBehaviour(), "hub")) as rig:
        target, told = IotHub("hub-b.azure-devices.net"), list[HubEvent]()

        def consulted() -> set[str]:
            return {each["name"].partition(".")[2] for each in switches.told() if each["consulted"]}

        rig.make("a", "b")
        rig.hub.remove("b")
        keys = rig.hub.devices["a"].identity.keys
        assert (await rig.call("GET", "/devices/a")).status_code == 200
        assert migrate("a", rig.hub, target, keys=keys, now=rig.clock.now())
        assert consulted() == set()
        rig.hub.subscribe(told.append)
        rig.make("c")
        rig.hub.remove("c")
        assert consulted() == set()
        rig.make("d")
        assert migrate("d", rig.hub, target, keys=keys, now=rig.clock.now())
        assert consulted() == {"move_sends_deleted"}
        assert await rig.total() == 0
        statistics = {"statistics_lag", "statistics_never_fall", "statistics_count_as_identity"}
        assert consulted() == {"move_sends_deleted"} | statistics
        assert await rig.found() == []
        assert {"query_lag", "query_ghosts"} < consulted()


async def test_a_switch_set_late_still_tells_of_the_time_before() -> None:
    switches = Switches()
    async with Rig(switches.behaviour(HubBehaviour(), "hub")) as rig:
        rig.make("a", "gone", "again")
        await rig.clock.advance(100)
        rig.hub.remove("gone")
        rig.hub.remove("again")
        rig.make("again", "new")
        for name, position in (("query_lag", 60.0), ("query_ghosts", 1800.0), ("statistics_lag", 300.0)):
            switches.set(f"hub.{name}", position)
        assert sorted(await rig.found()) == ["a", "again", "gone"]
        assert await rig.total() == 0
        await rig.clock.advance(60)
        assert sorted(await rig.found()) == ["a", "again", "gone", "new"]
        await rig.clock.advance(240)
        assert await rig.total() == 3
        await rig.clock.advance(1500)
        assert sorted(await rig.found()) == ["a", "again", "new"]


async def test_page_sizes() -> None:
    async with Rig(HubBehaviour(default_page_size=2, max_page_size=3)) as rig:
        rig.make("a", "b", "c", "d")
        assert len((await rig.query(ALL)).json()) == 2
        assert len((await rig.query(ALL, x_ms_max_item_count="10")).json()) == 3


@pytest.mark.parametrize(("lifetime", "status"), [(None, 200), (60.0, 400)])
async def test_continuations_may_expire(lifetime: float | None, status: int) -> None:
    async with Rig(HubBehaviour(continuation_lifetime=lifetime)) as rig:
        rig.make("a", "b")
        token = (await rig.query(ALL, x_ms_max_item_count="1")).headers["x-ms-continuation"]
        await rig.clock.advance(60)
        assert (await rig.query(ALL, x_ms_continuation=token)).status_code == 200
        await rig.clock.advance(1)
        assert (await rig.query(ALL, x_ms_continuation=token)).status_code == status


async def test_a_query_text_has_a_limit() -> None:
    async with Rig(HubBehaviour(query_limit=40)) as rig:
        assert (await rig.query(ALL + " " * 19)).status_code == 200
        assert code(await rig.query(ALL + " " * 20)) == (400, "ArgumentInvalid")


@pytest.mark.parametrize("said", [False, True])
async def test_retry_after_may_come_with_a_429(said: bool) -> None:
    async with Rig(HubBehaviour(retry_after=said), throttled=True) as rig:
        rig.hub.registry_budget.take(100)
        await rig.clock.advance(20.5)
        for refused in (await rig.call("GET", "/devices/d"), await rig.call("POST", "/devices", [])):
            assert refused.headers.get("retry-after") == ("40" if said else None)


@pytest.mark.parametrize(("counts", "left"), [(True, 0), (False, 59)])
async def test_a_bulk_call_counts_its_devices_or_once(counts: bool, left: int) -> None:
    async with Rig(HubBehaviour(bulk_counts_devices=counts), throttled=True) as rig:
        rig.hub.registry_budget.take(40)
        items = [{"id": f"d{number}", "importMode": "create"} for number in range(60)]
        assert (await rig.call("POST", "/devices", items)).status_code == 200
        assert (rig.hub.registry_budget.take(left) == 0.0) is True
        assert rig.hub.registry_budget.take(1) > 0


@pytest.mark.parametrize(("accepted", "status"), [(True, 204), (False, 412)])
async def test_an_etag_without_quotes(accepted: bool, status: int) -> None:
    async with Rig(HubBehaviour(unquoted_if_match=accepted)) as rig:
        etag = (await rig.put()).json()["etag"]
        assert (await rig.call("DELETE", "/devices/dev-1", if_match=etag)).status_code == status
        await rig.put("dev-2")
        assert (await rig.call("DELETE", "/devices/dev-2", if_match="*")).status_code == 204


@pytest.mark.parametrize("capital", [False, True])
async def test_thumbprints_of_twins_may_be_capitalised(capital: bool) -> None:
    async with Rig(HubBehaviour(capital_thumbprints=capital)) as rig:
        rig.make("d")
        name = "PrimaryThumbprint" if capital else "primaryThumbprint"
        for twin in ((await rig.call("GET", "/twins/d")).json(), (await rig.query(ALL)).json()[0]):
            assert name in twin["x509Thumbprint"]


async def test_errors_may_be_numbered() -> None:
    async with Rig(HubBehaviour(numbered_errors=True)) as rig:
        answer = await rig.call("GET", "/devices/nobody")
        assert answer.headers["iothub-errorcode"] == "DeviceNotFound"
        body = answer.json()
        assert (body["errorCode"], body["message"]) == (404001, "nobody")
        assert {"trackingId", "timestampUtc", "info"} < set(body)


@pytest.mark.parametrize("sent", [True, False])
async def test_a_move_by_dps_may_send_device_deleted(sent: bool) -> None:
    async with Rig(HubBehaviour(move_sends_deleted=sent)) as rig:
        told: list[HubEvent] = []
        target = IotHub("hub-b.azure-devices.net")
        rig.hub.subscribe(told.append)
        target.subscribe(told.append)
        rig.make("d", "e")
        told.clear()
        keys = rig.hub.devices["d"].identity.keys
        assert migrate("d", rig.hub, target, keys=keys, now=rig.clock.now())
        rig.hub.remove("e", rig.clock.now(), moved=True)
        deleted = [event.subject for event in told if event.type == DEVICE_DELETED]
        assert deleted == (["devices/d", "devices/e"] if sent else [])
        assert [event.subject for event in told if event.type == DEVICE_CREATED] == ["devices/d"]
        rig.make("f")
        told.clear()
        rig.hub.remove("f")
        assert [event.type for event in told] == [DEVICE_DELETED]
        assert PRIMARY not in repr(told)
        assert KEY not in repr(told)


async def test_a_body_has_a_limit() -> None:
    async with Rig(HubBehaviour(message_limit=100)) as rig:
        assert (await rig.put(padding="x" * 60)).status_code == 200
        too_large = await rig.put("dev-2", padding="x" * 100)
        assert code(too_large) == (413, "GenericRequestEntityTooLarge")
