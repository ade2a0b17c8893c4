"""Facts: all that a policy may read of one device and its request; and what is decided of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from allocation.evidence import NOTHING_TOLD, Evidence
from provisioning.hubs import HubKey, hub_key
from provisioning.registrations import RegistrationKey

EnrollmentKind = Literal["individual", "group", "unknown"]


@dataclass(frozen=True, slots=True)
class Facts:
    """One device asking for a hub.

    Attributes:
        dps: the DPS that asks, as the webhook's route names it; "" where only one DPS uses this app.
        registration_id: as sent.
        registration: its comparable form.
        linked_hubs: comparable form -> name as DPS wrote it, in DPS's order: the only legal answers.
        current_hub: the hub the device is on now, as far as DPS knows; None for a first registration.
        enrollment_kind: individual, group, or unknown when the request names no enrollment.
        enrollment_id: the enrollment's or group's id, as sent; "" when unknown.
        evidence: what else the request tells (attestation, edge capability, certificate, enrollment's tags,
            payload), looked at only where a policy reads it.
    """

    dps: str
    registration_id: str
    registration: RegistrationKey
    linked_hubs: Mapping[HubKey, str]
    current_hub: HubKey | None = None
    enrollment_kind: EnrollmentKind = "unknown"
    enrollment_id: str = ""
    evidence: Evidence = field(default=NOTHING_TOLD, repr=False, compare=False)


class Reason(NamedTuple):
    """One step of a decision and what it found."""

    step: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What every decision carries.

    Attributes:
        rule: name of the rule that matched; "" when no policy could be read.
        policy: version of the policy that decided; "" when none could be read.
        trail: the steps, in order.
        degraded: why less was known than should have been; "" when nothing was missing.
    """

    rule: str
    policy: str
    trail: tuple[Reason, ...]
    degraded: str = ""


Why = Literal["stay", "ranked", "bounded", "overflow", "canary", "pinned", "avoided", "no_alternative"]
"""In one word, why this hub.

stay: it has the device already. ranked: first by weighted rendezvous. bounded: the first of the ranking that
the bounded load leaves room. overflow: what ranks before it is full, or a whole region is. canary: the device
is in the rule's canary share. pinned: the rule names one hub. avoided: an unwell hub, as no other takes the
device. no_alternative: it should leave its hub and has nowhere to go.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed(_Decided):
    """The device goes to a hub.

    Attributes:
        hub: the chosen hub.
        host_name: its name exactly as it stands in the request's linkedHubs.
        why: in one word, why this hub.
        initial_twin: `{"tags": …, "properties": {"desired": …}}`, or None for the enrollment's own.
        payload: a JSON object for the device, or None.
        encoded: both as they follow the hub in the answer's JSON, where that is known already.
    """

    hub: HubKey
    host_name: str
    why: Why
    initial_twin: Mapping[str, Any] | None = None
    payload: Mapping[str, Any] | None = None
    encoded: bytes | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(_Decided):
    """An explicit `reject` of the policy: the registration fails, and is meant to."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(_Decided):
    """No hub can take the device now; DPS is asked to come again."""

    reason: str


Decision = Placed | Rejected | Wait


@dataclass(frozen=True, slots=True)
class Undecidable:
    """A policy reads what was not recorded of this device.

    Attributes:
        reading: the first such thing, named as the policy names it: `payload.model`.
    """

    reading: str


def linked(names: "list[str] | tuple[str, ...]") -> dict[HubKey, str]:
    """Index host names by their comparable form; of two spellings of a hub the first counts, blanks none."""
    hubs: dict[HubKey, str] = {}
    for name in names:
        if key := hub_key(name):
            hubs.setdefault(key, name)
    return hubs


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to DPS: an HTTP status and a JSON body; `check`: only a check of the webhook asked."""

    status: int
    body: bytes = field(repr=False)
    check: bool = False
