"""The loop of everything that may outlive an invocation: audit, purge, rotation, export, webhook-key roll.

A timer, an event or a command only creates a job. A tick takes what is due, runs one slice of bounded time
and lets go. All state is in one table (columns.py); memory holds nothing that a slice needs to be right.

States, and who moves a job from one to another (each by a write guarded by the row's ETag):

    waiting -> running      a tick takes a lease: epoch + 1, attempts + 1
    running -> waiting      the slice ended: More, a service's trouble, a fault, the kill switch
    running -> blocked      Blocked, or too many slices without progress; until `resume`
    running -> done|failed  Done, Failed: to the history, in one batch
    running -> stopping     `stop`; its worker sees it at its next look or save
    stopping -> stopped     by the worker; or by a tick, once the lease has lapsed
    stopping -> running     `resume`, before the worker saw the stop
    waiting|blocked -> stopped, stopped|blocked -> waiting      `stop`, `resume`
    running -> running      a tick, once the lease has lapsed: its worker died

What may go wrong, and what follows:

    a worker dies anywhere   nobody tidies up. The lease lapses; the next slice begins at the last checkpoint.
                             The attempt was counted before it began; too many, and the job is blocked.
    ticks late, doubled,     taking the lease is a compare-and-swap: one wins. A tick that took a job looks at
    overlapping              the others again and gives way if one of its kind is held: a kind has one worker,
                             whose share of the rates is in its memory.
    clocks differ            a lease has lapsed `Terms.skew` after its end on the reader's clock. Clocks
                             further apart than that break the exclusion; the ETags still hold (below).
    a worker sleeps past     `share.call` looks at the lease on its own clocks, monotonic and of the day,
    its lease and wakes      right before each attempt, with a margin for it, and raises Overran. What wakes
                             up between this look and the wire, or is late on the wire, meets the ETag.
    a write gets no answer   the row is read again; a stamp in it says whose write was last. Its late arrival
                             meets a moved ETag. The parts of a large checkpoint are named by their saving.
    the kill switch          is looked at every few seconds between two calls; unreadable for too long, no
                             call is made.
    the table is down        the slice ends as trouble, or its lease lapses. Nothing is called blindly.

What "no step lost, none done twice" means. A step is one change of one thing, guarded by that thing's ETag
(or a key that makes it idempotent). Not lost: a checkpoint names only steps whose outcome is known. Not done
twice: for each ETag the service answers success at most once. A step *may be sent* twice: after a death
between the call and the next checkpoint, or while its outcome is unknown; the second finds the ETag moved,
or the thing as wanted, and counts it as done. A service's operation without ETag or idempotence must not be
a step.

Cost, in table calls. An idle tick: one scan of a page, no write. A slice: lease, look again, let go (3), the
checkpoint read if it is over 32 KiB, 2 reads per 5 s of calling, 1 write per `save`. A job of a million steps
at 600 a minute that saves every 10 s: 28 hours, 10,000 checkpoint writes and 1,700 slices (one a minute).
"""

from lifecycle.jobs.checkpoints import Checkpoint
from lifecycle.jobs.columns import Entry, Off, Switch
from lifecycle.jobs.control import (
    Overview,
    history,
    overview,
    resume,
    show,
    stop,
    switch_off,
    switch_on,
    trim,
)
from lifecycle.jobs.lease import Terms
from lifecycle.jobs.loop import JobKind, Ran, tick
from lifecycle.jobs.row import JobRow, Progress, State
from lifecycle.jobs.slice import Blocked, Done, Failed, More, Slice, SliceResult
from lifecycle.jobs.store import Created, Current, JobStore

__all__ = [
    "Blocked",
    "Checkpoint",
    "Created",
    "Current",
    "Done",
    "Entry",
    "Failed",
    "JobKind",
    "JobRow",
    "JobStore",
    "More",
    "Off",
    "Overview",
    "Progress",
    "Ran",
    "Slice",
    "SliceResult",
    "State",
    "Switch",
    "Terms",
    "history",
    "overview",
    "resume",
    "show",
    "stop",
    "switch_off",
    "switch_on",
    "tick",
    "trim",
]
