"""The members of a file laid over an enrollment as the service has it. Pure.

What is equal in meaning is left as the service wrote it, so that a file that was exported changes nothing:
null is absent, a TwinCollection's own members and what a certificate says of itself are the service's,
certificates compare by thumbprint, hosts without case and order, host names of a webhook without case.
"""

import copy
from collections.abc import Mapping
from typing import Any

from lifecycle.enrollments.build import Document
from lifecycle.enrollments.change import ID_MEMBER
from lifecycle.enrollments.verify import certificate_thumbprints
from lifecycle.enrollments.webhook_url import is_masked, same_endpoint
from provisioning.hubs import hub_key


def with_members(document: Mapping[str, Any], members: Mapping[str, Any]) -> Document:
    """The document with these members; those that are null are taken away, all others stay.

    Keys that the members leave out of a symmetric attestation are those of the document.
    """
    after: Document = dict(copy.deepcopy(dict(document)))
    for name, value in members.items():
        if name in ID_MEMBER.values():
            continue  # it names the enrollment, in whatever case
        held = after.get(name)
        if name == "customAllocationDefinition":
            value = _webhook(value, held)  # noqa: PLW2901 - the same, with what only the service knows
        if value is None:
            after.pop(name, None)
        elif name == "attestation":
            after[name] = _attestation(held, value)
        elif not same(name, value, held):
            after[name] = copy.deepcopy(value)
    return after


def same(name: str, value: Any, held: Any) -> bool:
    """Whether two values of an enrollment's member mean the same."""
    if name == "iotHubs":
        return _hosts(value) == _hosts(held)
    return bool(_plain(name, value) == _plain(name, held))


def _attestation(held: Any, value: Mapping[str, Any]) -> Any:
    """The attestation; slots whose certificate stays are left as they are, and so are keys not given."""
    if not isinstance(held, Mapping) or value.get("type") != held.get("type"):
        return copy.deepcopy(value)
    after: Document = dict(held)
    for name, each in value.items():
        if name == "x509" and isinstance(each, Mapping) and isinstance(held.get(name), Mapping):
            after[name] = _x509(held[name], each)
        elif not same(name, each, held.get(name)):
            after[name] = copy.deepcopy(each)
    return after


def _x509(held: Mapping[str, Any], value: Mapping[str, Any]) -> Document:
    after: Document = {}
    for member, slots in value.items():
        before = held.get(member)
        if not isinstance(slots, Mapping) or not isinstance(before, Mapping):
            after[member] = copy.deepcopy(slots)
            continue
        after[member] = {
            slot: before[slot] if _is_slot(each, before.get(slot)) else copy.deepcopy(each)
            for slot, each in slots.items()
            if each is not None
        }
    return after


def _is_slot(one: Any, other: Any) -> bool:
    """Whether two slots hold the same certificate, or the same name of a CA's."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return _certificate(one) == _certificate(other)
    return bool(one == other)


def _certificate(slot: Mapping[str, Any]) -> str | None:
    """The SHA-256 thumbprint of what stands in a slot, or what else tells it apart."""
    text, info = slot.get("certificate"), slot.get("info")
    if isinstance(text, str):
        found = certificate_thumbprints(text)
        return found[1] if found else text
    told = info.get("sha256Thumbprint") if isinstance(info, Mapping) else None
    return told.upper() if isinstance(told, str) else None


def _webhook(value: Any, held: Any) -> Any:
    """The definition; a URL that was read masked is the one that is there now, if it is the same webhook."""
    if not isinstance(value, Mapping) or not isinstance(held, Mapping):
        return value
    url, there = value.get("webhookUrl"), held.get("webhookUrl")
    if isinstance(url, str) and isinstance(there, str) and is_masked(url) and same_endpoint(url, there):
        return {**value, "webhookUrl": there}
    return value


_CONTAINERS = (
    "attestation",
    "capabilities",
    "customAllocationDefinition",
    "desired",
    "initialTwin",
    "optionalDeviceInformation",
    "properties",
    "tags",
)
"""Objects of the service's own: an empty one says as little as none."""


def _plain(name: str, value: Any) -> Any:
    """The value in the form that compares: without nulls, truths apart from numbers."""
    if isinstance(value, Mapping):
        plain = {inner: _plain(inner, each) for inner, each in value.items()}
        kept = {inner: each for inner, each in plain.items() if each is not None}
        return kept or (None if name in _CONTAINERS else kept)
    if isinstance(value, list):
        return [_plain("", each) for each in value]
    return ("truth", value) if isinstance(value, bool) else value  # True is 1 to Python


def _hosts(value: Any) -> list[str]:
    return sorted(hub_key(str(each)) for each in value) if isinstance(value, list) else []
