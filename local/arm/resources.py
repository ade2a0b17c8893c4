"""Provisioning services as resources of a subscription, and what the page must know of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

SUBSCRIPTION = "00000000-0000-4000-8000-00000000005b"
"""The subscription unless told otherwise."""
GROUP = "rg-local"
"""The resource group unless told otherwise."""
LOCATION = "westeurope"
"""Where everything is unless told otherwise."""
TYPE = "Microsoft.Devices/provisioningServices"


class LinkedHub(Protocol):
    """A hub as DPS was told of it."""

    @property
    def host_name(self) -> str:
        """`name.azure-devices.net`."""

    @property
    def allocation_weight(self) -> int:
        """1 to 1000."""

    @property
    def apply_allocation_policy(self) -> bool:
        """Whether DPS's own policies may assign devices to it."""


class Authority(Protocol):
    """A CA certificate of a provisioning service."""

    @property
    def name(self) -> str:
        """What enrollments refer to it by."""

    @property
    def pem(self) -> bytes:
        """The certificate."""

    @property
    def verified(self) -> bool:
        """Whether somebody has proved to hold its key."""


class Authorities(Protocol):
    """The CA certificates of a provisioning service."""

    def __iter__(self) -> Iterator[Authority]:
        """Each of them."""


class Provisioning(Protocol):
    """What this page must know of a provisioning service; it is asked at each call."""

    @property
    def name(self) -> str:
        """The first part of its host name."""

    @property
    def id_scope(self) -> str:
        """What devices name it by."""

    @property
    def hubs(self) -> Sequence[LinkedHub]:
        """The linked hubs now."""

    @property
    def authorities(self) -> Authorities:
        """The CA certificates now."""


@dataclass(frozen=True, slots=True)
class ProvisioningResource:
    """A provisioning service as a resource of a subscription."""

    service: Provisioning
    resource_group: str = GROUP
    location: str = LOCATION
    hub_locations: Mapping[str, str] = field(default_factory=dict)
    """By host name; a hub that is not named is where the service is."""
    allocation_policy: str = "Hashed"
    """`Hashed`, `GeoLatency` or `Static`: of enrollments that name none."""
    capacity: int = 1
    """Units of sku S1."""
    certified: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    """When its CA certificates were uploaded; the service itself keeps no such date."""
    linked_by_identity: frozenset[str] = frozenset()
    """Host names of hubs that DPS reaches with its own identity, without a connection string."""
    disable_local_auth: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


def group_id(subscription: str = SUBSCRIPTION, group: str = GROUP) -> str:
    """The ARM resource id of a resource group."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}"


@dataclass(frozen=True, slots=True)
class ArmBehaviour:
    """One reading of the unknown behaviours of the management plane."""

    show_default_allocation: bool = False
    """Whether a hub of weight 1 to which the policies apply says so."""
    page_size: int | None = None
    """Services in a page of a list; None: a list has one page."""
