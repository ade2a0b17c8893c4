"""What a device command reaches beside the DPS: its hubs, and the ledger of decisions."""

import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

from allocation import Entry, Ledger
from cli.connect import STATE_BYTES, Session
from clients.arm import ARM_SCOPE, ArmClient, Unknown
from clients.auth import HUB_SCOPE, ConnectionString, TokenAuth
from clients.errors import NotSendable
from clients.hubs import HubClient, HubShares
from clients.pacing import UnpacedShare
from clients.tables import TableAccount
from provisioning.hubs import HubKey, hub_key


class Hubs:
    """The hubs of a session's DPS; a client is made when it is first needed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._clients: dict[HubKey, HubClient] = {}
        self._local = {} if session.state is None else _local_hubs(session.state)

    def client(self, hub: HubKey) -> HubClient:
        """A hub, entered by the Entra identity; one of a stack on this machine by its own policy."""
        if hub not in self._clients:
            self._clients[hub] = self._made(hub)
        return self._clients[hub]

    async def linked(self) -> tuple[HubKey, ...] | Unknown:
        """The hubs that are linked to the DPS, as settings or the management plane have them."""
        settings, session = self._session.settings, self._session
        if settings.hubs:
            return tuple(hub_key(hub) for hub in settings.hubs)
        if self._local:
            return tuple(self._local)
        if not settings.dps_resource_id:
            return Unknown("neither HUBS nor DPS_RESOURCE_ID is set")
        arm = ArmClient(
            settings.dps_resource_id,
            auth=TokenAuth(session.identity, ARM_SCOPE, session.clock),
            connections=session.connections,
            share=UnpacedShare(),
            clock=session.clock,
            jitter=random.random,
            url=settings.arm_url,
        )
        page = await arm.page()
        found = page if isinstance(page, Unknown) else page.linked_hubs
        return found if isinstance(found, Unknown) else tuple(each.key for each in found)

    def _made(self, hub: HubKey) -> HubClient:
        session, share = self._session, UnpacedShare()
        local = self._local.get(hub)
        return HubClient(
            hub,
            auth=(
                local.auth(session.clock)
                if local is not None
                else TokenAuth(session.identity, HUB_SCOPE, session.clock)
            ),
            connections=session.connections,
            shares=HubShares(identities=share, queries=share, twins=share),
            clock=session.clock,
            jitter=random.random,
            url=None if local is None else f"https://{local.host}",
        )


async def decisions(session: Session, registration_id: str) -> AsyncIterator[Entry]:
    """What was answered to a device, latest first; nothing where no STATE_TABLES are set.

    Raises:
        TableUnavailable: the ledger cannot be read.
    """
    where = session.settings.state_tables
    if not where:
        return
    http = session.connections.open
    account = (
        TableAccount.at(where, session.identity, http=http)
        if where.startswith("https://")
        else TableAccount.from_connection_string(where, http=http)
    )
    ledger = Ledger(account.table("ledger"), lambda: token_hex(4))
    async for each in ledger.history(session.settings.dps_name, registration_id):
        yield each


def _local_hubs(state: Path) -> Mapping[HubKey, ConnectionString]:
    """The hubs of a stack on this machine; the file has been read once already, and is one."""
    with state.open("rb") as file:
        document: Any = json.loads(file.read(STATE_BYTES))
    named = document.get("hub_connection_strings") if isinstance(document, dict) else None
    found: dict[HubKey, ConnectionString] = {}
    for name, text in (named if isinstance(named, dict) else {}).items():
        try:
            found[hub_key(name)] = ConnectionString.parse(text)
        except NotSendable:
            continue  # another version's; the hub is then reached as in Azure
    return found


def hubs_or_note(session: Session, found: Sequence[HubKey] | Unknown) -> tuple[HubKey, ...]:
    """The hubs; where they are not known a note says what was not looked at."""
    if isinstance(found, Unknown):
        session.terminal.note(
            f"which hubs are linked is not known ({found.reason}): only the hub of the registration record and "
            "those that the enrollment names are looked at; set DPS_RESOURCE_ID or HUBS"
        )
        return ()
    return tuple(found)
