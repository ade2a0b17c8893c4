"""The calls of a subscription's webhook: handshakes and deliveries, each kept in the journal."""

import json
import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from local.eventgrid.events import CLOUD_EVENTS, VALIDATION, Event
from local.eventgrid.subscriptions import ANSWER_LIMIT, FINAL, LATE_LIMIT, Subscription
from local.world import World, within

SERVICE = "eventgrid"
"""Its name in the journal."""
ORIGIN = "eventgrid.azure.net"
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)


class HandshakeError(Exception):
    """An endpoint did not prove that it wants the events: the subscription was not made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one delivery ended."""

    status: int | None
    """None: there was no answer."""
    name: str
    """As `DeadLetter.outcome` has it."""

    @property
    def delivered(self) -> bool:
        """200 to 204 and nothing else (documented)."""
        return self.status is not None and 200 <= self.status <= 204

    @property
    def final(self) -> bool:
        """Whether it is not tried again."""
        return self.status in FINAL


class Endpoints:
    """Calls webhooks by way of one HTTP client."""

    def __init__(self, client: httpx.AsyncClient, world: World) -> None:
        self._client = client
        self._world = world
        self.calling = 0
        """Calls that have no answer yet."""

    async def deliver(self, subscription: Subscription, event: Event, attempt: int) -> Outcome:
        """One delivery; `attempt` counts from 0. It waits for an answer as long as one can matter."""
        headers = event.headers(subscription.schema, "Notification", subscription.name, attempt)
        began, posting = self._world.clock.now(), self._post(subscription, event, headers)
        try:
            response = await within(self._world.clock, LATE_LIMIT, posting)
        except TimeoutError:
            outcome = Outcome(None, "TimedOut")
        except _FAILURES:
            outcome = Outcome(None, "NoConnection")
        else:
            status = response.status_code
            outcome = Outcome(status, FINAL.get(status, f"HTTP {status}"))
        self.told(subscription, event, began, outcome.status, attempt=attempt)
        return outcome

    async def send_code(self, subscription: Subscription) -> str | None:
        """The handshake of Event Grid's own schema, which the Functions host answers for both.

        Returns:
            None: the endpoint sent the code back. A text: it took the event without doing so, and this is
            the URL by which the subscription can be validated.

        Raises:
            HandshakeError: another status than 200 (also 202: documented), or no answer in 30 seconds.
        """
        code, url = self._uuid(), f"https://{ORIGIN}/eventsubscriptions/{subscription.name}/validate"
        url = f"{url}?id={self._uuid()}"
        data, now = {"validationCode": code, "validationUrl": url}, self._world.clock.now()
        event = Event(self._uuid(), subscription.topic, "", VALIDATION, data, now)
        headers = event.headers(subscription.schema, "SubscriptionValidation", subscription.name, 0)
        response = await self._shake(subscription, "POST", self._post(subscription, event, headers))
        if response.status_code != 200:
            raise HandshakeError(
                f"{subscription.name}: the endpoint answered {response.status_code}, not 200"
            )
        return None if _sent_back(response) == code else url

    async def ask_permission(self, subscription: Subscription) -> None:
        """The handshake of CloudEvents webhooks: an OPTIONS request, answered with the allowed origin.

        Raises:
            HandshakeError: the endpoint does not allow Event Grid, or did not answer in 30 seconds.
        """
        asking = self._client.options(
            subscription.endpoint, headers={"webhook-request-origin": ORIGIN}, timeout=None
        )
        response = await self._shake(subscription, "OPTIONS", asking)
        allowed = response.headers.get("webhook-allowed-origin", "")
        if not response.is_success or allowed not in {"*", ORIGIN}:
            raise HandshakeError(f"{subscription.name}: the endpoint does not allow the origin {ORIGIN}")

    def told(
        self,
        subscription: Subscription,
        event: Event,
        at: datetime,
        status: int | None,
        *,
        method: str = "POST",
        attempt: int = 0,
    ) -> None:
        """Tell the journal what became of an event."""
        request = {"subscription": subscription.name, "attempt": attempt, "event": event.body(CLOUD_EVENTS)}
        self._world.journal.record(at, SERVICE, method, subscription.endpoint, status, request=request)

    async def _post(
        self, subscription: Subscription, event: Event, headers: Mapping[str, str]
    ) -> httpx.Response:
        content = json.dumps(event.body(subscription.schema)).encode()
        self.calling += 1
        try:
            return await self._client.post(
                subscription.endpoint, content=content, headers=headers, timeout=None, follow_redirects=False
            )
        finally:
            self.calling -= 1

    async def _shake(
        self, subscription: Subscription, method: str, call: Awaitable[httpx.Response]
    ) -> httpx.Response:
        began, status = self._world.clock.now(), None
        try:
            response = await within(self._world.clock, ANSWER_LIMIT, call)
            status = response.status_code
        except (TimeoutError, *_FAILURES) as error:
            raise HandshakeError(f"{subscription.name}: no answer ({type(error).__name__})") from None
        else:
            return response
        finally:
            request = {"subscription": subscription.name, "handshake": True}
            self._world.journal.record(began, SERVICE, method, subscription.endpoint, status, request=request)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._world.random.getrandbits(128), version=4))


def _sent_back(response: httpx.Response) -> Any:
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer.get("validationResponse") if isinstance(answer, dict) else None
