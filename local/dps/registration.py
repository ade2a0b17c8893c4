"""The course of a registration: from an attested device to its record and its place on a hub."""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from local.dps import allocation, errors, ids, wire
from local.dps.attested import Attested
from local.dps.behaviour import Behaviour
from local.dps.enrollments import Enrollment
from local.dps.placing import Home, HubThrottled, Place, Placing, Steps
from local.dps.records import Registration
from local.dps.store import Store
from local.dps.webhook import Refusal, Webhook, request_body, unusable
from local.hub import IotHub
from local.world import World

_WITHOUT_A_HUB = ("failed", "disabled")
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Operation:
    """One registration that a device may poll for."""

    id: str
    registration_id: str
    is_group: bool
    result: Registration | None = field(default=None)
    """None while it runs."""


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
    def home(self) -> Home | None:
        known = self.previous
        if known is None or known.assigned_hub is None or known.device_id is None:
            return None
        return Home(known.assigned_hub, known.device_id)

    @property
    def stays(self) -> Home | None:
        """The hub a "never reprovision" policy keeps the device on, if there is one."""
        return self.home if self.enrollment.reprovisioning == "never" else None


class Registrar:
    """Runs registrations: at once, or in the background while a webhook thinks or a hub has no room."""

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
            self._in_background(course, lambda: self._custom(course, payload))
            return operation
        steps = self._by_own_policy(course, policy)
        try:
            wait = next(steps)
        except StopIteration as end:
            self._finish(course, end.value)
        else:
            self._in_background(course, lambda: self._carry_out(steps, wait))
        return operation

    def _in_background(self, course: _Course, work: Callable[[], Awaitable[Registration]]) -> None:
        self._store.registrations.put(course.attested.key, self._record(course, "assigning"))
        task = asyncio.get_running_loop().create_task(self._to_its_end(course, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _to_its_end(self, course: _Course, work: Callable[[], Awaitable[Registration]]) -> None:
        try:
            record = await work()
        except Exception as error:  # noqa: BLE001 - a mistake in here must not let a device poll for ever
            _log.exception(
                "the registration of %r failed inside the emulator", course.attested.registration_id
            )
            record = self._failed(course, errors.INTERNAL, f"The emulator failed: {type(error).__name__}")
        self._finish(course, record)

    async def _carry_out(self, steps: Steps[Registration], wait: float = 0.0) -> Registration:
        """Take steps to their end, waiting where a hub has no room; `wait`: seconds they ask for already."""
        while True:
            if wait > 0:
                await self._world.clock.sleep(wait)
            try:
                wait = next(steps)
            except StopIteration as end:
                record: Registration = end.value
                return record

    def _by_own_policy(self, course: _Course, policy: str) -> Steps[Registration]:
        if course.stays is not None:
            return (yield from self._placed(course, self._placing(course).stay(course.stays), None))
        candidates = allocation.candidates(course.enrollment.hubs, self._linked())
        chosen = allocation.choose(policy, course.attested.key, candidates)
        if chosen is None:
            return self._no_hub(course)
        return (yield from self._placed(course, self._placing(course).on(chosen, None), None))

    async def _custom(self, course: _Course, payload: Any) -> Registration:
        """Called on every registration, also under "never reprovision", for the payload (documented)."""
        stays, enrollment = course.stays, course.enrollment
        if stays is not None:
            allowed = [stays.hub]
        else:
            candidates = allocation.candidates(enrollment.hubs, self._linked())
            allowed = [
                hub.host_name
                for hub in candidates
                if hub.apply_allocation_policy or self._behaviour.retired_hubs_in_linked_hubs
            ]
        device = course.attested
        proof = None if device.certificate is None else device.certificate.der
        body = request_body(
            enrollment, device.registration_id, course.previous, payload, allowed, certificate=proof
        )
        outcome = await self._webhook().ask(enrollment.webhook_url, body, allowed)
        if isinstance(outcome, Refusal):
            return self._failed(course, outcome.code, outcome.message)
        placing = self._placing(course)
        if stays is not None:
            return await self._carry_out(self._placed(course, placing.stay(stays), outcome.payload))
        chosen = self._hub(outcome.host)
        if chosen is None:
            return self._failed(course, *_gone())
        steps = placing.on(chosen, outcome.initial_twin)
        return await self._carry_out(self._placed(course, steps, outcome.payload))

    def _placing(self, course: _Course) -> Placing:
        return Placing(course.attested, course.home, self._hub, self._world, self._behaviour)

    def _placed(self, course: _Course, steps: Steps[Place], payload: Any) -> Steps[Registration]:
        try:
            place = yield from steps
        except HubThrottled as error:
            return self._failed(course, errors.HUB_THROTTLED, str(error))
        return replace(
            self._record(course, "assigned"),
            substatus=place.substatus,
            assigned_hub=place.hub,
            device_id=place.device_id,
            payload=payload,
        )

    def _hub(self, key: str) -> IotHub | None:
        return next((hub for hub in self._linked() if ids.key(hub.host_name) == key), None)

    def _no_hub(self, course: _Course) -> Registration:
        return self._failed(course, errors.NO_LINKED_HUB, "No linked IoT hub can be assigned to the device.")

    def _failed(self, course: _Course, code: int, message: str) -> Registration:
        return replace(self._record(course, "failed"), error_code=code, error_message=message)

    def _record(self, course: _Course, status: str) -> Registration:
        """A record that names the earlier hub, if there is one to remember."""
        now, previous, known = self._world.clock.now(), course.previous, course.home
        if known is not None and status in _WITHOUT_A_HUB and not self._behaviour.failure_keeps_hub:
            known = None
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
