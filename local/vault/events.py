"""What a vault tells of its secrets, as plain data; delivery is another's business."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

NEW_VERSION = "Microsoft.KeyVault.SecretNewVersionCreated"
NEAR_EXPIRY = "Microsoft.KeyVault.SecretNearExpiry"
EXPIRED = "Microsoft.KeyVault.SecretExpired"


@dataclass(frozen=True, slots=True)
class VaultEvent:
    """One event of one version of a secret; never holds the secret's value."""

    kind: str
    """The event type: one of the three above (documented)."""
    vault: str
    """The vault's name."""
    name: str
    """The secret's name, which is the event's subject (documented)."""
    version: str
    id: str
    """`https://{vault}.vault.azure.net/secrets/{name}/{version}`."""
    not_before: int | None
    """Seconds since 1970."""
    expires: int | None
    """Seconds since 1970."""
    at: datetime

    @property
    def data(self) -> dict[str, Any]:
        """The event's `data` as it is on the wire (documented samples)."""
        return {
            "Id": self.id,
            "VaultName": self.vault,
            "ObjectType": "Secret",
            "ObjectName": self.name,
            "Version": self.version,
            "NBF": self.not_before,
            "EXP": self.expires,
        }
