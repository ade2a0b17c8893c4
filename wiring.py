"""What the app and the commands make of the settings alike: identity, connections, tables and clients.

Everything is made when it is first asked for, and heavy libraries are imported then: the webhook needs few
of these, and a device may be waiting for its first answer.
"""

import random
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from clients.connections import Connections
from clients.ports import Clock, RateShare, Table
from clients.tables import TableAccount
from provisioning.hubs import HubKey
from settings import Settings

if TYPE_CHECKING:
    from clients.arm import ArmClient
    from clients.auth import AzureCredential
    from clients.dps import DpsClient
    from clients.function_keys import FunctionKeysClient
    from clients.hubs import HubClient, HubShares
    from clients.service import Auth
    from clients.vault import VaultClient


class Wiring:
    """Clients of everything the settings name. Each caller says which share of a rate its calls take."""

    def __init__(self, settings: Settings, clock: Clock, *, here: Path = Path()) -> None:
        """Make nothing yet.

        Args:
            settings: which services, and how to enter them.
            clock: of every client.
            here: what CA_FILE is relative to.
        """
        self.settings = settings
        self.clock = clock
        self.connections = Connections(ca_file=here / settings.ca_file if settings.ca_file else None)

    async def close(self) -> None:
        """Close what was opened."""
        if "identity" in self.__dict__:
            await self.identity.close()
        if "_account" in self.__dict__:
            await self._account.close()
        await self.connections.close()

    @cached_property
    def identity(self) -> "AzureCredential":
        """The managed identity of the app, or whoever is logged in."""
        from clients.auth import credential  # noqa: PLC0415 - as the module says

        return credential(self.connections, self.settings.identity_client_id or None)

    def token(self, scope: str) -> "Auth":
        """Entra tokens of the identity."""
        from clients.auth import TokenAuth  # noqa: PLC0415 - as the module says

        return TokenAuth(self.identity, scope, self.clock)

    def table(self, name: str) -> Table:
        """A table of the state's account.

        Raises:
            ValueError: STATE_TABLES is not set.
        """
        return self._account.table(name)

    @cached_property
    def _account(self) -> TableAccount:
        where = self.settings.state_tables
        if where.startswith("https://"):
            return TableAccount.at(where, self.identity, http=self.connections.open)
        return TableAccount.from_connection_string(where, http=self.connections.open)

    def dps(self, share: RateShare, *, host: str = "", auth: "Auth | None" = None) -> "DpsClient":
        """The DPS.

        Args:
            share: of its service operations.
            host: another one than DPS_HOST.
            auth: None: the identity's tokens.
        """
        from clients.auth import DPS_SCOPE  # noqa: PLC0415 - as the module says
        from clients.dps import DpsClient  # noqa: PLC0415 - as the module says

        return DpsClient(
            host or self.settings.dps_host,
            auth=auth or self.token(DPS_SCOPE),
            connections=self.connections,
            share=share,
            clock=self.clock,
            jitter=random.random,
        )

    def hub(self, hub: HubKey, shares: "HubShares") -> "HubClient":
        """A hub, at the address that HUBS has for it, else at its own name."""
        from clients.auth import HUB_SCOPE  # noqa: PLC0415 - as the module says
        from clients.hubs import HubClient  # noqa: PLC0415 - as the module says

        return HubClient(
            hub,
            auth=self.token(HUB_SCOPE),
            connections=self.connections,
            shares=shares,
            clock=self.clock,
            jitter=random.random,
            url=self.settings.hubs.get(hub) or None,
        )

    def arm(self, share: RateShare) -> "ArmClient | None":
        """The management plane's page of the DPS; None without DPS_RESOURCE_ID."""
        from clients.arm import ARM_SCOPE, ArmClient  # noqa: PLC0415 - as the module says

        if not self.settings.dps_resource_id:
            return None
        return ArmClient(
            self.settings.dps_resource_id,
            auth=self.token(ARM_SCOPE),
            connections=self.connections,
            share=share,
            clock=self.clock,
            jitter=random.random,
            url=self.settings.arm_url,
        )

    def function_keys(self, share: RateShare, site: str, function: str) -> "FunctionKeysClient":
        """The access keys of a function of an app; entered by whoever runs the command.

        Raises:
            NotSendable: the id is not that of an app.
        """
        from clients.arm import ARM_SCOPE  # noqa: PLC0415 - as the module says
        from clients.function_keys import FunctionKeysClient  # noqa: PLC0415 - as the module says

        return FunctionKeysClient(
            site,
            function,
            auth=self.token(ARM_SCOPE),
            connections=self.connections,
            share=share,
            clock=self.clock,
            jitter=random.random,
            url=self.settings.arm_url,
        )

    def vault(self, share: RateShare) -> "VaultClient | None":
        """The key vault; None without VAULT_URL."""
        from clients.vault import VAULT_SCOPE, VaultClient  # noqa: PLC0415 - as the module says

        if not self.settings.vault_url:
            return None
        return VaultClient(
            self.settings.vault_url,
            auth=self.token(VAULT_SCOPE),
            connections=self.connections,
            share=share,
            clock=self.clock,
            jitter=random.random,
        )
