"""Event Grid's delivery: topics, subscriptions, handshakes, retries, dead letters, and disorder on request.

What no public source establishes is done plainly, and these are all of it: a handshake is tried once
(documented: one that takes over 30 s "may" be tried again); the first delivery counts as 0 and the
subscription's name is sent in upper case (seen in captured requests; a page's example says 1);
"probation", which delays the deliveries to an endpoint that keeps failing by an unstated time, is left
to `Disorder.delay`; steps of the retry schedule are never skipped; a dead letter's reason for a final
status is this emulator's own text. Batching is not served: it is off by default.
"""

from local.eventgrid.disorder import Disorder
from local.eventgrid.endpoint import HandshakeError
from local.eventgrid.events import CLOUD_EVENTS, EVENT_GRID, Event, Schema
from local.eventgrid.grid import EventGrid
from local.eventgrid.subscriptions import DeadLetter, Subscription

__all__ = [
    "CLOUD_EVENTS",
    "EVENT_GRID",
    "DeadLetter",
    "Disorder",
    "Event",
    "EventGrid",
    "HandshakeError",
    "Schema",
    "Subscription",
]
