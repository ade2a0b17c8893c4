"""What a rotation works on."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from lifecycle.rotation import identities
from lifecycle.rotation.canary import CanaryPlaces
from lifecycle.rotation.observe import Groups, Vault


@dataclass(frozen=True, slots=True)
class Ports:
    """What a slice works on; its clients call under the slice's shares.

    Attributes:
        groups: of the DPS.
        vault: of the configured URL.
        places: of canaries; None: no canary can be sent.
        identities: of a group's devices at the hubs.
        provider: what readers of the live secret find the group at: the DPS's resource id, or its host.
        webhook_url: this app's webhook with its key, where it is known.
        webhook: reads the same from the vault, when a read has masked it; None: nothing does.
    """

    groups: Groups
    vault: Vault
    places: CanaryPlaces | None
    identities: identities.Fleet | None
    provider: str
    webhook_url: str | None = field(default=None, repr=False)
    webhook: Callable[[], Awaitable[str | None]] | None = field(default=None, repr=False)
