"""The tick: takes what is due, runs one slice of it, and lets go."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from clients.errors import (
    ClientError,
    OutcomeUnknown,
    TableUnavailable,
    Throttled,
    Unavailable,
)
from clients.ports import Telemetry
from lifecycle.errors import (
    CheckpointLost,
    Halted,
    LeaseLost,
    LifecycleError,
    NotAJob,
    Overran,
    StopAsked,
    SwitchedOff,
)
from lifecycle.jobs.checkpoints import unpacked
from lifecycle.jobs.columns import Switch
from lifecycle.jobs.lease import Lease, Terms, entry, take
from lifecycle.jobs.row import JobRow, State, check_kind, let_go
from lifecycle.jobs.slice import Blocked, Calls, Done, Failed, More, Slice, SliceResult, safe_problem
from lifecycle.jobs.store import Current, JobStore
from lifecycle.rates import Rates

_TOLD = (ClientError, LifecycleError)
_TROUBLE = (TableUnavailable, Throttled, Unavailable, OutcomeUnknown)

ANOTHER_SECONDS = 10.0
"""Time that a tick must have left to begin on another job of a kind."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job: its name, in the table of shares too, and the code of a slice."""

    name: str
    run: Callable[[Slice], Awaitable[SliceResult]]

    def __post_init__(self) -> None:
        check_kind(self.name)


@dataclass(frozen=True, slots=True)
class Ran:
    """One slice of a tick: of which job, and the state that it left it in; None if the lease was lost."""

    job: str
    state: State | None


async def tick(
    kinds: Sequence[JobKind],
    store: JobStore,
    rates: Rates,
    telemetry: Telemetry,
    *,
    worker: str = "",
    terms: Terms | None = None,
) -> tuple[Ran, ...]:
    """Work on what is due: of each kind one job at a time, each at most one slice, kinds side by side.

    Ticks may come late, overlap and come twice. With nothing due it reads the table once and writes nothing.

    Args:
        kinds: the kinds that this worker runs; jobs of others are left alone.
        store: the jobs.
        rates: the shares, kept across ticks.
        telemetry: told of each slice.
        worker: names this process in the row, for people.
        terms: times and limits.

    Raises:
        TableUnavailable: what is due could not be read, or a state not be written: the lease will lapse.
    """
    terms = terms or Terms()
    current = await store.current()
    for problem in current.unreadable:
        telemetry.event("job_unreadable", dps=store.dps, problem=problem)
    ticks = [_Tick(kind, store, rates, telemetry, worker, terms) for kind in kinds]
    # Not a TaskGroup: one kind's failure must not cancel another's slice.
    outcomes = await asyncio.gather(*(each.work(current) for each in ticks), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return tuple(ran for each in ticks for ran in each.ran)


class _Tick:
    """One tick's work on one kind."""

    def __init__(
        self, kind: JobKind, store: JobStore, rates: Rates, telemetry: Telemetry, worker: str, terms: Terms
    ) -> None:
        self.ran: list[Ran] = []
        self._kind = kind
        self._store = store
        self._rates = rates
        self._telemetry = telemetry
        self._worker = worker
        self._terms = terms
        self._skew = timedelta(seconds=terms.skew)

    async def work(self, current: Current) -> None:
        clock, terms = self._store.clock, self._terms
        ends = clock.monotonic() + terms.slice_seconds
        now = clock.now()
        jobs = [job for job in current.jobs if job.kind == self._kind.name]
        due = sorted(
            (job for job in jobs if job.due(now, self._skew)), key=lambda job: (job.not_before, job.id)
        )
        if not due or self._held(jobs):
            return
        if self._off(current.switch, len(due)):
            return
        for job in due:
            if self.ran and ends - clock.monotonic() < min(ANOTHER_SECONDS, terms.slice_seconds / 2):
                return
            if not await self._one(job, ends):
                return

    def _held(self, jobs: Sequence[JobRow], but: str = "") -> bool:
        """Whether another worker has a job of this kind: its share of the rates is in use."""
        now = self._store.clock.now()
        return any(
            job.kind == self._kind.name and job.id != but and job.held(now, self._skew) for job in jobs
        )

    def _off(self, switch: Switch, waiting: int) -> bool:
        off = switch.off(self._kind.name)
        if off:
            self._telemetry.event(
                "jobs_off", dps=self._store.dps, kind=self._kind.name, by=off.by, why=off.why, due=waiting
            )
        return off is not None

    async def _one(self, job: JobRow, ends: float) -> bool:
        """One job's slice. False: this tick has no more to do with this kind."""
        lease = await take(
            self._store, job, self._terms, owner=f"{self._worker}~{self._store.unique()}", ends=ends
        )
        if lease is None:
            return False
        began = self._store.clock.monotonic()
        calls = Calls()
        result: SliceResult | Exception
        if job.state is State.STOPPING:  # its worker died before it could stop
            result = lease.halt(StopAsked("the job was asked to stop"))
        elif job.attempts >= self._terms.most_attempts:
            result = Blocked(
                f"{job.attempts} slices in a row ended without progress"
                + (f"; the last problem: {job.problem}" if job.problem else ", each by its worker's death")
            )
        else:
            # Two ticks may have seen different jobs as the first of their kind. Each has written before it
            # looks again, so at least one of them sees the other and gives way.
            again = await self._look_again(lease)
            if again is None:
                return False
            result = again if isinstance(again, Halted) else await self._slice(lease, calls)
        state: State | None
        try:
            state = await self._settle(lease, result)
        except LeaseLost:
            state = None
        problem = "" if isinstance(result, Done | More) else _problem(result)
        seconds = self._store.clock.monotonic() - began
        left = str(state) if state else "lost"
        self._telemetry.event(
            "job_slice",
            dps=self._store.dps,
            job=job.id,
            kind=job.kind,
            epoch=lease.row.epoch,
            state=left,
            seconds=round(seconds, 3),
            done=lease.row.progress.done,
            total=lease.row.progress.total,
            calls=calls.made,
            throttled=calls.throttled,
            problem=problem,
        )
        self._telemetry.span(
            "job_slice",
            seconds,
            dps=self._store.dps,
            job=job.id,
            kind=job.kind,
            epoch=lease.row.epoch,
            state=left,
            calls=calls.made,
            throttled=calls.throttled,
            problem=problem,
        )
        self.ran.append(Ran(job.id, state))
        if state is State.BLOCKED:
            self._telemetry.event(
                "job_blocked", dps=self._store.dps, job=job.id, kind=job.kind, problem=lease.row.problem
            )
        if state in (State.DONE, State.FAILED):
            self._telemetry.event(
                "job_ended",
                dps=self._store.dps,
                job=job.id,
                kind=job.kind,
                state=str(state),
                done=lease.row.progress.done,
                result=dict(lease.row.result),
                problem=lease.row.problem,
            )
        return state is not None

    async def _look_again(self, lease: Lease) -> Halted | bool | None:
        """True: the slice may begin. Else why not, or None where another worker has a job of this kind."""
        current = await self._store.current()
        if self._held(current.jobs, but=lease.row.id):
            await lease.write(
                lambda row: replace(
                    let_go(row, state=State.WAITING, now=self._store.clock.now(), not_before=row.not_before),
                    attempts=max(0, row.attempts - 1),
                )
            )
            return None
        off = current.switch.off(self._kind.name)
        return lease.halt(SwitchedOff(f"switched off by {off.by}: {off.why}")) if off else True

    async def _slice(self, lease: Lease, calls: Calls) -> SliceResult | Exception:
        """Run the code of the kind. Whatever it ends in is a value here."""
        try:
            # The net under code that hangs; it must look at time_left by itself.
            async with asyncio.timeout(self._terms.lease_seconds):
                data = await lease.load()
                checkpoint = None if data is None else unpacked(data)
                result = await self._kind.run(Slice(lease, checkpoint, self._rates, calls))
        except Exception as error:  # noqa: BLE001  any fault of a slice is counted on its row, not the tick's end
            # A call that was refused is why it ended, whatever the code made of it.
            return lease.halted or error
        return lease.halted or result

    async def _settle(self, lease: Lease, result: SliceResult | Exception) -> State:
        """Write what the slice ended in.

        Raises:
            LeaseLost: the row is another's.
            TableUnavailable: nobody knows; the lease lapses.
        """
        now = self._store.clock.now()

        def waits(row: JobRow, pause: timedelta, **changes: int | str) -> JobRow:
            return replace(let_go(row, state=State.WAITING, now=now, not_before=now + pause), **changes)  # type: ignore[arg-type]  # columns of a row

        match result:
            case Done() | Failed():
                try:
                    await self._end(lease, State.DONE if isinstance(result, Done) else State.FAILED, result)
                except NotAJob as error:  # of its columns only the result may be what none can hold
                    await self._block(lease, f"its end cannot be written: {error}")
            case Blocked(problem):
                await self._block(lease, problem)
            case More(after):
                pause = timedelta(seconds=max(0.0, after))
                await lease.write(lambda row: waits(row, pause, attempts=0, troubles=0, problem=""))
            case LeaseLost():
                raise result
            case StopAsked() | SwitchedOff():
                # The row decides: a stop may have been taken back meanwhile.
                await lease.write(lambda row: waits(row, timedelta(), attempts=0))
            case CheckpointLost():
                await self._block(lease, _problem(result))
            case Exception():
                await self._trouble(lease, result, waits)
        return lease.row.state

    async def _trouble(self, lease: Lease, error: Exception, waits: Callable[..., JobRow]) -> None:
        problem = _problem(error)
        if isinstance(error, (*_TROUBLE, Halted)):
            count, most = lease.row.troubles + 1, self._terms.most_troubles
            changes = {"troubles": count, "attempts": max(0, lease.row.attempts - 1)}
        else:
            count, most = lease.row.attempts, self._terms.most_attempts
            changes = {}
        if count >= most:
            await self._block(lease, f"{count} slices in a row ended without progress; the last: {problem}")
        else:
            await lease.write(lambda row: waits(row, self._terms.pause(count), problem=problem, **changes))

    async def _block(self, lease: Lease, problem: str) -> None:
        now = self._store.clock.now()
        await lease.write(
            lambda row: replace(let_go(row, state=State.BLOCKED, now=now), problem=problem),
            entry(lease.row, "blocked", now, problem),
        )

    async def _end(self, lease: Lease, state: State, result: Done | Failed) -> None:
        now = self._store.clock.now()
        problem = result.problem if isinstance(result, Failed) else ""
        progress = result.progress if isinstance(result, Done) else None
        await lease.end(
            lambda row: replace(
                let_go(row, state=state, now=now),
                problem=problem,
                result=result.result,
                progress=progress or row.progress,
            ),
            entry(lease.row, str(state), now, problem),
        )
        try:
            await self._store.sweep(lease.row.id)
        except TableUnavailable:
            # What is left of its checkpoints goes when the history forgets the job.
            self._telemetry.event("job_unswept", dps=self._store.dps, job=lease.row.id)


def _problem(result: object) -> str:
    if isinstance(result, Blocked | Failed):
        return result.problem
    if isinstance(result, NotAJob | Overran):
        return str(result)
    assert isinstance(result, BaseException)
    return safe_problem(result, _TOLD)
