"""What a hub holds of one device: its identity, its twin and whether it is connected."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Properties = Mapping[str, Any]

ENABLED, DISABLED = "enabled", "disabled"
SAS, SELF_SIGNED, CERTIFICATE_AUTHORITY = "sas", "selfSigned", "certificateAuthority"


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """Base64 keys of a device; never part of a `repr`."""

    primary: str | None = field(default=None, repr=False)
    secondary: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Thumbprints:
    """Of the certificates a device with `selfSigned` authentication may show."""

    primary: str | None = None
    secondary: str | None = None


@dataclass(frozen=True, slots=True)
class InitialTwin:
    """Tags and desired properties a device starts with."""

    tags: Properties = field(default_factory=dict)
    desired: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """The part of an identity that its owner writes."""

    device_id: str
    """Case-sensitive."""
    keys: DeviceKeys = field(default_factory=DeviceKeys)
    authentication_type: str = SAS
    thumbprints: Thumbprints = field(default_factory=Thumbprints)
    iot_edge: bool = False
    status: str = ENABLED
    status_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """An entry of the hub's identity registry."""

    entry: Entry
    generation_id: str
    """Tells a device from an earlier one of the same id."""
    version: int
    """Goes up by one with each write."""
    created: datetime
    status_updated: datetime | None = None
    """None: the status is still the first one."""

    @property
    def device_id(self) -> str:
        """The id, case-sensitive."""
        return self.entry.device_id

    @property
    def keys(self) -> DeviceKeys:
        """The device's symmetric keys."""
        return self.entry.keys

    @property
    def iot_edge(self) -> bool:
        """Whether it is an IoT Edge device."""
        return self.entry.iot_edge

    @property
    def status(self) -> str:
        """`enabled` or `disabled`."""
        return self.entry.status

    @property
    def etag(self) -> str:
        """Base64 of the version's decimal digits, as in real ones; without quotes."""
        return base64.b64encode(str(self.version).encode()).decode()


@dataclass(frozen=True, slots=True)
class Twin:
    """A device twin; each version counts the writes of its part since the device was made."""

    tags: Properties
    desired: Properties
    reported: Properties
    desired_version: int = 1
    reported_version: int = 1
    writes: int = 1
    """Writes of tags and desired properties, the making of the device among them."""
    desired_updated: datetime | None = None
    """None: when the device was made."""
    reported_updated: datetime | None = None

    @property
    def etag(self) -> str:
        """Base64 of the number of writes in eight bytes (inferred from samples: reports do not move it)."""
        return base64.b64encode(self.writes.to_bytes(8, "big")).decode()

    @property
    def version(self) -> int:
        """The twin's own version (inferred from samples: 2 for a new one, and every write counts)."""
        return self.writes + self.reported_version


@dataclass(frozen=True, slots=True)
class Connection:
    """Whether the device is connected, and when that and its last activity were; None: never."""

    connected: bool = False
    updated: datetime | None = None
    last_activity: datetime | None = None


@dataclass(frozen=True, slots=True)
class HubDevice:
    """What the hub holds of one device."""

    identity: Identity
    twin: Twin
    connection: Connection = field(default_factory=Connection)
