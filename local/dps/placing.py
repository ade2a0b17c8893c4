"""What DPS does on the hubs for one registration, paid for from each hub's budget of identity operations.

DPS makes devices through the hub's identity registry and shares its throttle with everybody else
(documented). How many operations a registration costs it is unknown. Here making a device, rewriting its
credentials, taking it off a hub and reading it there are one each; twins come along for nothing.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeVar

from local import hub as hubs
from local.dps import ids
from local.dps.attested import Attested
from local.dps.behaviour import Behaviour
from local.hub import Entry, InitialTwin, IotHub, Thumbprints
from local.iothub.device import SAS, SELF_SIGNED
from local.world import World

T = TypeVar("T")
Steps = Generator[float, None, T]
"""Work that stops where a hub throttles it: it yields the seconds until the hub has room, and goes on."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a device is by its previous record."""

    hub: str
    device_id: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a registration has put the device."""

    substatus: str
    hub: str
    device_id: str


class HubThrottled(Exception):
    """A hub has no room for an identity operation, and this DPS does not wait for it."""

    def __init__(self, host_name: str) -> None:
        super().__init__(f"The IoT hub {host_name} throttles identity operations.")


@dataclass(frozen=True, slots=True)
class Placing:
    """Puts one attested device on a hub. What is changed of enrollment and hubs meanwhile does not count."""

    device: Attested
    home: Home | None
    hub: Callable[[str], IotHub | None]
    """A linked hub by `ids.key` of its name."""
    world: World
    behaviour: Behaviour

    def on(self, target: IotHub, twin: InitialTwin | None) -> Steps[Place]:
        """Put it on that hub, from wherever it is.

        Args:
            target: the chosen hub.
            twin: the webhook's; it counts on a first assignment or a reset only (documented).

        Raises:
            HubThrottled: while it is under way; what is done by then stays done.
        """
        if self.home is None:
            return (yield from self._first(target, twin))
        if ids.key(self.home.hub) == ids.key(target.host_name):
            return (yield from self.stay(self.home))
        return (yield from self._move(self.home, target, twin))

    def stay(self, home: Home) -> Steps[Place]:
        """Keep the hub. A hub that is no longer linked cannot be written to and is left alone.

        The device keeps its id there, even if the enrollment names another by now (unknown).

        Raises:
            HubThrottled: see `on`.
        """
        target = self.hub(ids.key(home.hub))
        if target is not None:
            made = yield from self._create(target, home.device_id, self.device.enrollment.initial_twin)
            if (
                not made
                and self._rewritten(target, home.device_id) is not None
                and self.behaviour.hub_key_follows_registration
            ):
                yield from self._give_credentials(target, home.device_id)
        return Place("reprovisionedToInitialAssignment", home.hub, home.device_id)

    def _first(self, target: IotHub, twin: InitialTwin | None) -> Steps[Place]:
        own_id = self.device.enrollment.members.get("deviceId")
        device_id = str(own_id) if own_id else self.device.registration_id
        starting = twin or self.device.enrollment.initial_twin
        made = yield from self._create(target, device_id, starting)
        if not made:
            yield from self._give_credentials(target, device_id)
            if device_id in target.devices and self.behaviour.existing_twin == "reset":
                target.reset(device_id, starting)
        return Place("initialAssignment", target.host_name, device_id)

    def _move(self, home: Home, target: IotHub, twin: InitialTwin | None) -> Steps[Place]:
        """Change the hub; the device leaves the old one.

        Where the old hub is no longer linked, or has lost the device, there is nothing to migrate: the
        device then starts from the enrollment's own twin, which reads as `deviceDataReset` (inferred).
        """
        device_id, source = home.device_id, self.hub(ids.key(home.hub))
        migrates = self.device.enrollment.reprovisioning == "migrate"
        if migrates and source is not None:
            migrated = yield from self._migrate(device_id, source, target)
            if migrated:
                return Place("deviceDataMigrated", target.host_name, device_id)
        if source is not None:
            yield from self._spend(source)
            source.remove(device_id, self.world.clock.now(), moved=True)
        if device_id in target.devices:
            yield from self._spend(target)
            target.remove(device_id, self.world.clock.now())
        starting = self.device.enrollment.initial_twin if migrates or twin is None else twin
        yield from self._create(target, device_id, starting)
        return Place("deviceDataReset", target.host_name, device_id)

    def _migrate(self, device_id: str, source: IotHub, target: IotHub) -> Steps[bool]:
        """Whether there was a device to migrate. It is never on neither hub, whatever throttles it."""
        yield from self._spend(source)  # to read it
        if device_id not in source.devices:
            return False
        yield from self._spend(target)
        if device_id in target.devices:
            yield from self._spend(target)
        yield from self._spend(source)
        return hubs.migrate(
            device_id,
            source,
            target,
            keys=self._keys(),
            thumbprints=self._thumbprints(),
            authentication_type=self._authentication_type,
            now=self.world.clock.now(),
        )

    def _create(self, target: IotHub, device_id: str, twin: InitialTwin) -> Steps[bool]:
        """Whether it was made just now."""
        yield from self._spend(target)
        _, made = target.create_or_get(
            device_id,
            keys=self._keys(),
            thumbprints=self._thumbprints(),
            iot_edge=self.device.enrollment.iot_edge,
            twin=twin,
            now=self.world.clock.now(),
        )
        return made

    def _give_credentials(self, target: IotHub, device_id: str) -> Steps[None]:
        """Give an existing hub identity the keys or the thumbprints this registration was proved by."""
        if self._rewritten(target, device_id) is None:
            return
        yield from self._spend(target)
        entry = self._rewritten(target, device_id)  # again: the wait may have been long
        if entry is not None:
            target.rewrite(entry, self.world.clock.now())

    def _rewritten(self, target: IotHub, device_id: str) -> Entry | None:
        """What is to be written of an existing hub identity; None: nothing."""
        device = target.devices.get(device_id)
        if device is None:
            return None
        entry = replace(
            device.identity.entry,
            keys=self._keys(),
            thumbprints=self._thumbprints(),
            authentication_type=self._authentication_type,
        )
        return None if entry == device.identity.entry else entry

    @property
    def _authentication_type(self) -> str:
        """A device with a certificate is `selfSigned` on its hub, also one of a group (seen)."""
        return SAS if self.device.certificate is None else SELF_SIGNED

    def _keys(self) -> hubs.DeviceKeys:
        """A hub identity has the device's own keys (seen for groups: the derived one is its primary)."""
        return hubs.DeviceKeys(self.device.keys.primary, self.device.keys.secondary)

    def _thumbprints(self) -> Thumbprints:
        certificate = self.device.certificate
        return Thumbprints() if certificate is None else certificate.thumbprints

    def _spend(self, target: IotHub) -> Steps[None]:
        while (wait := target.registry_budget.take()) > 0:
            if self.behaviour.hub_throttle == "fail":
                raise HubThrottled(target.host_name)
            yield wait
