"""What revoking a device writes and how it is recognised later. Pure.

What keeps a device out is an individual enrollment of its registration id that is disabled: DPS looks for
one before it looks at any group, and goes by it whatever the group says (documented:
azure-docs articles/iot-dps/how-to-revoke-device-access-portal.md, "Disallow specific devices from an X.509
enrollment group", and how-to-unprovision-devices.md). By what it attests does not matter then: without the
device's certificate a symmetric-key enrollment serves for X.509 devices as well, and its keys "don't matter"
(documented there). So random keys that nobody ever sees are the rule; a certificate may be given, and then a
device that comes back is told `disabled` rather than refused as unknown.

Deleting such an enrollment lets the device in again through its group (documented). So what was made here is
marked, in the enrollment's own `optionalDeviceInformation`, and only that is ever deleted.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lifecycle.enrollments.build import Document
from lifecycle.enrollments.change import attestation_type
from lifecycle.enrollments.verify import certificate_thumbprints
from provisioning.keys import SymmetricKey

MARK = "dpsFleetRevocation"
"""The member of `optionalDeviceInformation` that tells of a revocation."""

REASON = "revoked by dps-fleet"
"""How the status reason of a hub identity begins that was disabled here, and may be enabled here again."""

REASON_CHARACTERS = 128
"""A hub takes no more (documented)."""


def blocking(
    registration_id: str,
    *,
    keys: tuple[SymmetricKey, SymmetricKey] | None = None,
    certificate: str | None = None,
    at: datetime,
    why: str,
) -> Document:
    """The disabled individual enrollment that keeps a device of a group out.

    Args:
        registration_id: the device.
        keys: random ones, unless there is a certificate.
        certificate: the device's own, PEM.
        at: now.
        why: a note for whoever finds it.
    """
    if certificate is not None:
        slots = {"primary": {"certificate": certificate}}
        attestation: Document = {"type": "x509", "x509": {"clientCertificates": slots}}
    else:
        assert keys is not None, "either keys or a certificate"
        primary, secondary = keys
        held = {"primaryKey": primary.reveal(), "secondaryKey": secondary.reveal()}
        attestation = {"type": "symmetricKey", "symmetricKey": held}
    document: Document = {
        "registrationId": registration_id,
        "attestation": attestation,
        "provisioningStatus": "disabled",
    }
    mark = _mark(at, why) | {"made": proof(document)}
    return document | {"optionalDeviceInformation": {MARK: mark}}


def disabled(document: Document, *, at: datetime, why: str) -> Document:
    """The device's own individual enrollment, disabled and marked; one that is disabled stays as it is."""
    if is_disabled(document):
        return document
    information = dict(document.get("optionalDeviceInformation") or {})
    marked = information | {MARK: _mark(at, why)}
    return document | {"provisioningStatus": "disabled", "optionalDeviceInformation": marked}


def enabled(document: Document) -> Document:
    """The enrollment, enabled and without the mark; one that lets its device in stays as it is."""
    if not is_disabled(document):
        return document
    after = copy.deepcopy(document)
    after["provisioningStatus"] = "enabled"
    information = dict(after.get("optionalDeviceInformation") or {})
    if information.pop(MARK, None) is not None:
        after["optionalDeviceInformation"] = information
    return after


def is_disabled(document: Mapping[str, Any]) -> bool:
    """Whether it keeps its device out."""
    return document.get("provisioningStatus") == "disabled"


def mark_of(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a revocation noted; None: nobody here has disabled it."""
    information = document.get("optionalDeviceInformation")
    mark = information.get(MARK) if isinstance(information, Mapping) else None
    return mark if isinstance(mark, Mapping) else None


def was_made_here(document: Mapping[str, Any]) -> bool:
    """Whether it exists for the revocation alone: made by it, disabled, and attesting as it was made.

    One that somebody has given other keys or another certificate since is theirs, whatever mark it carries.

    Args:
        document: with its keys.
    """
    mark = mark_of(document)
    return mark is not None and is_disabled(document) and mark.get("made") == proof(document)


def proof(document: Mapping[str, Any]) -> str:
    """A digest of what an enrollment attests by. Of 64 random bytes it tells nothing."""
    attestation = document.get("attestation") or {}
    kind = attestation_type(document)
    if kind == "symmetricKey":
        held = attestation.get("symmetricKey") or {}
        told: list[Any] = [held.get("primaryKey"), held.get("secondaryKey")]
    elif kind == "x509":
        slots = (attestation.get("x509") or {}).get("clientCertificates") or {}
        told = [_thumbprint(slots.get(slot)) for slot in ("primary", "secondary")]
    else:
        told = [attestation]
    text = json.dumps([kind, *told], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def status_reason(why: str) -> str:
    """What is noted at the hub beside the status."""
    text = f"{REASON}: {why}" if why else REASON
    return "".join(sign if " " <= sign <= "~" else "?" for sign in text)[:REASON_CHARACTERS]


def _mark(at: datetime, why: str) -> dict[str, Any]:
    mark = {"at": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return mark | {"why": why} if why else mark


def _thumbprint(slot: Any) -> str | None:
    if not isinstance(slot, Mapping):
        return None
    text, info = slot.get("certificate"), slot.get("info")
    if isinstance(text, str) and (found := certificate_thumbprints(text)):
        return found[1]
    told = info.get("sha256Thumbprint") if isinstance(info, Mapping) else None
    return told.upper() if isinstance(told, str) else None
