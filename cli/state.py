"""The app's own state as commands reach it: policy versions, hub states and loads, the ledger."""

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Annotated

from cyclopts import Parameter

from allocation import FleetRows, FleetView, Ledger, PolicyStore, read_fleet
from allocation.errors import PolicyError
from allocation.policy import EVERY_HUB_ALIKE, CompiledPolicy, compile_policy, read_document
from allocation.policy.document import PolicyDocument
from allocation.policy.store import PACKAGED, Activation, compiled
from allocation.policy.text import LARGEST
from cli.connect import Session
from cli.errors import CliError, Usage, option
from clients.arm import Unknown
from clients.hubs import HubClient, HubShares
from clients.pacing import UnpacedShare
from clients.ports import Table
from provisioning.hubs import HubKey, hub_key

Route = Annotated[
    str | None,
    Parameter(
        name="--route",
        help="The DPS's name in the webhook's route, /api/allocate/NAME, under which its state is kept; else "
        "DPS_NAME.",
    ),
]
By = Annotated[str | None, Parameter(name="--by", help="Who says so; else the login name.")]

PACKAGED_NAME = "packaged"
"""How the version is shown that is in force while none is activated."""

DOMAIN = ".azure-devices.net"
"""What a hub's name becomes a host name by."""


class Unusable(CliError):
    """A policy or a file of devices that does not hold. Names the path, the value and the fix."""


@dataclass(frozen=True, slots=True)
class Active:
    """The policy in force.

    Attributes:
        policy: compiled.
        moved: the pointer; None where nothing was ever activated.
        document: its document; None for the packaged policy without POLICY_FILE.
    """

    policy: CompiledPolicy
    moved: Activation | None
    document: PolicyDocument | None

    @property
    def version(self) -> str:
        """As shown."""
        return PACKAGED_NAME if self.document is None else self.policy.version


class State:
    """The state tables of a session, for one DPS."""

    def __init__(self, session: Session, route: str | None) -> None:
        """Open nothing yet.

        Raises:
            Usage: STATE_TABLES is not set, or cannot be used.
        """
        if not session.settings.state_tables:
            raise Usage(
                "STATE_TABLES is not set; set it to https://ACCOUNT.table.core.windows.net, or to a "
                "connection string: policies, hub states and the ledger are kept there. Or give --state "
                "FILE of `./run local`"
            )
        for part in session.settings.state_tables.split(";"):
            name, _, value = part.partition("=")
            if name.strip().lower() in ("accountkey", "sharedaccesssignature"):
                session.terminal.hide(value.strip())
        self._session = session
        self.dps = session.settings.dps_name if route is None else route

    @property
    def policies(self) -> PolicyStore:
        """Policy versions."""
        return PolicyStore(self._table("policies"), self.dps, self._session.clock)

    @property
    def fleet(self) -> Table:
        """The fleet table."""
        return self._table("fleet")

    @property
    def ledger(self) -> Ledger:
        """Every answer."""
        return Ledger(self._table("ledger"), lambda: token_hex(4))

    async def rows(self) -> FleetRows:
        """States and loads of the hubs."""
        return await read_fleet(self.fleet, self.dps)

    async def active(self) -> Active:
        """The policy in force.

        Raises:
            PolicyError: it does not load.
            TableUnavailable: no usable answer.
        """
        moved = await self.policies.active()
        if moved is None or moved.version == PACKAGED:
            policy, document = packaged(self._session)
            return Active(policy, moved, document)
        text = await self.policies.text(moved.version)
        return Active(compiled(moved.version, text), moved, read_document(text))

    def _table(self, name: str) -> Table:
        try:
            return self._session.wiring.table(name)
        except ValueError as error:
            raise Usage(f"STATE_TABLES: {error}") from None


def packaged(session: Session) -> tuple[CompiledPolicy, PolicyDocument | None]:
    """The policy in force while none is activated, and its document, as this machine's settings have it."""
    file = session.settings.policy_file
    if file is None:
        return EVERY_HUB_ALIKE, None
    document = policy_file(file, "POLICY_FILE")
    return compile_policy(document), document


def policy_file(path: Path, named: str) -> PolicyDocument:
    """Read and check a policy's file.

    Args:
        path: of the file.
        named: the option or setting that names it.

    Raises:
        Usage: it cannot be read.
        Unusable: it is no policy.
    """
    try:
        return read_document(text_of(path, named))
    except PolicyError as error:
        raise Unusable(f"{str(path)!a}: {error}") from None


def text_of(path: Path, named: str) -> str:
    """The text of a file that an operator wrote, of at most as much as a policy may have.

    Raises:
        Usage: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise Usage(f"{named}: {str(path)!a} has over {LARGEST:,} bytes; is it the right file?")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise Usage(f"{named}: {str(path)!a} cannot be read ({error.strerror}); name a file") from None
    except UnicodeDecodeError:
        raise Usage(f"{named}: {str(path)!a} is no text in UTF-8") from None


def view_of(rows: FleetRows, session: Session) -> FleetView:
    """The fleet as an instance that read it just now has it."""
    return rows.view(session.now)


async def linked_hubs(session: Session) -> Mapping[HubKey, str] | Unknown:
    """The hubs linked to the DPS, as HUBS or the management plane has them."""
    settings = session.settings
    if settings.hubs:
        return {hub: str(hub) for hub in settings.hubs}
    arm = session.wiring.arm(UnpacedShare())
    if arm is None:
        return Unknown("neither HUBS nor DPS_RESOURCE_ID is set")
    page = await arm.page()
    found = page if isinstance(page, Unknown) else page.linked_hubs
    return found if isinstance(found, Unknown) else {hub.key: hub.host_name for hub in found}


def hub_client(session: Session, hub: HubKey) -> HubClient:
    """A hub."""
    share = UnpacedShare()
    return session.wiring.hub(hub, HubShares(identities=share, queries=share, twins=share))


def hub_named(name: str, parameter: str = "hub") -> HubKey:
    """A hub by its host name, or by the first part alone.

    Raises:
        Usage: it is no host name.
    """
    key = hub_key(name)
    if (
        not key
        or not key.isascii()
        or any(sign.isspace() or sign in "/=|,\\" for sign in key)
        or len(key) > 255
    ):
        raise Usage(f"{option(parameter)}: {name[:80]!a} is no host name; write NAME or NAME{DOMAIN}")
    return key if "." in key else HubKey(key + DOMAIN)


def whoever(by: str | None) -> str:
    """Who does something: as said, or the login name."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user, as in a container
        return "unknown"
