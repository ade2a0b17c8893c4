"""Enrollments: who may register, how they prove themselves, where they go.

An enrollment is a view of the service's own document, whole: members that this code does not know (those of
newer API versions among them) are kept and sent back. Only symmetric keys are taken out of it, into
SymmetricKeys.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from provisioning.attestation import Attestation, put_keys, take_keys
from provisioning.documents import MalformedDocument, check_members, moment, part, text
from provisioning.keys import SymmetricKeys
from provisioning.registrations import Registration, RegistrationKey, registration_key

READ_ONLY = ("registrationState", "createdDateTimeUtc", "lastUpdatedDateTimeUtc")
"""Members that the service alone writes (documented)."""

ENABLED, DISABLED = "enabled", "disabled"
CUSTOM = "custom"
ALLOCATION_POLICIES = ("hashed", "geoLatency", "static", CUSTOM)
"""How a hub is chosen (documented); an enrollment without one uses the service's."""

MASK = "****"
"""What DPS puts in place of a webhook URL's query where it does not show it (seen in webhook bodies)."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A custom allocation's webhook. Its URL carries the function key, which only `reveal` shows."""

    _url: str = field(repr=False)
    api_version: str | None

    @property
    def base(self) -> str:
        """The URL without user and query: nothing secret."""
        try:
            url = urlsplit(self._url)
            host = url.netloc.rpartition("@")[2]
        except ValueError:
            return ""
        return f"{url.scheme}://{host}{url.path}"

    @property
    def masked(self) -> bool:
        """Whether the key was masked by who showed the URL: sent back so, no device could register."""
        return MASK in self._url

    def reveal(self) -> str:
        """The URL with its key, to be sent; never for a log."""
        return self._url


@dataclass(frozen=True, slots=True)
class ReprovisionPolicy:
    """What registering again may do (documented)."""

    update_hub_assignment: bool = True
    migrate_device_data: bool = True

    @property
    def name(self) -> str:
        """As the Azure CLI calls it."""
        if not self.update_hub_assignment:
            return "never"
        return "reprovisionandmigratedata" if self.migrate_device_data else "reprovisionandresetdata"


@dataclass(frozen=True, slots=True)
class InitialTwin:
    """What a device's twin starts with."""

    tags: Mapping[str, Any] = field(default_factory=dict)
    desired: Mapping[str, Any] = field(default_factory=dict)


_MEMBERS: Mapping[str, type] = {
    "attestation": dict,
    "capabilities": dict,
    "iotHubHostName": str,
    "initialTwin": dict,
    "etag": str,
    "provisioningStatus": str,
    "reprovisionPolicy": dict,
    "createdDateTimeUtc": str,
    "lastUpdatedDateTimeUtc": str,
    "allocationPolicy": str,
    "iotHubs": list,
    "customAllocationDefinition": dict,
}


@dataclass(frozen=True, slots=True, repr=False)
class Enrollment:
    """What both kinds have in common.

    Properties raise MalformedDocument where a part of the document is not as documented.
    """

    _document: Mapping[str, Any] = field(repr=False)
    keys: SymmetricKeys | None = None
    """The symmetric keys, where this came from a call that shows them."""

    ID_MEMBER: ClassVar[str]
    WHAT: ClassVar[str]
    """What messages call one."""
    MEMBERS: ClassVar[Mapping[str, type]]

    @classmethod
    def adopt(cls, document: Any) -> Self:
        """The enrollment of a document that nobody else holds; symmetric keys are taken out of it.

        Raises:
            MalformedDocument: it is none: names the member.
        """
        checked = check_members(document, cls.MEMBERS, cls.WHAT)
        if not checked.get(cls.ID_MEMBER):
            raise MalformedDocument(f"{cls.ID_MEMBER} of an {cls.WHAT} is missing")
        attestation = checked.get("attestation")
        return cls(checked, take_keys(attestation) if attestation else None)

    @classmethod
    def read(cls, document: Any) -> Self:
        """The same of a document that others may change, such as one an operator has edited."""
        return cls.adopt(copy.deepcopy(document))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id[:128]!a}, etag={self.etag[:64]!a})"

    @property
    def id(self) -> str:
        """The registration or enrollment group id, as the service spells it."""
        return str(self._document[self.ID_MEMBER])

    @property
    def key(self) -> RegistrationKey:
        """The form of the id that compares."""
        return registration_key(self.id)

    @property
    def etag(self) -> str:
        """For a guarded change, verbatim: it has its own double quotes (seen). "" where there is none."""
        return text(self._document, "etag") or ""

    @property
    def attestation(self) -> Attestation:
        """How its devices prove themselves."""
        return Attestation(part(self._document, "attestation"), self.keys)

    @property
    def provisioning_status(self) -> str:
        """ENABLED or DISABLED; enabled is the service's default (documented)."""
        return text(self._document, "provisioningStatus") or ENABLED

    @property
    def enabled(self) -> bool:
        """Whether its devices may register."""
        return self.provisioning_status != DISABLED

    @property
    def allocation_policy(self) -> str | None:
        """One of ALLOCATION_POLICIES; None: the service's own."""
        return text(self._document, "allocationPolicy")

    @property
    def iot_hubs(self) -> tuple[str, ...]:
        """Host names of the hubs it is confined to, as written; none: every linked hub."""
        listed = self._document.get("iotHubs") or ()
        if not all(isinstance(name, str) for name in listed):
            raise MalformedDocument("iotHubs must be a list of texts")
        single = text(self._document, "iotHubHostName")
        return tuple(listed) or ((single,) if single else ())

    @property
    def webhook(self) -> Webhook | None:
        """Where a custom allocation is asked for."""
        definition = part(self._document, "customAllocationDefinition")
        url = text(definition, "webhookUrl")
        return Webhook(url, text(definition, "apiVersion")) if url else None

    @property
    def reprovision_policy(self) -> ReprovisionPolicy | None:
        """What registering again may do; None: not set, which some old devices keep to their first hub."""
        policy = self._document.get("reprovisionPolicy")
        if policy is None:
            return None
        return ReprovisionPolicy(
            policy.get("updateHubAssignment") is not False, policy.get("migrateDeviceData") is not False
        )

    @property
    def iot_edge(self) -> bool:
        """Whether its devices are IoT Edge devices."""
        return part(self._document, "capabilities").get("iotEdge") is True

    @property
    def initial_twin(self) -> InitialTwin:
        """What its devices' twins start with (a copy), without the service's null bookkeeping members."""
        twin = part(self._document, "initialTwin")
        return InitialTwin(
            tags=_collection(part(twin, "tags")),
            desired=_collection(part(part(twin, "properties"), "desired")),
        )

    @property
    def created(self) -> datetime | None:
        """When it was made, in UTC."""
        return moment(self._document, "createdDateTimeUtc")

    @property
    def updated(self) -> datetime | None:
        """When it was last changed, in UTC."""
        return moment(self._document, "lastUpdatedDateTimeUtc")

    def document(self) -> dict[str, Any]:
        """The service's whole document without symmetric keys, a copy. A webhook's URL in it has its key."""
        return copy.deepcopy(dict(self._document))

    def shown(self) -> dict[str, Any]:
        """The same for people and files: a webhook's query is masked."""
        document = self.document()
        definition = document.get("customAllocationDefinition") or {}
        if self.webhook:
            base = self.webhook.base
            definition["webhookUrl"] = f"{base}?{MASK}" if self.webhook.reveal() != base else base
        return document

    def wire(self) -> dict[str, Any]:
        """What a PUT sends: the document with its symmetric keys, without READ_ONLY. Holds secrets."""
        document = copy.deepcopy(
            {name: value for name, value in self._document.items() if name not in READ_ONLY}
        )
        if self.keys is not None:
            put_keys(document.setdefault("attestation", {}), self.keys)
        return document

    def with_keys(self, keys: SymmetricKeys | None) -> Self:
        """The same with these symmetric keys."""
        return replace(self, keys=keys)


class IndividualEnrollment(Enrollment):
    """One device's enrollment, or several devices' with one TPM or certificate each."""

    __slots__ = ()
    ID_MEMBER = "registrationId"
    WHAT = "individual enrollment"
    MEMBERS: ClassVar[Mapping[str, type]] = {
        **_MEMBERS,
        "registrationId": str,
        "deviceId": str,
        "registrationState": dict,
        "optionalDeviceInformation": dict,
    }

    @property
    def device_id(self) -> str | None:
        """The id its device gets at a hub; None: the registration id."""
        return text(self._document, "deviceId")

    @property
    def registration_state(self) -> Registration | None:
        """Its device's registration record, inline; None before it has registered.

        The record's id may be left out in it: it is this enrollment's.
        """
        state = part(self._document, "registrationState")
        if not any(value is not None for value in state.values()):
            return None
        return Registration.adopt({**state, "registrationId": state.get("registrationId") or self.id})

    @property
    def device_information(self) -> Mapping[str, Any]:
        """What operators noted about the device (a copy)."""
        return _collection(part(self._document, "optionalDeviceInformation"))


class EnrollmentGroup(Enrollment):
    """The enrollment of all devices that have a key derived from its keys, or a certificate of its signer."""

    __slots__ = ()
    ID_MEMBER = "enrollmentGroupId"
    WHAT = "enrollment group"
    MEMBERS: ClassVar[Mapping[str, type]] = {**_MEMBERS, "enrollmentGroupId": str}


def _collection(members: Mapping[str, Any]) -> dict[str, Any]:
    """A TwinCollection's own members: `count`, `metadata` and `version` come as null (seen)."""
    return {
        name: copy.deepcopy(value)
        for name, value in members.items()
        if not (value is None and name in ("count", "metadata", "version"))
    }
