"""An enrollment's certificate exchanged for a new one, step by step. Pure; `change` carries the steps out.

    stage     the new one into the free slot: devices with either are let in
    promote   the new one becomes primary, the old one secondary
    retire    the old one is taken out: devices that still have it are shut out

The roll is documented for X.509 (azure-docs articles/iot-dps/how-to-roll-certificates.md): the new one into
the secondary slot, devices move over, the old one goes. What state a roll is in stands in the enrollment
alone, and each step names the new certificate, so a step that was done already is seen to be, whoever did it
and wherever they stopped; a promotion done twice would otherwise swap the two back.

A read may show of a certificate only what it says (`info`) and not its text; whether a PUT of that keeps it
in another slot is unknown. So a certificate that changes its slot is always sent with its text.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lifecycle.enrollments.build import Document, Edit
from lifecycle.enrollments.change import attestation_type
from lifecycle.enrollments.verify import certificate_thumbprints
from lifecycle.errors import InvalidOption

Step = Literal["stage", "promote", "retire"]
Slot = Literal["primary", "secondary"]

_MEMBERS = ("clientCertificates", "signingCertificates", "caReferences")


@dataclass(frozen=True, slots=True)
class Credential:
    """What stands in a slot. Its texts are its maker's: hostile wherever they are shown.

    Attributes:
        name: what tells it from another: the SHA-256 thumbprint of a certificate, or the name of a CA's.
        subject: None where the service does not say, and for a CA name.
        expires: the service's text.
    """

    name: str
    subject: str | None = None
    expires: str | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """Both slots of an enrollment, and of what kind they are.

    Attributes:
        member: clientCertificates, signingCertificates or caReferences.
    """

    member: str
    primary: Credential | None
    secondary: Credential | None


@dataclass(frozen=True, slots=True)
class New:
    """The certificate that is rolled to: one of both.

    Attributes:
        certificate: PEM, checked.
        ca_name: of a CA certificate of the DPS.
        old_certificate: PEM of the one that leaves the primary slot, where a read does not show it.
    """

    certificate: str | None = None
    ca_name: str | None = None
    old_certificate: str | None = None

    @property
    def name(self) -> str:
        """As Credential has it."""
        if self.certificate is None:
            return self.ca_name or ""
        thumbprints = certificate_thumbprints(self.certificate)
        if thumbprints is None:
            raise InvalidOption("certificate_path", "it is no certificate", "give one in PEM")
        return thumbprints[1]


def slots(document: Mapping[str, Any]) -> Slots:
    """What stands in the slots.

    Raises:
        InvalidOption: it does not attest by X.509.
    """
    x509 = _x509(document)
    member = next((name for name in _MEMBERS if x509.get(name)), None)
    if member is None:
        raise InvalidOption(
            "enrollment_id", "it has neither certificates nor CA names", "look at it: nothing can be rolled"
        )
    held = x509[member]
    return Slots(member, *(_credential(held.get(slot)) for slot in ("primary", "secondary")))


def next_step(held: Slots, new: str | None) -> str:
    """What is to be done next, in a sentence with the option.

    Args:
        held: as read.
        new: name of the certificate that is rolled to; None: nobody has said.
    """
    one, two = held.primary, held.secondary
    if one is None or two is None:
        alone = one or two
        assert alone is not None, "slots() has seen to it that one is there"
        if new == alone.name:
            return f"nothing: the roll to {new} is complete"
        what = "--ca-name NAME" if held.member == "caReferences" else "--certificate-path FILE"
        return f"to roll to another certificate: {what}"
    if new is None:
        return (
            f"two are in place: {two.name} (secondary) becomes primary with --promote, or is the old one and "
            "goes with --retire; name the one that stays in both cases"
        )
    if one.name == new:
        return f"when all devices have moved over: --retire takes {two.name} out"
    if two.name == new:
        return f"when devices come with the new one: --promote makes {new} primary"
    return f"both slots are in use, by {one.name} and {two.name}: complete that roll first"


def edit(step: Step, new: New) -> Edit:
    """The edit of a step; it changes nothing where the step was done already.

    Raises (when applied):
        InvalidOption: the step cannot be made from where the enrollment is; names the one that can.
    """

    def apply(document: Document) -> Document:
        held = slots(document)
        _same_kind(held, new)
        after = copy.deepcopy(document)
        x509 = after["attestation"]["x509"]
        x509[held.member] = _STEPS[step](held, dict(x509[held.member]), new)
        return after

    return apply


def _stage(held: Slots, there: Document, new: New) -> Document:
    if new.name in _names(held):
        return there
    free: Slot | None = "secondary" if held.secondary is None else "primary" if held.primary is None else None
    if free is None:
        assert held.primary is not None
        assert held.secondary is not None
        raise InvalidOption(
            _parameter(new),
            f"both slots are in use: primary by {held.primary.name}, secondary by {held.secondary.name}",
            "complete the roll under way first: --promote the one that stays, then --retire the other",
        )
    return there | {free: _content(new)}


def _promote(held: Slots, there: Document, new: New) -> Document:
    if held.primary is not None and held.primary.name == new.name:
        return there
    if held.secondary is None or held.secondary.name != new.name:
        raise _not_staged(held, new)
    if held.primary is None:
        return {name: each for name, each in there.items() if name != "secondary"} | {
            "primary": _content(new)
        }
    return there | {"primary": _content(new), "secondary": _old(held.primary, there["primary"], new)}


def _retire(held: Slots, there: Document, new: New) -> Document:
    if held.primary is not None and held.primary.name == new.name:
        left = {name: each for name, each in there.items() if name != "secondary"}
        shown = new.certificate is None or there["primary"].get("certificate")
        return left if shown or len(left) == len(there) else left | {"primary": _content(new)}
    if held.secondary is not None and held.secondary.name == new.name:
        if held.primary is None:
            return there
        raise InvalidOption(
            _parameter(new),
            f"{new.name} is still secondary, and {held.primary.name} primary",
            "make it primary first, with --promote",
        )
    raise _not_staged(held, new)


_STEPS = {"stage": _stage, "promote": _promote, "retire": _retire}


def _not_staged(held: Slots, new: New) -> InvalidOption:
    there = " and ".join(_names(held))
    return InvalidOption(
        _parameter(new),
        f"{new.name} is in no slot; there is {there}",
        "stage it first: the same without a step",
    )


def _names(held: Slots) -> list[str]:
    return [each.name for each in (held.primary, held.secondary) if each is not None]


def _content(new: New) -> Any:
    return new.ca_name if new.certificate is None else {"certificate": new.certificate}


def _old(credential: Credential, there: Any, new: New) -> Any:
    """The one that becomes secondary, with its text."""
    if isinstance(there, str) or (isinstance(there, Mapping) and there.get("certificate")):
        return there
    if new.old_certificate is not None:
        thumbprints = certificate_thumbprints(new.old_certificate)
        if thumbprints is not None and credential.name in thumbprints:
            return {"certificate": new.old_certificate}
    raise InvalidOption(
        "old_certificate_path",
        f"DPS does not show the text of the certificate {credential.name}, which is to change its slot",
        "give its file with --old-certificate-path",
    )


def _same_kind(held: Slots, new: New) -> None:
    if (held.member == "caReferences") != (new.certificate is None):
        fix = "give --ca-name" if held.member == "caReferences" else "give --certificate-path"
        what = "CA certificates by name" if held.member == "caReferences" else "certificates of its own"
        raise InvalidOption(_parameter(new), f"the enrollment attests by {what}", fix)


def _parameter(new: New) -> str:
    return "ca_name" if new.certificate is None else "certificate_path"


def _x509(document: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = attestation_type(document)
    if kind != "x509":
        raise InvalidOption(
            "enrollment_id",
            f"it attests by {kind[:40] or 'nothing'!a}, not by X.509",
            "keys are rotated by `rotation`; there is no certificate to roll",
        )
    found = document["attestation"].get("x509")
    return found if isinstance(found, Mapping) else {}


def _credential(slot: Any) -> Credential | None:
    if not slot:
        return None
    if isinstance(slot, str):
        return Credential(slot)
    info = slot.get("info") if isinstance(slot, Mapping) else None
    told = info if isinstance(info, Mapping) else {}
    text = slot.get("certificate") if isinstance(slot, Mapping) else None
    thumbprints = certificate_thumbprints(text) if isinstance(text, str) else None
    name = thumbprints[1] if thumbprints else told.get("sha256Thumbprint") or told.get("sha1Thumbprint")
    return Credential(
        str(name).upper() if name else "unreadable",
        _text(told.get("subjectName")),
        _text(told.get("notAfterUtc")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
