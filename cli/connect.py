"""The composition root of the commands: options and settings become clients, which one command works with."""

import json
import os
import stat
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl

from cli.errors import Usage
from cli.output import Output
from cli.terminal import Terminal
from clients.auth import DPS_SCOPE, AzureCredential, ConnectionString, TokenAuth
from clients.clock import SystemClock
from clients.connections import Connections
from clients.dps import DpsClient
from clients.errors import NotSendable
from clients.pacing import UnpacedShare
from clients.ports import RateShare
from clients.service import Auth
from clients.vault import VaultClient
from settings import Settings  # noqa: TID251 - the composition root of the commands
from wiring import Wiring

DOMAIN = ".azure-devices-provisioning.net"
"""What a DPS's name becomes a host name by."""

STATE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Connection:
    """Which DPS, and how to enter it, as the options say.

    Attributes:
        state: the file that `./run local --state FILE` wrote.
        login: a connection string.
        dps_name: its name or host name.
        auth_type: None: by key where a connection string is at hand, else by an Entra token.
    """

    state: Path | None = None
    login: str | None = field(default=None, repr=False)
    dps_name: str | None = None
    auth_type: Literal["key", "login"] | None = None


class Session:
    """What one command works with. Clients are made when first used, and closed at the end.

    Attributes:
        environment: the settings as texts, and whatever else is set.
    """

    def __init__(
        self,
        connection: Connection,
        terminal: Terminal,
        output: Output,
        environment: MutableMapping[str, str],
        *,
        verbose: bool = False,
    ) -> None:
        """Read the settings; nothing is sent.

        Args:
            connection: what the options say of it.
            terminal: for notes and questions.
            output: for results.
            environment: the settings; what a state file says is added to it, so that azure-identity, which
                reads the process's environment, finds its endpoint.
            verbose: tell which DPS is worked on, and how it is entered.

        Raises:
            Usage: the state file cannot be used.
            SettingsError: a setting cannot be.
        """
        if connection.state is not None:
            environment.update(state_settings(connection.state))
        self.terminal = terminal
        self.output = output
        self.clock = SystemClock()
        self.settings = Settings.read(environment)
        self.environment: Mapping[str, str] = environment
        self._connection = connection
        self._verbose = verbose
        self.wiring = Wiring(self.settings, self.clock)
        for secret in (connection.login, self.settings.dps_connection_string, self.settings.webhook_key):
            if secret:
                terminal.hide(secret)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.wiring.close()

    @property
    def now(self) -> datetime:
        """The time, in UTC."""
        return self.clock.now()

    @property
    def connections(self) -> Connections:
        """Shared by all clients of the command."""
        return self.wiring.connections

    @cached_property
    def dps(self) -> DpsClient:
        """The DPS.

        Raises:
            Usage: nothing says which, or how to enter it.
        """
        host, auth = self._way_in()
        if self._verbose:
            self.terminal.note(
                f"working on {host} by {'an Entra login' if isinstance(auth, TokenAuth) else 'key'}"
            )
        return self._dps(host, auth, UnpacedShare())

    def dps_under(self, share: RateShare) -> DpsClient:
        """The DPS, called under a share of its rate.

        Raises:
            Usage: as `dps`.
        """
        return self._dps(*self._way_in(), share)

    def _dps(self, host: str, auth: Auth, share: RateShare) -> DpsClient:
        try:
            return self.wiring.dps(share, host=host, auth=auth)
        except NotSendable as error:
            raise Usage(f"--dps-name: {error}") from None

    @property
    def identity(self) -> AzureCredential:
        """The Entra identity of whoever runs the command."""
        return self.wiring.identity

    @cached_property
    def vault(self) -> VaultClient:
        """The key vault.

        Raises:
            Usage: none is set.
        """
        vault = self.wiring.vault(UnpacedShare())
        if vault is None:
            raise Usage("VAULT_URL is not set; set it to https://NAME.vault.azure.net")
        return vault

    async def webhook_key(self) -> str:
        """The webhook's key: the vault's, where WEBHOOK_KEY_SECRET names it, else WEBHOOK_KEY; "" for none.

        The vault's counts more, for it follows a roll of the key.
        """
        from clients.errors import ClientError  # noqa: PLC0415 - for few commands
        from clients.vault_shapes import Secret  # noqa: PLC0415 - as above

        settings = self.settings
        if not (settings.webhook_key_secret and settings.vault_url):
            return settings.webhook_key
        try:
            found = await self.vault.get(settings.webhook_key_secret)
        except ClientError as error:
            self.terminal.note(f"WEBHOOK_KEY_SECRET was not read, WEBHOOK_KEY is used instead: {error}")
            return settings.webhook_key
        if not isinstance(found, Secret):
            return settings.webhook_key
        key = found.value.reveal().strip()
        self.terminal.hide(key)
        return key

    async def own_webhook(self) -> str | None:
        """This app's webhook with its key, for reads that mask it; None where they are not both known."""
        from lifecycle.enrollments.webhook import with_key  # noqa: PLC0415 - for few commands

        base = self.settings.webhook_url
        key = await self.webhook_key() if base else ""
        return with_key(base, key) if key else None

    def _way_in(self) -> tuple[str, Auth]:
        connection, settings = self._connection, self.settings
        named = _host(connection.dps_name) if connection.dps_name else ""
        text = connection.login or ("" if connection.auth_type == "login" else settings.dps_connection_string)
        if text and connection.auth_type != "login":
            parsed = self._parsed(text)
            if named and _without_port(named) != _without_port(parsed.host):
                if connection.login is None:
                    raise Usage(
                        f"--dps-name: it names {named}, but DPS_CONNECTION_STRING is that of {parsed.host}; "
                        "give --login with a connection string of that DPS, or --auth-type login"
                    )
                self.terminal.note(f"--login has priority over --dps-name: this is {parsed.host}")
            return parsed.host, parsed.auth(self.clock)
        host = named or (self._parsed(text).host if text else settings.dps_host)
        if not host:
            raise Usage(
                "no DPS is named; give --login with a connection string (or set DPS_CONNECTION_STRING), or "
                "--dps-name (or DPS_HOST) to enter it by your Entra login, or --state FILE of `./run local`"
            )
        if connection.auth_type == "key":
            raise Usage(
                "--auth-type key: there is no key; give --login or set DPS_CONNECTION_STRING (keys are never "
                "read from the management plane), or say --auth-type login"
            )
        return host, self.wiring.token(DPS_SCOPE)

    def _parsed(self, text: str) -> ConnectionString:
        try:
            parsed = ConnectionString.parse(text)
        except NotSendable as error:
            where = "--login" if self._connection.login else "DPS_CONNECTION_STRING"
            raise Usage(f"{where}: {error}") from None
        self.terminal.hide(parsed.key.reveal())
        return parsed


def state_settings(path: Path) -> dict[str, str]:
    """The settings that a stack on this machine is reached by, from the file it wrote.

    Raises:
        Usage: the file is not there, others may read it, or it is no such file.
    """
    try:
        with path.open("rb") as file:
            if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise Usage(f"--state: others may read {str(path)!a}, which holds keys; chmod 600 it")
            state = json.loads(file.read(STATE_BYTES))
    except OSError as error:
        raise Usage(
            f"--state: {str(path)!a} cannot be read ({error.strerror}); `./run local --state FILE` writes it"
        ) from None
    except ValueError:
        raise Usage(
            f"--state: {str(path)!a} is no JSON; it is the file of `./run local --state FILE`"
        ) from None
    found = {name: _at(state, *where) for name, where in _STATE.items()}
    hubs = state.get("hub_urls") if isinstance(state, dict) else None
    if isinstance(hubs, dict):
        found["HUBS"] = ",".join(f"{name}={url}" for name, url in hubs.items())
    identity = state.get("identity") if isinstance(state, dict) else None
    if not found["DPS_CONNECTION_STRING"] or not isinstance(identity, dict):
        raise Usage(f"--state: {str(path)!a} names no DPS; it is the file of `./run local --state FILE`")
    found["WEBHOOK_URL"], _, query = found["WEBHOOK_URL"].partition("?")
    found["WEBHOOK_KEY"] = dict(parse_qsl(query)).get("code", "")
    return {name: text for name, text in found.items() if text} | {
        str(name): str(value) for name, value in identity.items()
    }


_STATE: Mapping[str, tuple[str, ...]] = {
    "DPS_HOST": ("dps", "host"),
    "DPS_CONNECTION_STRING": ("dps", "connection_string"),
    "DPS_RESOURCE_ID": ("arm", "dps"),
    "ARM_URL": ("arm", "url"),
    "VAULT_URL": ("vault", "url"),
    "CA_FILE": ("ca",),
    "STATE_TABLES": ("tables",),
    "WEBHOOK_URL": ("functions", "allocate_url"),
    "WEBHOOK_SITE_ID": ("functions", "site"),
    "WEBHOOK_KEY_SECRET": ("functions", "key_secret"),
    "IDENTITY_CLIENT_ID": ("operator", "client_id"),
}


def _at(value: Any, *names: str) -> str:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def _host(name: str) -> str:
    """A DPS's host name, from it or from the name alone."""
    return name if "." in name or ":" in name or name == "localhost" else name + DOMAIN


def _without_port(host: str) -> str:
    return host.partition(":")[0].lower()
