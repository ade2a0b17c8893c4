"""The run of a rotation: look, decide, take one step, look again. A job of the loop.

All that changes a service happens here, in the one worker of the kind; commands only write consents.
"""

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from clients.errors import Conflict, NotFound, PreconditionFailed
from clients.ports import Telemetry
from clients.vault_shapes import Secret
from lifecycle.errors import NotAdopted, RotationMoved, RotationRefused
from lifecycle.jobs import Blocked, Done, Failed, JobKind, More, Slice, SliceResult
from lifecycle.rotation import identities
from lifecycle.rotation.canary import CanaryPlaces
from lifecycle.rotation.observe import (
    CREDENTIAL_TAG,
    PROVIDER_TAG,
    ROTATION_TAG,
    SLOT_TAG,
    VALIDITY_TAG,
    Groups,
    Seen,
    Vault,
    keys_of,
    observe,
)
from lifecycle.rotation.row import (
    CANARY_PAUSE,
    CANARY_TRIES,
    SLOTS,
    CanaryState,
    RotationRow,
    RotationTerms,
    Slot,
    SlotName,
    Stage,
    Use,
    Why,
    begun,
    breached,
    check_secret,
    retried,
)
from lifecycle.rotation.step import (
    CleanCanary,
    Keep,
    Place,
    Publish,
    Record,
    Rest,
    SetEnabled,
    Step,
    Tidy,
    TryCanary,
    Wait,
    WriteAhead,
    next_step,
)
from lifecycle.rotation.store import RotationStore
from provisioning.enrollments import DISABLED, ENABLED, EnrollmentGroup
from provisioning.keys import SymmetricKey

KIND = "rotation"
KEY_BYTES = 64
"""Length of a new key: what the service makes itself, and the most it takes (documented)."""

MOST_STEPS = 60
"""Steps of one slice: a rotation has some fifteen, so that more are a circle."""

LONGEST_PAUSE = timedelta(hours=1)
"""A longer wait ends the job; the daily timer makes another."""

TAG_CHARACTERS = 256
CONTENT_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Ports:
    """What a slice works on; its clients call under the slice's shares.

    Attributes:
        groups: of the DPS.
        vault: of the configured URL.
        places: of canaries; None: no canary can be sent.
        identities: of a group's devices at the hubs.
        provider: what readers of the live secret find the group at: the DPS's resource id, or its host.
        webhook_url: this app's webhook with its key, where it is known.
    """

    groups: Groups
    vault: Vault
    places: CanaryPlaces | None
    identities: "identities.Fleet | None"
    provider: str
    webhook_url: str | None = field(default=None, repr=False)


def new_key() -> SymmetricKey:
    """A key of 64 random bytes."""
    return SymmetricKey(secrets.token_bytes(KEY_BYTES))


def _unique() -> str:
    return uuid4().hex


def rotation_kind(
    store: RotationStore,
    ports: Callable[[Slice], Ports],
    telemetry: Telemetry,
    *,
    unique: Callable[[], str] = _unique,
    make_key: Callable[[], SymmetricKey] = new_key,
) -> JobKind:
    """The kind of job that rotates.

    Args:
        store: the groups' rows.
        ports: makes a slice's clients.
        telemetry: what is told of each step; never a key.
        unique: texts that nobody else makes: they name rotations.
        make_key: a new group key.
    """

    async def run(slice_: Slice) -> SliceResult:
        return await _Run(store, ports(slice_), telemetry, unique, make_key, slice_).work()

    return JobKind(KIND, run)


class _Moved(Exception):
    """The row is not as it was read: look again."""


class _Run:
    """One slice."""

    def __init__(
        self,
        store: RotationStore,
        ports: Ports,
        telemetry: Telemetry,
        unique: Callable[[], str],
        make_key: Callable[[], SymmetricKey],
        slice_: Slice,
    ) -> None:
        self._store = store
        self._ports = ports
        self._telemetry = telemetry
        self._unique = unique
        self._make_key = make_key
        self._slice = slice_
        self._group = str(slice_.params["group"])

    async def work(self) -> SliceResult:
        """The slice, whatever it was told to do."""
        do = self._slice.params["do"]
        if do == "disable-identities":
            if self._ports.identities is None:
                return Failed("the hubs are not known here: set HUBS or DPS_RESOURCE_ID")
            return await identities.disable(self._slice, self._ports.identities, self._group)
        begin = {"start": self._start, "advance": self._go_on, "breach": self._breach}.get(do)
        if begin is None:
            return Failed(f"there is no {do!a} of a rotation; another version's job?")
        try:
            for _ in range(MOST_STEPS):
                try:
                    ended = await begin()
                except _Moved:
                    continue
                return ended or await self._advance()
        except NotAdopted as error:
            return Failed(str(error))
        return More(1.0)

    # How it begins: each may be done again after a crash, and is then done already.

    async def _start(self) -> SliceResult | None:
        """Begin a rotation, if the version that it is to replace is still the live one."""
        row = await self._store.get(self._group)
        if row.stage is not Stage.IDLE:
            return await self._go_on()
        params = self._slice.params
        live = await self._ports.vault.get(row.secret)
        version = live.about.version if isinstance(live, Secret) else ""
        if version != params["version"]:
            return self._done(row, "not begun: that is not the live secret's current version (any more)")
        if version and version == row.declined and not params.get("insist"):
            return self._done(row, "not begun: the replacement of this version was aborted")
        try:
            started = begun(
                row, self._unique(), replaces=version, by=self._slice.job.by, now=self._store.clock.now()
            )
        except RotationRefused as error:
            return Failed(str(error))
        await self._write(self._claimed(started))
        self._tell("rotation_begun", started)
        return None

    async def _go_on(self) -> SliceResult | None:
        """Take the group's row over; a blocked one is tried again if that was asked for."""
        row = await self._store.get(self._group)
        again = self._slice.params.get("retry") or self._slice.params.get("insist")
        if self._slice.checkpoint is None and again:
            await self._write(self._claimed(retried(row)))
            await self._slice.save("retried")
        elif self._claimed(row) != row:
            await self._write(self._claimed(row))
        return None

    async def _breach(self) -> SliceResult | None:
        """Begin a breach's rotation, once; a group that was not adopted is adopted with it."""
        params, now = self._slice.params, self._store.clock.now()
        row = await self._store.find(self._group)
        if row is None:
            terms = RotationTerms(timedelta(seconds=params["overlap"]), timedelta(seconds=params["validity"]))
            slots: dict[SlotName, Slot] = {name: Slot(Use.UNKNOWN) for name in SLOTS}
            made = RotationRow(
                self._group, check_secret(params["secret"]), terms, slots, by=self._slice.job.by, updated=now
            )
            await self._store.insert(made)
            raise _Moved
        if row.rotation == params["rotation"]:
            return await self._go_on()
        if self._slice.checkpoint is not None:
            return self._done(row, "ended")
        try:
            started = breached(row, params["rotation"], by=self._slice.job.by, now=now)
        except RotationRefused as error:
            return Failed(str(error))
        await self._write(self._claimed(started))
        await self._slice.save("begun")
        self._tell("rotation_begun", started)
        return None

    def _claimed(self, row: RotationRow) -> RotationRow:
        return replace(row, holder=self._slice.job.id, epoch=self._slice.job.epoch)

    # The walk.

    async def _advance(self) -> SliceResult:
        for _ in range(MOST_STEPS):
            if self._slice.time_left() <= 0:
                return More()
            row = await self._store.get(self._group)
            if (row.holder, row.epoch) != (self._slice.job.id, self._slice.job.epoch):
                raise RotationMoved("another worker has taken this rotation over")
            seen = await observe(
                row, self._ports.groups, self._ports.vault, webhook_url=self._ports.webhook_url
            )
            step = next_step(row, seen.reality, self._store.clock.now())
            ended = await self._take(row, seen, step)
            if ended is not None:
                return ended
        return Blocked(f"{MOST_STEPS} steps without an end: something changes the group all the time")

    async def _take(self, row: RotationRow, seen: Seen, step: Step) -> SliceResult | None:
        """Take one step. None: look again."""
        if not isinstance(step, Rest | Wait):
            note = step.note if isinstance(step, Record) else step.needs
            self._tell("rotation_step", row, step=type(step).__name__, note=note)
        match step:
            case Rest(because, asks):
                if asks or row.stage in (Stage.BLOCKED, Stage.FAILED):
                    self._tell("rotation_waits", row, asks=str(asks), because=because)
                return self._done(row, because)
            case Wait(until, because):
                left = until - self._store.clock.now()
                if left <= LONGEST_PAUSE:
                    return More(max(1.0, left.total_seconds()))
                return self._done(row, f"until {until:%Y-%m-%d %H:%M} UTC: {because}")
        # What somebody else did first, or took away, shows at the next look.
        with suppress(_Moved, PreconditionFailed, NotFound):
            await self._do(row, seen, step)
        return None

    async def _do(self, row: RotationRow, seen: Seen, step: Step) -> None:
        if isinstance(step, Record):
            await self._record(row, step.row)
            return
        try:
            await self._act(row, seen, step)
        except Conflict as error:
            # Of the vault: a deleted secret has the name, and nobody but a person may purge or recover it.
            problem = f"{error}; recover or purge the deleted secret of that name"
            await self._record(
                row,
                replace(row, stage=Stage.BLOCKED, blocked=Why.UNWRITABLE, resumes=row.stage, problem=problem),
            )

    async def _record(self, row: RotationRow, changed: RotationRow) -> None:
        await self._write(changed)
        if changed.stage is not row.stage:
            name = {Stage.BLOCKED: "rotation_blocked", Stage.FAILED: "rotation_blocked"}
            self._tell(
                name.get(changed.stage, "rotation_moved_on"),
                changed,
                before=str(row.stage),
                problem=changed.problem,
            )

    async def _act(self, row: RotationRow, seen: Seen, step: Step) -> None:
        """A step that changes a service."""
        match step:
            case WriteAhead(slot):
                made = await self._ports.vault.set(
                    row.pending, self._make_key(), tags=self._tags(row, slot), content_type=CONTENT_TYPE
                )
                await self._write(replace(row, chosen={**row.chosen, slot: made.version}))
            case Keep(slot):
                key = _held(seen, slot)
                await self._ports.vault.set(
                    row.replaced, key, tags=self._tags(row, slot), content_type=CONTENT_TYPE
                )
            case Place(slots):
                new = {slot: SymmetricKey.parse(seen.pending[slot].reveal()) for slot in slots}
                assert seen.group is not None
                await self._ports.groups.replace(seen.group.with_keys(keys_of(seen.group, new)))
            case SetEnabled(enabled):
                assert seen.group is not None
                document = seen.group.document()
                document["provisioningStatus"] = ENABLED if enabled else DISABLED
                changed = EnrollmentGroup.read(document).with_keys(keys_of(seen.group, {}))
                await self._ports.groups.replace(changed)
            case Publish(slot):
                await self._publish(row, seen, slot)
            case Tidy(versions):
                for name, version in versions:
                    await self._ports.vault.disable(name, version)
            case TryCanary(slot):
                await self._try_canary(row, seen, slot)
            case CleanCanary():
                await self._clean_canary(row)

    async def _publish(self, row: RotationRow, seen: Seen, slot: SlotName) -> None:
        terms = row.terms
        await self._ports.vault.set(
            row.secret,
            seen.pending[slot],
            tags={
                CREDENTIAL_TAG: slot,
                PROVIDER_TAG: f"{self._ports.provider}/enrollmentGroups/{row.group}"[-TAG_CHARACTERS:],
                VALIDITY_TAG: f"{terms.validity / timedelta(days=1):g}",
                ROTATION_TAG: row.rotation,
            },
            expires=self._store.clock.now() + terms.validity,
            content_type=CONTENT_TYPE,
        )

    async def _try_canary(self, row: RotationRow, seen: Seen, slot: SlotName) -> None:
        places = self._ports.places
        canary = row.canary
        if places is None:
            await self._canary_is(
                row, CanaryState.REFUSED, "no canary can be sent: the id scope is not known"
            )
            return
        if canary.state is CanaryState.NONE:
            if not await places.unused(row.group, slot):
                name = places.id(row.group, slot)
                await self._canary_is(row, CanaryState.REFUSED, f"somebody else uses its id {name}")
                return
            # Ahead of the call: what a crash leaves behind is known to be ours.
            canary = replace(
                canary,
                state=CanaryState.REGISTERING,
                dirty=True,
                last={**canary.last, slot: self._store.clock.now()},
            )
            row = await self._write(replace(row, canary=canary))
        tried = await places.attempt(row.group, slot, SymmetricKey.parse(seen.pending[slot].reveal()))
        now = self._store.clock.now()
        canary = replace(canary, tries=canary.tries + 1, last={**canary.last, slot: now}, next_try=None)
        row = replace(row, canary=canary)
        if tried.outcome == "passed":
            await self._canary_is(row, CanaryState.PASSED, "")
        elif tried.outcome == "refused" or canary.tries >= CANARY_TRIES:
            await self._canary_is(row, CanaryState.REFUSED, tried.problem)
        else:
            later = replace(canary, next_try=now + CANARY_PAUSE)
            await self._write(replace(row, canary=later, problem=tried.problem))

    async def _canary_is(self, row: RotationRow, state: CanaryState, problem: str) -> None:
        self._tell("rotation_canary", row, state=str(state), problem=problem)
        await self._write(replace(row, canary=replace(row.canary, state=state), problem=problem))

    async def _clean_canary(self, row: RotationRow) -> None:
        if self._ports.places is not None:
            await self._ports.places.clean(row.group)
        await self._write(replace(row, canary=replace(row.canary, dirty=False)))

    async def _write(self, row: RotationRow) -> RotationRow:
        written = await self._store.replace(row)
        if written is None:
            raise _Moved
        return written

    def _tags(self, row: RotationRow, slot: SlotName) -> Mapping[str, str]:
        return {ROTATION_TAG: row.rotation, SLOT_TAG: slot, "EnrollmentGroup": row.group}

    def _done(self, row: RotationRow, outcome: str) -> Done:
        result: dict[str, Any] = {"group": row.group, "stage": row.stage.value, "outcome": outcome}
        if row.rotation:
            result["rotation"] = row.rotation
        return Done(result)

    def _tell(self, event: str, row: RotationRow, **fields: object) -> None:
        self._telemetry.event(
            event,
            dps=self._store.dps,
            group=row.group,
            rotation=row.rotation,
            mode=str(row.mode),
            stage=str(row.stage),
            **fields,
        )


def _held(seen: Seen, slot: SlotName) -> SymmetricKey:
    """The key in a slot."""
    assert seen.group is not None
    assert seen.group.keys is not None
    key = seen.group.keys.primary if slot == "primary" else seen.group.keys.secondary
    assert key is not None
    return key
