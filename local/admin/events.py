"""Event Grid from outside: who gets which events, and what goes wrong with deliveries."""

from dataclasses import asdict, fields
from typing import Any, cast, get_args

from starlette.requests import Request

from local.admin.reading import Wrong, only, read_object, text
from local.eventgrid import CLOUD_EVENTS, DeadLetter, Disorder, HandshakeError, Schema
from local.topics import SystemTopics, UnknownSource

_DISORDER = tuple(field.name for field in fields(Disorder))
_SUBSCRIPTION = ("source", "endpoint", "schema", "types")
_LATEST = 100


class EventDesk:
    """Answers what the port is asked of events."""

    def __init__(self, topics: SystemTopics | None) -> None:
        self._given = topics

    async def show(self, _: Request) -> Any:
        """Sources, subscriptions without their endpoints, what is under way, what was given up."""
        grid = self._topics.grid
        return {
            "sources": list(self._topics.sources),
            "subscriptions": [
                {
                    "name": each.name,
                    "topic": each.topic,
                    "schema": each.schema,
                    "types": None if each.event_types is None else sorted(each.event_types),
                }
                for each in grid.subscriptions
            ],
            "disorder": asdict(grid.disorder),
            "pending": grid.pending,
            "dead_letters": [_told(letter) for letter in grid.dead_letters[-_LATEST:]],
        }

    async def disorder(self, request: Request) -> Any:
        """Replace what goes wrong with the events that are published from now on."""
        body = await read_object(request)
        only(body, _DISORDER)
        for name, value in body.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Wrong(f"{name} must be a number")
        try:
            self._topics.grid.disorder = Disorder(**body)
        except ValueError as error:
            raise Wrong(str(error)) from error
        return await self.show(request)

    async def subscription(self, request: Request) -> Any:
        """Make a subscription, or take one away."""
        name = str(request.path_params["name"])
        if request.method == "DELETE":
            if all(each.name != name for each in self._topics.grid.subscriptions):
                raise Wrong(f"there is no subscription {name[:80]!r}; GET /events lists them", 404)
            self._topics.grid.unsubscribe(name)
            return await self.show(request)
        body = await read_object(request)
        only(body, _SUBSCRIPTION)
        types, schema = body.get("types"), text(body, "schema", CLOUD_EVENTS)
        if schema not in get_args(Schema):
            raise Wrong(f"schema must be one of {', '.join(get_args(Schema))}")
        if types is not None and not (
            isinstance(types, list) and all(isinstance(each, str) for each in types)
        ):
            raise Wrong("types must be a list of event types, or null for all")
        endpoint = text(body, "endpoint", "")
        if not endpoint.startswith(("http://", "https://")):
            raise Wrong("endpoint must be the whole http or https URL of a webhook")
        try:
            made = await self._topics.subscribe(
                name, text(body, "source", ""), endpoint, schema=cast("Schema", schema), types=types
            )
        except UnknownSource as error:
            raise Wrong(str(error)) from error
        except HandshakeError as error:
            raise Wrong(f"the endpoint did not take the handshake: {error}", 409) from error
        return {"subscriptions": list(made)}

    @property
    def _topics(self) -> SystemTopics:
        if self._given is None:
            raise Wrong("this world has no event grid", 409)
        return self._given


def _told(letter: DeadLetter) -> dict[str, Any]:
    return {
        "subscription": letter.subscription,
        "type": letter.event.type,
        "subject": letter.event.subject,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "outcome": letter.outcome,
        "published": letter.published.isoformat(),
        "last_attempt": letter.last_attempt.isoformat(),
    }
