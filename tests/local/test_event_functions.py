"""What hubs and vault tell reaches the functions of the app: over the wire, by the clock, in disorder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from local.admin import TOKEN_HEADER
from local.eventgrid import EVENT_GRID
from local.hub import Entry
from local.stack import Options, Stack, run_stack
from local.topics import EVENT_FUNCTIONS, HUBS, VAULT, EventFunction
from local.vault import NEAR_EXPIRY, NEW_VERSION

APP = Path(__file__).parents[1] / "apps" / "told"
DAY = 86_400
DELETED = "Microsoft.Devices.DeviceDeleted"
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Told:
    """A running stack, its admin port, and what the functions have been told since the last look."""

    def __init__(self, stack: Stack, admin: httpx.AsyncClient, app: httpx.AsyncClient) -> None:
        self.stack = stack
        self.admin = admin
        self._app = app

    async def of(self, function: str, count: int, seconds: float = 10.0) -> list[dict[str, Any]]:
        """What a function was told, once it is so much; then all functions forget."""
        async with asyncio.timeout(seconds):
            while len(await self._seen(function)) < count:  # noqa: ASYNC110  another process fills it
                await asyncio.sleep(0.01)
        await self.nothing_is_on_its_way()
        found = await self._seen(function)
        await self.forget()
        return found

    async def nothing_is_on_its_way(self) -> None:
        async with asyncio.timeout(10):
            while self.stack.cloud.topics.grid.pending:  # noqa: ASYNC110  sockets decide when
                await asyncio.sleep(0.01)

    async def forget(self) -> None:
        (await self._app.post("/api/told")).raise_for_status()

    async def advance(self, seconds: float) -> None:
        answer = await self.admin.post("/clock", json={"advance": seconds})
        assert answer.status_code == 200, answer.text

    async def put(self, path: str, **body: Any) -> dict[str, Any]:
        answer = await self.admin.put(path, json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def expiring(self, name: str, days: float) -> str:
        now = self.stack.cloud.world.clock.now().timestamp()
        return self.stack.cloud.vault.put(name, "a value", expires=int(now + days * DAY))

    def delete(self, *device_ids: str) -> None:
        hub = self.stack.hubs[0]
        for device_id in device_ids:
            hub.add(Entry(device_id), hub.clock.now())
            hub.remove(device_id)

    async def _seen(self, function: str) -> list[dict[str, Any]]:
        every = (await self._app.get("/api/told")).json()
        return [each for each in every if each["function"] == function]


@asynccontextmanager
async def running(options: Options) -> AsyncIterator[Told]:
    async with run_stack(options, lambda _: None) as stack:
        headers = {TOKEN_HEADER: stack.admin.token}
        async with (
            httpx.AsyncClient(
                base_url=stack.admin_address.url, verify=stack.trust, headers=headers, timeout=30
            ) as admin,
            httpx.AsyncClient(base_url=stack.functions.url) as app,
        ):
            yield Told(stack, admin, app)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told() -> AsyncIterator[Told]:
    functions = (*EVENT_FUNCTIONS, EventFunction("not_there", VAULT))
    async with running(Options(app=APP, event_functions=functions)) as made:
        yield made


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def in_order(told: Told) -> AsyncIterator[None]:
    yield
    await told.put("/events/disorder")
    await told.nothing_is_on_its_way()
    await told.forget()


async def test_functions_that_the_app_has_are_subscribed_and_others_passed_over(told: Told) -> None:
    shown = (await told.admin.get("/events")).json()
    assert [each["name"] for each in shown["subscriptions"]] == [
        "secret_near_expiry",
        "device_deleted-hub-a",
        "device_deleted-hub-b",
        "device_deleted-hub-c",
    ]
    assert "code=" not in str(shown)


async def test_a_deleted_device_is_told_of_by_its_hub(told: Told) -> None:
    told.delete("dev-1")
    (event,) = await told.of("device_deleted", 1)
    assert event["schema"] == "CloudEvent"
    assert (event["type"], event["subject"]) == (DELETED, "devices/dev-1")
    assert (event["data"]["hubName"], event["data"]["deviceId"]) == ("hub-a", "dev-1")
    assert event["source"].endswith("/PROVIDERS/MICROSOFT.DEVICES/IOTHUBS/HUB-A")


async def test_a_secret_near_its_expiry_is_told_of_once_when_the_clock_says_so(told: Told) -> None:
    version = told.expiring("line-a", days=31)
    await told.advance(DAY / 2)
    await told.forget()
    await told.advance(DAY)
    (event,) = await told.of("secret_near_expiry", 1)
    assert (event["type"], event["subject"], event["data"]["Version"]) == (NEAR_EXPIRY, "line-a", version)
    assert event["source"] == told.stack.cloud.vault.resource_id
    await told.advance(DAY)
    assert await told.of("secret_near_expiry", 0) == []


async def test_a_host_that_is_down_is_told_when_it_is_back(told: Told) -> None:
    await told.stack.functions.kill()
    told.delete("while-down")
    await told.advance(20)
    assert told.stack.cloud.topics.grid.pending == 1
    await told.stack.functions.start()
    await told.advance(120)
    (event,) = await told.of("device_deleted", 1)
    assert event["subject"] == "devices/while-down"


async def test_events_come_twice_if_they_are_to(told: Told) -> None:
    await told.put("/events/disorder", duplicate=1)
    told.delete("dev-2")
    first, second = await told.of("device_deleted", 2)
    assert first == second


async def test_events_are_lost_if_they_are_to(told: Told) -> None:
    await told.put("/events/disorder", drop=1)
    told.delete("dev-3")
    assert await told.of("device_deleted", 0) == []
    lost = (await told.admin.get("/journal", params={"service": "eventgrid", "method": "DROP"})).json()
    assert [each["request"]["event"]["subject"] for each in lost] == ["devices/dev-3"]


async def test_events_are_held_back_and_shuffled_by_the_clock(told: Told) -> None:
    names = [f"dev-{number:02}" for number in range(20)]
    await told.put("/events/disorder", shuffle=3600)
    told.delete(*names)
    await asyncio.sleep(0.05)
    assert told.stack.cloud.topics.grid.calling == 0
    await told.advance(3600)
    subjects = [each["subject"].removeprefix("devices/") for each in await told.of("device_deleted", 20)]
    assert sorted(subjects) == names
    assert subjects != names


async def test_events_may_be_late(told: Told) -> None:
    await told.put("/events/disorder", delay=7200)
    told.delete("late")
    await told.advance(7200)
    assert [each["subject"] for each in await told.of("device_deleted", 1)] == ["devices/late"]


async def test_a_fault_meets_deliveries_like_any_call(told: Told) -> None:
    rule = {"service": "eventgrid", "count": 2, "fault": {"kind": "status", "status": 503}}
    assert (await told.admin.post("/faults", json=rule)).status_code == 200
    told.delete("twice-refused")
    await told.advance(60)
    assert len(await told.of("device_deleted", 1)) == 1
    answers = (await told.admin.get("/journal", params={"service": "eventgrid", "last": 3})).json()
    assert [each["status"] for each in answers] == [503, 503, 202]


async def test_anybody_can_subscribe_over_the_admin_port_in_either_schema(told: Told) -> None:
    endpoint = told.stack.functions.event_url("everything")
    body = {"source": VAULT, "endpoint": endpoint, "schema": EVENT_GRID, "types": [NEW_VERSION]}
    assert await told.put("/events/subscriptions/mine", **body) == {"subscriptions": ["mine"]}
    told.expiring("line-b", days=400)
    (event,) = await told.of("everything", 1)
    assert (event["schema"], event["type"], event["subject"]) == ("EventGridEvent", NEW_VERSION, "line-b")
    gone = await told.admin.delete("/events/subscriptions/mine")
    assert "mine" not in [each["name"] for each in gone.json()["subscriptions"]]
    told.expiring("line-c", days=400)
    assert await told.of("everything", 0) == []
    assert (await told.admin.delete("/events/subscriptions/mine")).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"source": "moon"}, 400, "there is no source 'moon'; there are vault, hubs, hub-a"),
        ({"endpoint": "ftp://x"}, 400, "endpoint must be the whole http or https URL"),
        ({"schema": "Custom"}, 400, "schema must be one of EventGridSchema, CloudEventSchemaV1_0"),
        ({"types": "all"}, 400, "types must be a list"),
        ({"kind": 1}, 400, "'kind' is not known here"),
        ({"endpoint": "http://127.0.0.1:9/none"}, 409, "did not take the handshake"),
    ],
)
async def test_a_wrong_subscription_is_refused_with_the_fix(
    told: Told, body: dict[str, Any], status: int, said: str
) -> None:
    sent = {"source": HUBS, "endpoint": told.stack.functions.event_url("everything"), **body}
    answer = await told.admin.put("/events/subscriptions/mine", json=sent)
    assert answer.status_code == status
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    "body", [{"duplicate": 2}, {"delay": -1}, {"drop": True}, {"shuffle": "x"}, {"chaos": 1}]
)
async def test_a_wrong_disorder_is_refused(told: Told, body: dict[str, Any]) -> None:
    assert (await told.admin.put("/events/disorder", json=body)).status_code == 400
