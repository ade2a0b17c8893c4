"""Exceptions of the lifecycle package.

LifecycleError
    Halted              a slice may make no further call; it lets this pass, and the job loop understands it
        LeaseLost           another worker has the job, or it is gone
        Overran             the slice went on for longer than its lease allows calls
        StopAsked           somebody asked this job to stop
        SwitchedOff         the kill switch is set, for all jobs or for this kind
        SwitchUnseen        the kill switch could not be read for too long
    NotAJob             what was to become a job cannot be stored as one (also a ValueError)
    NoSuchJob           there is no job of that id
    NotPossible         the job's state does not allow the command
    TooContended        the row kept changing while a command tried to change it
    CheckpointTooLarge  a checkpoint beyond what is kept
    CheckpointLost      a checkpoint's parts are not what its row says
    UnreadableJob       a row of the jobs' table that this version does not understand
    RunLost             rows that a run of the audit wrote are gone
    NoShare             a kind of work has no share of a service's rate
    EnrollmentError     of one enrollment, which is named
        NoSuchEnrollment    there is none of that id
        AlreadyThere        there is one of that id
        EnrollmentMoved     somebody else changed it
        MaskedWebhook       its webhook's key cannot be read, and writing it back would destroy it
        NotEscrowed         its keys are not safe in the vault, so it was not deleted
        NotVerified         what is read back is not what was written
    RotationError       of the rotation of a group's keys
        NotAdopted          nobody has said yet which of the group's slots is in use
        RotationRefused     where the rotation stands does not allow what is asked
        RotationMoved       its row kept changing while a command tried to change it
    NotAnEvent          what was delivered is no event that can be read
    InvalidOption       what is asked of an enrollment cannot be; nothing was sent (also a ValueError)
        FileRefused         a file of enrollments cannot be used
"""


class LifecycleError(Exception):
    """Base of what this package raises. The messages hold no secret and may be stored and shown."""


class Halted(LifecycleError):
    """A slice may make no further call. Do not catch it: what was saved stays, and the loop goes on later."""


class LeaseLost(Halted):
    """Another worker has the job, or the job is gone. Nothing more may be written for it."""


class Overran(Halted):
    """The slice went on for longer than its lease allows calls: a pause of the machine, or a long wait."""


class StopAsked(Halted):
    """Somebody asked this job to stop."""


class SwitchedOff(Halted):
    """The kill switch is set, for all jobs or for this kind."""


class SwitchUnseen(Halted):
    """The kill switch could not be read for too long, so it may be set."""


class NotAJob(LifecycleError, ValueError):
    """What was to become a job cannot be stored as one. Names the field and the fix."""


class NoSuchJob(LifecycleError):
    """There is no job of that id; it may have left the history."""


class NotPossible(LifecycleError):
    """The job's state does not allow the command; says which does."""


class TooContended(LifecycleError):
    """The row kept changing while a command tried to change it: try again."""


class CheckpointTooLarge(LifecycleError):
    """A checkpoint beyond what is kept; says how large and what to do."""


class CheckpointLost(LifecycleError):
    """A checkpoint's parts are missing or are not those that its row names."""


class UnreadableJob(LifecycleError):
    """A row of the jobs' table that this version does not understand. It is left alone."""


class NoShare(LifecycleError, LookupError):
    """A kind of work has no share of a service's rate: it must not call it."""


class RunLost(LifecycleError):
    """Rows that a run of the audit wrote, and needs to go on, are gone. It must begin anew."""


class EnrollmentError(LifecycleError):
    """Of one enrollment.

    Attributes:
        kind: "individual" or "group".
        enrollment_id: its id.
    """

    def __init__(self, kind: str, enrollment_id: str, problem: str) -> None:
        what = "enrollment group" if kind == "group" else "enrollment"
        super().__init__(f"{what} {enrollment_id!r} {problem}")
        self.kind = kind
        self.enrollment_id = enrollment_id


class NoSuchEnrollment(EnrollmentError):
    """There is none of that id."""

    def __init__(self, kind: str, enrollment_id: str) -> None:
        super().__init__(kind, enrollment_id, "is not there: check its id and which DPS this is")


class AlreadyThere(EnrollmentError):
    """There is one of that id; nothing was changed."""

    def __init__(self, kind: str, enrollment_id: str) -> None:
        super().__init__(kind, enrollment_id, "is there already: update it, or choose another id")


class EnrollmentMoved(EnrollmentError):
    """It is not as the caller knew it; nothing of this change was written."""

    def __init__(self, kind: str, enrollment_id: str, how: str) -> None:
        super().__init__(kind, enrollment_id, f"{how}: look at it again and decide again")


class MaskedWebhook(EnrollmentError):
    """Its webhook's key cannot be read; nothing was written."""

    def __init__(self, kind: str, enrollment_id: str) -> None:
        super().__init__(
            kind,
            enrollment_id,
            "has a webhook URL that DPS masks when it is read, and writing it back would destroy its key: "
            "give the whole URL with --webhook-url, or set WEBHOOK_URL and its key",
        )


class NotVerified(EnrollmentError):
    """The write was answered as done, and what is read back differs.

    Attributes:
        members: paths of what differs.
    """

    def __init__(self, kind: str, enrollment_id: str, members: tuple[str, ...]) -> None:
        super().__init__(
            kind,
            enrollment_id,
            f"was written, but reads back otherwise in {', '.join(members)}: do not rely on it; compare it "
            "with what was meant before anything else is changed",
        )
        self.members = members


class NotEscrowed(EnrollmentError):
    """Its symmetric keys are not safe in the vault, so it was not deleted."""

    def __init__(self, kind: str, enrollment_id: str, problem: str) -> None:
        super().__init__(kind, enrollment_id, f"{problem}; it was not deleted")


class RotationError(LifecycleError):
    """Of the rotation of a group's keys."""


class NotAdopted(RotationError):
    """Nobody has said yet which of the group's slots is in use."""

    def __init__(self, group: str) -> None:
        super().__init__(
            f"enrollment group {group[:128]!a} is in no rotation: say which slot is used with `rotate adopt`"
        )
        self.group = group


class RotationRefused(RotationError):
    """Where the rotation stands does not allow what is asked; nothing was changed."""

    def __init__(self, group: str, problem: str, fix: str) -> None:
        super().__init__(f"enrollment group {group[:128]!a} {problem}; {fix}")
        self.group = group


class RotationMoved(RotationError):
    """The row kept changing while a command tried to change it, or another worker has taken it over."""


class NotAnEvent(LifecycleError, ValueError):
    """What was delivered is no event that can be read: names the member. It stays so: acknowledge it."""


class InvalidOption(LifecycleError, ValueError):
    """What an operator asked of an enrollment cannot be; nothing was sent.

    Attributes:
        parameter: which one, as the field of `enrollments.options.Options` is called: "certificate_path".
        problem: what is wrong with it.
        fix: what to give instead.
    """

    def __init__(self, parameter: str, problem: str, fix: str) -> None:
        super().__init__(f"{parameter}: {problem}; {fix}")
        self.parameter = parameter
        self.problem = problem
        self.fix = fix


class FileRefused(InvalidOption):
    """A file of enrollments cannot be used; nothing was sent.

    Attributes:
        where: the file, and which of its documents.
        path: of the member: "attestation.symmetricKey"; "" for the whole.
    """

    def __init__(self, where: str, path: str, problem: str, fix: str) -> None:
        super().__init__("file", ": ".join(part for part in (where, path, problem) if part), fix)
        self.where = where
        self.path = path
