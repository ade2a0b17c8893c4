"""The webhook that Event Grid delivers to: ``/runtime/webhooks/eventgrid?functionName=F&code=KEY``.

[source: the Event Grid extension] 401 without the system key or the master key; 404 for a function that is
not an Event Grid function, its name matched exactly; then ``aeg-event-type`` decides. Each event of a
delivery is an invocation of its own, all in parallel; one failure makes the whole delivery 500, with the
exception's message as the body, and Event Grid sends all of it again.

Not known, and done plainly: a body that is not JSON, or a validation event without its code, is 500, as an
exception inside the extension would be; methods other than POST are 404.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from local.host.invocation import FunctionFailed, RawResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.host.invocation import Invoker
    from local.host.keys import Lock

_log = logging.getLogger("host.eventgrid")
_TEXT = (("content-type", "text/plain; charset=utf-8"),)


class EventGridWebhook:
    """Answers validation and notifications for the Event Grid functions of the app."""

    def __init__(self, invokers: Mapping[str, Invoker], lock: Lock) -> None:
        self._invokers = invokers
        self._lock = lock

    async def handle(
        self, *, key: str | None, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> RawResponse:
        """Answer one delivery. ``query`` has its names in lower case."""
        if not self._lock.opens(key):
            return RawResponse(401)
        name = query.get("functionname", "")
        invoker = self._invokers.get(name)
        if invoker is None or invoker.function.disabled:  # a disabled one has no listener
            known = ", ".join(self._invokers) or "none"
            _log.warning("a delivery for %r: there is no such Event Grid function; known: %s", name, known)
            return RawResponse(404, _TEXT, f"cannot find function: '{name}'".encode())
        match headers.get("aeg-event-type", "").lower():
            case "subscriptionvalidation":
                return _validate(name, body)
            case "notification":
                return await self._notify(invoker, body)
            case "unsubscribe":
                return RawResponse(202)
            case _:
                return RawResponse(400)

    async def _notify(self, invoker: Invoker, body: bytes) -> RawResponse:
        try:
            document = json.loads(body)
        except ValueError:
            _log.warning("a delivery to %s is not JSON", invoker.function.name)
            return RawResponse(500)
        events = document if isinstance(document, list) else [document]
        outcomes = await asyncio.gather(*(_outcome(invoker, event) for event in events))
        failures = [failure for failure in outcomes if failure is not None]
        if failures:
            return RawResponse(500, _TEXT, failures[0].encode("utf-8", "backslashreplace"))
        return RawResponse(202)

    async def run_by_hand(self, name: str, text: str) -> None:
        """Run an Event Grid function with the JSON text of one event. A failure is logged."""
        try:
            event = json.loads(text)
        except ValueError:
            _log.warning("%s was started by hand with an input that is not the JSON of an event", name)
            return
        await _outcome(self._invokers[name], event)


async def _outcome(invoker: Invoker, event: Any) -> str | None:
    """Run the function with one event; None is success, a text the failure's message."""
    try:
        await invoker.json(event)
    except FunctionFailed as failure:
        return str(failure)
    return None


def _validate(name: str, body: bytes) -> RawResponse:
    """The handshake: Event Grid's own schema comes in an array, CloudEvents as an object."""
    try:
        document = json.loads(body)
        event = document[0] if isinstance(document, list) else document
        code = event["data"]["validationCode"]
    except (ValueError, LookupError, TypeError):
        _log.warning("a validation event for %s holds no data.validationCode", name)
        return RawResponse(500)
    _log.info("validated the subscription of %s", name)
    return RawResponse(200, _TEXT, json.dumps({"validationResponse": code}).encode())
