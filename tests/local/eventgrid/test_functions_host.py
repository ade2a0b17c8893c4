"""Deliveries to the Functions host, in process."""

import asyncio
from collections.abc import AsyncIterator, Callable

import azure.functions as func
import httpx
import pytest
import pytest_asyncio

from local.eventgrid import CLOUD_EVENTS, EVENT_GRID, EventGrid, HandshakeError, Schema, Subscription
from local.world import ManualClock, World
from tests.local.eventgrid.rig import CREATED, TOPIC
from tests.local.host.conftest import Loaded

STEP = 5.0


class Wired:
    """A grid whose one endpoint is the function `keep`; `down` takes the host off the network."""

    def __init__(self, app: Loaded) -> None:
        self.app = app
        self.down = False
        self.clock = ManualClock()
        self.world = World(self.clock, seed=1)
        self.client = httpx.AsyncClient(transport=_Network(self), base_url="http://host.example:7071")
        self.grid = EventGrid(self.client, self.world)

    async def reach(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("the host is down")
        return await httpx.ASGITransport(self.app.host.http).handle_async_request(request)

    def endpoint(self, function: str = "keep", key: str | None = None) -> str:
        code = key or self.app.host.keys.system["eventgrid_extension"]
        return f"http://host.example:7071/runtime/webhooks/eventgrid?functionName={function}&code={code}"

    async def subscribe(self, schema: Schema = EVENT_GRID) -> None:
        assert await self.grid.subscribe(Subscription("keep", TOPIC, self.endpoint(), schema))

    async def passes(self, seconds: float) -> None:
        """Move the clock on in steps, at each of which the host may finish its work."""
        for _ in range(int(seconds / STEP)):
            await self.clock.advance(STEP)
            while self.grid.calling:  # noqa: ASYNC110 - turns of the loop, no time
                await asyncio.sleep(0)
        await self.clock.advance(0)

    @property
    def subjects(self) -> list[str]:
        return [event.subject for event in self.app.module.seen]


class _Network(httpx.AsyncBaseTransport):
    def __init__(self, wired: Wired) -> None:
        self._wired = wired

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._wired.reach(request)


@pytest_asyncio.fixture
async def wired(run_app: Callable[..., Loaded]) -> AsyncIterator[Wired]:
    made = Wired(run_app("events"))
    yield made
    await made.grid.aclose()
    await made.client.aclose()


@pytest.mark.parametrize("schema", [EVENT_GRID, CLOUD_EVENTS])
async def test_a_function_gets_the_event_in_the_subscriptions_schema(wired: Wired, schema: Schema) -> None:
    await wired.subscribe(schema)
    event = wired.grid.publish(TOPIC, "secret-1", CREATED, {"ObjectName": "secret-1"})
    await wired.passes(STEP)
    (seen,) = wired.app.module.seen
    assert isinstance(seen, func.CloudEvent if schema == CLOUD_EVENTS else func.EventGridEvent)
    assert (seen.id, seen.subject, seen.get_json()) == (event.id, "secret-1", {"ObjectName": "secret-1"})
    assert (seen.time if isinstance(seen, func.CloudEvent) else seen.event_time) is not None
    assert wired.grid.pending == 0


async def test_an_unknown_function_and_a_wrong_key_fail_the_handshake(wired: Wired) -> None:
    for endpoint in (wired.endpoint("none"), wired.endpoint(key="wrong")):
        with pytest.raises(HandshakeError):
            await wired.grid.subscribe(Subscription("keep", TOPIC, endpoint))


async def test_a_function_that_fails_gets_the_event_again_until_the_attempts_are_used_up(
    wired: Wired,
) -> None:
    assert await wired.grid.subscribe(Subscription("keep", TOPIC, wired.endpoint(), max_attempts=3))
    wired.grid.publish(TOPIC, "poison", CREATED, {})
    await wired.passes(120)
    assert wired.subjects == ["poison"] * 3
    (letter,) = wired.grid.dead_letters
    assert (letter.reason, letter.outcome) == ("MaxDeliveryAttemptsExceeded", "HTTP 500")


async def test_a_key_that_was_rolled_away_makes_dead_letters(
    wired: Wired, run_app: Callable[..., Loaded]
) -> None:
    await wired.subscribe()
    wired.app = run_app("events")  # the same app with new keys
    wired.grid.publish(TOPIC, "one", CREATED, {})
    await wired.passes(STEP)
    assert [letter.outcome for letter in wired.grid.dead_letters] == ["Unauthorized"]


async def test_nothing_is_lost_when_the_host_is_down_for_an_hour(wired: Wired) -> None:
    await wired.subscribe()
    sent = []
    wired.down = True
    for number in range(12):
        sent.append(wired.grid.publish(TOPIC, f"secret-{number}", CREATED, {}).subject)
        await wired.passes(300)
    assert wired.subjects == []
    wired.down = False
    await wired.passes(3600)
    assert sorted(wired.subjects) == sorted(sent)
    assert (wired.grid.pending, wired.grid.dead_letters) == (0, ())
