"""The system topics: what a hub or the vault tells of itself becomes an event of the grid.

A topic begins with its first subscription: before, nobody would get its events, and a vault tells of
expiry only for versions made after somebody subscribed (documented).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from local.eventgrid import CLOUD_EVENTS, EventGrid, Schema, Subscription
from local.hub import HubEvent, IotHub
from local.iothub.events import DEVICE_DELETED
from local.vault import EXPIRED, NEAR_EXPIRY, KeyVault, VaultEvent
from local.world import World

VAULT = "vault"
"""The source that is the key vault."""
HUBS = "hubs"
"""The source that is every hub."""


@dataclass(frozen=True, slots=True)
class EventFunction:
    """A function of the app that gets events, if the app has it."""

    function: str
    source: str
    """`vault`, `hubs` or the host name of one hub."""
    types: frozenset[str] | None = None
    """Event types; None: all of the source."""
    schema: Schema = CLOUD_EVENTS


EVENT_FUNCTIONS = (
    EventFunction("secret_near_expiry", VAULT, frozenset({NEAR_EXPIRY, EXPIRED})),
    EventFunction("device_deleted", HUBS, frozenset({DEVICE_DELETED})),
)
"""What the app's functions get; one that the app does not have is passed over."""


class UnknownSource(Exception):
    """There is no such source of events; the text says what there is."""


class SystemTopics:
    """The topics of some hubs and a vault, and the subscriptions to them."""

    def __init__(
        self,
        grid: EventGrid,
        world: World,
        *,
        hubs: Iterable[IotHub],
        vault: KeyVault,
        group: str,
        vault_since: datetime | None = None,
    ) -> None:
        """Make them; nothing is told yet.

        Args:
            grid: delivers the events.
            world: its clock says when a vault is subscribed to.
            hubs: by host name.
            vault: the key vault.
            group: the ARM resource id of the resource group the hubs are in.
            vault_since: when the vault was first subscribed to, in an earlier life of this world.
        """
        self.grid = grid
        self.vault_since = vault_since
        """When the vault was first subscribed to; None: never."""
        self._world = world
        self._hubs = {hub.host_name.lower(): hub for hub in hubs}
        self._vault = vault
        self._group = group
        self._told: set[str] = set()

    @property
    def sources(self) -> tuple[str, ...]:
        """What can be subscribed to."""
        return (VAULT, HUBS, *(hub.host_name for hub in self._hubs.values()))

    def hub_topic(self, hub: IotHub) -> str:
        """A hub's ARM resource id, upper-cased as IoT Hub writes it (documented samples)."""
        return f"{self._group}/providers/Microsoft.Devices/IotHubs/{_short(hub.host_name)}".upper()

    async def subscribe(
        self,
        name: str,
        source: str,
        endpoint: str,
        *,
        schema: Schema = CLOUD_EVENTS,
        types: Collection[str] | None = None,
    ) -> tuple[str, ...]:
        """Subscribe a webhook to a source; a subscription of the same name is replaced.

        Args:
            name: of the subscription. One to every hub becomes one for each, `NAME-HUB`.
            source: one of `sources`.
            endpoint: the whole URL, with its key.
            schema: of the deliveries.
            types: event types; None: all.

        Returns:
            The names of the subscriptions that now get events.

        Raises:
            UnknownSource: there is no such source.
            HandshakeError: the endpoint did not prove that it wants them.
        """
        wanted = None if types is None else frozenset(types)
        made = []
        for each, topic in self._named(name, source):
            subscription = Subscription(each, topic, endpoint, schema, wanted)
            if await self.grid.subscribe(subscription):
                made.append(each)
        self._begin(source)
        return tuple(made)

    def _named(self, name: str, source: str) -> list[tuple[str, str]]:
        if source == VAULT:
            return [(name, self._vault.resource_id)]
        if source == HUBS:
            return [(f"{name}-{_short(hub.host_name)}", self.hub_topic(hub)) for hub in self._hubs.values()]
        hub = self._hubs.get(source.lower())
        if hub is None:
            raise UnknownSource(f"there is no source {source[:80]!r}; there are {', '.join(self.sources)}")
        return [(name, self.hub_topic(hub))]

    def _begin(self, source: str) -> None:
        """Have a source tell its events from now on, if it does not yet."""
        if source == VAULT and VAULT not in self._told:
            self._told.add(VAULT)
            self.vault_since = self.vault_since or self._world.clock.now()
            self._vault.subscribe(self._publish_secret, since=self.vault_since)
        for key, hub in self._hubs.items():
            if source.lower() in (HUBS, key) and key not in self._told:
                self._told.add(key)
                hub.subscribe(self._publish_device)

    def _publish_secret(self, event: VaultEvent) -> None:
        self.grid.publish(self._vault.resource_id, event.name, event.kind, event.data, event.at)

    def _publish_device(self, event: HubEvent) -> None:
        topic = self.hub_topic(self._hubs[event.host_name.lower()])
        self.grid.publish(topic, event.subject, event.type, event.data, event.time)


def _short(host_name: str) -> str:
    return host_name.partition(".")[0]
