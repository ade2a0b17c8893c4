"""What only the management plane knows of a DPS: linked hubs, their weights, the default policy, CAs.

Read-only, and nothing here asks for keys. Connection strings of linked hubs come masked (seen); they are
dropped as the answer is read all the same.

What cannot be read is `Unknown`, with the reason, and never an empty list: a rule that needs it is then not
evaluated. So is an empty list itself: a role that sees less, or a page that says less, looks the same.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from clients.connections import Connections
from clients.errors import NoCredential, ServiceError
from clients.management import management, resource_path
from clients.ports import Clock, RateShare
from clients.reading import Members, Misshapen, items, understood
from clients.service import Auth, Fault, Request
from provisioning.hubs import HubKey, hub_key

T = TypeVar("T")

ARM_URL = "https://management.azure.com"
ARM_SCOPE = "https://management.azure.com/.default"
"""What an Entra token must be for."""

ARM_API_VERSION = "2022-12-12"
"""The version every region has; whether 2026-08-31 and 2026-11-01 are everywhere is unknown. Their further
members are read where they come."""

_RESOURCE = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/[\w.()-]{1,90}"
    r"/providers/Microsoft\.Devices/provisioningServices/[a-z0-9-]{1,64}",
    re.IGNORECASE,
)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_DER_SEQUENCE = 0x30


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that could not be read, and why. It says neither that there is something nor nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class LinkedHub:
    """A hub as the DPS was told of it.

    Attributes:
        host_name: as written there.
        key: the form in which host names compare.
        weight: 1 to 1000; 1 where none was set (documented).
        applies_allocation_policy: False: DPS's own policies assign no devices to it. True where it was not
            set. Whether the webhook's `linkedHubs` leaves such a hub out is unknown.
        location: of the hub; "" if not given.
    """

    host_name: str
    key: HubKey
    weight: int
    applies_allocation_policy: bool
    location: str


@dataclass(frozen=True, slots=True)
class DpsPage:
    """A DPS as a resource.

    Attributes:
        name: the first part of its host name.
        location: region.
        sku: "S1".
        capacity: units; None if not given.
        id_scope: what devices name it by.
        service_host: of the service API.
        device_host: of the device API.
        allocation_policy: the default of enrollments that name none: "Hashed", "GeoLatency" or "Static".
        linked_hubs: in the order of the page.
        local_auth_disabled: whether shared access keys are refused; None: not said (2022-12-12 has it not).
    """

    name: str
    location: str
    sku: str
    capacity: int | None
    id_scope: str
    service_host: str
    device_host: str
    allocation_policy: str
    linked_hubs: "tuple[LinkedHub, ...] | Unknown"
    local_auth_disabled: bool | None


@dataclass(frozen=True, slots=True)
class CaCertificate:
    """A CA certificate of a DPS.

    Attributes:
        name: by which enrollments refer to it.
        subject: as the page words it; whoever made the certificate chose it.
        thumbprint: SHA-1 in hexadecimal digits; "" if not given.
        verified: whether possession of its key was proved.
        expires: end of its validity; None if not given.
        der: the certificate; None if not given, or of no shape known.
    """

    name: str
    subject: str
    thumbprint: str
    verified: bool
    expires: datetime | None
    der: bytes | None = field(repr=False)

    @property
    def pem(self) -> str | None:
        """The certificate as PEM text."""
        if self.der is None:
            return None
        text = base64.b64encode(self.der).decode()
        lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
        return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


class ArmClient:
    """One DPS's page."""

    def __init__(
        self,
        resource_id: str,
        *,
        auth: Auth,
        connections: Connections,
        share: RateShare,
        clock: Clock,
        jitter: Callable[[], float],
        url: str = ARM_URL,
        api_version: str = ARM_API_VERSION,
    ) -> None:
        """Describe it; nothing is sent.

        Args:
            resource_id: `/subscriptions/…/providers/Microsoft.Devices/provisioningServices/NAME`.
            auth: an Entra token for ARM_SCOPE, with Reader rights.
            connections: shared with the other clients.
            share: of the management plane's rate.
            clock: for pauses and budgets.
            jitter: a random number in [0, 1), drawn per pause.
            url: of the management plane; other clouds have their own.
            api_version: one of the versions this reads.

        Raises:
            NotSendable: the id is not that of a DPS, or the URL cannot be one.
        """
        self._path = resource_path(
            resource_id, _RESOURCE, "DPS", "Microsoft.Devices/provisioningServices/NAME"
        )
        self._name = self._path.rpartition("/")[2]
        self._service = management(
            url,
            api_version=api_version,
            auth=auth,
            connections=connections,
            share=share,
            clock=clock,
            fault=_fault,
            jitter=jitter,
        )

    def __repr__(self) -> str:
        return f"ArmClient({self._name!r})"

    async def page(self) -> DpsPage | Unknown:
        """The DPS as the management plane shows it; Unknown whatever keeps it from being read."""
        return await self._read("", _page)

    async def certificates(self) -> tuple[CaCertificate, ...] | Unknown:
        """Its CA certificates. None at all is Unknown too: see the module's text."""
        return await self._read("/certificates", _certificates)

    async def _read(self, rest: str, read: Callable[[Any], T | Unknown]) -> T | Unknown:
        try:
            reply = await self._service.send(Request("GET", f"{self._path}{rest}"))
            return understood(self._service.name, reply.body, read)
        except (ServiceError, NoCredential) as error:
            return Unknown(str(error))


def _page(body: Any) -> DpsPage | Unknown:
    members = Members(body, "the DPS")
    properties = members.object("properties")
    sku = Members(members.object_or_empty("sku"), "sku")
    return DpsPage(
        name=members.text("name"),
        location=members.text_or_none("location") or "",
        sku=sku.text_or_none("name") or "",
        capacity=sku.whole_or_none("capacity"),
        id_scope=properties.text("idScope"),
        service_host=properties.text("serviceOperationsHostName"),
        device_host=properties.text("deviceProvisioningHostName"),
        allocation_policy=properties.text("allocationPolicy"),
        linked_hubs=_linked_hubs(members.object_or_empty("properties").get("iotHubs")),
        local_auth_disabled=properties.flag_or_none("disableLocalAuth"),
    )


def _linked_hubs(value: Any) -> tuple[LinkedHub, ...] | Unknown:
    """All of them, or Unknown: a shorter list would say of a linked hub that it is not."""
    if value is None or value == []:
        return Unknown("the management plane shows no linked hubs of this DPS")
    try:
        return tuple(_linked_hub(each) for each in items(value, "iotHubs"))
    except Misshapen as error:
        return Unknown(f"the management plane shows a linked hub that cannot be understood: {error}")


def _linked_hub(value: Any) -> LinkedHub:
    members = Members(value, "a linked hub")
    # The newer versions have hostName beside name; both hold the host name in what was seen.
    host_name = members.text_or_none("hostName") or members.text("name")
    weight = members.whole_or_none("allocationWeight")
    applies = members.flag_or_none("applyAllocationPolicy")
    return LinkedHub(
        host_name=host_name,
        key=hub_key(host_name),
        weight=1 if weight is None else weight,
        applies_allocation_policy=True if applies is None else applies,
        location=members.text_or_none("location") or "",
    )


def _certificates(body: Any) -> tuple[CaCertificate, ...] | Unknown:
    members = Members(body, "the list of certificates")
    if members.text_or_none("nextLink"):
        # A DPS has at most 25, and no such link is known; a link of an answer is never followed.
        return Unknown("the management plane gives the CA certificates in pages, which is not known of it")
    found = tuple(_certificate(each) for each in items(body.get("value"), "the list of certificates"))
    return found or Unknown("the management plane shows no CA certificates of this DPS")


def _certificate(value: Any) -> CaCertificate:
    members = Members(value, "a certificate")
    properties = members.object("properties")
    return CaCertificate(
        name=members.text("name"),
        subject=properties.text_or_none("subject") or "",
        thumbprint=properties.text_or_none("thumbprint") or "",
        verified=properties.flag("isVerified"),
        expires=_date(properties.text_or_none("expiry")),
        der=_der(properties.text_or_none("certificate")),
    )


def _date(text: str | None) -> datetime | None:
    """A date as HTTP writes it (seen), or in ISO 8601.

    Raises:
        Misshapen: neither.
    """
    if not text:
        return None
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            at = read(text)
        except ValueError:
            continue
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    raise Misshapen("expiry of a certificate must be a date")


def _der(text: str | None) -> bytes | None:
    """The certificate out of PEM, Base64 of PEM, or Base64 of DER: which of them comes is not documented."""
    if not text:
        return None
    try:
        content = text.encode("ascii") if "-----BEGIN" in text else base64.b64decode(text)
        armoured = _PEM.search(content)
        if armoured is not None:
            content = base64.b64decode(armoured[1])
    except (UnicodeEncodeError, binascii.Error):
        return None
    return content if content[:1] == bytes([_DER_SEQUENCE]) else None


def _fault(body: Any) -> Fault:
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return Fault()
    code, message = error.get("code"), error.get("message")
    return Fault(code if isinstance(code, str) else "", message if isinstance(message, str) else "")
