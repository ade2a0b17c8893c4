"""One key vault: its secrets, whom it tells, and the application that serves it."""

import logging
from collections.abc import Callable
from datetime import datetime

from local.asgi import Message, Receive, Send
from local.issuer import TokenJudge
from local.vault import shapes
from local.vault.app import VaultApp
from local.vault.behaviour import VaultBehaviour
from local.vault.events import NEW_VERSION, VaultEvent
from local.vault.expiry import ExpiryWatch
from local.vault.store import Given, Secret, Secrets, Version
from local.world import World

Subscriber = Callable[[VaultEvent], None]
_log = logging.getLogger(__name__)


class KeyVault:
    """An emulated Key Vault.

    It is itself the ASGI application of the secrets API. It works under any ASGI server and transport and
    needs no lifespan events; the owner calls `aclose` at the end. Everything runs on one event loop.
    Identifiers of secrets have the host a real vault has, wherever this one is served.
    """

    def __init__(
        self,
        judge: TokenJudge,
        world: World,
        *,
        name: str = "kv-local",
        authority: str = "https://login.microsoftonline.com/00000000-0000-4000-8000-0000000000ff",
        group: str = "/subscriptions/00000000-0000-4000-8000-00000000005b/resourceGroups/rg-local",
        location: str = "westeurope",
        behaviour: VaultBehaviour | None = None,
    ) -> None:
        """Make an empty vault.

        Args:
            judge: who decides on tokens.
            world: clock, randomness and journal.
            name: the first part of its host name, and what the journal calls it.
            authority: where the challenge sends clients for a token; the last part is the tenant's id.
            group: the ARM resource id of its resource group.
            location: its region.
            behaviour: the choices on what the facts leave open.
        """
        self.name = name
        self.resource_id = f"{group}/providers/Microsoft.KeyVault/vaults/{name}"
        """Its ARM resource id."""
        self.behaviour = behaviour or VaultBehaviour()
        self._world = world
        self.secrets = Secrets(name, world, self.behaviour)
        self._shown = shapes.Shown(f"https://{name}.vault.azure.net", self.secrets, self.behaviour)
        self._subscribers: list[tuple[int, Subscriber]] = []
        self.watch = ExpiryWatch(self.secrets, world, self.behaviour, self._tell)
        self._app = VaultApp(
            name=name,
            secrets=self.secrets,
            shown=self._shown,
            changed=self.watch.consider,
            created=self._made,
            judge=judge,
            authority=authority,
            resource=self.resource_id,
            location=location,
            world=world,
            behaviour=self.behaviour,
        )

    def __repr__(self) -> str:
        return f"KeyVault({self.name!r})"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        self.watch.run()
        await self._app(scope, receive, send)

    def subscribe(self, subscriber: Subscriber, *, since: datetime | None = None) -> None:
        """Tell a subscriber of events from now on, at once and in order.

        Only versions made after a subscription raise events for it, those of expiry included (documented).

        Args:
            subscriber: called with each event; what it raises is logged and costs nobody an event.
            since: when it subscribed; None: now.
        """
        began = since or self._world.clock.now()
        self._subscribers.append((int(began.timestamp()), subscriber))

    def put(
        self,
        name: str,
        value: str,
        *,
        enabled: bool = True,
        not_before: int | None = None,
        expires: int | None = None,
        tags: dict[str, str] | None = None,
        content_type: str | None = None,
    ) -> str:
        """Make a new version without HTTP; its id.

        Raises:
            VaultError: 409: a deleted secret has the name.
        """
        given = Given(enabled, not_before, expires, tags, content_type)
        secret, version = self.secrets.add(shapes.checked_name(name), value, given)
        self._made(secret, version)
        return version.id

    def peek(self, name: str) -> tuple[Version, ...]:
        """All versions of a secret in whatever state it is, oldest first; for tests."""
        secret = self.secrets.find(name)
        return tuple(secret.versions.values()) if secret is not None else ()

    async def aclose(self) -> None:
        """Stop watching the clock."""
        await self.watch.aclose()

    def _made(self, secret: Secret, version: Version) -> None:
        self._tell(NEW_VERSION, secret, version)
        self.watch.consider(secret)

    def _tell(self, kind: str, secret: Secret, version: Version) -> None:
        event = VaultEvent(
            kind=kind,
            vault=self.name,
            name=secret.name,
            version=version.id,
            id=self._shown.id_of(secret, version),
            not_before=version.not_before,
            expires=version.expires,
            at=self._world.clock.now(),
        )
        for since, subscriber in self._subscribers:
            if version.created < since:
                continue
            try:
                subscriber(event)
            except Exception:  # noqa: BLE001 - one who fails must not cost the others their event
                _log.exception("a subscriber failed on %s of %s", kind, secret.name)
