"""The wire: the body of DPS's call becomes Facts, a decision becomes an Answer.

Parsing is tolerant where a decision does not depend on it, and refuses to guess where one does: a hub
list or a current hub of unknown shape read as "none" would move devices.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from allocation.errors import NotAllocatable, NotUnderstood
from allocation.evidence import Told, member
from allocation.facts import Answer, Decision, EnrollmentKind, Facts, Placed, Rejected, linked
from provisioning.hubs import HubKey, hub_key
from provisioning.registrations import registration_key

BODY_LIMIT = 256 * 1024
"""Bytes. DPS limits its messages to 96 KB (documented); an enrollment with its twin rides along."""

MOST_HUBS = 1_000
"""A DPS links at most 50 hubs (documented); far above that a list is not DPS's."""

LONGEST_ID = 1_024
"""Characters of an id or a host name. DPS allows 128 in a registration id (documented), DNS 253 in a name."""

LONGEST_NUMBER = 1_000
"""Characters of a whole number that is read exactly. Python itself refuses some 4,300 and more."""

CHECK_ID = ".webhook-check."
"""The registration id of calls that only ask whether the webhook answers.

No device can have it: DPS takes no id that starts or ends with a dot (documented).
"""

REJECTED = "rejected by policy"
"""What the answer to an explicit reject says, and no other answer."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _whole_number(digits: str) -> int | float:
    """A number that Python will not read for its length is still JSON, and no reason to fail a device.

    What a device says of itself may hold one. It is then as any number beyond all bounds (1e999): no policy
    can use it.
    """
    return int(digits) if len(digits) <= LONGEST_NUMBER else float(digits)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_whole_number)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def parse(body: bytes, dps: str, *, limit: int = BODY_LIMIT) -> Facts:
    """Read the body of an allocation request.

    Member names compare without case: the documentation writes one of them in two ways. Of two members
    whose names differ only in case the one spelt as documented counts.

    Args:
        body: as received.
        dps: name of the DPS, from the route.
        limit: the largest body accepted, in bytes.

    Raises:
        NotAllocatable: not JSON, no registration id, no hub to choose from, or too large.
        NotUnderstood: a member that the decision depends on has an unknown shape.
    """
    if len(body) > limit:
        raise NotAllocatable(413, "body", f"{len(body)} bytes; at most {limit} are read")
    request = _decode(body)
    context = _object(request, "deviceRuntimeContext", "deviceRuntimeContext")
    registration_id = member(context, "registrationId") if context else None
    if registration_id is None or registration_id == "":
        raise NotAllocatable(
            400, "deviceRuntimeContext.registrationId", "missing; an allocation request names the device here"
        )
    if not isinstance(registration_id, str) or len(registration_id) > LONGEST_ID:
        raise NotUnderstood("deviceRuntimeContext.registrationId", "not a text of at most 128 characters")
    if len(dps) > LONGEST_ID:
        raise NotUnderstood("dps", "not the name of a DPS; the webhook's URL ends in /allocate/NAME")
    kind, enrollment_id, enrollment = _enrollment(request)
    return Facts(
        dps=dps,
        registration_id=registration_id,
        registration=registration_key(registration_id),
        linked_hubs=_linked_hubs(request),
        current_hub=_current_hub(context),
        enrollment_kind=kind,
        enrollment_id=enrollment_id,
        evidence=Told(context, enrollment),
    )


def _decode(body: bytes) -> Mapping[str, Any]:
    try:
        request = _DECODER.decode(body.decode().removeprefix("\ufeff"))
    except RecursionError:
        raise NotAllocatable(400, "body", "JSON nested too deeply") from None
    except ValueError:
        # The error's own text would quote the body.
        raise NotAllocatable(400, "body", "not JSON in UTF-8") from None
    if not isinstance(request, dict):
        raise NotAllocatable(
            400, "body", "not a JSON object; DPS posts one with deviceRuntimeContext, linkedHubs"
        )
    return request


def _object(members: Mapping[str, Any], name: str, path: str) -> Mapping[str, Any]:
    value = member(members, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise NotUnderstood(path, "not a JSON object")
    return value


def _linked_hubs(request: Mapping[str, Any]) -> Mapping[HubKey, str]:
    names = member(request, "linkedHubs")
    if names is None:
        names = []
    if (
        not isinstance(names, list)
        or len(names) > MOST_HUBS
        or not all(isinstance(name, str) and len(name) <= LONGEST_ID for name in names)
    ):
        raise NotUnderstood("linkedHubs", "not a list of at most 50 host names")
    hubs = linked(names)
    if not hubs:
        raise NotAllocatable(
            400, "linkedHubs", "no hub to choose from; link a hub to the DPS or the enrollment"
        )
    return hubs


def _current_hub(context: Mapping[str, Any]) -> HubKey | None:
    name = member(context, "currentIotHubHostName")
    if name is None:
        return None
    if not isinstance(name, str) or len(name) > LONGEST_ID:
        raise NotUnderstood("deviceRuntimeContext.currentIotHubHostName", "not a host name")
    return hub_key(name) or None


def _enrollment(request: Mapping[str, Any]) -> tuple[EnrollmentKind, str, Mapping[str, Any]]:
    """Which enrollment the device came through, and the enrollment itself.

    One that is missing or of another shape is unknown, and no rule that asks for one matches: a device that
    has no hub is then placed by the others. Its members count only where a policy reads them (evidence.py).
    """
    members: tuple[tuple[EnrollmentKind, str, str], ...] = (
        ("group", "enrollmentGroup", "enrollmentGroupId"),
        ("individual", "individualEnrollment", "registrationId"),
    )
    for kind, name, id_name in members:
        enrollment = member(request, name)
        if isinstance(enrollment, dict):
            enrollment_id = member(enrollment, id_name)
            named = isinstance(enrollment_id, str) and len(enrollment_id) <= LONGEST_ID
            return kind, enrollment_id if named else "", enrollment
    return "unknown", "", {}


def answer(decision: Decision) -> Answer:
    """Put a decision into the words DPS understands.

    Placed is 200. Rejected is 403: a 4xx other than 401 and 429 ends the registration at once (400207).
    Wait is 503: DPS tries again ten times over about seven minutes (documented).
    """
    if isinstance(decision, Placed):
        return Answer(
            200,
            b'{"iotHubHostName":'
            + _ENCODER.encode(decision.host_name).encode()
            + (_extras(decision) if decision.encoded is None else decision.encoded)
            + b"}",
        )
    if isinstance(decision, Rejected):
        return Answer(403, _ENCODER.encode({"error": REJECTED}).encode())
    return Answer(503, _ENCODER.encode({"error": decision.reason}).encode())


def _extras(placed: Placed) -> bytes:
    members = b""
    if placed.initial_twin is not None:
        members += b',"initialTwin":' + _ENCODER.encode(placed.initial_twin).encode()
    if placed.payload is not None:
        members += b',"payload":' + _ENCODER.encode(placed.payload).encode()
    return members


def refusal(error: NotAllocatable | NotUnderstood) -> Answer:
    """Answer a body that could not be read, naming the member at fault."""
    status = error.status if isinstance(error, NotAllocatable) else 503
    return Answer(status, _ENCODER.encode({"error": error.problem, "field": error.field}).encode())


BROKEN = Answer(503, b'{"error":"internal error; DPS will try again"}')
"""The answer to a fault of our own: retriable, so that a fleet survives it."""
