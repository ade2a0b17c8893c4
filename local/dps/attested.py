"""A device that has proved which enrollment it belongs to, and by what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.dps import ids
from local.dps.enrollments import Enrollment
from local.dps.keys import SymmetricKeys
from local.hub import Thumbprints


@dataclass(frozen=True, slots=True)
class DeviceCertificate:
    """The certificate by which a device proved itself."""

    der: str
    """Base64 of it."""
    thumbprints: Thumbprints
    """What its hub identity accepts."""
    shown: Mapping[str, Any] = field(default_factory=dict)
    """What the device's result tells of it."""


@dataclass(frozen=True, slots=True)
class Attested:
    """A device that has proved which enrollment it belongs to."""

    registration_id: str
    """As the device wrote it."""
    enrollment: Enrollment
    keys: SymmetricKeys = field(default_factory=SymmetricKeys)
    """The device's own keys: the individual enrollment's, or those derived from the group's."""
    certificate: DeviceCertificate | None = None
    """None: it proved itself by a key."""
    signed_with: str | None = field(default=None, repr=False)
    """That key, one of `keys`."""

    @property
    def key(self) -> str:
        """What its record is stored under."""
        return ids.key(self.registration_id)
