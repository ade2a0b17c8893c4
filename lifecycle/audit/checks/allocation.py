"""Checks of how an enrollment's devices get their hub: its policy, webhook, hubs and twin."""

import re
from collections.abc import Iterable
from datetime import date as day

from allocation import HubState
from lifecycle.audit import twins, webhook_address
from lifecycle.audit.checks.outcomes import NOTHING, Asked, found, sources, unknown
from lifecycle.audit.evidence import Around, EnrollmentEvidence, WebhookEvidence
from lifecycle.audit.finding import Check, Outcome, Severity, Source
from lifecycle.audit.webhook_address import Address
from clients.wording import plain
from provisioning.enrollments import CUSTOM, EnrollmentGroup, IndividualEnrollment
from provisioning.hubs import HubKey, hub_key

Outcomes = Iterable[Outcome]

NEWEST_WEBHOOK_VERSION = "2021-10-01"
"""The newest version that a webhook was seen to be called with, and the one that this app attaches."""

_VERSION = re.compile(r"(\d{4}-\d\d-\d\d)(-preview)?", re.ASCII)
_NO_HOST = re.compile(r"[,;\s\[\]\"'{}]")
"""What host names never hold, and lists written as one text do."""

KEY_MISSING = Check(
    id="DPS-ALLOC-001",
    title="The webhook's URL has no function key",
    severity=Severity.CRITICAL,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="the webhook answers 401 to DPS, and each registration fails with 400209 at once",
    fix="./run dps webhook attach {id}",
    source="azure-docs iot-dps/tutorial-custom-allocation-policies; MicrosoftDocs/azure-docs#120260",
)
NOT_OURS = Check(
    id="DPS-ALLOC-002",
    title="The webhook is not this app's",
    severity=Severity.MEDIUM,
    needs=sources(Source.CONFIGURATION),
    reads=sources(Source.ENROLLMENTS),
    why="another program decides where these devices go; the policy, the ledger and drains do not reach them",
    fix="./run dps webhook attach {id}",
    source="azure-docs iot-dps/concepts-custom-allocation",
)
OVER_HTTP = Check(
    id="DPS-ALLOC-003",
    title="The webhook is called over http",
    severity=Severity.HIGH,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="the function key and what devices say of themselves cross the network in the clear",
    fix="./run dps webhook attach {id}",
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
    source="azure-docs iot-dps/concepts-custom-allocation; azure-docs azure-functions/functions-bindings-http-webhook",
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
    fix="./run dps {noun} update --enrollment-id {id} --initial-twin-tags @FILE --initial-twin-properties @FILE",
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
    fix="./run dps hub uncordon {hub}; az iot dps linked-hub update --dps-name {dps} --linked-hub {hub} "
    "--apply-allocation-policy true",
    source="azure-docs iot-dps/how-to-use-allocation-policies",
)
NOT_IN_POLICY = Check(
    id="DPS-ALLOC-011",
    title="The enrollment's hubs are not in the policy",
    severity=Severity.LOW,
    needs=sources(Source.POLICY, Source.CONFIGURATION),
    reads=sources(Source.ENROLLMENTS, Source.ARM),
    why="the policy refuses hubs it does not list: they get no device, and where none is listed all wait",
    fix="add {hub} to the policy's hubs, then ./run dps policy validate and ./run dps policy activate",
    source="this app's policy: unlisted_hubs",
)
SILENT_DEFAULT = Check(
    id="DPS-ALLOC-012",
    title="The enrollment has no allocation policy of its own",
    severity=Severity.LOW,
    needs=sources(),
    reads=sources(Source.ENROLLMENTS),
    why="DPS's default decides, which can never be custom: this app is not asked, and nobody is told",
    fix="./run dps webhook attach {id}",
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
    address = _address(evidence)
    if address is None or address.key:
        return NOTHING
    ours = _is_ours(address, around)
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
    return _found(
        KEY_MISSING,
        evidence,
        {"webhook": address.origin, "this_app": ours},
        severity=Severity.CRITICAL if ours else Severity.MEDIUM,
    )


def not_ours(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Compares host and path; a key and the scheme do not tell programs apart."""
    address = _address(evidence)
    if address is None or _is_ours(address, around):
        return NOTHING
    expected = webhook_address.address(around.webhook)
    same_host = expected is not None and address.host == expected.host
    return _found(
        NOT_OURS,
        evidence,
        {
            "webhook": address.origin,
            "this_app": None if expected is None else expected.origin,
            "differs": "path" if same_host else "host",
        },
    )


def over_http(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """The scheme is never masked."""
    address = _address(evidence)
    if address is None or address.scheme != "http":
        return NOTHING
    return _found(OVER_HTTP, evidence, {"webhook": address.origin})


def old_version(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """Versions after the newest one known count as new."""
    webhook = evidence.enrollment.webhook
    if not _is_custom(evidence) or webhook is None:
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
    return _found(OLD_VERSION, evidence, {"api_version": shape[0], "newest": NEWEST_WEBHOOK_VERSION})


def never_reprovisions(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """A policy that is not told counts as reprovisioning, the service's default."""
    policy = evidence.enrollment.reprovision_policy
    if not _is_custom(evidence) or policy is None or policy.update_hub_assignment:
        return NOTHING
    return _found(NEVER_REPROVISIONS, evidence, {"reprovision_policy": policy.name})


def twin_never_applies(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """By its own shape, or because each rule of the policy gives a twin of its own."""
    twin = evidence.enrollment.initial_twin
    if not twin.tags and not twin.desired:
        return NOTHING
    problem = twins.refused(twin)
    if problem:
        return _found(TWIN_NEVER_APPLIES, evidence, {"problem": problem})
    address = _address(evidence)
    if address is None or around.policy is None or not _is_ours(address, around):
        return NOTHING
    placing = [rule for rule in around.policy.rules if rule.reject is None]
    if not placing or not all(
        rule.extras is not None
        and rule.extras.fixed is not None
        and rule.extras.fixed.initial_twin is not None
        for rule in placing
    ):
        return NOTHING
    return _found(
        TWIN_NEVER_APPLIES,
        evidence,
        {"problem": "every rule of the policy gives devices another twin", "policy": around.policy.version},
        severity=Severity.LOW,
    )


def unlinked(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Hubs that are named and surely not linked."""
    named = _named(evidence)
    standing = {hub: around.standing(hub) for hub in named}
    gone = sorted(hub for hub, is_ in standing.items() if is_ == "unlinked")
    if not gone:
        unclear = sorted(hub for hub, is_ in standing.items() if is_ == "unclear")
        reason = f"{', '.join(unclear[:3])}: a linked hub differs only behind the first dot"
        return unknown(UNLINKED, evidence.resource, reason) if unclear else NOTHING
    left = [hub for hub in named if hub not in gone]
    return found(
        UNLINKED,
        evidence.resource,
        {"unlinked": tuple(gone), "left": len(left)},
        severity=None if left else Severity.CRITICAL,
        noun=_noun(evidence),
        id=evidence.enrollment.id,
        **({"hubs": " ".join(left)} if len(left) == 1 else {}),
    )


def out_of_rotation(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Some hubs out of rotation are ordinary work; all of them leave new devices no place."""
    linked = around.linked or {}
    named = [hub for hub in _named(evidence) if hub in linked]
    if not named and evidence.enrollment.iot_hubs:
        return NOTHING
    candidates = named or list(linked)
    address = _address(evidence)
    states = around.fleet.states if around.fleet and address and _is_ours(address, around) else {}
    out: dict[str, str] = {}
    for hub in candidates:
        if not linked[hub].applies_allocation_policy:
            out[hub] = "applyAllocationPolicy is false"
        elif (state := states.get(hub, HubState.OPEN)) is not HubState.OPEN:
            out[hub] = str(state)
        else:
            return NOTHING
    return found(
        OUT_OF_ROTATION, evidence.resource, {"hubs": out}, hub=sorted(out)[0], dps=around.dps
    )


def not_in_policy(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Hubs that the policy refuses because it does not list them; a listed hub of weight 0 is meant so."""
    address, policy = _address(evidence), around.policy
    if address is None or policy is None or not _is_ours(address, around):
        return NOTHING
    named = _named(evidence)
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
        {"hubs": tuple(refused), "every_hub": every, "policy": policy.version},
        severity=Severity.HIGH if every else None,
        hub=refused[0],
    )


def silent_default(evidence: EnrollmentEvidence, around: Around) -> Outcomes:
    """Says what the default is, where the management plane tells."""
    if evidence.enrollment.allocation_policy is not None:
        return NOTHING
    default = getattr(around.page, "allocation_policy", None)
    return _found(SILENT_DEFAULT, evidence, {"default": default})


def one_string(evidence: EnrollmentEvidence, _: Around) -> Outcomes:
    """A name that holds what no host name may."""
    wrong = [name for name in evidence.enrollment.iot_hubs if _NO_HOST.search(name.strip())]
    if not wrong:
        return NOTHING
    return _found(ONE_STRING, evidence, {"text": plain(wrong[0]), "texts": len(wrong)})


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


def noun(enrollment: EnrollmentGroup | IndividualEnrollment) -> str:
    """The command's noun for an enrollment."""
    return "enrollment-group" if isinstance(enrollment, EnrollmentGroup) else "enrollment"


def _noun(evidence: EnrollmentEvidence) -> str:
    return noun(evidence.enrollment)


def _found(
    check: Check, evidence: EnrollmentEvidence, told: "dict[str, object]", severity: Severity | None = None
) -> Outcomes:
    return found(
        check,
        evidence.resource,
        told,  # type: ignore[arg-type]
        severity=severity,
        noun=_noun(evidence),
        id=evidence.enrollment.id,
    )


def _is_custom(evidence: EnrollmentEvidence) -> bool:
    return (evidence.enrollment.allocation_policy or "").lower() == CUSTOM


def _address(evidence: EnrollmentEvidence) -> Address | None:
    """The webhook in use; None where there is none, or none that can be understood."""
    webhook = evidence.enrollment.webhook if _is_custom(evidence) else None
    return None if webhook is None else webhook_address.of(webhook)


def _is_ours(address: Address, around: Around) -> bool:
    return bool(around.webhook) and webhook_address.is_ours(address, around.webhook, around.dps)


def _named(evidence: EnrollmentEvidence) -> list[HubKey]:
    """The hubs that the enrollment names, each once; lists in one text are none."""
    names = evidence.enrollment.iot_hubs
    return list(dict.fromkeys(hub_key(name) for name in names if not _NO_HOST.search(name.strip())))
