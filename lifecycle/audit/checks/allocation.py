"""Checks of how an enrollment's devices get their hub: its policy, webhook, hubs and twin."""

import re
from collections.abc import Iterable
from datetime import date as day
from typing import TYPE_CHECKING

from allocation import HubState
from clients.wording import plain
from lifecycle.audit import twins, webhook_address
from lifecycle.audit.checks.outcomes import NOTHING, Asked, found, on, sources, unknown
from lifecycle.audit.evidence import NO_HOST, Around, EnrollmentEvidence, WebhookEvidence
from lifecycle.audit.finding import Check, Outcome, Severity, Source

if TYPE_CHECKING:
    from provisioning.hubs import HubKey

Outcomes = Iterable[Outcome]

NEWEST_WEBHOOK_VERSION = "2021-10-01"
"""The newest version that a webhook was seen to be called with, and the one that this app attaches."""

_VERSION = re.compile(r"(\d{4}-\d\d-\d\d)(-preview)?", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+")
_MOST_NAMED = 20

_ATTACH = "./run dps webhook attach {id}"
_ATTACH_ONE = "./run dps webhook attach --individual {id}"
_ROTATE_IN = "az iot dps linked-hub update --dps-name {dps} --linked-hub {hub} --apply-allocation-policy true"

KEY_MISSING = Check(
    id="DPS-ALLOC-001",
    title="The webhook's URL has no function key",
    severity=Severity.CRITICAL,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="the webhook answers 401 to DPS, and each registration fails with 400209 at once",
    fix=_ATTACH,
    source="azure-docs iot-dps/tutorial-custom-allocation-policies; MicrosoftDocs/azure-docs#120260",
)
NOT_OURS = Check(
    id="DPS-ALLOC-002",
    title="The webhook is not this app's",
    severity=Severity.MEDIUM,
    needs=sources(Source.CONFIGURATION),
    reads=sources(Source.ENROLLMENTS),
    why="another program decides where these devices go; the policy, the ledger and drains do not reach them",
    fix=_ATTACH,
    source="azure-docs iot-dps/concepts-custom-allocation",
)
OVER_HTTP = Check(
    id="DPS-ALLOC-003",
    title="The webhook is called over http",
    severity=Severity.HIGH,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="the function key and what devices say of themselves cross the network in the clear",
    fix=_ATTACH,
    source="azure-docs iot-dps/concepts-custom-allocation",
)
ANONYMOUS = Check(
    id="DPS-ALLOC-004",
    title="The webhook answers without a key",
    severity=Severity.HIGH,
    needs=sources(),
    reads=sources(Source.WEBHOOK),
    why="anybody who knows the URL can ask where devices go, and fill the ledger",
    fix="set the function's authLevel to function, deploy, then ./run dps webhook check",
    source="azure-docs iot-dps/concepts-custom-allocation; azure-functions/functions-bindings-http-webhook",
)
OLD_VERSION = Check(
    id="DPS-ALLOC-005",
    title="The webhook is sent an old API version",
    severity=Severity.LOW,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="what newer versions tell of an enrollment may be missing from requests, and rules that read it",
    fix="./run dps {noun} update --enrollment-id {id} --api-version 2021-10-01",
    source="azure-docs iot-dps/concepts-custom-allocation; versions seen in captured requests",
)
FAILING = Check(
    id="DPS-ALLOC-006",
    title="The webhook fails when it is called as DPS would",
    severity=Severity.CRITICAL,
    needs=sources(),
    reads=sources(Source.WEBHOOK),
    why="registrations fail: at once after 4xx, after seven minutes of retries after 429 and 5xx",
    fix="./run dps webhook check",
    source="azure-docs iot-dps/tutorial-custom-allocation-policies (troubleshooting)",
)
NEVER_REPROVISIONS = Check(
    id="DPS-ALLOC-007",
    title="Custom allocation, but devices are never reprovisioned",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="the webhook is called and offered only the current hub: such devices cannot be drained or moved",
    fix="./run dps {noun} update --enrollment-id {id} --reprovision-policy reprovisionandmigratedata",
    source="azure-docs iot-dps/concepts-custom-allocation; iot-dps/concepts-device-reprovision",
)
TWIN_NEVER_APPLIES = Check(
    id="DPS-ALLOC-008",
    title="The initial twin can never apply",
    severity=Severity.MEDIUM,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS, Source.POLICY),
    why="no hub takes such a twin, or every answer of the webhook replaces it: devices start without it",
    fix="./run dps {noun} update --enrollment-id {id} --initial-twin-tags @FILE "
    "--initial-twin-properties @FILE",
    source="azure-docs iot-hub/iot-hub-devguide-device-twins; iot-dps/concepts-custom-allocation",
)
UNLINKED = Check(
    id="DPS-ALLOC-009",
    title="The enrollment names hubs that are not linked",
    severity=Severity.MEDIUM,
    needs=sources(Source.ARM),
    reads=sources(Source.ENROLLMENTS),
    why="a hub that is no longer linked stays on the enrollment, and registrations may fail; all of them do "
    "where no other hub is left",
    fix="./run dps {noun} update --enrollment-id {id} --iot-hubs {hubs}",
    source="azure-docs iot-dps/how-to-manage-linked-iot-hubs",
)
OUT_OF_ROTATION = Check(
    id="DPS-ALLOC-010",
    title="Every hub of the enrollment is out of rotation",
    severity=Severity.HIGH,
    needs=sources(Source.ARM),
    reads=sources(Source.ENROLLMENTS, Source.FLEET),
    why="new devices have nowhere to go: DPS assigns none to a hub with applyAllocationPolicy false, this "
    "app none to one that is cordoned, draining or disabled",
    fix="./run dps hub uncordon {hub}",
    source="azure-docs iot-dps/how-to-use-allocation-policies",
)
NOT_IN_POLICY = Check(
    id="DPS-ALLOC-011",
    title="The enrollment's hubs are not in the policy",
    severity=Severity.LOW,
    needs=sources(Source.POLICY, Source.CONFIGURATION),
    reads=sources(Source.ENROLLMENTS, Source.ARM),
    why="the policy refuses hubs it does not list: they get no device, and where none is listed all wait",
    fix="add {hub} to the policy's hubs, then ./run dps policy activate FILE",
    source="this app's policy: unlisted_hubs",
)
SILENT_DEFAULT = Check(
    id="DPS-ALLOC-012",
    title="The enrollment has no allocation policy of its own",
    severity=Severity.LOW,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="DPS's default decides, which can never be custom: this app is not asked, and nobody is told",
    fix=_ATTACH,
    source="azure-docs iot-dps/how-to-use-allocation-policies",
)
ONE_STRING = Check(
    id="DPS-ALLOC-013",
    title="Several hubs stand in the enrollment as one text",
    severity=Severity.HIGH,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="no hub has that name, so no device can be assigned to any of them",
    fix="./run dps {noun} update --enrollment-id {id} --iot-hubs {hubs}",
    source="Azure CLI reference: --iot-hubs takes names separated by spaces",
)


def key_missing(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Concludes only where reads are known to show keys: they may mask or strip them (unknown)."""
    address = evidence.address
    if address is None or address.key:
        return NOTHING
    ours = around.is_ours(address)
    if not ours and address.query:
        return NOTHING  # another program's key may have another name
    if address.masked:
        return unknown(KEY_MISSING, evidence.resource, "the reading masks the webhook's key")
    if not evidence.webhook_keys_shown:
        return unknown(
            KEY_MISSING,
            evidence.resource,
            "no reading of this run showed a webhook's key: reads may strip them",
        )
    return on(
        KEY_MISSING,
        evidence,
        {"webhook": address.origin, "this_app": ours},
        severity=Severity.CRITICAL if ours else Severity.MEDIUM,
        fix=_attach(evidence),
    )


def not_ours(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Compares host and path; a key and the scheme do not tell programs apart."""
    address = evidence.address
    if address is None or around.is_ours(address):
        return NOTHING
    expected = around.ours
    same_host = expected is not None and address.host == expected.host
    return on(
        NOT_OURS,
        evidence,
        {
            "webhook": address.origin,
            "this_app": None if expected is None else expected.origin,
            "differs": "path" if same_host else "host",
        },
        fix=_attach(evidence),
    )


def over_http(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """The scheme is never masked. What goes to a loopback address crosses no network: emulators alone do."""
    address = evidence.address
    if address is None or address.scheme != "http" or address.host in webhook_address.LOOPBACK:
        return NOTHING
    return on(OVER_HTTP, evidence, {"webhook": address.origin}, fix=_attach(evidence))


def old_version(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """Versions after the newest one known count as new."""
    webhook = evidence.enrollment.webhook
    if not webhook_address.is_custom(evidence.enrollment) or webhook is None:
        return NOTHING
    shape = _VERSION.fullmatch(webhook.api_version or "")
    try:
        told = None if shape is None else day.fromisoformat(shape[1])
    except ValueError:
        told = None
    if shape is None or told is None:
        return unknown(OLD_VERSION, evidence.resource, "the API version is not told, or is no date")
    if told >= day.fromisoformat(NEWEST_WEBHOOK_VERSION):
        return NOTHING
    return on(OLD_VERSION, evidence, {"api_version": shape[0], "newest": NEWEST_WEBHOOK_VERSION})


def never_reprovisions(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """A policy that is not told counts as reprovisioning, the service's default."""
    policy = evidence.enrollment.reprovision_policy
    if not webhook_address.is_custom(evidence.enrollment) or policy is None or policy.update_hub_assignment:
        return NOTHING
    return on(NEVER_REPROVISIONS, evidence, {"reprovision_policy": policy.name})


def twin_never_applies(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """By its own shape, or because each rule of the policy gives a twin of its own."""
    twin = evidence.twin
    if not twin.tags and not twin.desired:
        return NOTHING
    problem = twins.refused(twin)
    if problem:
        return on(TWIN_NEVER_APPLIES, evidence, {"problem": problem})
    address = evidence.address
    if address is None or around.policy is None or not around.is_ours(address):
        return NOTHING
    placing = [rule for rule in around.policy.rules if rule.reject is None]
    if not placing or not all(
        rule.extras is not None
        and rule.extras.fixed is not None
        and rule.extras.fixed.initial_twin is not None
        for rule in placing
    ):
        return NOTHING
    return on(
        TWIN_NEVER_APPLIES,
        evidence,
        {"problem": "every rule of the policy gives devices another twin", "policy": around.policy.version},
        severity=Severity.LOW,
    )


def unlinked(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Hubs that are named and surely not linked."""
    named = evidence.hubs
    standing = {hub: around.standing(hub) for hub in named}
    gone = sorted(hub for hub, is_ in standing.items() if is_ == "unlinked")
    if not gone:
        unclear = sorted(hub for hub, is_ in standing.items() if is_ == "unclear")
        reason = "a linked hub differs from one that is named only behind the first dot"
        return unknown(UNLINKED, evidence.resource, reason) if unclear else NOTHING
    left = [hub for hub in named if hub not in gone]
    return found(
        UNLINKED,
        evidence.resource,
        {"unlinked": tuple(plain(hub) for hub in gone[:_MOST_NAMED]), "left": len(left)},
        severity=None if left else Severity.CRITICAL,
        noun=evidence.noun,
        id=evidence.enrollment.id,
        hubs=left,
    )


def out_of_rotation(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Some hubs out of rotation are ordinary work; all of them leave new devices no place."""
    linked = around.linked or {}
    named = [hub for hub in evidence.hubs if hub in linked]
    if not named and evidence.enrollment.iot_hubs:
        return NOTHING
    candidates = named or list(linked)
    address = evidence.address
    states = around.fleet.states if around.fleet and address and around.is_ours(address) else {}
    out: dict[HubKey, str] = {}
    for hub in candidates:
        if not linked[hub].applies_allocation_policy:
            out[hub] = "applyAllocationPolicy is false"
        elif (state := states.get(hub, HubState.OPEN)) is not HubState.OPEN:
            out[hub] = str(state)
        else:
            return NOTHING
    first = min(out)
    at_dps = not linked[first].applies_allocation_policy
    return found(
        OUT_OF_ROTATION,
        evidence.resource,
        {"hubs": dict(sorted(out.items())[:_MOST_NAMED]), "number": len(out)},
        fix=_ROTATE_IN if at_dps else None,
        hub=first,
        dps=around.dps,
    )


def not_in_policy(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Hubs that the policy refuses because it does not list them; a listed hub of weight 0 is meant so."""
    address, policy = evidence.address, around.policy
    if address is None or policy is None or not around.is_ours(address):
        return NOTHING
    named = evidence.hubs
    if not named and (evidence.enrollment.iot_hubs or around.linked is None):
        return NOTHING
    candidates = named or list(around.linked or ())
    refused = sorted(hub for hub in candidates if hub not in policy.weights and policy.weight(hub) <= 0)
    every = len(refused) == len(set(candidates))
    if not refused or not (every or named):
        return NOTHING
    return found(
        NOT_IN_POLICY,
        evidence.resource,
        {
            "hubs": tuple(plain(hub) for hub in refused[:_MOST_NAMED]),
            "every_hub": every,
            "policy": policy.version,
        },
        severity=Severity.HIGH if every else None,
        hub=refused[0],
    )


def silent_default(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Says what the default is, where the management plane tells."""
    if evidence.enrollment.allocation_policy is not None:
        return NOTHING
    default = getattr(around.page, "allocation_policy", None)
    return on(SILENT_DEFAULT, evidence, {"default": default}, fix=_attach(evidence))


def one_string(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """A name that holds what no host name may."""
    wrong = [name for name in evidence.enrollment.iot_hubs if NO_HOST.search(name.strip())]
    if not wrong:
        return NOTHING
    parts = (part for name in evidence.enrollment.iot_hubs for part in NO_HOST.split(name))
    names = [part for part in parts if _HOST.fullmatch(part)][:_MOST_NAMED]
    return found(
        ONE_STRING,
        evidence.resource,
        {"text": plain(wrong[0]), "texts": len(wrong)},
        noun=evidence.noun,
        id=evidence.enrollment.id,
        hubs=tuple(dict.fromkeys(names)),
    )


def anonymous(evidence: WebhookEvidence, _: Around) -> Outcomes:
    """Only a success without the key proves that none is needed."""
    if evidence.with_key or evidence.status in (401, 403):
        return NOTHING
    if evidence.status is None or not 200 <= evidence.status < 300:
        told = "no answer" if evidence.status is None else f"status {evidence.status}"
        return unknown(ANONYMOUS, evidence.resource, f"a call without the key got {told}")
    return found(ANONYMOUS, evidence.resource, {"status": evidence.status})


def failing(evidence: WebhookEvidence, _: Around) -> Outcomes:
    """As the caller judged the answer; 429 and 5xx are retried by DPS, and may pass."""
    if evidence.untold:
        return unknown(FAILING, evidence.resource, plain(evidence.untold))
    if not evidence.with_key or not evidence.problem:
        return NOTHING
    passing = evidence.status is None or evidence.status >= 429
    return found(
        FAILING,
        evidence.resource,
        {
            "status": evidence.status,
            "problem": plain(evidence.problem),
            "seconds": round(evidence.seconds, 1),
        },
        severity=Severity.HIGH if passing else None,
    )


ENROLLMENT: tuple[Asked[EnrollmentEvidence], ...] = (
    Asked(KEY_MISSING, key_missing),
    Asked(NOT_OURS, not_ours),
    Asked(OVER_HTTP, over_http),
    Asked(OLD_VERSION, old_version),
    Asked(NEVER_REPROVISIONS, never_reprovisions),
    Asked(TWIN_NEVER_APPLIES, twin_never_applies),
    Asked(UNLINKED, unlinked),
    Asked(OUT_OF_ROTATION, out_of_rotation),
    Asked(NOT_IN_POLICY, not_in_policy),
    Asked(SILENT_DEFAULT, silent_default),
    Asked(ONE_STRING, one_string),
)
WEBHOOK: tuple[Asked[WebhookEvidence], ...] = (Asked(ANONYMOUS, anonymous), Asked(FAILING, failing))


def _attach(evidence: EnrollmentEvidence) -> str:
    return _ATTACH if evidence.group else _ATTACH_ONE
