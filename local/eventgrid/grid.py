"""The event grid: subscribe webhooks to topics, publish events."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import httpx

from local.eventgrid.delivery import Deliveries
from local.eventgrid.disorder import Disorder
from local.eventgrid.endpoint import Endpoints
from local.eventgrid.events import Event
from local.eventgrid.subscriptions import MANUAL_LIMIT, DeadLetter, Subscription
from local.world import World


@dataclass(frozen=True, slots=True)
class _Awaiting:
    """A subscription that waits to be validated by its URL."""

    subscription: Subscription
    until: datetime


class EventGrid:
    """Delivers published events to subscriptions, at least once, by the world's clock.

    Everything runs on one event loop; the owner calls `aclose` at the end.
    """

    def __init__(self, client: httpx.AsyncClient, world: World, *, disorder: Disorder | None = None) -> None:
        """Make a grid without subscriptions.

        Args:
            client: calls the webhooks; stays the caller's to close.
            world: clock, randomness and journal.
            disorder: what goes wrong; may be replaced at any time, for the events published afterwards.
        """
        self.disorder = disorder or Disorder()
        self._world = world
        self._endpoints = Endpoints(client, world)
        self._deliveries = Deliveries(self._endpoints, world)
        self._subscriptions: dict[str, Subscription] = {}
        self._awaiting: dict[str, _Awaiting] = {}

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Those that get events."""
        return tuple(self._subscriptions.values())

    @property
    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """The events given up, oldest first."""
        return tuple(self._deliveries.dead_letters)

    @property
    def pending(self) -> int:
        """Deliveries that are not over: under way, held back or waiting for a retry."""
        return len(self._deliveries)

    @property
    def calling(self) -> int:
        """Calls of webhooks that have no answer yet."""
        return self._endpoints.calling

    async def aclose(self) -> None:
        """Give up every delivery."""
        await self._deliveries.aclose()

    async def subscribe(
        self, subscription: Subscription, *, handshake: Literal["event", "options"] = "event"
    ) -> bool:
        """Add a subscription after its handshake; one of the same name is replaced.

        Args:
            subscription: what it gets, and where.
            handshake: `event`: a validation event in the subscription's schema, whose code the endpoint
                sends back, as the Functions host does for both schemas (seen in source). `options`: the
                request by which CloudEvents webhooks are asked.

        Returns:
            True: it gets events from now on. False: the endpoint took the validation event and did not
            send the code back; `validate` adds the subscription within five minutes.

        Raises:
            HandshakeError: the endpoint refused, or did not answer within 30 seconds.
        """
        if handshake == "options":
            await self._endpoints.ask_permission(subscription)
        else:
            url = await self._endpoints.send_code(subscription)
            if url is not None:
                until = self._world.clock.now() + timedelta(seconds=MANUAL_LIMIT)
                self._awaiting[url] = _Awaiting(subscription, until)
                return False
        self._subscriptions[subscription.name] = subscription
        return True

    def validate(self, url: str) -> bool:
        """What a GET of a `validationUrl` does; False: it is unknown, or five minutes have passed."""
        waiting = self._awaiting.pop(url, None)
        if waiting is None or self._world.clock.now() > waiting.until:
            return False
        self._subscriptions[waiting.subscription.name] = waiting.subscription
        return True

    def unsubscribe(self, name: str) -> None:
        """Remove a subscription; what is on its way to it still arrives."""
        self._subscriptions.pop(name, None)

    def publish(
        self,
        topic: str,
        subject: str,
        event_type: str,
        data: Mapping[str, Any],
        when: datetime | None = None,
        *,
        data_version: str = "1",
    ) -> Event:
        """Publish an event; its deliveries begin on the running event loop. `when`: None is now."""
        event_id = str(uuid.UUID(int=self._world.random.getrandbits(128), version=4))
        time = when or self._world.clock.now()
        event = Event(event_id, topic, subject, event_type, data, time, data_version)
        for subscription in self.subscriptions:
            if subscription.wants(event):
                self._deliveries.begin(subscription, event, self.disorder)
        return event
