"""Enrollments as files: YAML or JSON documents in the service's member names. Pure.

A file has one document or several (YAML's `---`, JSON lines). What a document leaves out is left as it is at
the service, null takes a member away, and members that this program does not know pass through. Read-only
members are not written and not read. Secrets stand in no file, only where they are to come from:

    attestation.symmetricKey            keep | escrow | new | {vault: NAME, version: V}
                                        | {environment: {primaryKey: VARIABLE, secondaryKey: VARIABLE}}
    customAllocationDefinition.key      keep | setting | none | {vault: NAME} | {environment: VARIABLE}
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lifecycle.enrollments import texts
from lifecycle.enrollments import validation as valid
from lifecycle.enrollments.build import Document
from lifecycle.enrollments.change import ID_MEMBER, Kind, attestation_type
from lifecycle.enrollments.diff import READ_ONLY
from lifecycle.enrollments.verify import certificate_thumbprints
from lifecycle.enrollments.webhook_url import is_masked
from lifecycle.errors import FileRefused, InvalidOption
from provisioning.documents import MalformedDocument
from provisioning.enrollments import ALLOCATION_POLICIES, EnrollmentGroup, IndividualEnrollment

Form = Literal["yaml", "jsonl"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SECRET_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_SECRET_VERSION = re.compile(r"[0-9A-Fa-f]{32}")
_BOOKKEEPING = ("count", "metadata", "version")


@dataclass(frozen=True, slots=True)
class KeysFrom:
    """Where the symmetric keys of an enrollment come from.

    Attributes:
        source: keep (those it has), escrow (those kept at its deletion, to make it anew), new (made here, to
            make it), vault, environment. Once it is there, escrow and new are as keep.
        name: of the secret, or of the variable of the primary key.
        version: of the secret; None: the newest.
        secondary: the variable of the secondary key.
    """

    source: Literal["keep", "escrow", "new", "vault", "environment"]
    name: str = ""
    version: str | None = None
    secondary: str = ""


@dataclass(frozen=True, slots=True)
class KeyFrom:
    """Where a webhook's function key comes from.

    Attributes:
        source: keep (as it is there), setting (WEBHOOK_KEY), none (it has none), vault, environment; unsaid:
            as keep.
        name: of the secret or the variable.
    """

    source: Literal["keep", "setting", "none", "vault", "environment", "unsaid"]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One document of a file.

    Attributes:
        where: file and document, for messages.
        members: without references and read-only members; null: it shall not be.
        keys: None where it has no symmetric keys, or says nothing of its attestation.
        webhook_key: None where it says nothing of a webhook.
    """

    where: str
    kind: Kind
    id: str
    members: Document
    keys: KeysFrom | None = None
    webhook_key: KeyFrom | None = None


def exported(document: Mapping[str, Any]) -> Document:
    """An enrollment as a file has it; no secret is in it."""
    after = {name: value for name, value in document.items() if name not in READ_ONLY and value is not None}
    attestation = dict(after.get("attestation") or {})
    if attestation.get("type") == "symmetricKey":
        after["attestation"] = attestation | {"symmetricKey": "keep"}
    elif isinstance(attestation.get("x509"), Mapping):
        after["attestation"] = attestation | {"x509": _shown_x509(attestation["x509"])}
    if isinstance(after.get("initialTwin"), Mapping):
        after["initialTwin"] = _shown_twin(after["initialTwin"])
    if isinstance(after.get("optionalDeviceInformation"), Mapping):
        after["optionalDeviceInformation"] = _without_bookkeeping(after["optionalDeviceInformation"])
    custom = after.get("customAllocationDefinition")
    if isinstance(custom, Mapping):
        base, question, _ = str(custom.get("webhookUrl") or "").partition("?")
        told: Document = {name: each for name, each in custom.items() if each is not None} | {
            "webhookUrl": base
        }
        after["customAllocationDefinition"] = told | {"key": "keep" if question else "none"}
    return after


def written(documents: Iterable[Document], form: Form) -> Iterator[str]:
    """The documents as text, one piece each."""
    if form == "jsonl":
        for each in documents:
            yield json.dumps(each, ensure_ascii=True) + "\n"
        return
    from io import StringIO  # noqa: PLC0415 - with the next

    from ruamel.yaml import YAML  # noqa: PLC0415 - it takes a while to load

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = False  # what a terminal would obey is escaped with the rest
    yaml.explicit_start = True
    yaml.width = 110
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # typed as None only
    for each in documents:
        stream = StringIO()
        yaml.dump(each, stream)
        yield stream.getvalue()


def read(text: str, file: str) -> list[Wanted]:
    """The documents of a file.

    Args:
        text: YAML or JSON, by what it looks like.
        file: its name, for messages.

    Raises:
        FileRefused: names the file, the place in it, and the fix.
    """
    return [
        _wanted(value, f"{file}, document {number}")
        for number, value in enumerate(texts.values(text, file), 1)
    ]


def check_unique(wanted: Iterable[Wanted]) -> None:
    """Refuse two documents of one enrollment: ids compare without case, as at DPS."""
    seen: dict[tuple[Kind, str], str] = {}
    for each in wanted:
        key = (each.kind, each.id.lower())
        if key in seen:
            raise FileRefused(
                each.where, ID_MEMBER[each.kind], f"{each.id!a} stands in {seen[key]} too", "keep one of both"
            )
        seen[key] = each.where


def _shown_x509(x509: Mapping[str, Any]) -> Document:
    """Certificates by their texts; `info` only where there is no text, since the service works it out."""
    after: Document = {}
    for member, slots in x509.items():
        if isinstance(slots, Mapping) and member in ("clientCertificates", "signingCertificates"):
            held = {slot: each for slot, each in slots.items() if each is not None}
            after[member] = {
                slot: {name: each[name] for name in each if name != "info" or not each.get("certificate")}
                if isinstance(each, Mapping)
                else each
                for slot, each in held.items()
            }
        elif isinstance(slots, Mapping):
            after[member] = {slot: each for slot, each in slots.items() if each is not None}
        elif slots is not None:
            after[member] = slots
    return after


def _shown_twin(twin: Mapping[str, Any]) -> Document:
    after = {name: each for name, each in twin.items() if each is not None}
    if isinstance(after.get("tags"), Mapping):
        after["tags"] = _without_bookkeeping(after["tags"])
    properties = after.get("properties")
    if isinstance(properties, Mapping):
        kept = {name: each for name, each in properties.items() if each is not None}
        if isinstance(kept.get("desired"), Mapping):
            kept["desired"] = _without_bookkeeping(kept["desired"])
        after["properties"] = kept
    return after


def _without_bookkeeping(collection: Mapping[str, Any]) -> Document:
    """A TwinCollection's own members come as null (seen)."""
    return {name: each for name, each in collection.items() if not (each is None and name in _BOOKKEEPING)}


def _wanted(value: Any, where: str) -> Wanted:
    if not isinstance(value, dict):
        raise FileRefused(where, "", "it is no object", "write members, like `enrollmentGroupId: line-a`")
    ids = [member for member in ID_MEMBER.values() if member in value]
    if len(ids) != 1:
        raise FileRefused(
            where,
            "",
            "it has both enrollmentGroupId and registrationId" if ids else "it names no enrollment",
            "give enrollmentGroupId for a group, or registrationId for an individual enrollment",
        )
    kind: Kind = "group" if ids[0] == "enrollmentGroupId" else "individual"
    members: Document = {name: each for name, each in value.items() if name not in READ_ONLY}
    if not isinstance(members[ids[0]], str):
        raise FileRefused(where, ids[0], "it is no text", "put quotes round it")
    keys = _keys_from(members, where)
    webhook_key = _webhook_key_from(members, where)
    _check(kind, members, where)
    return Wanted(where, kind, members[ids[0]], members, keys, webhook_key)


def _keys_from(members: Document, where: str) -> KeysFrom | None:
    """Take the reference out of the members."""
    attestation = members.get("attestation")
    if not isinstance(attestation, dict) or attestation_type(members) != "symmetricKey":
        return None
    path = "attestation.symmetricKey"
    attestation = dict(attestation)
    held = attestation.pop("symmetricKey", "keep")
    members["attestation"] = attestation
    if held in ("keep", "escrow", "new"):
        return KeysFrom(held)
    if isinstance(held, dict) and {"primaryKey", "secondaryKey"} & held.keys():
        raise FileRefused(
            where,
            path,
            "it holds keys, and files must not",
            "write keep, escrow, new, {vault: NAME} or {environment: {primaryKey: VARIABLE}}, and change the "
            "keys if anybody has seen this file",
        )
    if isinstance(held, dict) and "vault" in held and held.keys() <= {"vault", "version"}:
        name = _matching(held["vault"], _SECRET_NAME, where, f"{path}.vault", "the name of a secret")
        version = held.get("version")
        if version is not None:
            version = _matching(version, _SECRET_VERSION, where, f"{path}.version", "a version of a secret")
        return KeysFrom("vault", name, version)
    if isinstance(held, dict) and held.keys() == {"environment"} and isinstance(held["environment"], dict):
        named = held["environment"]
        inner = f"{path}.environment"
        if "primaryKey" in named and named.keys() <= {"primaryKey", "secondaryKey"}:
            both = [
                _matching(named[name], _VARIABLE, where, f"{inner}.{name}", "the name of a variable")
                for name in ("primaryKey", "secondaryKey")
                if named.get(name) is not None
            ]
            return KeysFrom("environment", both[0], secondary=both[1] if len(both) > 1 else "")
    raise FileRefused(
        where,
        path,
        "it is no reference to keys",
        "write keep, escrow, new, {vault: NAME} or {environment: {primaryKey: VARIABLE}}",
    )


def _webhook_key_from(members: Document, where: str) -> KeyFrom | None:
    custom = members.get("customAllocationDefinition")
    if not isinstance(custom, dict):
        return None
    path = "customAllocationDefinition"
    custom = dict(custom)
    held = custom.pop("key", None)
    members["customAllocationDefinition"] = custom
    url = custom.get("webhookUrl")
    if isinstance(url, str) and ("?" in url or is_masked(url)):
        raise FileRefused(
            where,
            f"{path}.webhookUrl",
            "it has a query, which may hold a key, and files must not",
            "leave the query out and say `key: keep` or `key: setting` beside it",
        )
    if held is None:
        return KeyFrom("unsaid")
    if held in ("keep", "setting", "none"):
        return KeyFrom(held)
    if isinstance(held, dict) and held.keys() == {"vault"}:
        name = _matching(held["vault"], _SECRET_NAME, where, f"{path}.key.vault", "the name of a secret")
        return KeyFrom("vault", name)
    if isinstance(held, dict) and held.keys() == {"environment"}:
        return KeyFrom(
            "environment",
            _matching(held["environment"], _VARIABLE, where, f"{path}.key", "the name of a variable"),
        )
    raise FileRefused(
        where,
        f"{path}.key",
        "it is no reference to a key",
        "write keep, setting, none, {vault: NAME} or {environment: VARIABLE}",
    )


def _matching(value: Any, shape: re.Pattern[str], where: str, path: str, what: str) -> str:
    if isinstance(value, str) and shape.fullmatch(value):
        return value
    raise FileRefused(where, path, f"it is not {what}", "secrets are named, never written")


def _check(kind: Kind, members: Document, where: str) -> None:
    """What can be judged without the service; unknown members are not looked at."""
    view = EnrollmentGroup if kind == "group" else IndividualEnrollment
    try:
        checked = view.read(members)
        hubs = checked.iot_hubs
        _ = checked.webhook  # that its URL is a text
    except MalformedDocument as error:
        raise FileRefused(
            where, "", str(error), "correct it: names and types are the service's own"
        ) from None
    twin = members.get("initialTwin") or {}
    properties = twin.get("properties")
    custom = members.get("customAllocationDefinition") or {}
    parts = (
        (ID_MEMBER[kind], lambda: valid.known_id(checked.id, ID_MEMBER[kind])),
        ("iotHubs", lambda: valid.hub_names(list(hubs)) if hubs else None),
        ("initialTwin.tags", lambda: _twin_part(twin.get("tags"), valid.TAGS_BYTES)),
        (
            "initialTwin.properties.desired",
            lambda: _twin_part(
                properties.get("desired") if isinstance(properties, dict) else None, valid.DESIRED_BYTES
            ),
        ),
        (
            "optionalDeviceInformation",
            lambda: _twin_part(members.get("optionalDeviceInformation"), valid.INFORMATION_BYTES),
        ),
        (
            "customAllocationDefinition.webhookUrl",
            lambda: valid.webhook_url(custom["webhookUrl"]) if custom.get("webhookUrl") else None,
        ),
        (
            "customAllocationDefinition.apiVersion",
            lambda: valid.webhook_version(str(custom["apiVersion"])) if custom.get("apiVersion") else None,
        ),
        ("allocationPolicy", lambda: _one_of(members.get("allocationPolicy"), ALLOCATION_POLICIES)),
        ("provisioningStatus", lambda: _one_of(members.get("provisioningStatus"), ("enabled", "disabled"))),
    )
    for slot in _certificate_texts(members):
        if certificate_thumbprints(slot) is None:
            raise FileRefused(where, "attestation.x509", "a certificate in it is none", "write its PEM text")
    for path, check in parts:
        try:
            check()
        except InvalidOption as error:
            raise FileRefused(where, path, error.problem, error.fix) from None


def _certificate_texts(members: Document) -> list[str]:
    x509 = (members.get("attestation") or {}).get("x509")
    slots = (
        [x509.get(each) for each in ("clientCertificates", "signingCertificates")]
        if isinstance(x509, dict)
        else []
    )
    held = [slot for each in slots if isinstance(each, dict) for slot in each.values()]
    return [
        slot["certificate"]
        for slot in held
        if isinstance(slot, dict) and isinstance(slot.get("certificate"), str)
    ]


def _twin_part(value: Any, most: int) -> None:
    if value is not None:
        valid.twin_part(value, "initialTwin", most)


def _one_of(value: Any, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise InvalidOption("value", "it is none that DPS knows", f"write one of {', '.join(known)}")
