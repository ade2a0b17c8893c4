"""Events of Event Grid, in either of its schemas, as one value: pure.

An event comes at least once, in no order, perhaps late and twice, and anybody who has the endpoint's key can
send one (documented; Microsoft, "Event Grid message delivery and retry"). Nothing in it is an address to
call: what it names is compared with what is configured.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from lifecycle.errors import NotAnEvent
from provisioning.timestamps import timestamp

LONGEST_TEXT = 1024
"""Characters of a text that is read; a longer one is no id, name or type of Azure's."""

_VERSION = re.compile(r"[0-9A-Fa-f]{32}", re.ASCII)
_SECRET = re.compile(r"[0-9A-Za-z-]{1,127}", re.ASCII)
_VAULT = re.compile(r"[0-9A-Za-z-]{3,24}", re.ASCII)
_HUB = re.compile(r"[0-9A-Za-z-]{1,63}", re.ASCII)
_DEVICE = re.compile(r"[A-Za-z0-9\-.%_*?!(),:=@$'+#]{1,128}", re.ASCII)


class EventType(StrEnum):
    """What this app understands; every other type is acknowledged and passed over."""

    SECRET_NEW_VERSION = "Microsoft.KeyVault.SecretNewVersionCreated"  # noqa: S105 - a name
    SECRET_NEAR_EXPIRY = "Microsoft.KeyVault.SecretNearExpiry"  # noqa: S105 - as above
    SECRET_EXPIRED = "Microsoft.KeyVault.SecretExpired"  # noqa: S105 - as above
    DEVICE_DELETED = "Microsoft.Devices.DeviceDeleted"


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        id: as its sender made it; hostile text, as all others.
        source: the ARM resource id of what it is about (`topic` in Event Grid's own schema).
        type: as it is written.
        subject: what of the source it is about.
        at: when it happened; None where that cannot be read.
        data: its members, by their names in lower case without blanks around them: services, their
            documentation and their samples differ in both.
    """

    id: str
    source: str
    type: str
    subject: str
    at: datetime | None
    data: Mapping[str, Any] = field(repr=False)

    @property
    def known(self) -> EventType | None:
        """Its type, if this app knows it. Types compare without case."""
        return next((each for each in EventType if each.lower() == self.type.lower()), None)


@dataclass(frozen=True, slots=True)
class SecretEvent:
    """Something about one version of a secret.

    Attributes:
        vault: the vault's name, in lower case.
        secret: the secret's name.
        version: 32 hexadecimal digits, in lower case.
        not_before: of the version; None where it has none or it cannot be read.
        expires: the same.
    """

    type: EventType
    vault: str
    secret: str
    version: str
    not_before: datetime | None
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class DeviceDeleted:
    """A hub's registry lost a device; also when DPS itself moved it to another hub (inferred).

    Attributes:
        hub: the hub's short name, in lower case: the first label of its host name.
        device: its id, with its case.
    """

    hub: str
    device: str


def read(raw: Any) -> Event:
    """The event of a document in either schema; of an array, its only element.

    Args:
        raw: `{id, topic, subject, eventType, eventTime, data, ...}`, or CloudEvents 1.0 with
            `{id, source, subject, type, time, data, specversion, ...}`.

    Raises:
        NotAnEvent: it is none; it stays so, so acknowledge it.
    """
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if not isinstance(raw, Mapping):
        raise NotAnEvent("the event must be an object, or an array of one")
    members = _lowered(raw)
    cloud = "specversion" in members
    data = members.get("data")
    if not isinstance(data, Mapping):
        raise NotAnEvent("the event's data must be an object")
    time = members.get("time" if cloud else "eventtime")
    return Event(
        id=_text(members, "id"),
        source=_text(members, "source" if cloud else "topic"),
        type=_text(members, "type" if cloud else "eventtype"),
        subject=_text(members, "subject"),
        at=_moment(time),
        data=_lowered(data),
    )


def secret_event(event: Event) -> SecretEvent:
    """What an event of a key vault says of a secret.

    Raises:
        NotAnEvent: it is not of a secret, or contradicts itself: names the member.
    """
    known = event.known
    if known not in (EventType.SECRET_NEW_VERSION, EventType.SECRET_NEAR_EXPIRY, EventType.SECRET_EXPIRED):
        raise NotAnEvent("the event's type is none of a secret's")
    kind = _text(event.data, "objecttype")
    if kind.lower() != "secret":
        raise NotAnEvent("the event's data.ObjectType must be Secret")
    vault = _matching(event.data, "vaultname", _VAULT)
    secret = _matching(event.data, "objectname", _SECRET)
    version = _matching(event.data, "version", _VERSION)
    if event.subject and event.subject.lower() != secret.lower():
        raise NotAnEvent("the event's subject must be data.ObjectName")
    return SecretEvent(
        type=known,
        vault=vault.lower(),
        secret=secret,
        version=version.lower(),
        not_before=_epoch(event.data.get("nbf")),
        expires=_epoch(event.data.get("exp")),
    )


def device_deleted(event: Event) -> DeviceDeleted:
    """What an event of a hub says of a device that is gone.

    Raises:
        NotAnEvent: it is none of a deleted device: names the member.
    """
    if event.known is not EventType.DEVICE_DELETED:
        raise NotAnEvent("the event's type is not that of a deleted device")
    hub = _matching(event.data, "hubname", _HUB)
    device = _matching(event.data, "deviceid", _DEVICE)
    if event.subject and event.subject != f"devices/{device}":
        raise NotAnEvent("the event's subject must be devices/ and data.deviceId")
    return DeviceDeleted(hub.lower(), device)


def _lowered(members: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in members.items():
        key = str(name).strip().lower()
        if key in found and found[key] != value:
            raise NotAnEvent(f"the event says {key[:40]!a} twice, and not the same")
        found[key] = value
    return found


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name, "")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise NotAnEvent(f"the event's {name} must be a text of at most {LONGEST_TEXT} characters")
    return value.strip()


def _matching(members: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    text = _text(members, name)
    if not pattern.fullmatch(text):
        raise NotAnEvent(f"the event's data.{name} is not what Azure writes there")
    return text


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        return timestamp(value) if isinstance(value, str) and len(value) < 64 else None
    except ValueError:
        return None


def _epoch(value: Any) -> datetime | None:
    """Seconds since 1970: a number (documented), the same as text (in samples), or nothing."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,12}(?:\.0*)?\s*", value, re.ASCII):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError):
        return None
