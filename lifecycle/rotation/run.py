"""The run of a rotation: look, decide, take one step, look again. A job of the loop.

All that changes a service happens in the one worker of the kind; commands only write consents.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from clients.errors import Conflict, NotFound, PreconditionFailed
from clients.ports import Telemetry
from clients.vault_shapes import Secret
from lifecycle.errors import NotAdopted, RotationMoved, RotationRefused
from lifecycle.jobs import Blocked, Done, Failed, JobKind, More, Slice, SliceResult
from lifecycle.rotation import identities
from lifecycle.rotation.act import Actor, RowMoved
from lifecycle.rotation.decide import next_step
from lifecycle.rotation.observe import Seen, observe
from lifecycle.rotation.ports import Ports
from lifecycle.rotation.row import (
    SLOTS,
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
from lifecycle.rotation.step import Record, Rest, Step, Wait
from lifecycle.rotation.store import RotationStore
from provisioning.keys import SymmetricKey

KIND = "rotation"
KEY_BYTES = 64
"""Length of a new key: what the service makes itself, and the most it takes (documented)."""

MOST_STEPS = 60
"""Steps of one slice: a rotation has some fifteen, so that more are a circle."""

LONGEST_PAUSE = timedelta(hours=1)
"""A longer wait ends the job; the daily timer makes another."""


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
        self._actor = Actor(store, ports, telemetry, make_key)
        self._unique = unique
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
                except RowMoved:
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
        await self._actor.write(self._claimed(started))
        self._actor.tell("rotation_begun", started)
        return None

    async def _go_on(self) -> SliceResult | None:
        """Take the group's row over; a blocked one is tried again if that was asked for."""
        row = await self._store.get(self._group)
        again = self._slice.params.get("retry") or self._slice.params.get("insist")
        if self._slice.checkpoint is None and again:
            await self._actor.write(self._claimed(retried(row)))
            await self._slice.save("retried")
        elif self._claimed(row) != row:
            await self._actor.write(self._claimed(row))
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
            raise RowMoved
        if row.rotation == params["rotation"]:
            if self._slice.checkpoint is None:
                # Whoever began it died before this was saved; without it the job would, if this process died
                # at its end, begin the same breach anew.
                await self._slice.save("begun")
            return await self._go_on()
        if self._slice.checkpoint is not None:
            return self._done(row, "ended")
        try:
            started = breached(row, params["rotation"], by=self._slice.job.by, now=now)
        except RotationRefused as error:
            return Failed(str(error))
        await self._actor.write(self._claimed(started))
        await self._slice.save("begun")
        self._actor.tell("rotation_begun", started)
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
            seen = await self._observe(row)
            step = next_step(row, seen.reality, self._store.clock.now())
            ended = await self._take(row, seen, step)
            if ended is not None:
                return ended
        return Blocked(f"{MOST_STEPS} steps without an end: something changes the group all the time")

    async def _observe(self, row: RotationRow) -> Seen:
        ports = self._ports
        seen = await observe(row, ports.groups, ports.vault, webhook_url=ports.webhook_url)
        if seen.reality.writable or ports.webhook is None:
            return seen
        # Each time, and after the group: a roll of the webhook's key that has written the group since then
        # moved its ETag, so that the key of before cannot be written over the new one.
        own = await ports.webhook()
        return seen if own is None else seen.with_webhook(own)

    async def _take(self, row: RotationRow, seen: Seen, step: Step) -> SliceResult | None:
        """Take one step. None: look again."""
        if not isinstance(step, Rest | Wait):
            note = step.note if isinstance(step, Record) else step.needs
            self._actor.tell("rotation_step", row, step=type(step).__name__, note=note)
        match step:
            case Rest(because, asks):
                if asks or row.stage in (Stage.BLOCKED, Stage.FAILED):
                    self._actor.tell("rotation_waits", row, asks=str(asks), because=because)
                return self._done(row, because)
            case Wait(until, because):
                left = until - self._store.clock.now()
                if left <= LONGEST_PAUSE:
                    return More(max(1.0, left.total_seconds()))
                return self._done(row, f"until {until:%Y-%m-%d %H:%M} UTC: {because}")
        # What somebody else did first, or took away, shows at the next look.
        with suppress(RowMoved, PreconditionFailed, NotFound):
            await self._do(row, seen, step)
        return None

    async def _do(self, row: RotationRow, seen: Seen, step: Step) -> None:
        if isinstance(step, Record):
            await self._record(row, step.row)
            return
        try:
            await self._actor.act(row, seen, step)
        except Conflict as error:
            # Of the vault: a deleted secret has the name, and nobody but a person may purge or recover it.
            problem = f"{error}; recover or purge the deleted secret of that name"
            await self._record(
                row,
                replace(row, stage=Stage.BLOCKED, blocked=Why.UNWRITABLE, resumes=row.stage, problem=problem),
            )

    async def _record(self, row: RotationRow, changed: RotationRow) -> None:
        await self._actor.write(changed)
        if changed.stage is not row.stage:
            name = {Stage.BLOCKED: "rotation_blocked", Stage.FAILED: "rotation_blocked"}
            self._actor.tell(
                name.get(changed.stage, "rotation_moved_on"),
                changed,
                before=str(row.stage),
                problem=changed.problem,
            )

    def _done(self, row: RotationRow, outcome: str) -> Done:
        result: dict[str, Any] = {"group": row.group, "stage": row.stage.value, "outcome": outcome}
        if row.rotation:
            result["rotation"] = row.rotation
        return Done(result)
