"""Calls enrollments' webhooks as DPS would for a first registration, with the key and without it.

Only where the key is at hand: this app's webhook with the configured key, or any whose URL a read shows with
its query. Over https, or over http on a loopback address. Answers are anybody's text and may repeat the key:
what is told of one is in this app's words.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from allocation.request import REJECTED
from clients.arm import Unknown
from clients.connections import Connections
from clients.errors import ServiceError
from clients.ports import Clock
from clients.webhook import WebhookReply, call_webhook
from lifecycle.audit import webhook_address
from lifecycle.audit.evidence import EnrollmentEvidence, WebhookEvidence
from lifecycle.audit.ports import Webhooks
from lifecycle.audit.webhook_address import Address
from lifecycle.enrollments.validation import webhook_url as checked_url
from lifecycle.enrollments.webhook import explain, request_body, with_key
from lifecycle.errors import InvalidOption
from lifecycle.rotation.webhook_key.urls import key_of
from provisioning.documents import MalformedDocument
from provisioning.enrollments import Enrollment, EnrollmentGroup, IndividualEnrollment
from provisioning.hubs import HubKey

SECONDS = 10.0
"""An answer is waited for so long: a run calls up to two hundred webhooks, one after another."""

NONE_OFFERED = "200 with an answer that names none of the hubs it was offered: the registration fails"

Linked = Callable[[], Awaitable[Mapping[HubKey, str] | Unknown]]
"""The hubs linked to the DPS, as DPS writes them."""


def webhook_calls(
    connections: Connections,
    clock: Clock,
    *,
    base: str,
    key: str,
    dps: str,
    linked: Linked,
    stored: Callable[[], Awaitable[str | None]] | None = None,
) -> Webhooks:
    """The port that calls webhooks.

    Args:
        connections: shared with the clients.
        clock: measures the answers.
        base: this app's webhook URL without its key; "" if not configured.
        key: its function key; "" if not configured.
        dps: the DPS's name in the webhook's route.
        linked: what DPS offers where an enrollment names no hubs.
        stored: reads this app's whole URL, with its key, from the vault; it counts more than `key`.
    """
    ours = webhook_address.address(base)

    async def call(enrollment: EnrollmentGroup | IndividualEnrollment) -> tuple[WebhookEvidence, ...]:
        resource = EnrollmentEvidence(enrollment).resource
        try:
            url, address = _webhook(enrollment)
            if address is None:
                return ()
            is_ours = ours is not None and webhook_address.is_same(address, ours, dps)
            bare = checked_url(url.partition("?")[0])
            keyed = url if address.query and not address.masked else ""
            if not keyed and is_ours:
                whole = await stored() if stored is not None else None
                found = key_of(whole) if whole else key
                keyed = with_key(bare, found) if found else ""
            if keyed:
                checked_url(keyed)
            offered = await _offered(enrollment, linked)
        except (InvalidOption, MalformedDocument, ServiceError) as error:
            return (_untold(resource, str(error)),)
        if isinstance(offered, Unknown):
            return (_untold(resource, f"which hubs DPS would offer is not known: {offered.reason}"),)
        body = request_body(enrollment.document(), offered)
        told = []
        if keyed:
            reply = await call_webhook(connections, clock, keyed, body, seconds=SECONDS)
            problem = _problem(reply, offered, is_ours=is_ours)
            told.append(WebhookEvidence(resource, reply.status, problem, reply.seconds))
            if reply.status is None:
                return tuple(told)  # nobody answers there, with a key or without
        else:
            told.append(_untold(resource, _no_key(is_ours=is_ours)))
        if keyed or is_ours:
            reply = await call_webhook(connections, clock, bare, body, seconds=SECONDS)
            told.append(WebhookEvidence(resource, reply.status, "", reply.seconds, with_key=False))
        return tuple(told)

    return call


def _webhook(enrollment: Enrollment) -> tuple[str, Address | None]:
    """The URL and what it tells; None: DPS calls none for this enrollment, or none that can be understood."""
    address = webhook_address.in_use(enrollment) if enrollment.enabled else None
    if address is None or enrollment.webhook is None:
        return "", None
    return enrollment.webhook.reveal(), address


async def _offered(enrollment: Enrollment, linked: Linked) -> Sequence[str] | Unknown:
    if named := enrollment.iot_hubs:
        return named
    found = await linked()
    if isinstance(found, Unknown):
        return found
    return tuple(found.values()) or Unknown("no linked hub is known")


def _problem(reply: WebhookReply, offered: Sequence[str], *, is_ours: bool) -> str:
    """Why DPS would not take an answer, without a word of it."""
    if explain(reply, offered).good or (is_ours and _rejects(reply)):
        return ""
    if reply.status == 200:
        return NONE_OFFERED
    return explain(replace(reply, body=b""), offered).meaning


def _rejects(reply: WebhookReply) -> bool:
    """Whether a rule of the policy turns such a device away; not so a 403 of what stands before the app."""
    try:
        said = json.loads(reply.body) if reply.status == 403 else None
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("error") == REJECTED


def _untold(resource: str, reason: str) -> WebhookEvidence:
    return WebhookEvidence(resource, None, "", 0.0, untold=reason)


def _no_key(*, is_ours: bool) -> str:
    if is_ours:
        return "DPS does not show the webhook's key, and neither WEBHOOK_KEY_SECRET nor WEBHOOK_KEY gives it"
    return "DPS does not show the key of a webhook that is not this app's"
