"""The course of a registration: from an attested device to its record and its place on a hub."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from local import hub as hubs
from local.dps import allocation, errors, ids, wire
from local.dps.behaviour import Behaviour
from local.dps.enrollments import Enrollment
from local.dps.keys import SymmetricKeys
from local.dps.records import Registration
from local.dps.store import Store
from local.dps.webhook import Answer, Refusal, Webhook, request_body, unusable
from local.hub import InitialTwin, IotHub, Thumbprints
from local.iothub.device import SAS, SELF_SIGNED
from local.world import World

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeviceCertificate:
    """The certificate by which a device proved itself."""

    der: str
    """Base64 of it."""
    thumbprints: Thumbprints
    """What its hub identity accepts."""
    shown: Mapping[str, Any] = field(default_factory=dict)
    """What the device's result tells of it."""


@dataclass(frozen=True, slots=True)
class Attested:
    """A device that has proved which enrollment it belongs to."""

    registration_id: str
    """As the device wrote it."""
    enrollment: Enrollment
    keys: SymmetricKeys = field(default_factory=SymmetricKeys)
    """The device's own keys: the individual enrollment's, or those derived from the group's."""
    certificate: DeviceCertificate | None = None
    """None: it proved itself by a key."""

    @property
    def key(self) -> str:
        """What its record is stored under."""
        return ids.key(self.registration_id)


@dataclass(slots=True)
class Operation:
    """One registration that a device may poll for."""

    id: str
    registration_id: str
    is_group: bool
    result: Registration | None = field(default=None)
    """None while it runs."""


@dataclass(frozen=True, slots=True)
class _Home:
    """Where a device is by its previous record."""

    hub: str
    device_id: str


@dataclass(frozen=True, slots=True)
class _Course:
    """What one registration started from; changes made while it runs do not touch it."""

    attested: Attested
    previous: Registration | None
    operation: Operation

    @property
    def enrollment(self) -> Enrollment:
        return self.attested.enrollment

    @property
    def home(self) -> _Home | None:
        known = self.previous
        if known is None or known.assigned_hub is None or known.device_id is None:
            return None
        return _Home(known.assigned_hub, known.device_id)

    @property
    def stays(self) -> _Home | None:
        """The hub a "never reprovision" policy keeps the device on, if there is one."""
        return self.home if self.enrollment.reprovisioning == "never" else None


class Registrar:
    """Runs registrations; a custom allocation in the background, everything else at once."""

    def __init__(
        self,
        *,
        store: Store,
        world: World,
        behaviour: Behaviour,
        linked: Callable[[], Sequence[IotHub]],
        webhook: Callable[[], Webhook],
        default_policy: str,
    ) -> None:
        self._store = store
        self._world = world
        self._behaviour = behaviour
        self._linked = linked
        self._webhook = webhook
        self._default_policy = default_policy
        self._operations: dict[str, Operation] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        """How many registrations are under way."""
        return len(self._tasks)

    async def aclose(self) -> None:
        """End the running registrations; their records stay at `assigning`."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def operation(self, registration_id: str, operation_id: str) -> Operation | None:
        """A device's latest operation, if it has that id.

        How long DPS keeps an operation is unknown: here until the next one, or until its record is deleted.
        """
        found = self._operations.get(ids.key(registration_id))
        return found if found is not None and found.id == operation_id else None

    def forget(self, key: str) -> None:
        """A record was deleted: its finished operation goes with it."""
        operation = self._operations.get(key)
        if operation is not None and operation.result is not None:
            del self._operations[key]

    def register(self, attested: Attested, payload: Any) -> Operation:
        """Start a registration.

        While one of the same device runs, another joins it: it gets the running operation's id, and
        its own payload is not looked at. What DPS does then is unknown; this way there is one outcome.
        """
        key = attested.key
        running = self._operations.get(key)
        if running is not None and running.result is None:
            return running
        operation = Operation(
            self._operation_id(key), attested.registration_id, attested.enrollment.kind.is_group
        )
        self._operations[key] = operation
        course = _Course(attested, self._store.registrations.get(key), operation)
        if attested.enrollment.disabled:
            self._finish(course, self._record(course, "disabled"))
            return operation
        policy = attested.enrollment.allocation_policy or self._default_policy
        if policy == "custom":
            self._store.registrations.put(key, self._record(course, "assigning"))
            task = asyncio.get_running_loop().create_task(self._custom(course, payload))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._finish(course, self._by_own_policy(course, policy))
        return operation

    def _by_own_policy(self, course: _Course, policy: str) -> Registration:
        if course.stays is not None:
            return self._stay(course, course.stays, None)
        candidates = allocation.candidates(course.enrollment.hubs, self._linked())
        chosen = allocation.choose(policy, course.attested.key, candidates)
        if chosen is None:
            return self._no_hub(course)
        return self._place(course, chosen, None, None)

    async def _custom(self, course: _Course, payload: Any) -> None:
        try:
            record = await self._ask_webhook(course, payload)
        except Exception as error:  # noqa: BLE001 - a mistake in here must not let a device poll for ever
            _log.exception(
                "the registration of %r failed inside the emulator", course.attested.registration_id
            )
            record = self._failed(course, errors.INTERNAL, f"The emulator failed: {type(error).__name__}")
        self._finish(course, record)

    async def _ask_webhook(self, course: _Course, payload: Any) -> Registration:
        """Called on every registration, also under "never reprovision", for the payload (documented)."""
        stays, enrollment = course.stays, course.enrollment
        if stays is not None:
            allowed = [stays.hub]
        else:
            candidates = allocation.candidates(enrollment.hubs, self._linked())
            every = self._behaviour.retired_hubs_in_linked_hubs
            allowed = [hub.host_name for hub in candidates if every or hub.apply_allocation_policy]
        device = course.attested
        proof = None if device.certificate is None else device.certificate.der
        body = request_body(
            enrollment, device.registration_id, course.previous, payload, allowed, certificate=proof
        )
        outcome = await self._webhook().ask(enrollment.webhook_url, body, allowed)
        if isinstance(outcome, Refusal):
            return self._failed(course, outcome.code, outcome.message)
        if stays is not None:
            return self._stay(course, stays, outcome.payload)
        chosen = self._hub(outcome.host)
        if chosen is None:
            return self._failed(course, *_gone())
        return self._place(course, chosen, outcome, outcome.payload)

    def _place(self, course: _Course, target: IotHub, answer: Answer | None, payload: Any) -> Registration:
        home = course.home
        if home is None:
            return self._first(course, target, answer, payload)
        if ids.key(home.hub) == ids.key(target.host_name):
            return self._stay(course, home, payload)
        return self._move(course, home, target, answer, payload)

    def _first(self, course: _Course, target: IotHub, answer: Answer | None, payload: Any) -> Registration:
        enrollment = course.enrollment
        own_id = enrollment.members.get("deviceId")
        device_id = str(own_id) if own_id else course.attested.registration_id
        twin = self._starting_twin(course, answer)
        if not self._create(course, target, device_id, twin):
            self._give_credentials(course, target, device_id)
            if self._behaviour.existing_twin == "reset":
                target.reset(device_id, twin)
        return self._assigned(course, "initialAssignment", target.host_name, device_id, payload)

    def _stay(self, course: _Course, home: _Home, payload: Any) -> Registration:
        """Keep the hub. A hub that is no longer linked cannot be written to and is left alone.

        The device keeps its id there, even if the enrollment names another by now (unknown).
        """
        target = self._hub(ids.key(home.hub))
        if target is not None:
            made = self._create(course, target, home.device_id, course.enrollment.initial_twin)
            if not made and self._behaviour.hub_key_follows_registration:
                self._give_credentials(course, target, home.device_id)
        return self._assigned(course, "reprovisionedToInitialAssignment", home.hub, home.device_id, payload)

    def _move(
        self, course: _Course, home: _Home, target: IotHub, answer: Answer | None, payload: Any
    ) -> Registration:
        """Change the hub; the device leaves the old one.

        Where the old hub is no longer linked, or has lost the device, there is nothing to migrate: the
        device then starts from the enrollment's own twin, which reads as `deviceDataReset` (inferred).
        """
        device_id, source = home.device_id, self._hub(ids.key(home.hub))
        migrates = course.enrollment.reprovisioning == "migrate"
        if migrates and source is not None:
            now, keys = self._world.clock.now(), self._hub_keys(course)
            if hubs.migrate(device_id, source, target, keys=keys, now=now):
                self._give_credentials(course, target, device_id)
                return self._assigned(course, "deviceDataMigrated", target.host_name, device_id, payload)
        if source is not None:
            source.remove(device_id)
        target.remove(device_id)
        self._create(course, target, device_id, self._starting_twin(course, None if migrates else answer))
        return self._assigned(course, "deviceDataReset", target.host_name, device_id, payload)

    def _starting_twin(self, course: _Course, answer: Answer | None) -> InitialTwin:
        """The webhook's twin, else the enrollment's: only on a first assignment or a reset (documented)."""
        if answer is not None and answer.initial_twin is not None:
            return answer.initial_twin
        return course.enrollment.initial_twin

    def _create(self, course: _Course, target: IotHub, device_id: str, twin: InitialTwin) -> bool:
        _, made = target.create_or_get(
            device_id,
            keys=self._hub_keys(course),
            thumbprints=self._thumbprints(course),
            iot_edge=course.enrollment.iot_edge,
            twin=twin,
            now=self._world.clock.now(),
        )
        return made

    def _hub_keys(self, course: _Course) -> hubs.DeviceKeys:
        """A hub identity has the device's own keys (seen for groups: the derived one is its primary)."""
        return hubs.DeviceKeys(course.attested.keys.primary, course.attested.keys.secondary)

    def _thumbprints(self, course: _Course) -> Thumbprints:
        """A device with a certificate is `selfSigned` on its hub, also one of a group (seen)."""
        certificate = course.attested.certificate
        return Thumbprints() if certificate is None else certificate.thumbprints

    def _give_credentials(self, course: _Course, target: IotHub, device_id: str) -> None:
        """Give an existing hub identity the keys or the thumbprints this registration was proved by."""
        device = target.devices.get(device_id)
        if device is None:
            return
        entry = replace(
            device.identity.entry,
            keys=self._hub_keys(course),
            thumbprints=self._thumbprints(course),
            authentication_type=SAS if course.attested.certificate is None else SELF_SIGNED,
        )
        if entry != device.identity.entry:
            target.rewrite(entry, self._world.clock.now())

    def _hub(self, key: str) -> IotHub | None:
        return next((hub for hub in self._linked() if ids.key(hub.host_name) == key), None)

    def _no_hub(self, course: _Course) -> Registration:
        return self._failed(course, errors.NO_LINKED_HUB, "No linked IoT hub can be assigned to the device.")

    def _failed(self, course: _Course, code: int, message: str) -> Registration:
        return replace(self._record(course, "failed"), error_code=code, error_message=message)

    def _assigned(
        self, course: _Course, substatus: str, host: str, device_id: str, payload: Any
    ) -> Registration:
        return replace(
            self._record(course, "assigned"),
            substatus=substatus,
            assigned_hub=host,
            device_id=device_id,
            payload=payload,
        )

    def _record(self, course: _Course, status: str) -> Registration:
        """A record that names the earlier hub, if there is one to remember."""
        now, previous, home = self._world.clock.now(), course.previous, course.home
        known = home if status == "assigning" or self._behaviour.failure_keeps_hub else None
        enrollment = course.enrollment
        return Registration(
            registration_id=previous.registration_id if previous else course.attested.registration_id,
            group=enrollment.id if enrollment.kind.is_group else None,
            created=previous.created if previous else now,
            updated=now,
            etag=wire.registration_etag(self._world.random, now),
            status=status,
            assigned_hub=known.hub if known else None,
            device_id=known.device_id if known else None,
        )

    def _finish(self, course: _Course, record: Registration) -> None:
        course.operation.result = record
        self._store.registrations.put(course.attested.key, record)

    def _operation_id(self, key: str) -> str:
        """The shape of a real one: `5.<16 hex digits>.<uuid>`."""
        unique = uuid.UUID(int=self._world.random.getrandbits(128), version=4)
        return f"5.{blake2b(key.encode(), digest_size=8).hexdigest()}.{unique}"


def _gone() -> tuple[int, str]:
    refusal = unusable("its hub was unlinked meanwhile")
    return refusal.code, refusal.message
