"""The walk of a roll by an operator's command: look, decide, take one step, look again.

Only one command walks at a time: the row names its holder, and until when. Who finds another's name there
waits, and goes on where that one stopped. Before a change of a service the hold is renewed, so that it
outlasts the change; a command that was suspended past its hold finds the row moved at its next look.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Literal
from uuid import uuid4

from clients.errors import ClientError, Conflict, OutcomeUnknown
from clients.vault_shapes import SecretValue
from lifecycle.enrollments.change import change
from lifecycle.errors import EnrollmentError, InvalidOption, LifecycleError, NoSuchEnrollment, RotationMoved
from lifecycle.rotation.observe import ROTATION_TAG
from lifecycle.rotation.webhook_key.decide import next_step
from lifecycle.rotation.webhook_key.observe import NAME_TAG, RollPorts, Seen, observe
from lifecycle.rotation.webhook_key.probe import probe
from lifecycle.rotation.webhook_key.rewrite import KIND
from lifecycle.rotation.webhook_key.row import HOLD, PROMPT, CanaryState, RollRow, Stage, Why, retired
from lifecycle.rotation.webhook_key.step import (
    AskFinal,
    AskJob,
    Close,
    DeleteKey,
    KeepOld,
    Make,
    Probe,
    Publish,
    Record,
    Rest,
    Restore,
    Step,
    SwitchCanary,
    Tidy,
    Watch,
    WriteAhead,
)
from lifecycle.rotation.webhook_key.store import RollStore
from lifecycle.rotation.webhook_key.urls import keyed

KEY_BYTES = 32
"""Random bytes of a key; as many as the Functions host takes for its own (documented)."""

WATCH_SECONDS = 10.0
"""Between two looks at the canary."""

SETTLE_SECONDS = 20.0
"""After a change without an answer: one attempt of a call has ended by then, one way or the other."""

MOST_STEPS = 60
"""A roll has some twenty, so that more are a circle."""

CONTENT_TYPE = "text/plain; charset=utf-8"


def new_key() -> SecretValue:
    """A key of 32 random bytes, in letters that need no escaping in a URL."""
    return SecretValue(secrets.token_urlsafe(KEY_BYTES))


def unique() -> str:
    """A text that nobody else makes."""
    return uuid4().hex


class _Moved(Exception):
    """The row is not as it was read: look again."""


class Roll:
    """One command's walk."""

    def __init__(
        self,
        store: RollStore,
        ports: RollPorts,
        *,
        by: str,
        tell: Callable[[str], None],
        unique: Callable[[], str] = unique,
        make_key: Callable[[], SecretValue] = new_key,
    ) -> None:
        """Prepare; nothing is looked at.

        Args:
            store: the row.
            ports: the services.
            by: who asks, for the job's row.
            tell: is told each step, for people.
            unique: texts that nobody else makes.
            make_key: a new function key.
        """
        self._store = store
        self._ports = ports
        self._by = by
        self._tell = tell
        self._unique = unique
        self._make_key = make_key
        self._holder = unique()
        self._looked: datetime | None = None
        self._told = ""

    async def walk(self, edit: Callable[[RollRow, datetime], RollRow] | None = None) -> tuple[RollRow, Rest]:
        """Go on until nothing is left that a command could do now.

        Args:
            edit: what the command itself has to say, before the first step: it begins a roll, tries a blocked
                one again, or consents. Applied once, to the row as it is when nobody else works on it.

        Returns:
            The row, and why it rests.

        Raises:
            RotationMoved: somebody else took the roll over.
            RotationRefused: what `edit` raises; nothing was changed.
            ClientError, LifecycleError: what a call may raise. Walk again: it goes on.
        """
        try:
            await self._claim(edit)
            for _ in range(MOST_STEPS):
                row, step = await self._one()
                while isinstance(step, Watch):
                    if step.because != self._told:
                        self._told = step.because
                        self._tell(step.because)
                    await self._store.clock.sleep(WATCH_SECONDS)
                    row, step = await self._one()
                if isinstance(step, Rest):
                    return row, step
            raise RotationMoved(f"{MOST_STEPS} steps without an end: something changes what they made")
        finally:
            # A command that died leaves its name: others wait until its hold has lapsed.
            with suppress(ClientError, LifecycleError):
                await self._release()

    async def _one(self) -> tuple[RollRow, Rest | Watch | None]:
        """Look, and take one step; None: it was taken, or found something moved."""
        before, self._looked = self._looked, self._store.clock.now()
        row = await self._held()
        seen = await observe(row, self._ports)
        now = self._store.clock.now()
        step = next_step(row, seen.reality, now)
        if isinstance(step, DeleteKey) and row.final and (before is None or now - before > PROMPT):
            # Since then anybody may have given an enrollment the old key again.
            step = Record(replace(row, final=""), "this command was held up: another pass is needed")
        if isinstance(step, Rest | Watch):
            return row, step
        self._told = ""
        self._tell(step.note)
        try:
            await self._take(row, seen, step)
        except _Moved:
            pass
        except OutcomeUnknown:
            self._tell("no answer to that change: what came of it is looked at in a moment")
            await self._store.clock.sleep(SETTLE_SECONDS)
        return row, None

    # The hold.

    async def _claim(self, edit: Callable[[RollRow, datetime], RollRow] | None) -> None:
        told = False
        while True:
            row, now = await self._store.get(), self._store.clock.now()
            if row.held_by_another(self._holder, now) and row.held_until is not None:
                if not told:
                    self._tell(
                        f"another command works on it, or died: waiting until {row.held_until:%H:%M:%S} UTC"
                    )
                    told = True
                await self._store.clock.sleep(min(10.0, (row.held_until - now).total_seconds() + 0.1))
                continue
            wanted = row if edit is None else edit(row, now)
            if await self._store.replace(replace(wanted, holder=self._holder, held_until=now + HOLD)):
                return

    async def _held(self) -> RollRow:
        """The row, held for long enough to make a change."""
        while True:
            row, now = await self._store.get(), self._store.clock.now()
            if row.holder != self._holder:
                raise RotationMoved(
                    "another command has taken the roll over: see `rotate webhook-key status`"
                )
            if row.held_until is not None and row.held_until - now > HOLD / 2:
                return row
            if (kept := await self._store.replace(replace(row, held_until=now + HOLD))) is not None:
                return kept

    async def _release(self) -> None:
        def edit(row: RollRow) -> RollRow:
            return replace(row, holder="", held_until=None) if row.holder == self._holder else row

        await self._store.change(edit)

    # The steps.

    async def _write(self, row: RollRow) -> RollRow:
        written = await self._store.replace(row)
        if written is None:
            raise _Moved
        return written

    async def _block(self, row: RollRow, why: Why, problem: str) -> None:
        await self._write(
            replace(row, stage=Stage.BLOCKED, blocked=why, resumes=row.standing, problem=problem)
        )

    async def _take(self, row: RollRow, seen: Seen, step: Step) -> None:
        try:
            await self._act(row, seen, step)
        except Conflict as error:
            # Of the vault: a deleted secret has the name, and nobody but a person may purge or recover it.
            await self._block(
                row, Why.CHANGED, f"{error}; recover or purge the deleted secret of that name, then `start`"
            )
        except NoSuchEnrollment:
            pass  # the next look says so
        except (EnrollmentError, InvalidOption) as error:
            await self._block(row, Why.CHANGED, f"{error}; then `start`")

    async def _act(  # noqa: C901, PLR0912 - one line for each kind of step
        self, row: RollRow, seen: Seen, step: Step
    ) -> None:
        """A step that changes something."""
        match step:
            case Record():
                await self._write(step.row)
            case KeepOld():
                await self._set(row.secret, _known(seen.old), {NAME_TAG: row.old_name})
            case WriteAhead():
                await self._set(row.pending, self._make_key(), self._tags(row))
            case Make():
                await self._ports.keys.put(row.new_name, _known(seen.pending))
            case Probe():
                await self._probe(row, _known(seen.pending))
            case SwitchCanary():
                await self._give(row, _known(seen.pending), CanaryState.SWITCHED)
            case Restore():
                await self._give(row, _known(seen.old), CanaryState.RESTORED)
            case Publish():
                await self._set(row.secret, _known(seen.pending), self._tags(row))
            case AskJob():
                await self._ask(row)
            case AskFinal():
                await self._ask_final(row)
            case Close():
                await self._close(row)
            case DeleteKey(which):
                await self._delete(row, which)
            case Tidy(versions):
                for version in versions:
                    await self._ports.vault.disable(row.pending, version)

    async def _set(self, name: str, value: SecretValue, tags: dict[str, str]) -> None:
        await self._ports.vault.set(name, value, tags=tags, content_type=CONTENT_TYPE)

    def _tags(self, row: RollRow) -> dict[str, str]:
        return {ROTATION_TAG: row.roll, NAME_TAG: row.new_name}

    async def _probe(self, row: RollRow, key: SecretValue) -> None:
        async def going_on() -> None:
            await self._held()

        for base in row.bases:
            problem = await probe(
                self._ports.call, self._store.clock, base, key.reveal(), row.terms, going_on=going_on
            )
            if problem:
                await self._block(await self._held(), Why.PROBE, f"{base}: {problem}; then `start`")
                return
        await self._write(replace(await self._held(), probed=self._store.clock.now()))

    async def _give(self, row: RollRow, key: SecretValue, state: CanaryState) -> None:
        enrollments = self._ports.enrollments[row.canary_kind]
        try:
            await change(enrollments, row.canary_id, keyed(row.bases, key.reveal()))
        except NoSuchEnrollment:
            if state is CanaryState.SWITCHED:
                raise
        # Told anew from its own write on: what was seen before was seen of the other key.
        await self._write(replace(row, canary=state, switched=None))

    async def _ask(self, row: RollRow) -> None:
        name = f"{KIND}:{self._unique()}"
        written = await self._write(replace(row, job=name))
        await self._ports.jobs.create(
            name, KIND, by=self._by, subject=row.secret, params={"roll": written.roll}
        )

    async def _ask_final(self, row: RollRow) -> None:
        name = f"{KIND}:{self._unique()}"
        await self._write(replace(row, job=name, final=name, final_by=self._holder))
        await self._each_passes(row, name)

    async def _close(self, row: RollRow) -> None:
        """Repeatable: the row itself is the last to be written."""

        def end(peer: RollRow) -> RollRow:
            return retired(peer) if peer.follows.lower() == self._ports.dps.lower() and peer.roll else peer

        await self._each_passes(row, f"{KIND}:{row.roll}:after")
        for name in row.followers:
            await self._ports.peer(name).rolls.change(end)
        await self._write(retired(row))

    async def _each_passes(self, row: RollRow, job: str) -> None:
        """A pass over the enrollments of this DPS and of those that go along, as a job of one name."""
        asked = [(self._ports.jobs, row.roll)]
        for name in row.followers:
            peer = self._ports.peer(name)
            asked.append((peer.jobs, (await peer.rolls.get()).roll))
        for jobs, roll in asked:
            if roll:
                await jobs.create(job, KIND, by=self._by, subject=row.secret, params={"roll": roll})

    async def _delete(self, row: RollRow, which: Literal["old", "new"]) -> None:
        await self._ports.keys.delete(row.old_name if which == "old" else row.new_name)


def _known(key: SecretValue | None) -> SecretValue:
    """The key that the step's needs say is there."""
    assert key is not None
    return key
