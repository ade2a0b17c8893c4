"""Registrations: a device's record at DPS."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NewType, Self

from provisioning.documents import MalformedDocument, check_members, moment, text
from provisioning.hubs import HubKey, hub_key

RegistrationKey = NewType("RegistrationKey", str)
"""A registration id in the form that compares: lower-case."""


def registration_key(registration_id: str) -> RegistrationKey:
    """The form of a registration id under which devices are compared, hashed and stored.

    Registration ids are case-insensitive at DPS (documented). The text as sent is kept beside it, because
    the HMAC that derives a device key is not.
    """
    return RegistrationKey(registration_id.lower())


def same_version(one: str, other: str) -> bool:
    """Whether two ETags of a record are of one version of it.

    Quotes around them mean nothing: clients add them and leave them out (seen).
    """
    return _bare(one) == _bare(other)


def _bare(etag: str) -> str:
    return etag.strip().strip('"').strip()


STATUSES = ("unassigned", "assigning", "assigned", "failed", "disabled")
"""What a record's status may be (documented)."""

_MEMBERS: Mapping[str, type] = {
    "registrationId": str,
    "createdDateTimeUtc": str,
    "assignedHub": str,
    "deviceId": str,
    "status": str,
    "substatus": str,
    "errorCode": int,
    "errorMessage": str,
    "lastUpdatedDateTimeUtc": str,
    "etag": str,
}


KNOWN = frozenset(_MEMBERS)
"""Members of a record that are known, but for what the webhook gave the device."""


@dataclass(frozen=True, slots=True, repr=False)
class Registration:
    """A registration record as the service wrote it; members nobody here knows are kept.

    Texts in it are the device's or a webhook's: hostile wherever they are shown.
    """

    _document: Mapping[str, Any] = field(repr=False)

    @classmethod
    def adopt(cls, document: Any) -> Self:
        """The record of a document that nobody else holds.

        Raises:
            MalformedDocument: it is none.
        """
        if not check_members(document, _MEMBERS, "registration").get("registrationId"):
            raise MalformedDocument("registrationId of a registration is missing")
        return cls(document)

    @classmethod
    def read(cls, document: Any) -> Self:
        """The same of a document that others may change."""
        return cls.adopt(copy.deepcopy(document))

    def __repr__(self) -> str:
        return f"Registration({self.id[:128]!a}, status={self.status!a})"

    @property
    def id(self) -> str:
        """The registration id, as the service spells it."""
        return str(self._document["registrationId"])

    @property
    def key(self) -> RegistrationKey:
        """The form of the id that compares."""
        return registration_key(self.id)

    @property
    def status(self) -> str:
        """One of STATUSES; "" where the record has none."""
        return text(self._document, "status") or ""

    @property
    def substatus(self) -> str | None:
        """How an assigned device came to its hub: initialAssignment, deviceDataMigrated and so on."""
        return text(self._document, "substatus")

    @property
    def assigned_hub(self) -> str | None:
        """The hub's host name, as written."""
        return text(self._document, "assignedHub")

    @property
    def hub(self) -> HubKey | None:
        """The hub in the form that compares."""
        return hub_key(self.assigned_hub) if self.assigned_hub else None

    @property
    def device_id(self) -> str | None:
        """The id at the hub: the registration id, unless an individual enrollment names another."""
        return text(self._document, "deviceId")

    @property
    def error_code(self) -> int | None:
        """Why it failed: see provisioning.error_codes."""
        found = self._document.get("errorCode")
        return found if isinstance(found, int) else None

    @property
    def error_message(self) -> str | None:
        """The same in words."""
        return text(self._document, "errorMessage")

    @property
    def created(self) -> datetime | None:
        """When the record was made, in UTC.

        Raises:
            MalformedDocument: the text is no time.
        """
        return moment(self._document, "createdDateTimeUtc")

    @property
    def updated(self) -> datetime | None:
        """When the device last registered, in UTC. Its telemetry does not move it (documented).

        Raises:
            MalformedDocument: the text is no time.
        """
        return moment(self._document, "lastUpdatedDateTimeUtc")

    @property
    def etag(self) -> str:
        """For a guarded delete, verbatim; "" where there is none."""
        return text(self._document, "etag") or ""

    @property
    def guardable(self) -> bool:
        """Whether a delete can be guarded by its ETag: an empty one or a wildcard guards nothing."""
        return _bare(self.etag) not in ("", "*")

    @property
    def payload(self) -> Any:
        """What the webhook gave the device (a copy); None without. It may be secret."""
        return copy.deepcopy(self._document.get("payload"))

    def document(self) -> dict[str, Any]:
        """The whole record as the service wrote it, a copy."""
        return copy.deepcopy(dict(self._document))
