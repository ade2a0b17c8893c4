"""This app's webhook on enrollments, and what its answers mean to DPS. Pure.

The meanings are documented (dps-facts: azure-docs articles/iot-dps/tutorial-custom-allocation-policies.md,
"currently"); what DPS does with a 200 that it cannot use, and how long it waits for an answer, is unknown.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from allocation import request
from clients.webhook import WebhookReply
from lifecycle.enrollments.build import Document, Edit
from lifecycle.enrollments.validation import webhook_url as checked_url
from lifecycle.enrollments.webhook_url import MASK
from lifecycle.errors import InvalidOption
from provisioning.hubs import hub_key

CHECK_ID = request.CHECK_ID
"""The registration id and, where none is named, the enrollment group's id of a check.

The answer to a check is told from a device's by it wherever it was recorded, and never counts as evidence: no
registration record of DPS will ever confirm it, and who goes through the ledger leaves it out. The instance
that answers counts it as one placement until loads are read again.
"""

SLOW_SECONDS = 5.0
"""An answer that takes longer is told of: how long DPS waits is unknown."""


def with_key(base: str, key: str) -> str:
    """The webhook's URL as DPS must have it.

    Args:
        base: this app's, without a key.
        key: the function key; "" where the function needs none.

    Raises:
        InvalidOption: neither may be so. The key is in no message.
    """
    if not base:
        raise InvalidOption(
            "webhook_url",
            "this app's URL is not known",
            "set WEBHOOK_URL, or give --webhook-url without a key",
        )
    if "?" in base:
        raise InvalidOption(
            "webhook_url",
            "it has a query",
            "give it without a key; the key comes from WEBHOOK_KEY or the vault",
        )
    if any(not "!" <= sign <= "~" for sign in key):
        raise InvalidOption(
            "key", "a function key has no spaces and no letters beyond ASCII", "copy it again"
        )
    return checked_url(f"{base}?code={quote(key, safe='')}" if key else base)


def attached(url: str, api_version: str) -> Edit:
    """The edit that makes an enrollment ask this webhook; its hubs stay as they are.

    Where a read masks the key in the URL, whether it is the same cannot be seen, so it is written again.
    """

    def apply(document: Document) -> Document:
        after = copy.deepcopy(document)
        after["allocationPolicy"] = "custom"
        held = dict(after.get("customAllocationDefinition") or {})
        after["customAllocationDefinition"] = held | {"webhookUrl": url, "apiVersion": api_version}
        return after

    return apply


def request_body(document: Mapping[str, Any] | None, linked_hubs: Sequence[str]) -> bytes:
    """What DPS would send for a first registration of a device: no keys, the URL's query masked (seen).

    Args:
        document: of the enrollment; None: a group that does not exist.
        linked_hubs: to choose among.
    """
    enrollment: Document = {
        name: value
        for name, value in (document or {"enrollmentGroupId": CHECK_ID}).items()
        if name != "registrationState"
    }
    kind = "enrollmentGroup" if "enrollmentGroupId" in enrollment else "individualEnrollment"
    attestation = enrollment.get("attestation") or {"type": "symmetricKey"}
    if attestation.get("type") == "symmetricKey":
        attestation = {name: value for name, value in attestation.items() if name != "symmetricKey"}
    enrollment["attestation"] = attestation
    definition = enrollment.get("customAllocationDefinition")
    if isinstance(definition, Mapping):
        base, question, _ = str(definition.get("webhookUrl") or "").partition("?")
        shown = f"{base}?{MASK}" if question else base
        enrollment["customAllocationDefinition"] = {**definition, "webhookUrl": shown}
    body = {
        kind: enrollment,
        "deviceRuntimeContext": {"registrationId": CHECK_ID, "symmetricKey": {}},
        "linkedHubs": list(linked_hubs),
    }
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means to DPS and its device.

    Attributes:
        good: whether a device would have been assigned.
        meaning: what DPS makes of it.
        fix: what to do; "" if nothing.
        error_code: what the device's registration record would say.
        hub: the one that was named.
        seconds: how long it took.
    """

    good: bool
    meaning: str
    fix: str = ""
    error_code: int | None = None
    hub: str | None = None
    status: int | None = None
    seconds: float = 0.0

    def told(self) -> dict[str, Any]:
        """For people and programs, without what is not known."""
        every = {
            "good": self.good,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "hub": self.hub,
            "meaning": self.meaning,
            "errorCode": self.error_code,
            "fix": self.fix or None,
        }
        return {name: value for name, value in every.items() if value is not None}


def explain(answered: WebhookReply, linked_hubs: Sequence[str]) -> Verdict:
    """What DPS would make of an answer."""
    verdict = _trouble(answered) if answered.status is None else _status(answered, linked_hubs)
    return replace(verdict, status=answered.status, seconds=answered.seconds)


_RETRIES = "DPS tries ten times more over about seven minutes, and then the registration fails"

_TROUBLES: Mapping[str, Verdict] = {
    "untrusted": Verdict(
        False,
        "its certificate is not trusted, so DPS gets no answer from it either",
        "give the host a certificate of a public authority for its name, with its intermediates (or set "
        "CA_FILE, if only this machine does not trust it)",
    ),
    "unreachable": Verdict(
        False,
        "nobody answers there",
        "check the host name and that the app runs and is reachable from the Internet: DPS cannot call into "
        "a private network",
    ),
    "silent": Verdict(
        False,
        "it does not answer in time; how long DPS waits is not documented",
        "look at the app's log: is it starting, or waiting for its storage?",
    ),
    "dropped": Verdict(
        False,
        "the connection broke before the answer was complete",
        "look at the app's log, and at what stands in front of the app",
    ),
}


def _trouble(answered: WebhookReply) -> Verdict:
    found = _TROUBLES[answered.trouble or "dropped"]
    return Verdict(False, f"{found.meaning}; {_RETRIES} (inferred)", found.fix)


def _status(answered: WebhookReply, linked_hubs: Sequence[str]) -> Verdict:
    status = answered.status
    assert status is not None
    if status == 200:
        return _placed(answered, linked_hubs)
    if status == 401:
        return Verdict(
            False,
            "the Functions host does not take the key: the device's registration fails at once",
            "attach the webhook with a key of the function or the host: `webhook attach` with WEBHOOK_KEY or "
            "--key-secret",
            400209,
        )
    if status == 429 or status >= 500:
        said = _said(answered.body)
        return Verdict(
            False,
            f"the webhook asks to be called again{said}; {_RETRIES}",
            "look at the app's log; `hub list` shows which hubs are open, `policy show` what decides",
            400207,
        )
    if status == 404:
        return Verdict(
            False,
            "there is no such function: the device's registration fails at once",
            "check the URL: https://HOST/api/allocate or …/api/allocate/DPS-NAME, and APP_ROLE of the app",
            400207,
        )
    said = _said(answered.body)
    if status < 400:
        return Verdict(
            False,
            f"HTTP {status} is no answer; whether DPS follows redirects is unknown",
            "give DPS the URL that answers itself",
            400207,
        )
    return Verdict(
        False,
        f"the webhook refuses{said}: the device's registration fails at once",
        "403 is the policy's explicit reject, which a rule may mean for this enrollment; 400 and 413 name "
        "what could not be read",
        400207,
    )


def _placed(answered: WebhookReply, linked_hubs: Sequence[str]) -> Verdict:
    try:
        body = json.loads(answered.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return Verdict(
            False,
            "200 without a JSON object; what DPS makes of it is unknown",
            "is this URL the app's? something else may answer there",
            400207,
        )
    host = body.get("iotHubHostName")
    if not isinstance(host, str) or not host:
        return Verdict(
            False, "200 without a hub: the registration fails", "the answer must name a hub", 400208
        )
    if hub_key(host) not in {hub_key(each) for each in linked_hubs}:
        return Verdict(
            False,
            f"it names {host[:80]!a}, which is none of the hubs it was offered; DPS takes only those (what "
            "the device sees is unknown)",
            "look at the policy: `policy lint` and `explain`",
            400207,
        )
    slow = answered.seconds > SLOW_SECONDS
    return Verdict(
        True,
        f"a device would be assigned to {host}" + (", if DPS waits that long (unknown)" if slow else ""),
        "answers should come within a second or two: is the app starting each time?" if slow else "",
        hub=host,
    )


def _said(body: bytes) -> str:
    """What the answer says of itself, short; it may be anybody's text, and is escaped where it is shown."""
    try:
        found = json.loads(body[:4096])
    except (ValueError, RecursionError):
        return ""
    text = found.get("error") if isinstance(found, dict) else None
    where = found.get("field") if isinstance(found, dict) else None
    if not isinstance(text, str):
        return ""
    return f" ({where}: {text[:120]})" if isinstance(where, str) else f" ({text[:120]})"
