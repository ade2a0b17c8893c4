"""Devices to be replayed against a draft policy: from a file, from the ledger, from a group's registrations.

Each source tells some things of a device and others not. What it does not tell is never taken for missing: a
policy that reads it is told so (Undecidable).
"""

import csv
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from allocation import request
from allocation.errors import AllocationError, BadDevice, Unread
from allocation.evidence import Evidence, Reading, Source, Told, member
from allocation.facts import EnrollmentKind, Facts, Undecidable, linked
from allocation.ledger import Entry
from allocation.recorded import recall
from allocation.simulation import Skipped
from provisioning.attestation import NONE, X509
from provisioning.documents import MalformedDocument
from provisioning.enrollments import CUSTOM, Enrollment, EnrollmentGroup
from provisioning.hubs import HubKey, hub_key
from provisioning.registrations import Registration, registration_key

Device = Facts | Undecidable | Skipped

FACTS = "recorded facts"
"""What a ledger row without them lacks, in place of a reading's name."""

LINKED = "linkedHubs"
"""What a device lacks whose hubs nobody tells."""

CHECKED = Skipped("a check of the webhook: no device asked")

NEVER = "never"
"""The reprovision policy that keeps devices where they are."""


class Partly:
    """The evidence of a source that tells some things and not others.

    Args:
        told: what it tells.
        untold: sources of which it tells nothing.
    """

    __slots__ = ("_told", "_untold")

    def __init__(self, told: Evidence, untold: frozenset[Source]) -> None:
        self._told = told
        self._untold = untold

    def read(self, reading: Reading) -> Any:
        """As Evidence says."""
        if reading.source in self._untold:
            raise Unread(reading.name, "it is not told", recorded=False)
        return self._told.read(reading)


_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "registrationId": ("registrationId", "registration"),
    "currentHub": ("currentHub", "assignedHub", "hub"),
    "enrollmentGroupId": ("enrollmentGroupId", "group"),
    "enrollmentKind": ("enrollmentKind",),
    "linkedHubs": ("linkedHubs",),
    "attestation": ("attestation",),
    "edge": ("edge",),
    "certificate": ("certificate",),
    "tags": ("tags",),
    "payload": ("payload",),
}
"""What a device of a file may tell, under the names it may have: those of `registration list` among them."""

_OF_SOURCE: Mapping[str, Source] = {
    "attestation": "attestation",
    "edge": "edge",
    "certificate": "certificate",
    "tags": "tags",
    "payload": "payload",
}


def of_lines(
    lines: Iterable[str], form: Literal["csv", "jsonl"], dps: str, hubs: Mapping[HubKey, str]
) -> Iterator[Device]:
    """The devices of a file, one a line.

    A line of JSON is a device with the members below, a whole allocation request as DPS sends it, or facts
    as the ledger keeps them. A CSV file names the members in its first line:

        registrationId      the one that must be there
        currentHub          empty or null: none
        enrollmentGroupId   empty or null: an individual enrollment
        linkedHubs          a list, in CSV separated by spaces; if left out, `hubs`
        attestation         symmetricKey, x509 or tpm
        edge                true or false
        certificate         Base64 of its DER
        tags, payload       JSON

    Of the last five, one that is not there is not known; one that is empty or null is known to be missing.

    Args:
        lines: of the file.
        form: which of the two.
        dps: the DPS they register with, where a line does not say.
        hubs: linked, where a line does not say.

    Raises:
        BadDevice: a line is none of these; names the line and the member.
    """
    if form == "csv":
        reader = csv.DictReader(lines, strict=True)
        try:
            for row in reader:
                yield _device(_cells(row, reader.line_num), reader.line_num, dps, hubs)
        except csv.Error as error:
            raise BadDevice(f"line {reader.line_num}: not CSV ({error})") from None
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _of_json(line, number, dps, hubs)


def _of_json(line: str, number: int, dps: str, hubs: Mapping[HubKey, str]) -> Device:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise BadDevice(f"line {number}: not JSON; write one object a line") from None
    if not isinstance(value, dict):
        raise BadDevice(f"line {number}: not a JSON object; write one object a line")
    try:
        if member(value, "deviceRuntimeContext") is not None:
            return request.parse(line.encode("utf-8", "surrogatepass"), dps)
        if "read" in value and "unread" in value:
            return recall(value)
    except (AllocationError, ValueError) as error:
        raise BadDevice(f"line {number}: {error}") from None
    return _device(value, number, dps, hubs)


def _cells(row: Mapping[str | Any, Any], number: int) -> dict[str, Any]:
    """A row of CSV as the members of a JSON object."""
    if None in row or None in row.values():
        raise BadDevice(f"line {number}: another number of cells than the first line has")
    cells: dict[str, Any] = {name: text or None for name, text in row.items()}
    for name in ("tags", "payload", "edge"):
        if cells.get(name) is not None:
            try:
                cells[name] = json.loads(cells[name])
            except (ValueError, RecursionError):
                raise BadDevice(f"line {number}: {name}: not JSON") from None
    if cells.get("linkedHubs") is not None:
        cells["linkedHubs"] = cells["linkedHubs"].split()
    elif "linkedHubs" in cells:
        del cells["linkedHubs"]
    return cells


def _device(given: Mapping[str, Any], number: int, dps: str, hubs: Mapping[HubKey, str]) -> Device:
    known = {
        name: given[spelled]
        for name, spellings in _COLUMNS.items()
        for spelled in spellings
        if spelled in given
    }
    registration_id = _text(known, "registrationId", number)
    if not registration_id:
        raise BadDevice(f"line {number}: registrationId: missing; each device needs one")
    names = known.get("linkedHubs")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise BadDevice(f"line {number}: linkedHubs: not a list of host names")
    linked_hubs = hubs if names is None else linked(names)
    if not linked_hubs:
        return Undecidable(LINKED)
    current = _text(known, "currentHub", number)
    return Facts(
        dps=dps,
        registration_id=registration_id,
        registration=registration_key(registration_id),
        linked_hubs=linked_hubs,
        current_hub=hub_key(current) if current else None,
        enrollment_kind=_kind(known),
        enrollment_id=_text(known, "enrollmentGroupId", number) or registration_id,
        evidence=_evidence(known, number),
    )


def _kind(known: Mapping[str, Any]) -> EnrollmentKind:
    if known.get("enrollmentGroupId"):
        return "group"
    return (
        "individual"
        if "enrollmentGroupId" in known or known.get("enrollmentKind") == "individual"
        else "unknown"
    )


def _evidence(known: Mapping[str, Any], number: int) -> Evidence:
    untold = frozenset(source for name, source in _OF_SOURCE.items() if name not in known)
    context: dict[str, Any] = {"payload": known.get("payload")}
    if known.get("certificate") is not None:
        context["x509"] = {"clientCertificate": known["certificate"]}
    tags = known.get("tags")
    if tags is not None and not isinstance(tags, dict):
        raise BadDevice(f"line {number}: tags: not a JSON object")
    enrollment = {
        "attestation": {"type": known.get("attestation")},
        "capabilities": {"iotEdge": known.get("edge")},
        "initialTwin": {"tags": tags},
    }
    return Partly(Told(context, enrollment), untold)


def _text(known: Mapping[str, Any], name: str, number: int) -> str:
    value = known.get(name)
    if value is not None and not isinstance(value, str):
        raise BadDevice(f"line {number}: {name}: not a text")
    return value or ""


def of_entry(entry: Entry) -> Device:
    """The device of its latest row in the ledger, on the hub that the row put it on.

    What DPS's records confirmed counts more than what was answered. A check of the webhook is no device.
    """
    if entry.registration_id == request.CHECK_ID:
        return CHECKED
    if entry.facts is None:
        return Undecidable(FACTS)
    try:
        facts = recall(entry.facts)
    except ValueError:
        return Undecidable(FACTS)
    hub = entry.confirmed_hub or entry.hub
    return facts if hub is None or hub == facts.current_hub else replace(facts, current_hub=hub)


class Enrolled:
    """Devices of one enrollment, from their registration records.

    A record tells where a device is, and its enrollment what is the same for all of them. What a device
    sends when it registers is not known: its payload, and its certificate where it has one.
    """

    def __init__(self, enrollment: Enrollment, dps: str, hubs: Mapping[HubKey, str]) -> None:
        """Read the enrollment once.

        Args:
            enrollment: a group or an individual enrollment.
            dps: the DPS, as in the webhook's route.
            hubs: all hubs linked to the DPS; none: not known.
        """
        self._dps = dps
        self._kind: EnrollmentKind = "group" if isinstance(enrollment, EnrollmentGroup) else "individual"
        self._id = enrollment.id
        self._skipped = skipped(enrollment)
        self._linked: Mapping[HubKey, str] = {}
        self._never = False
        self._evidence: Evidence = Partly(Told({}, {}), frozenset(_OF_SOURCE.values()))
        if self._skipped is not None:
            return
        named = enrollment.iot_hubs
        self._linked = linked(named) if named else hubs
        policy = enrollment.reprovision_policy
        self._never = policy is not None and not policy.update_hub_assignment
        untold: set[Source] = {"payload"}
        if enrollment.attestation.kind in (X509, NONE):
            untold.add("certificate")
        self._evidence = Partly(Told({}, enrollment.document()), frozenset(untold))

    def device(self, registration: Registration) -> Device:
        """One device, as it would ask."""
        if self._skipped is not None:
            return self._skipped
        current = registration.hub
        hubs = self._linked
        if self._never and current is not None:
            # DPS names no other hub then (documented).
            hubs = {current: registration.assigned_hub or current}
        if not hubs:
            return Undecidable(LINKED)
        return Facts(
            dps=self._dps,
            registration_id=registration.id,
            registration=registration.key,
            linked_hubs=hubs,
            current_hub=current,
            enrollment_kind=self._kind,
            enrollment_id=self._id,
            evidence=self._evidence,
        )


def skipped(enrollment: Enrollment) -> Skipped | None:
    """Why this app is not asked where the devices of an enrollment go; None where it is."""
    try:
        if not enrollment.enabled:
            return Skipped("the enrollment is disabled: its devices cannot register")
        if enrollment.allocation_policy != CUSTOM:
            return Skipped(
                f"the enrollment's allocation policy is {enrollment.allocation_policy or 'the default'}"
            )
        # All that a device is read by: a part of another shape must not look like a missing one.
        _ = enrollment.iot_hubs, enrollment.reprovision_policy, enrollment.attestation.kind
    except MalformedDocument:
        return Skipped("the enrollment is not as DPS describes it")
    return None


async def of_registrations(
    enrolled: Enrolled, registrations: AsyncIterator[Registration]
) -> AsyncIterator[Device]:
    """The devices of a listing."""
    async for each in registrations:
        yield enrolled.device(each)


async def of_entries(entries: AsyncIterator[Entry]) -> AsyncIterator[Device]:
    """The devices of a ledger, each once: the latest row of each is wanted."""
    async for each in entries:
        yield of_entry(each)
