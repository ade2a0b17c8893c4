"""Individual enrollments and enrollment groups: what a PUT may say and what is kept of it."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from local.dps import attestation, errors, ids, shapes
from local.dps.attestation import Attestation
from local.dps.errors import BAD_REQUEST, CUSTOM_DEFINITION_MISSING, DpsError
from local.dps.keys import SymmetricKeys
from local.dps.wire import timestamp
from local.hub import InitialTwin

DESIRED_LIMIT = 32 * 1024
"""Most bytes of a twin's desired properties (documented for hubs)."""
TAGS_LIMIT = 8 * 1024
"""Most bytes of a twin's tags (documented for hubs)."""
POLICIES = ("hashed", "geoLatency", "static", "custom")
_OLDEST_WEBHOOK_VERSION = "2018-09-01"
_VERSION = re.compile(r"20\d\d-\d\d-\d\d(-preview)?")


@dataclass(frozen=True, slots=True)
class Kind:
    """The names by which the API tells the two kinds of enrollment apart."""

    path: str
    id_member: str
    bulk_member: str
    webhook_member: str
    item_type: str
    """The `x-ms-item-type` of a page; the texts are inferred from an SDK's enumeration."""
    not_found: int
    is_group: bool


INDIVIDUAL = Kind(
    path="enrollments",
    id_member="registrationId",
    bulk_member="enrollments",
    webhook_member="individualEnrollment",
    item_type="enrollment",
    not_found=errors.ENROLLMENT_NOT_FOUND,
    is_group=False,
)
GROUP = Kind(
    path="enrollmentgroups",
    id_member="enrollmentGroupId",
    bulk_member="enrollmentGroups",
    webhook_member="enrollmentGroup",
    item_type="enrollmentGroup",
    not_found=errors.GROUP_NOT_FOUND,
    is_group=True,
)
KINDS = (INDIVIDUAL, GROUP)

READ_ONLY = ("registrationState", "etag", "createdDateTimeUtc", "lastUpdatedDateTimeUtc")


@dataclass(frozen=True, slots=True)
class Enrollment:
    """A stored enrollment of either kind."""

    kind: Kind
    id: str
    members: Mapping[str, Any]
    """All stored members but the id, the read-only ones and the keys; unknown members too."""
    attestation_type: str
    etag: str
    created: datetime
    updated: datetime
    keys: SymmetricKeys | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """What it is stored under."""
        return ids.key(self.id)

    @property
    def disabled(self) -> bool:
        """Whether `provisioningStatus` is disabled."""
        return bool(self.members.get("provisioningStatus") == "disabled")

    @property
    def hubs(self) -> tuple[str, ...]:
        """The hubs it names, by `iotHubs` or else `iotHubHostName`; empty: every linked hub."""
        named = self.members.get("iotHubs") or ()
        single = self.members.get("iotHubHostName")
        return tuple(named) or ((single,) if single else ())

    @property
    def allocation_policy(self) -> str | None:
        """The policy it names; None: the service's default one."""
        policy = self.members.get("allocationPolicy")
        return str(policy) if policy else None

    @property
    def webhook_url(self) -> str:
        """Where a custom allocation is asked for."""
        return str(self.members["customAllocationDefinition"]["webhookUrl"])

    @property
    def reprovisioning(self) -> Literal["migrate", "reset", "never"]:
        """What registering again may do; no policy counts as both flags true, their published default."""
        policy = self.members.get("reprovisionPolicy") or {}
        if policy.get("updateHubAssignment") is False:
            return "never"
        return "reset" if policy.get("migrateDeviceData") is False else "migrate"

    @property
    def initial_twin(self) -> InitialTwin:
        """The twin devices start with."""
        return read_initial_twin(self.members.get("initialTwin"))

    @property
    def iot_edge(self) -> bool:
        """Whether its devices are IoT Edge devices."""
        return bool((self.members.get("capabilities") or {}).get("iotEdge"))

    def wire(
        self,
        *,
        keys: bool = False,
        mask_url: bool = False,
        registration_state: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The service API's shape, in the member order of captured bodies.

        Args:
            keys: whether the symmetric keys are in it.
            mask_url: whether the webhook URL's query becomes `?****`.
            registration_state: the inline record of an individual enrollment.
        """
        every: dict[str, Any] = {self.kind.id_member: self.id, **self.members}
        if registration_state is not None:
            every["registrationState"] = registration_state
        if keys:
            every["attestation"] = attestation.with_keys(self.members["attestation"], self.keys)
        every["etag"] = self.etag
        every["createdDateTimeUtc"] = timestamp(self.created)
        every["lastUpdatedDateTimeUtc"] = timestamp(self.updated)
        definition = every.get("customAllocationDefinition")
        if mask_url and isinstance(definition, dict):
            masked = mask_query(str(definition.get("webhookUrl", "")))
            every["customAllocationDefinition"] = {**definition, "webhookUrl": masked}
        ordered = {name: every[name] for name in _ORDER if name in every}
        return {**ordered, **every}


_ORDER = (
    "registrationId",
    "enrollmentGroupId",
    "deviceId",
    "registrationState",
    "optionalDeviceInformation",
    "attestation",
    "capabilities",
    "iotHubHostName",
    "initialTwin",
    "etag",
    "provisioningStatus",
    "reprovisionPolicy",
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
    "allocationPolicy",
    "iotHubs",
    "customAllocationDefinition",
)
_KNOWN: Mapping[str, shapes.Check] = {
    "deviceId": lambda value, _: ids.device_id(value),
    "optionalDeviceInformation": shapes.TWIN_COLLECTION,
    "capabilities": shapes.CAPABILITIES,
    "iotHubHostName": shapes.text,
    "initialTwin": shapes.INITIAL_TWIN,
    "provisioningStatus": shapes.one_of("enabled", "disabled"),
    "reprovisionPolicy": shapes.REPROVISION_POLICY,
    "allocationPolicy": shapes.one_of(*POLICIES),
    "iotHubs": shapes.list_of(shapes.text),
    "customAllocationDefinition": shapes.CUSTOM_ALLOCATION,
}


def mask_query(url: str) -> str:
    """A webhook URL with its query as `?****`, as captured webhook bodies show it."""
    base, question, _ = url.partition("?")
    return f"{base}?****" if question else base


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked body of a PUT."""

    id: str
    members: Mapping[str, Any]
    attestation: Attestation
    etag: str | None
    """The body's own etag, which only the bulk mode `updateIfMatchETag` looks at."""


def body_id(kind: Kind, body: Mapping[str, Any]) -> str:
    """The id in a body.

    Raises:
        DpsError: 400.
    """
    return ids.registration_id(body.get(kind.id_member), kind.id_member)


def parse(kind: Kind, body: Any, linked: Collection[str]) -> Draft:
    """Check the body of a PUT. Members nobody knows are kept; null ones of those known are left out.

    Args:
        kind: which of the two.
        body: the JSON value.
        linked: `ids.key` of the linked hubs' names.

    Raises:
        DpsError: 400.
    """
    if not isinstance(body, dict):
        raise DpsError(BAD_REQUEST, "An enrollment must be a JSON object.")
    name = body_id(kind, body)
    attested = attestation.parse(body.get("attestation"), for_group=kind.is_group)
    members = {
        member: _KNOWN[member](value, member) if member in _KNOWN else value
        for member, value in body.items()
        if member not in (kind.id_member, *READ_ONLY) and not (value is None and member in _ORDER)
    }
    members["attestation"] = attested.shown
    members.setdefault("provisioningStatus", "enabled")
    read_initial_twin(members.get("initialTwin"))
    _check_hubs(members, linked)
    _check_custom(members)
    etag = body.get("etag")
    return Draft(name, members, attested, etag if isinstance(etag, str) else None)


def read_initial_twin(value: Any) -> InitialTwin:
    """Read an `initialTwin`, which may be null and whose parts may be.

    Raises:
        DpsError: 400: a part is no object, or larger than a hub takes.
    """
    properties = _object(value, "initialTwin").get("properties")
    return InitialTwin(
        tags=_limited(_object(value, "initialTwin").get("tags"), "initialTwin.tags", TAGS_LIMIT),
        desired=_limited(
            _object(properties, "initialTwin.properties").get("desired"),
            "initialTwin.properties.desired",
            DESIRED_LIMIT,
        ),
    )


def _object(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DpsError(BAD_REQUEST, f"{name} must be an object.")
    return value


def _limited(value: Any, name: str, limit: int) -> dict[str, Any]:
    part = _object(value, name)
    if (
        part
        and len(json.dumps(part, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")) > limit
    ):
        raise DpsError(BAD_REQUEST, f"{name} is larger than {limit} bytes.")
    return part


def _check_hubs(members: Mapping[str, Any], linked: Collection[str]) -> None:
    single = members.get("iotHubHostName")
    hosts = [*members.get("iotHubs", ()), *([single] if single else [])]
    unknown = [host for host in hosts if ids.key(host) not in linked]
    if unknown:
        raise DpsError(BAD_REQUEST, f"Not linked to this provisioning service: {', '.join(unknown)[:1000]}")
    if members.get("allocationPolicy") == "static" and len({ids.key(host) for host in hosts}) != 1:
        raise DpsError(BAD_REQUEST, "The static allocation policy needs exactly one IoT hub.")


def _check_custom(members: dict[str, Any]) -> None:
    """The definition must be whole; one without anything in it counts as none."""
    definition = members.get("customAllocationDefinition", {})
    if not definition:
        members.pop("customAllocationDefinition", None)
    url, version = definition.get("webhookUrl"), definition.get("apiVersion")
    if not url or not version:
        if members.get("allocationPolicy") == "custom":
            raise DpsError(
                CUSTOM_DEFINITION_MISSING,
                "A CustomAllocationDefinition is required when the allocation policy is set to 'Custom'",
            )
        if definition:
            raise DpsError(BAD_REQUEST, "customAllocationDefinition needs webhookUrl and apiVersion.")
        return
    if not _is_http(url):
        raise DpsError(BAD_REQUEST, "customAllocationDefinition.webhookUrl must be an http or https URL.")
    if not _VERSION.fullmatch(version) or version[:10] < _OLDEST_WEBHOOK_VERSION:
        raise DpsError(
            BAD_REQUEST, "customAllocationDefinition.apiVersion must be 2018-09-01-preview or later."
        )


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
