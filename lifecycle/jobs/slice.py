"""What the code of a kind of job is given for one slice, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clients.errors import Throttled
from clients.pacing import PacedShare
from clients.ports import RateShare
from clients.wording import plain
from lifecycle.jobs.checkpoints import Checkpoint
from lifecycle.jobs.lease import Lease
from lifecycle.jobs.row import JobRow, Progress
from lifecycle.rates import Rate, Rates


@dataclass(frozen=True, slots=True)
class Done:
    """The job is done. `result` is JSON for people, without secrets."""

    result: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class More:
    """There is more to do, `after` so many seconds at the earliest. Only what was saved is remembered."""

    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Blocked:
    """Somebody must decide or repair something; the job waits for `resume`. No secret in the problem."""

    problem: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The job cannot be done and ends. No secret in the problem."""

    problem: str
    result: Mapping[str, Any] = field(default_factory=dict)


SliceResult = Done | More | Blocked | Failed


@dataclass(slots=True)
class Calls:
    """Counted while a slice runs: attempts under its shares, and answers that said it was too much."""

    made: int = 0
    throttled: int = 0


class Slice:
    """One slice of a job.

    The code works through its steps while `time_left`, calls services under `share` only, saves every few
    seconds and lets Halted pass. It may die at any await: the next slice begins from the last checkpoint that
    was saved, and finds the steps after it done already, by their ETags. So a checkpoint names only steps
    whose outcome is known, and a step whose call ended in OutcomeUnknown is read again before it is repeated.

    Attributes:
        job: the row as it was leased.
        checkpoint: as last saved; None in the first slice.
    """

    def __init__(
        self, lease: Lease, checkpoint: Checkpoint, rates: Rates, calls: Calls | None = None
    ) -> None:
        self.job: JobRow = lease.row
        self._calls = calls or Calls()
        self.checkpoint = checkpoint
        self._lease = lease
        self._rates = rates

    @property
    def params(self) -> Mapping[str, Any]:
        """What the job was told."""
        return self.job.params

    @property
    def progress(self) -> Progress:
        """As last saved."""
        return self._lease.row.progress

    def time_left(self) -> float:
        """Seconds that this slice may still aim to use; 0 also when the job was asked to stop."""
        return self._lease.time_left()

    def share(self, rate: Rate, hub: str = "") -> RateShare:
        """This kind's share of a rate, for the clients that the slice calls.

        Its `call` raises Halted when the slice may make no further call, looked at after the wait.

        Args:
            rate: which limit.
            hub: whose, for a hub's.

        Raises:
            NoShare: lifecycle/rates.py gives this kind none of it.
        """
        return SliceShare(
            hub or str(rate), self._lease, self._rates.share(self.job.kind, rate, hub), self._calls
        )

    async def save(self, checkpoint: Checkpoint, progress: Progress | None = None) -> None:
        """Remember how far the job is.

        It costs one write; a checkpoint over 32 KiB one more write, and a delete, for each 896 KiB.

        Args:
            checkpoint: JSON or bytes, at most 32 MiB compressed, without secrets.
            progress: for people and the ETA; as before, if not given.

        Raises:
            CheckpointTooLarge: nothing was written.
            LeaseLost: nothing was written.
            TableUnavailable: it may have been written; end the slice.
        """
        await self._lease.save(checkpoint, progress or self._lease.row.progress)
        self.checkpoint = checkpoint


class SliceShare:
    """A share of a rate that a slice calls under."""

    def __init__(self, what: str, lease: Lease, paced: PacedShare, calls: Calls) -> None:
        self._what = what
        self._lease = lease
        self._paced = paced
        self._calls = calls

    async def call(self) -> None:
        """Wait for the rate, then return if the slice may still call.

        Raises:
            Halted: it may not.
            Throttled: the service said to come again after the end of the lease; nothing was sent.
        """
        await self._lease.may_call()
        wait = self._paced.wait
        if not self._lease.outlasts(wait):
            # Not waited out: a slice that hangs counts as a fault of its own, and would block the job.
            raise Throttled(
                f"{self._what} wants no call for another {wait:.0f} s; try again later",
                service=self._what,
                status=429,
                retry_after=wait,
            )
        await self._paced.call()
        await self._lease.may_call()
        self._calls.made += 1

    def slow(self, retry_after: float | None) -> None:
        """An attempt was answered 429."""
        self._calls.throttled += 1
        self._paced.slow(retry_after)


def safe_problem(error: BaseException, told: tuple[type[BaseException], ...]) -> str:
    """What a row and a log may say of an exception: the words of our own ones, only the place of others.

    The text of a foreign exception may quote anything, a key too.
    """
    if isinstance(error, told):
        return plain(str(error)) or type(error).__name__
    place = ""
    trace = error.__traceback__
    while trace is not None:
        place = f" at {trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}{place}"
