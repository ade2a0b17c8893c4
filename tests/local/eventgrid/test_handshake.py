"""How a subscription is made."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from local.eventgrid import CLOUD_EVENTS, EVENT_GRID, EventGrid, HandshakeError, Schema, Subscription
from local.world import ManualClock, World
from tests.local.eventgrid.rig import ENDPOINT, TOPIC

Reply = Callable[[httpx.Request], httpx.Response]


class Shaking:
    """A grid and one endpoint."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked: list[httpx.Request] = []
        self.clock = ManualClock()
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._reply))
        self.grid = EventGrid(self.client, World(self.clock, seed=1))

    def _reply(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.reply(request)

    async def subscribe(self, schema: Schema = EVENT_GRID, **options: Any) -> bool:
        return await self.grid.subscribe(Subscription("keep", TOPIC, ENDPOINT, schema), **options)

    def names(self) -> list[str]:
        return [subscription.name for subscription in self.grid.subscriptions]

    def event(self) -> dict[str, Any]:
        body = json.loads(self.asked[0].content)
        return dict(body[0] if isinstance(body, list) else body)


def echo(request: httpx.Request, status: int = 200) -> httpx.Response:
    body = json.loads(request.content)
    event = body[0] if isinstance(body, list) else body
    return httpx.Response(status, json={"validationResponse": event["data"]["validationCode"]})


@pytest.mark.parametrize("schema", [EVENT_GRID, CLOUD_EVENTS])
async def test_an_endpoint_that_sends_the_code_back_is_subscribed(schema: Schema) -> None:
    shaking = Shaking(echo)
    assert await shaking.subscribe(schema)
    (request,) = shaking.asked
    assert (request.method, str(request.url)) == ("POST", ENDPOINT)
    assert request.headers["aeg-event-type"] == "SubscriptionValidation"
    assert isinstance(json.loads(request.content), list) == (schema == EVENT_GRID)
    event = shaking.event()
    kind = event["eventType" if schema == EVENT_GRID else "type"]
    assert kind == "Microsoft.EventGrid.SubscriptionValidationEvent"
    assert sorted(event["data"]) == ["validationCode", "validationUrl"]
    assert shaking.names() == ["keep"]


REFUSALS: dict[str, Reply] = {
    "401": lambda _: httpx.Response(401),
    "404": lambda _: httpx.Response(404),
    "202 with the code": lambda request: echo(request, 202),
}


@pytest.mark.parametrize("reply", REFUSALS.values(), ids=REFUSALS.keys())
async def test_anything_but_200_is_a_refusal(reply: Reply) -> None:
    shaking = Shaking(reply)
    with pytest.raises(HandshakeError) as refusal:
        await shaking.subscribe()
    assert "not-to-be-seen" not in str(refusal.value)
    assert shaking.names() == []


async def test_no_answer_is_a_refusal() -> None:
    def down(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("down")

    with pytest.raises(HandshakeError, match="no answer"):
        await Shaking(down).subscribe()


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b'{"validationResponse": "another"}'])
async def test_without_the_code_the_url_of_the_event_validates_within_five_minutes(answer: bytes) -> None:
    shaking = Shaking(lambda _: httpx.Response(200, content=answer))
    assert not await shaking.subscribe()
    url = shaking.event()["data"]["validationUrl"]
    assert not shaking.grid.validate("https://another")
    await shaking.clock.advance(300)
    assert shaking.names() == []
    assert shaking.grid.validate(url)
    assert shaking.names() == ["keep"]
    assert not shaking.grid.validate(url)


async def test_after_five_minutes_the_url_validates_nothing() -> None:
    shaking = Shaking(lambda _: httpx.Response(200))
    await shaking.subscribe()
    await shaking.clock.advance(301)
    assert not shaking.grid.validate(shaking.event()["data"]["validationUrl"])
    assert shaking.names() == []


@pytest.mark.parametrize("allowed", ["*", "eventgrid.azure.net"])
async def test_a_cloud_events_webhook_may_allow_the_origin(allowed: str) -> None:
    shaking = Shaking(lambda _: httpx.Response(200, headers={"WebHook-Allowed-Origin": allowed}))
    assert await shaking.subscribe(CLOUD_EVENTS, handshake="options")
    assert shaking.asked[0].method == "OPTIONS"
    assert shaking.asked[0].headers["webhook-request-origin"] == "eventgrid.azure.net"


@pytest.mark.parametrize(
    ("status", "headers"), [(200, {}), (200, {"WebHook-Allowed-Origin": "else"}), (404, {})]
)
async def test_a_cloud_events_webhook_that_does_not_is_refused(status: int, headers: dict[str, str]) -> None:
    with pytest.raises(HandshakeError, match="does not allow"):
        await Shaking(lambda _: httpx.Response(status, headers=headers)).subscribe(
            CLOUD_EVENTS, handshake="options"
        )


async def test_a_second_handshake_replaces_the_subscription() -> None:
    shaking = Shaking(echo)
    await shaking.subscribe()
    await shaking.subscribe(CLOUD_EVENTS)
    assert [subscription.schema for subscription in shaking.grid.subscriptions] == [CLOUD_EVENTS]
