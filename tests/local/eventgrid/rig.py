"""A grid under a manual clock, and a webhook under a test's control."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from local.eventgrid import Disorder, Event, EventGrid, Subscription
from local.world import ManualClock, World

TOPIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/keys"
ENDPOINT = "https://app.example/runtime/webhooks/eventgrid?functionName=keep&code=not-to-be-seen"
CREATED = "Microsoft.KeyVault.SecretNewVersionCreated"
EXPIRED = "Microsoft.KeyVault.SecretExpired"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One call of the webhook: the seconds since the start, its headers and its one event."""

    at: float
    headers: httpx.Headers
    body: Any

    @property
    def subject(self) -> str:
        event = self.body[0] if isinstance(self.body, list) else self.body
        return str(event["subject"])


class Grid:
    """`answer` is what the webhook does with each delivery; handshakes are answered as they should be."""

    def __init__(self, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.world = World(self.clock, seed=seed)
        self.deliveries: list[Delivery] = []
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(202)
        self.wait = 0.0
        """Seconds the webhook takes."""
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._reply))
        self.grid = EventGrid(self.client, self.world)

    async def _reply(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if request.headers["aeg-event-type"] == "SubscriptionValidation":
            event = body[0] if isinstance(body, list) else body
            return httpx.Response(200, json={"validationResponse": event["data"]["validationCode"]})
        self.deliveries.append(Delivery(self.clock.monotonic(), request.headers, body))
        if self.wait:
            await self.clock.sleep(self.wait)
        return self.answer()

    async def subscribe(self, **options: Any) -> Subscription:
        subscription = Subscription(**{"name": "keep", "topic": TOPIC, "endpoint": ENDPOINT, **options})
        assert await self.grid.subscribe(subscription)
        return subscription

    def publish(self, subject: str = "one", event_type: str = CREATED, **options: Any) -> Event:
        data = {"ObjectName": subject, "Version": "1"}
        return self.grid.publish(options.pop("topic", TOPIC), subject, event_type, data, **options)

    def disturb(self, **knobs: float) -> None:
        self.grid.disorder = Disorder(**knobs)

    @property
    def times(self) -> list[float]:
        return [delivery.at for delivery in self.deliveries]

    @property
    def subjects(self) -> list[str]:
        return [delivery.subject for delivery in self.deliveries]


@asynccontextmanager
async def running(seed: int = 1) -> AsyncIterator[Grid]:
    made = Grid(seed)
    yield made
    await made.grid.aclose()
    await made.client.aclose()
