"""One worker's hold on one job: its guarded writes, and whether it may make one more call."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from clients.errors import TableUnavailable
from clients.ports import Receipt
from lifecycle.errors import Halted, LeaseLost, Overran, StopAsked, SwitchedOff, SwitchUnseen
from lifecycle.jobs.checkpoints import INLINE_BYTES, Checkpoint, digest, packed
from lifecycle.jobs.columns import Entry
from lifecycle.jobs.row import JobRow, Pace, Progress, State, Stored, taken
from lifecycle.jobs.store import TRIES, JobStore

MOST_MOVES = 50
"""How often a row may move under a worker's one write: each time somebody commanded something."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The loop's times and limits, in seconds and counts. The defaults suit a tick each minute.

    A job whose worker died runs again after `lease + skew` and a tick: three and a half minutes.

    Attributes:
        slice_seconds: how long one tick works on one kind. Nearly up to the next tick, so that a share of a
            rate is not left unused in between: what it saves up meanwhile is 2.5 s worth of calls
            (clients.pacing). A timer does not overlap itself: a tick that was missed during the last wait or
            call of a slice is made right after it (seen in the Functions host's source).
        lease_seconds: how long a worker holds a job without letting go.
        call_margin: before the end of the lease no call begins that could outlast it: an attempt's time limit
            (clients.service: 15 s) and a little.
        skew: how far the clocks of two workers may be apart. Azure keeps its machines within a second or so.
        watch_seconds: how old the last look at the kill switch and the row may be when a call begins.
        blind_seconds: how old, when the table cannot be read.
        most_attempts: slices without progress that died or met a fault of ours, before the job is blocked.
        most_troubles: slices without progress that a service's trouble ended, before the job is blocked: with
            the pauses below, a day.
        first_pause: after the first such slice; doubled each time.
        longest_pause: at most.
    """

    slice_seconds: float = 58.0
    lease_seconds: float = 120.0
    call_margin: float = 20.0
    skew: float = 30.0
    watch_seconds: float = 5.0
    blind_seconds: float = 30.0
    most_attempts: int = 5
    most_troubles: int = 100
    first_pause: float = 15.0
    longest_pause: float = 900.0

    def __post_init__(self) -> None:
        if self.slice_seconds + self.call_margin >= self.lease_seconds:
            raise ValueError(
                f"lease_seconds is {self.lease_seconds:g}; it must be over slice_seconds + call_margin"
                f" ({self.slice_seconds + self.call_margin:g}), or a slice ends without its last calls"
            )

    def pause(self, count: int) -> timedelta:
        """How long a job rests after so many fruitless slices."""
        return timedelta(
            seconds=min(self.longest_pause, self.first_pause * 2.0 ** min(30, max(0, count - 1)))
        )


Sender = Callable[[JobRow], Awaitable[Receipt]]


class Lease:
    """A job that this worker took. Made by `take`."""

    def __init__(self, store: JobStore, row: JobRow, terms: Terms, *, began: float, ends: float) -> None:
        self.row = row
        self.halted: Halted | None = None
        """Why no call may be made any more."""
        assert row.until is not None
        self._store = store
        self._terms = terms
        self._clock = store.clock
        usable = terms.lease_seconds - terms.call_margin
        self._last_call = began + usable
        self._last_call_at = row.until - timedelta(seconds=terms.call_margin)
        self._slice_ends = ends
        self._looked = began
        self._look_next = began + terms.watch_seconds
        self._looking = asyncio.Lock()
        self._saves = 0
        self._saved: bytes | None = None

    def time_left(self) -> float:
        """Seconds that the slice may still aim to use: 0 once it may make no more calls."""
        if self.halted or self.row.state is not State.RUNNING:
            return 0.0
        return max(0.0, min(self._slice_ends, self._last_call) - self._clock.monotonic())

    async def may_call(self) -> None:
        """Return if one more call may begin now.

        Nothing is awaited between the last check and the return: what pauses a worker after that, within the
        call, only the ETag of what it changes can catch.

        Raises:
            Halted: one of its kinds.
        """
        self._check()
        if self._clock.monotonic() >= self._look_next:
            async with self._looking:
                if self._clock.monotonic() >= self._look_next:
                    await self._look()
            self._check()

    def outlasts(self, seconds: float) -> bool:
        """Whether a call that begins so much later still falls within the lease."""
        return self._clock.monotonic() + seconds < self._last_call

    def halt(self, error: Halted) -> Halted:
        """Allow no further call, for this reason, unless there was one before."""
        self.halted = self.halted or error
        return self.halted

    def _check(self) -> None:
        if self.halted:
            raise self.halted
        # Both clocks: the monotonic one stands still while a machine is suspended, the other may be set back.
        if self._clock.monotonic() >= self._last_call or self._clock.now() >= self._last_call_at:
            raise self.halt(Overran("the slice outlasted its lease"))
        if self.row.state is State.STOPPING:
            raise self.halt(StopAsked("the job was asked to stop"))

    async def _look(self) -> None:
        """Read the row and the switch."""
        asked = self._clock.monotonic()
        try:
            found = await self._store.get(self.row.id)
            switch = await self._store.switch()
        except TableUnavailable:
            self._look_next = self._clock.monotonic() + self._terms.watch_seconds
            if self._clock.monotonic() - self._looked > self._terms.blind_seconds:
                raise self.halt(SwitchUnseen("the kill switch could not be read for too long")) from None
            return
        self._looked = asked
        self._look_next = asked + self._terms.watch_seconds
        self._adopt(found)
        off = switch.off(self.row.kind)
        if off:
            raise self.halt(SwitchedOff(f"switched off by {off.by}: {off.why}"))

    def _adopt(self, found: JobRow | None) -> None:
        """Go on from the row as it is now.

        Raises:
            LeaseLost: it is not this worker's any more.
        """
        if found is None or (found.epoch, found.owner) != (self.row.epoch, self.row.owner):
            raise self._lost("another worker has the job, or it is gone")
        self.row = found

    def _lost(self, why: str) -> LeaseLost:
        """Halt for good: whatever stopped it before, it is not for this worker to write that down."""
        lost = LeaseLost(why)
        self.halt(lost)
        return lost

    async def write(self, change: Callable[[JobRow], JobRow], entry: Entry | None = None) -> None:
        """Change the row, if it is still this worker's; what others wrote into it meanwhile is kept.

        Args:
            change: makes the row to write of the row as it is; called again when that has moved.
            entry: for the history.

        Raises:
            LeaseLost: it is not this worker's.
            TableUnavailable: it may have happened, or happen yet.
        """
        await self._guarded(change, lambda row: self._store.replace(row, entry), ends=False)

    async def end(self, change: Callable[[JobRow], JobRow], entry: Entry) -> None:
        """Move the job to the history. Raises as `write`."""
        await self._guarded(change, lambda row: self._store.end(row, entry), ends=True)

    async def _guarded(self, change: Callable[[JobRow], JobRow], send: Sender, *, ends: bool) -> None:
        unanswered = 0
        stamps: set[str] = set()
        for _ in range(MOST_MOVES):
            row = replace(change(self.row), stamp=self._store.unique(), etag=self.row.etag)
            stamps.add(row.stamp)
            try:
                receipt = await send(row)
                if receipt.outcome == "written":
                    self.row = replace(row, etag=receipt.etag)
                    return
                found = await self._store.get(row.id)
            except TableUnavailable:
                # It may have happened, or may yet. The ETag keeps it from happening twice; the stamp tells.
                unanswered += 1
                if unanswered == TRIES:
                    raise
                await self._store.pause(unanswered - 1)
                found = await self._reread(unanswered)
            if found is None and ends:
                found = await self._store.find(row.id)
            if found is not None and found.stamp in stamps:
                self.row = found
                return
            self._adopt(found)
        raise self._lost("the row kept moving")

    async def _reread(self, unanswered: int) -> JobRow | None:
        while True:
            try:
                return await self._store.get(self.row.id)
            except TableUnavailable:
                unanswered += 1
                if unanswered >= TRIES:
                    raise
                await self._store.pause(unanswered - 1)

    async def load(self) -> bytes | None:
        """The packed checkpoint.

        Raises:
            CheckpointLost: it is not there.
            TableUnavailable.
        """
        self._saved = await self._store.read_checkpoint(self.row)
        return self._saved

    async def save(self, checkpoint: Checkpoint, progress: Progress) -> None:
        """Write the checkpoint and the progress. A checkpoint that differs from the last counts as progress.

        Raises:
            CheckpointTooLarge: nothing was written.
            LeaseLost: nothing was written.
            TableUnavailable: it may have been written.
        """
        data = packed(checkpoint)
        self._saves += 1
        if len(data) <= INLINE_BYTES:
            stored = Stored(data, digest=digest(data))
        else:
            # Of this lease and this saving alone: no worker that wakes up late writes into it.
            generation = f"{self.row.epoch:010}-{self._saves:06}"
            stored = await self._store.write_parts(self.row.id, generation, data)
        before, changed = self.row.stored, data != self._saved

        def saved(row: JobRow) -> JobRow:
            now = self._clock.now()
            follows = progress.follows(row.progress)
            return replace(
                row,
                stored=stored,
                progress=progress,
                pace=row.pace.after(progress.done, now) if follows else Pace(now, progress.done),
                updated=now,
                attempts=0 if changed else row.attempts,
                troubles=0 if changed else row.troubles,
            )

        await self.write(saved)
        self._saved = data
        if before is not None and before.generation and before.generation != stored.generation:
            try:
                await self._store.drop_parts(self.row.id, before)
            except TableUnavailable:
                self._look_next = (
                    self._clock.monotonic()
                )  # they go when the job ends; the table is in trouble


async def take(store: JobStore, row: JobRow, terms: Terms, *, owner: str, ends: float) -> Lease | None:
    """Lease the job, or None where another was faster or nobody knows.

    A lease that nobody knows of is held by nobody, and lapses.

    Args:
        store: where it is.
        row: as read.
        terms: how long.
        owner: nobody else's text.
        ends: when the slice should end, on the monotonic clock.

    Raises:
        TableUnavailable: the table could not be read either.
    """
    began, now = store.clock.monotonic(), store.clock.now()
    until = now + timedelta(seconds=terms.lease_seconds)
    wanted = replace(taken(row, owner=owner, now=now, until=until), stamp=store.unique())
    try:
        receipt = await store.replace(wanted)
        if receipt.outcome != "written":
            return None
        held = replace(wanted, etag=receipt.etag)
    except TableUnavailable:
        found = await store.get(row.id)
        if found is None or found.stamp != wanted.stamp:
            return None
        held = found
    return Lease(store, held, terms, began=began, ends=ends)


def entry(row: JobRow, what: str, at: datetime, detail: str = "", by: str = "") -> Entry:
    """What happened to the job, for the history."""
    return Entry(at, what, row.id, row.kind, row.subject, by, detail)
