"""Exceptions of the allocation package.

AllocationError
    NotAllocatable      the caller's body cannot be an allocation request: 400 or 413
    NotUnderstood       the body has a shape that this version does not know: 503
    PolicyError         a policy document is not usable
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


class PolicyError(AllocationError):
    """A policy document that does not load; the message names the path, the value and the fix."""
