"""Fill a service with enrollments and registration records, as years of use leave them, without HTTP."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from local.dps import enrollments, ids, keys, wire
from local.dps.enrollments import GROUP, INDIVIDUAL, Enrollment, Kind
from local.dps.errors import CUSTOM_ALLOCATION_FAILED
from local.dps.keys import SymmetricKeys
from local.dps.records import Registration
from local.dps.service import ProvisioningService
from local.hub import DeviceKeys, InitialTwin, IotHub

AGE = timedelta(days=400)
"""How long ago the first record was made; the last one is from now."""
_SYMMETRIC: Mapping[str, Any] = {"type": "symmetricKey", "symmetricKey": {}}
_TWIN = InitialTwin(tags={"site": "seeded"}, desired={"interval": 60})
_OWN_DEVICE_ID = 10  # each tenth individual enrollment names its hub device otherwise


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How registrations end, and how many in a thousand end so."""

    permille: int
    status: str
    substatus: str | None = None
    on_hub: bool = True
    error_code: int | None = None
    error_message: str | None = None


_REFUSED = "Custom allocation failed with status code: 503"
_OUTCOMES = (
    _Outcome(800, "assigned", "initialAssignment"),
    _Outcome(120, "assigned", "reprovisionedToInitialAssignment"),
    _Outcome(30, "assigned", "deviceDataMigrated"),
    _Outcome(10, "assigned", "deviceDataReset"),
    _Outcome(12, "failed", None, False, CUSTOM_ALLOCATION_FAILED, _REFUSED),
    _Outcome(8, "failed", None, True, CUSTOM_ALLOCATION_FAILED, _REFUSED),  # it had been assigned before
    _Outcome(10, "disabled"),
    _Outcome(10, "unassigned", None, False),
)


@dataclass(frozen=True, slots=True)
class Seeded:
    """What a service was filled with."""

    groups: tuple[str, ...]
    enrollments: int
    """Individual enrollments."""
    registrations: int
    devices: int
    """Devices made on hubs."""
    statuses: Mapping[str, int] = field(default_factory=dict)
    """How many registration records are in each status."""


def seed(
    service: ProvisioningService,
    *,
    registrations: int = 0,
    enrollments: int = 0,
    groups: int = 4,
    devices: bool = True,
    source: int = 0,
) -> Seeded:
    """Fill an empty service; the same arguments at the same time by its clock make the same records.

    Three of four individual enrollments have registered, as far as the records suffice; all other
    records came through the groups, the first groups the most. Nearly all are `assigned`, some `failed`,
    `disabled` or `unassigned`. All attest by symmetric keys; no policy is named, so devices may register
    again.

    Args:
        service: has hubs, and no enrollments or records.
        registrations: how many records.
        enrollments: how many individual enrollments.
        groups: how many enrollment groups, at least one.
        devices: whether the hubs get the devices that the records name. Each takes about 1 KB.
        source: seeds the randomness.

    Raises:
        ValueError: no hubs, not empty, no group, or more of something than the service's limits allow.
    """
    if not service.hubs:
        raise ValueError("the service has no hubs: link one before seeding")
    if any((len(service.store.groups), len(service.store.individuals), len(service.store.registrations))):
        raise ValueError("the service is not empty: seed a new one")
    _check_quota("enrollment groups", groups, service.limits.groups)
    _check_quota("individual enrollments", enrollments, service.limits.individual_enrollments)
    _check_quota("registrations", registrations, service.limits.registrations)
    if groups < 1:
        raise ValueError("groups must be at least 1")
    return _Seeder(service, Random(source), devices=devices).run(registrations, enrollments, groups)


def _check_quota(what: str, asked: int, most: int | None) -> None:
    if most is not None and asked > most:
        raise ValueError(f"{asked} {what} asked for: the service takes {most}")


@dataclass(frozen=True, slots=True)
class _Device:
    """Who registers."""

    registration_id: str
    device_id: str
    enrollment: Enrollment
    is_group: bool


class _Seeder:
    def __init__(self, service: ProvisioningService, random: Random, *, devices: bool) -> None:
        self._store = service.store
        self._hubs = service.hubs
        self._linked = frozenset(ids.key(hub.host_name) for hub in service.hubs)
        self._random = random
        self._make_devices = devices
        self._end = service.world.clock.now()
        self._start = self._end - AGE

    def run(self, registrations: int, individuals: int, groups: int) -> Seeded:
        grouped = [self._group(f"fleet-{number:02d}") for number in range(1, groups + 1)]
        statuses: Counter[str] = Counter()
        made, pace = 0, AGE.total_seconds() / max(registrations, 1)
        devices = self._devices(registrations, individuals, grouped)
        outcomes = self._random.choices(_OUTCOMES, [each.permille for each in _OUTCOMES], k=registrations)
        hubs = self._random.choices(
            self._hubs, [hub.allocation_weight for hub in self._hubs], k=registrations
        )
        for number, (device, outcome, hub) in enumerate(zip(devices, outcomes, hubs, strict=True)):
            created = self._start + timedelta(seconds=(number + self._random.random()) * pace)
            record = self._record(device, outcome, hub.host_name, created)
            self._store.registrations.put(ids.key(device.registration_id), record)
            statuses[outcome.status] += 1
            if self._make_devices and outcome.on_hub:
                made += self._add_device(hub, device, created)
        for number in range(len(self._store.individuals), individuals):
            self._individual(number)
        return Seeded(
            groups=tuple(group.id for group in grouped),
            enrollments=individuals,
            registrations=registrations,
            devices=made,
            statuses=dict(statuses),
        )

    def _devices(self, registrations: int, individuals: int, groups: list[Enrollment]) -> Iterator[_Device]:
        """Who registers, in turn: those with an enrollment of their own spread evenly among the others."""
        own = min(individuals * 3 // 4, registrations)
        shares = [1 / (rank + 1) for rank in range(len(groups))]
        members: Counter[str] = Counter()
        chosen = iter(self._random.choices(groups, shares, k=registrations - own))
        for number in range(registrations):
            before, after = number * own // registrations, (number + 1) * own // registrations
            if before != after:
                enrollment = self._individual(before)
                device_id = enrollment.members.get("deviceId", enrollment.id)
                yield _Device(enrollment.id, device_id, enrollment, is_group=False)
            else:
                group = next(chosen)
                members[group.id] += 1
                name = f"{group.id}-{members[group.id]:07d}"
                yield _Device(name, name, group, is_group=True)

    def _record(self, device: _Device, outcome: _Outcome, host: str, created: datetime) -> Registration:
        again = outcome.substatus != "initialAssignment" or self._random.random() < 0.3
        since = (self._end - created).total_seconds()
        updated = created + timedelta(seconds=since * self._random.random()) if again else created
        return Registration(
            registration_id=device.registration_id,
            group=device.enrollment.id if device.is_group else None,
            created=created,
            updated=updated,
            etag=wire.registration_etag(self._random, updated),
            status=outcome.status,
            substatus=outcome.substatus,
            assigned_hub=host if outcome.on_hub else None,
            device_id=device.device_id if outcome.on_hub else None,
            error_code=outcome.error_code,
            error_message=outcome.error_message,
        )

    def _add_device(self, hub: IotHub, device: _Device, created: datetime) -> bool:
        held = device.enrollment.keys or SymmetricKeys()
        own = held.derived(device.registration_id) if device.is_group else held
        shown = DeviceKeys(own.primary, own.secondary)
        _, made = hub.create_or_get(device.device_id, keys=shown, iot_edge=False, twin=_TWIN, now=created)
        return made

    def _group(self, name: str) -> Enrollment:
        return self._enroll(GROUP, {"enrollmentGroupId": name, "attestation": _SYMMETRIC})

    def _individual(self, number: int) -> Enrollment:
        name = f"unit-{number + 1:07d}"
        body: dict[str, Any] = {"registrationId": name, "attestation": _SYMMETRIC}
        if number % _OWN_DEVICE_ID == 0:
            body["deviceId"] = f"Device.{number + 1}"
        return self._enroll(INDIVIDUAL, body)

    def _enroll(self, kind: Kind, body: Mapping[str, Any]) -> Enrollment:
        draft = enrollments.parse(kind, dict(body), self._linked)
        enrollment = Enrollment(
            kind=kind,
            id=draft.id,
            members=draft.members,
            attestation_type=draft.attestation.type,
            etag=wire.enrollment_etag(self._random, self._start),
            created=self._start,
            updated=self._start,
            keys=keys.generate(self._random),
        )
        self._store.enrollments(kind).put(enrollment)
        return enrollment
