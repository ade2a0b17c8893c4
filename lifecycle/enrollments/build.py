"""Options of a command -> the document of a new enrollment, or the edit of one that exists. Pure.

A document is the service's own JSON of an IndividualEnrollment or EnrollmentGroup. An edit is a function
from one document to the next; it changes what its options name and nothing else, so members that this
program does not know survive. Where an option cannot be, the edit raises InvalidOption before a call.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lifecycle.enrollments import validation as valid
from lifecycle.enrollments.certificates import CertificateRules, certificate
from lifecycle.enrollments.options import (
    CA_NAMES,
    CERTIFICATES,
    KEYS,
    REMOVALS,
    REPROVISION,
    SLOTS,
    Attestation,
    Options,
)
from lifecycle.errors import InvalidOption
from provisioning.keys import SymmetricKey

Document = dict[str, Any]
"""An enrollment as the service writes it. Where keys are read, `attestation.symmetricKey` holds both."""

Edit = Callable[[Document], Document]
"""From a document to the changed one; the given one stays as it was. May raise InvalidOption."""


def new_group(enrollment_id: str, options: Options, rules: CertificateRules) -> Document:
    """The document of a new enrollment group.

    Without certificates and CA names it attests by symmetric keys, which DPS makes where none are given.

    Raises:
        InvalidOption: names the parameter and the fix.
    """
    document: Document = {"enrollmentGroupId": valid.new_id(enrollment_id, "enrollment_id")}
    by_certificate, by_name, by_key = (options.given(*kind) for kind in (CERTIFICATES, CA_NAMES, KEYS))
    _one_kind(by_certificate, by_name, by_key)
    if by_certificate:
        held = _certificates(options, rules, {})
        document["attestation"] = {"type": "x509", "x509": {"signingCertificates": held}}
    elif by_name:
        document["attestation"] = {"type": "x509", "x509": {"caReferences": _ca_names(options, {})}}
    else:
        document["attestation"] = {"type": "symmetricKey", "symmetricKey": _keys(options, {})}
    return _with_rest(document, options)


def new_individual(
    enrollment_id: str, attestation: Attestation, options: Options, rules: CertificateRules
) -> Document:
    """The document of a new individual enrollment.

    Raises:
        InvalidOption: names the parameter and the fix.
    """
    document: Document = {"registrationId": valid.new_id(enrollment_id, "enrollment_id")}
    _matches(attestation, options)
    if attestation == "x509":
        if not options.given(*CERTIFICATES):
            raise InvalidOption(
                "certificate_path",
                "attestation by x509 needs a certificate",
                "give --certificate-path, --secondary-certificate-path or both",
            )
        held = _certificates(options, rules, {})
        document["attestation"] = {"type": "x509", "x509": {"clientCertificates": held}}
    elif attestation == "tpm":
        if options.endorsement_key is None:
            raise InvalidOption(
                "endorsement_key",
                "attestation by tpm needs the TPM's endorsement key",
                "give --endorsement-key",
            )
        key = valid.endorsement_key(options.endorsement_key)
        document["attestation"] = {"type": "tpm", "tpm": {"endorsementKey": key}}
    else:
        document["attestation"] = {"type": "symmetricKey", "symmetricKey": _keys(options, {})}
    if options.device_id is not None:
        document["deviceId"] = valid.device_id(options.device_id)
    if options.device_information is not None:
        document["optionalDeviceInformation"] = _information(options)
    return _with_rest(document, options)


def edit(options: Options, rules: CertificateRules) -> Edit:
    """The edit that the options ask for, of a group or an individual enrollment.

    What can be judged without the enrollment is judged here and now; what depends on it (the kind of its
    attestation, its policy, whether a certificate is left) when the edit is applied.

    Raises:
        InvalidOption: names the parameter and the fix.
    """
    if not options.given(*(each.name for each in fields(options) if each.name != "force")):
        raise InvalidOption(
            "enrollment_id", "no option says what to change", "give one, like --provisioning-status disabled"
        )
    _one_kind(
        options.given(*CERTIFICATES),
        options.given(*CA_NAMES),
        options.given(*KEYS),
        options.given("endorsement_key"),
    )
    for removal, replacements in zip(REMOVALS, zip(CERTIFICATES, CA_NAMES, strict=True), strict=True):
        both = options.given(removal) and options.given(*replacements)
        if both:
            raise InvalidOption(
                removal,
                f"it is to be removed, and --{both[0].replace('_', '-')} replaces it",
                "say one of both",
            )
    if options.given(*REMOVALS) and options.given(*KEYS, "endorsement_key"):
        raise InvalidOption("remove_certificate", "keys and certificates do not go together", "leave one out")
    change = _Change(options, rules)
    change.check_alone()
    return change


@dataclass(frozen=True, slots=True)
class _Change:
    """The edit of some options."""

    options: Options
    rules: CertificateRules

    def check_alone(self) -> None:
        """Check all values that need no enrollment to be checked."""
        options = self.options
        _certificates(options, self.rules, {}, removing=False)
        _ca_names(options, {}, removing=False)
        for name in options.given(*KEYS):
            valid.symmetric_key(getattr(options, name), name)
        if options.endorsement_key is not None:
            valid.endorsement_key(options.endorsement_key)
        if options.device_id is not None:
            valid.device_id(options.device_id)
        if options.device_information is not None:
            _information(options)
        _twin(options, {})
        hubs = _hubs(options)
        _policy_takes(options.allocation_policy, hubs)
        if options.webhook_url is not None:
            valid.webhook_url(options.webhook_url)
        if options.api_version is not None:
            valid.webhook_version(options.api_version)
        if options.allocation_policy not in (None, "custom"):
            _no_webhook(options)

    def __call__(self, document: Document) -> Document:
        options, after = self.options, copy.deepcopy(document)
        if options.given(*CERTIFICATES, *CA_NAMES, *KEYS, *REMOVALS, "endorsement_key"):
            after["attestation"] = self._attestation(after)
        if "enrollmentGroupId" in after:
            _only_individual(options)
        if options.device_id is not None:
            after["deviceId"] = options.device_id
        if options.device_information is not None:
            after["optionalDeviceInformation"] = _information(options)
        self._place(after)
        twin = _twin(options, after.get("initialTwin") or {})
        if twin is not None:
            after["initialTwin"] = twin
        _flags(options, after)
        return after

    def _attestation(self, document: Document) -> Document:
        options = self.options
        attestation: Document = dict(document.get("attestation") or {})
        held = attestation.get("type")
        if held == "symmetricKey":
            _wrong_kind(options, "symmetric keys", *CERTIFICATES, *CA_NAMES, *REMOVALS, "endorsement_key")
            attestation["symmetricKey"] = _keys(options, attestation.get("symmetricKey") or {})
        elif held == "tpm":
            _wrong_kind(options, "a TPM", *CERTIFICATES, *CA_NAMES, *REMOVALS, *KEYS)
            key = valid.endorsement_key(options.endorsement_key or "")
            attestation["tpm"] = {**(attestation.get("tpm") or {}), "endorsementKey": key}
        elif held == "x509":
            _wrong_kind(options, "certificates", *KEYS, "endorsement_key")
            attestation["x509"] = self._x509(dict(attestation.get("x509") or {}))
        else:
            raise InvalidOption(
                "enrollment_id",
                f"its attestation is of type {str(held)[:40]!a}, without keys and certificates",
                "make another enrollment",
            )
        return attestation

    def _x509(self, x509: Document) -> Document:
        options = self.options
        for member in ("clientCertificates", "signingCertificates"):
            if x509.get(member):
                _wrong_kind(options, "certificates of its own", *CA_NAMES)
                return {**x509, member: _certificates(options, self.rules, x509[member])}
        _wrong_kind(options, "CA certificates of the DPS by name", *CERTIFICATES)
        return {**x509, "caReferences": _ca_names(options, x509.get("caReferences") or {})}

    def _place(self, after: Document) -> None:
        """Policy, hubs and webhook, where any of them is edited; what they are together must be sound."""
        options, hubs = self.options, _hubs(self.options)
        if options.allocation_policy is not None:
            after["allocationPolicy"] = options.allocation_policy
        if hubs is not None:
            after["iotHubs"] = list(hubs)
            after.pop("iotHubHostName", None)  # the older member that names one hub would contradict
        policy = after.get("allocationPolicy")
        if options.given("allocation_policy") or hubs is not None:
            older = after.get("iotHubHostName")
            _policy_takes(policy, tuple(after.get("iotHubs") or ([older] if older else ())))
        if options.given("webhook_url", "api_version"):
            if policy != "custom":
                _no_webhook(options)
            definition = dict(after.get("customAllocationDefinition") or {})
            named = {"webhookUrl": options.webhook_url, "apiVersion": options.api_version}
            definition.update({name: value for name, value in named.items() if value is not None})
            after["customAllocationDefinition"] = definition
        if policy == "custom" and options.given("allocation_policy", "webhook_url", "api_version"):
            _whole_webhook(after.get("customAllocationDefinition") or {})


def _with_rest(document: Document, options: Options) -> Document:
    """The members that groups and individual enrollments share, added to a new one."""
    if "enrollmentGroupId" in document:
        _only_individual(options)
    hubs = _hubs(options)
    if hubs and options.allocation_policy is None:
        raise InvalidOption(
            "iot_hubs",
            "hubs are named without a policy that chooses among them",
            "add --allocation-policy hashed, geoLatency, custom, or static for one hub",
        )
    _policy_takes(options.allocation_policy, hubs or ())
    if options.allocation_policy is not None:
        document["allocationPolicy"] = options.allocation_policy
    if hubs:
        document["iotHubs"] = list(hubs)
    if options.allocation_policy == "custom":
        url, version = options.webhook_url, options.api_version
        definition = {} if url is None else {"webhookUrl": valid.webhook_url(url)}
        if version is not None:
            definition["apiVersion"] = valid.webhook_version(version)
        _whole_webhook(definition)
        document["customAllocationDefinition"] = definition
    else:
        _no_webhook(options)
    twin = _twin(options, {})
    if twin is not None:
        document["initialTwin"] = twin
    document["capabilities"] = {"iotEdge": False}
    document["reprovisionPolicy"] = dict(REPROVISION["reprovisionandmigratedata"])
    _flags(options, document)
    return document


def _flags(options: Options, document: Document) -> None:
    if options.edge_enabled is not None:
        document["capabilities"] = {**(document.get("capabilities") or {}), "iotEdge": options.edge_enabled}
    if options.provisioning_status is not None:
        document["provisioningStatus"] = options.provisioning_status
    if options.reprovision_policy is not None:
        held = document.get("reprovisionPolicy") or {}
        document["reprovisionPolicy"] = {**held, **REPROVISION[options.reprovision_policy]}


def _one_kind(*kinds: list[str]) -> None:
    said = [kind[0] for kind in kinds if kind]
    if len(said) > 1:
        first, second = (name.replace("_", "-") for name in said[:2])
        raise InvalidOption(
            said[1],
            f"--{first} and --{second} are two ways for a device to prove itself",
            "an enrollment has one: leave the other out",
        )


def _matches(attestation: Attestation, options: Options) -> None:
    kinds = {"x509": CERTIFICATES, "symmetricKey": KEYS, "tpm": ("endorsement_key",)}
    for kind, names in kinds.items():
        said = options.given(*names)
        if said and kind != attestation:
            raise InvalidOption(
                said[0],
                f"it goes with attestation by {kind}, and --attestation-type is {attestation}",
                "leave it out, or change the type",
            )


def _wrong_kind(options: Options, held: str, *names: str) -> None:
    said = options.given(*names)
    if said:
        raise InvalidOption(
            said[0],
            f"the enrollment attests by {held}, and that cannot be changed",
            "leave it out, or make another enrollment",
        )


def _only_individual(options: Options) -> None:
    said = options.given("device_id", "device_information", "endorsement_key")
    if said:
        raise InvalidOption(said[0], "an enrollment group has none", "leave it out")


def _certificates(
    options: Options, rules: CertificateRules, held: Mapping[str, Any], *, removing: bool = True
) -> Document:
    """The certificates by slot, those given in place of those held."""
    after = {slot: part for slot, part in held.items() if part is not None}
    for slot, name in zip(SLOTS, CERTIFICATES, strict=True):
        text = getattr(options, name)
        if text is not None:
            after[slot] = {"certificate": certificate(text, name, rules)}
    return _removed(options, after) if removing else after


def _ca_names(options: Options, held: Mapping[str, Any], *, removing: bool = True) -> Document:
    """The names of CA certificates by slot, those given in place of those held."""
    after = {slot: name for slot, name in held.items() if name is not None}
    for slot, name in zip(SLOTS, CA_NAMES, strict=True):
        text = getattr(options, name)
        if text is not None:
            after[slot] = valid.ca_name(text, name)
    return _removed(options, after) if removing else after


def _removed(options: Options, slots: Document) -> Document:
    for slot, name in zip(SLOTS, REMOVALS, strict=True):
        if getattr(options, name) and slots.pop(slot, None) is None:
            raise InvalidOption(name, f"there is no {slot} certificate", "leave it out")
    if options.given(*REMOVALS) and not any(slots.get(slot) for slot in SLOTS):
        said = options.given(*REMOVALS)
        raise InvalidOption(
            said[-1],
            "it is the only certificate, and no device could prove itself any more",
            "give another one first",
        )
    return slots


def _keys(options: Options, held: Mapping[str, Any]) -> Document:
    """The keys as the service writes them, those given in place of those held."""
    after = dict(held)
    for member, name in (("primaryKey", "primary_key"), ("secondaryKey", "secondary_key")):
        text = getattr(options, name)
        if text is not None:
            after[member] = valid.symmetric_key(text, name).reveal()
    if after.get("secondaryKey") and not after.get("primaryKey"):
        raise InvalidOption(
            "secondary_key", "a secondary key stands alone", "give --primary-key too, or none: DPS makes both"
        )
    return after


def _hubs(options: Options) -> tuple[str, ...] | None:
    return None if options.iot_hubs is None else valid.hub_names(options.iot_hubs)


def _policy_takes(policy: str | None, hubs: tuple[str, ...] | None) -> None:
    """Check that the policy goes with so many hubs; None: not said yet."""
    if policy == "static" and hubs is not None and len(hubs) != 1:
        raise InvalidOption(
            "iot_hubs",
            f"the static policy sends every device to one hub, and {len(hubs) or 'no'} hubs are named",
            "name exactly one, or choose another --allocation-policy",
        )


def _no_webhook(options: Options) -> None:
    said = options.given("webhook_url", "api_version")
    if said:
        raise InvalidOption(
            said[0],
            "DPS calls a webhook only for the custom policy",
            "add --allocation-policy custom, or leave it out",
        )


def _whole_webhook(definition: Mapping[str, Any]) -> None:
    if not definition.get("webhookUrl"):
        raise InvalidOption(
            "webhook_url",
            "the custom policy asks a webhook, and none is named",
            "give --webhook-url with its key",
        )
    if not definition.get("apiVersion"):
        raise InvalidOption(
            "api_version",
            "the custom policy needs the API version of what it sends",
            "add --api-version 2021-10-01",
        )


def _twin(options: Options, held: Mapping[str, Any]) -> Document | None:
    """The initial twin with the parts that are given in place of those held; None: none is given."""
    tags, desired = options.initial_twin_tags, options.initial_twin_properties
    if tags is None and desired is None:
        return None
    twin = dict(held)
    if tags is not None:
        twin["tags"] = valid.twin_part(tags, "initial_twin_tags", valid.TAGS_BYTES)
    if desired is not None:
        part = valid.twin_part(desired, "initial_twin_properties", valid.DESIRED_BYTES)
        twin["properties"] = {**(twin.get("properties") or {}), "desired": part}
    return twin


def _information(options: Options) -> Mapping[str, Any]:
    return valid.twin_part(options.device_information, "device_information", valid.INFORMATION_BYTES)


def complete_keys(document: Document, make_key: Callable[[], SymmetricKey]) -> Document:
    """The document of a new enrollment with the symmetric keys that nobody gave; others stay as they are.

    DPS would make them too. But a creation that got no answer can be recognised as done only by keys that
    are known beforehand.
    """
    attestation = document["attestation"]
    if attestation.get("type") != "symmetricKey":
        return document
    given = attestation.get("symmetricKey") or {}
    keys = {name: given.get(name) or make_key().reveal() for name in ("primaryKey", "secondaryKey")}
    return {**document, "attestation": {**attestation, "symmetricKey": {**given, **keys}}}
