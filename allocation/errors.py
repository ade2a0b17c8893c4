"""Exceptions of the allocation package.

AllocationError
    NotAllocatable      the caller's body cannot be an allocation request: 400 or 413
    NotUnderstood       the body has a shape that this version does not know: 503
    Unread              a policy reads what the facts cannot tell: the decision does without
    PolicyError         a policy document is not usable
        NotStored       no such version is stored, or it is damaged there
    BadDevice           a device of a file cannot be read
    Overtaken           somebody else changed the same thing first; nothing was done
"""


class AllocationError(Exception):
    """Base of what this package raises."""


class NotAllocatable(AllocationError):
    """The request lacks what an allocation needs; DPS must not try it again.

    Args:
        status: HTTP status of the answer, 400 or 413.
        field: the member at fault, as a dotted path; "body" for the whole.
        problem: what is wrong with it and what belongs there.
    """

    def __init__(self, status: int, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.status = status
        self.field = field
        self.problem = problem


class NotUnderstood(AllocationError):
    """A member has a type or size that DPS is not known to send.

    The likeliest cause is a change of the service that this version does not know yet. The answer lets DPS
    try again for some minutes instead of failing the device.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class Unread(AllocationError):
    """A policy reads what the facts cannot tell. Raised and caught within one decision.

    Args:
        reading: what is read, named as the policy names it.
        problem: why it cannot be told.
        recorded: False where the facts are a record that lacks it.
    """

    def __init__(self, reading: str, problem: str, *, recorded: bool = True) -> None:
        super().__init__(f"{reading}: {problem}")
        self.reading = reading
        self.problem = problem
        self.recorded = recorded


class PolicyError(AllocationError):
    """A policy document that does not load; the message names the path, the value and the fix."""


class NotStored(PolicyError):
    """A policy version that the store does not have, or has only in part."""


class BadDevice(AllocationError):
    """A device of a file that cannot be read; names the line and the member, and quotes no value."""


class Overtaken(AllocationError):
    """Somebody else changed the same thing at the same moment, and nothing was done: look and decide anew."""
