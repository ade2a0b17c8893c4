"""One provisioning service: its hubs, policies, records and the application that serves it."""

import base64
import ssl
from collections.abc import Iterable, Iterator, Sequence

import httpx

from local.dps import ids
from local.dps.app import DpsApp
from local.dps.authorities import Authorities, CaCertificate
from local.dps.behaviour import Behaviour
from local.dps.certificate_auth import CertificateAuth
from local.dps.device_api import DeviceApi
from local.dps.device_auth import LatestKeys
from local.dps.enrollments import Enrollment
from local.dps.limits import UNTHROTTLED, Limits, Throttle
from local.dps.policies import OWNER, AccessPolicy
from local.dps.records import Registration
from local.dps.registration import Registrar
from local.dps.service_api import ServiceApi
from local.dps.store import Store
from local.dps.webhook import Webhook
from local.hub import IotHub
from local.issuer import TokenJudge
from local.world import World

HUB_LIMIT = 50
"""Most linked hubs (documented)."""


class ProvisioningService:
    """An emulated DPS.

    `asgi` is the application of both APIs. It works under any ASGI server and transport and needs no
    lifespan events; the owner calls `aclose` at the end. Everything runs on one event loop.
    """

    def __init__(
        self,
        name: str = "dps-local",
        id_scope: str = "0ne00000000",
        *,
        hubs: Iterable[IotHub] = (),
        ca_certificates: Iterable[CaCertificate] = (),
        policies: Sequence[AccessPolicy] | None = None,
        tokens: TokenJudge | None = None,
        world: World | None = None,
        behaviour: Behaviour | None = None,
        limits: Limits | None = None,
        default_policy: str = "hashed",
        host_names: Iterable[str] = (),
        webhook_client: httpx.AsyncClient | None = None,
        webhook_trust: ssl.SSLContext | None = None,
    ) -> None:
        """Make a service.

        Args:
            name: the first part of its host name.
            id_scope: the first path segment of the device API.
            hubs: linked from the start.
            ca_certificates: known from the start.
            policies: shared access policies; None makes the one every service has, with new keys.
            tokens: judges bearer tokens of the service API; None: it takes none.
            world: clock, randomness and journal; None: a new one in real time.
            behaviour: the choices on what the facts leave open.
            limits: quotas and rates; None: the documented quotas and no rates, `Limits()`: both.
            default_policy: the allocation policy of enrollments that name none; not `custom` (documented).
            host_names: more hosts that tokens of the service API may be for, beside its own and loopback.
            webhook_client: calls the webhooks; stays the caller's to close. None: one of its own.
            webhook_trust: what that own client trusts; None: the machine's authorities.

        Raises:
            ValueError: the default policy is not one of DPS's own, there are too many hubs or CA
                certificates, or one of these cannot be read.
        """
        if default_policy not in ("hashed", "geoLatency", "static"):
            raise ValueError(f"{default_policy!r} cannot be the default allocation policy")
        self.name = name
        self.id_scope = id_scope
        self.world = world or World()
        self.behaviour = behaviour or Behaviour()
        self.limits = limits or UNTHROTTLED
        self.host_name = f"{name}.azure-devices-provisioning.net"
        self.policies = tuple(policies) if policies is not None else (self._owner_policy(),)
        self._store = Store()
        self.authorities = Authorities(ca_certificates)
        """The CA certificates; may be changed at any time."""
        self._hubs: dict[str, IotHub] = {}
        for hub in hubs:
            self.link(hub)
        self._given_client = webhook_client
        self._own_client: httpx.AsyncClient | None = None
        self._webhook_trust = webhook_trust
        self._registrar = Registrar(
            store=self._store,
            world=self.world,
            behaviour=self.behaviour,
            linked=lambda: tuple(self._hubs.values()),
            webhook=self._webhook,
            default_policy=default_policy,
        )
        self.asgi = DpsApp(
            name=name,
            id_scope=id_scope,
            hosts=(self.host_name, "localhost", "127.0.0.1", "::1", *host_names),
            access=self.policies,
            tokens=tokens,
            service=ServiceApi(
                store=self._store,
                world=self.world,
                behaviour=self.behaviour,
                limits=self.limits,
                linked=self._hubs.keys,
                forget=self._registrar.forget,
            ),
            device=DeviceApi(
                id_scope=id_scope,
                host_name=self.host_name,
                store=self._store,
                certificates=CertificateAuth(self._store, self.authorities, self.behaviour),
                latest_keys=LatestKeys(self.world.clock, self.behaviour),
                registrar=self._registrar,
                world=self.world,
                registrations=self._throttle(self.limits.registrations_per_minute, 60),
                polls=self._throttle(self.limits.polls_per_device, 10),
                quota=self.limits.registrations,
            ),
            operations=self._throttle(self.limits.operations_per_minute, 60),
            world=self.world,
            behaviour=self.behaviour,
        )

    def link(self, hub: IotHub) -> None:
        """Link a hub; one of the same host name is replaced.

        Raises:
            ValueError: there are 50 linked hubs already.
        """
        key = ids.key(hub.host_name)
        if key not in self._hubs and len(self._hubs) >= HUB_LIMIT:
            raise ValueError(f"{HUB_LIMIT} hubs are linked already")
        self._hubs[key] = hub

    def unlink(self, host_name: str) -> IotHub | None:
        """Unlink a hub; enrollments that name it keep doing so (documented)."""
        return self._hubs.pop(ids.key(host_name), None)

    @property
    def hubs(self) -> tuple[IotHub, ...]:
        """The linked hubs, in the order of linking."""
        return tuple(self._hubs.values())

    def hub(self, host_name: str) -> IotHub | None:
        """A linked hub."""
        return self._hubs.get(ids.key(host_name))

    def enrollment(self, registration_id: str) -> Enrollment | None:
        """An individual enrollment, with its keys."""
        return self._store.individuals.get(ids.key(registration_id))

    def group(self, group_id: str) -> Enrollment | None:
        """An enrollment group, with its keys."""
        return self._store.groups.get(ids.key(group_id))

    def registration(self, registration_id: str) -> Registration | None:
        """A registration record."""
        return self._store.registrations.get(ids.key(registration_id))

    def registrations(self) -> Iterator[Registration]:
        """All registration records, oldest first; not to be held while devices register."""
        return iter(self._store.registrations)

    @property
    def store(self) -> Store:
        """All records, for those who fill them in without HTTP."""
        return self._store

    @property
    def running(self) -> int:
        """How many registrations wait for a webhook or a hub."""
        return self._registrar.running

    def connection_string(self, host: str, policy: str = OWNER) -> str:
        """What service clients take.

        Args:
            host: where the application is served, with a port unless it is 443.
            policy: whose primary key it carries.

        Raises:
            KeyError: there is no such policy.
        """
        key = {each.name: each.primary_key for each in self.policies}[policy]
        return f"HostName={host};SharedAccessKeyName={policy};SharedAccessKey={key}"

    async def aclose(self) -> None:
        """End the running registrations and close the service's own HTTP client."""
        await self._registrar.aclose()
        if self._own_client is not None:
            await self._own_client.aclose()

    def _throttle(self, limit: int | None, seconds: float) -> Throttle:
        after = lambda: self.behaviour.retry_after_on_429  # noqa: E731  read when a call is refused
        return Throttle(limit, seconds, self.world.clock, retry_after=after)

    def _webhook(self) -> Webhook:
        client = self._given_client or self._own_client
        if client is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
            trust: ssl.SSLContext | bool = self._webhook_trust or True
            client = self._own_client = httpx.AsyncClient(verify=trust, limits=limits, trust_env=False)
        return Webhook(client, self.world, self.behaviour)

    def _owner_policy(self) -> AccessPolicy:
        primary, secondary = (base64.b64encode(self.world.random.randbytes(32)).decode() for _ in range(2))
        return AccessPolicy(OWNER, primary, secondary)
