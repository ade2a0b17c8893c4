"""One served hub: its records, its policies and the application that shows them."""

from collections.abc import Iterable, Sequence

from local.hub import IotHub
from local.iothub import auth
from local.iothub.app import HubApp
from local.iothub.auth import Access, HubPolicy
from local.iothub.behaviour import HubBehaviour
from local.iothub.throttles import Throttles, Tier
from local.issuer import TokenJudge
from local.world import World


class HubService:
    """The service API of one hub.

    `asgi` is the application; each hub is served on a port of its own. It needs no lifespan events and
    nothing to close. From now on the hub's clock is the world's and its `registry_budget` the one counted
    here, so that a DPS that makes devices on the same record shares it.
    """

    def __init__(
        self,
        hub: IotHub,
        *,
        world: World | None = None,
        policies: Sequence[HubPolicy] | None = None,
        behaviour: HubBehaviour | None = None,
        tier: Tier = "S1",
        units: int = 1,
        throttled: bool = True,
        tokens: TokenJudge | None = None,
        host_names: Iterable[str] = (),
    ) -> None:
        """Serve a hub.

        Args:
            hub: its records, perhaps shared with a DPS; one record is served once.
            world: clock, randomness and journal; None: a new one in real time.
            policies: shared access policies; None makes the five that every hub has, with new keys.
            behaviour: the choices on what the facts leave open.
            tier: of the hub, for its throttles.
            units: of the hub, for its throttles.
            throttled: False: no limits.
            tokens: judges bearer tokens; None: none is accepted.
            host_names: more hosts that shared access signatures may be for, beside its own and loopback.

        Raises:
            ValueError: there are no units.
        """
        self.hub = hub
        self.world = world or World()
        self.behaviour = behaviour or HubBehaviour()
        self.policies = tuple(policies) if policies is not None else auth.built_in(self.world.random)
        self.throttles = Throttles(self.world.clock, tier, units, on=throttled)
        hub.clock = self.world.clock
        hub.registry_budget = self.throttles.identity
        hub.move_sends_deleted = lambda: self.behaviour.move_sends_deleted
        hosts = (hub.host_name, "localhost", "127.0.0.1", "::1", *host_names)
        self.asgi = HubApp(
            hub,
            access=Access(self.policies, hosts, tokens),
            limits=self.throttles,
            world=self.world,
            behaviour=self.behaviour,
        )

    def connection_string(self, host: str, policy: str = auth.OWNER) -> str:
        """What service clients take.

        Args:
            host: where the application is served, with a port unless it is 443.
            policy: whose primary key it carries.

        Raises:
            KeyError: there is no such policy.
        """
        key = {each.name: each.primary_key for each in self.policies}[policy]
        return f"HostName={host};SharedAccessKeyName={policy};SharedAccessKey={key}"
