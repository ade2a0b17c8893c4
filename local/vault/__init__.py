"""An emulated Azure Key Vault: secrets, their versions, soft delete, and the events of their lives."""

from local.vault.behaviour import VaultBehaviour
from local.vault.events import EXPIRED, NEAR_EXPIRY, NEW_VERSION, VaultEvent
from local.vault.service import KeyVault

__all__ = ["EXPIRED", "NEAR_EXPIRY", "NEW_VERSION", "KeyVault", "VaultBehaviour", "VaultEvent"]
