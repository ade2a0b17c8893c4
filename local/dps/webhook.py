"""The call of a custom allocation webhook, and what DPS makes of each answer."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from local.asgi import dump
from local.dps import errors, ids
from local.dps.behaviour import Behaviour
from local.dps.enrollments import Enrollment, mask_query, read_initial_twin
from local.dps.records import Registration
from local.dps.wire import parse_object
from local.hub import InitialTwin
from local.world import World, within

RETRY_WAITS = tuple(float(1 + 9 * retry) for retry in range(10))
"""Seconds before each retry: ten of them, from 1 s in steps of 9 s (documented)."""
UNREACHABLE = "An error occurred while sending the request."
"""Seen as a failure message; its link to an unreachable webhook is inferred."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a webhook decided."""

    host: str
    """`ids.key` of the hub's name."""
    initial_twin: InitialTwin | None
    payload: Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a custom allocation failed."""

    code: int
    message: str
    passing: bool = False
    """Whether DPS tries again."""


def request_body(
    enrollment: Enrollment,
    registration_id: str,
    previous: Registration | None,
    payload: Any,
    linked_hubs: Sequence[str],
    *,
    certificate: str | None = None,
) -> dict[str, Any]:
    """The body DPS sends, in the member order of captured ones: no keys, the URL's query masked.

    A device's `certificate`, Base64 of DER, is seen as `x509.clientCertificate`; whether more of its chain
    comes along is unknown.
    """
    inline = previous.wire() if previous is not None and not enrollment.kind.is_group else None
    context: dict[str, Any] = {"registrationId": registration_id}
    if previous is not None and previous.assigned_hub is not None:
        context["currentIotHubHostName"] = previous.assigned_hub
        context["currentDeviceId"] = previous.device_id
    if certificate is None:
        context["symmetricKey"] = {}
    else:
        context["x509"] = {"clientCertificate": certificate}
    if payload is not None:
        context["payload"] = payload
    return {
        enrollment.kind.webhook_member: enrollment.wire(mask_url=True, registration_state=inline),
        "deviceRuntimeContext": context,
        "linkedHubs": list(linked_hubs),
    }


class Webhook:
    """Calls webhooks by way of one HTTP client, by the world's clock."""

    def __init__(self, client: httpx.AsyncClient, world: World, behaviour: Behaviour) -> None:
        self._client = client
        self._world = world
        self._behaviour = behaviour

    async def ask(self, url: str, body: Mapping[str, Any], linked_hubs: Collection[str]) -> Answer | Refusal:
        """Ask until there is a lasting answer: up to eleven calls in about seven minutes."""
        content = dump(body)
        outcome = await self._once(url, body, content, linked_hubs)
        for wait in RETRY_WAITS:
            if not isinstance(outcome, Refusal) or not outcome.passing:
                break
            await self._world.clock.sleep(wait)
            outcome = await self._once(url, body, content, linked_hubs)
        return outcome

    async def _once(
        self, url: str, body: Mapping[str, Any], content: bytes, linked_hubs: Collection[str]
    ) -> Answer | Refusal:
        clock, journal = self._world.clock, self._world.journal
        started, where = clock.now(), mask_query(url)
        try:
            status, raw = await within(clock, self._behaviour.webhook_timeout, self._post(url, content))
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            journal.record(started, "webhook", "POST", where, None, request=body)
            return Refusal(errors.CUSTOM_ALLOCATION_FAILED, UNREACHABLE, passing=True)
        journal.record(started, "webhook", "POST", where, status, request=body, response=_shown(raw))
        return _judge(status, raw, linked_hubs)

    async def _post(self, url: str, content: bytes) -> tuple[int, bytes | None]:
        """Status and body of one POST; None for a body over the limit. Redirects are not followed."""
        headers = {"Content-Type": "application/json; charset=utf-8"}
        request = self._client.build_request("POST", url, content=content, headers=headers, timeout=None)
        response = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            parts = bytearray()
            async for part in response.aiter_bytes():
                parts += part
                if len(parts) > self._behaviour.message_limit:
                    return response.status_code, None
            return response.status_code, bytes(parts)
        finally:
            await response.aclose()


def _judge(status: int, raw: bytes | None, linked_hubs: Collection[str]) -> Answer | Refusal:
    """What one answer means; `raw` is None for one over the limit."""
    if status == 401:
        return Refusal(errors.CUSTOM_ALLOCATION_UNAUTHORIZED, _with_status(status))
    if status != 200:
        return Refusal(errors.CUSTOM_ALLOCATION_FAILED, _with_status(status), passing=status >= 429)
    if raw is None:
        return unusable("it is too large")
    try:
        return _read(parse_object(raw), linked_hubs)
    except errors.DpsError as error:
        return unusable(error.message)


def _read(answer: Mapping[str, Any], linked_hubs: Collection[str]) -> Answer | Refusal:
    host, payload, twin = (answer.get(member) for member in ("iotHubHostName", "payload", "initialTwin"))
    if host is None or host == "":
        return Refusal(errors.CUSTOM_ALLOCATION_NO_HUB, "The custom allocation webhook named no IoT hub.")
    if not isinstance(host, str) or ids.key(host) not in {ids.key(hub) for hub in linked_hubs}:
        return unusable("iotHubHostName is not one of linkedHubs")
    if not isinstance(payload, dict | None):
        return unusable("payload is not an object")
    return Answer(ids.key(host), None if twin is None else read_initial_twin(twin), payload)


def unusable(why: str) -> Refusal:
    """The outcome of a 200 that cannot be used.

    Unknown: what DPS does with bad JSON, a hub outside `linkedHubs`, parts of a wrong type or over the
    limits. Inferred here: the registration fails at once with 400207, as after any other bad answer.
    """
    return Refusal(errors.CUSTOM_ALLOCATION_FAILED, f"The custom allocation answer cannot be used: {why}")


def _with_status(status: int) -> str:
    return f"Custom allocation failed with status code: {status}"


def _shown(raw: bytes | None) -> Any:
    if not raw:
        return None
    try:
        return parse_object(raw)
    except errors.DpsError:
        return f"{len(raw)} bytes that are no JSON object"
