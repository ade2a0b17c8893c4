"""Which webhooks a run calls, where it was told to: each group's, and every further URL of individual ones.

A million individual enrollments share a few URLs, so each URL is called once, for the first enrollment that
names it. Which were called is in the worker's memory alone, for there are keys in them: a worker that takes
over may call some again. How many were called is in the checkpoint.
"""

from lifecycle.audit import checks, webhook_address
from lifecycle.audit.checks.allocation import ANONYMOUS, FAILING
from lifecycle.audit.finding import NotEvaluated, Source
from lifecycle.audit.work import Work
from provisioning.documents import MalformedDocument
from provisioning.enrollments import Enrollment, EnrollmentGroup, IndividualEnrollment

PAGE_SECONDS = 15.0
"""For calls within one page of a listing: the slice's lease must outlast them."""

CALLED = "webhooks_called"
"""The note that counts those of individual enrollments."""

_OF_A_GROUP = -1
_SETTLED = (Source.ENROLLMENTS, Source.KEYS, Source.WEBHOOK)


async def ask_group(work: Work, group: EnrollmentGroup) -> None:
    """Call a group's webhook."""
    url = _url(work, group)
    if url:
        work.memory.called[url] = _OF_A_GROUP
        await _ask(work, group)


async def ask_individual(work: Work, enrollment: IndividualEnrollment, until: float) -> None:
    """Call the webhook of an individual enrollment, unless its URL was called for another one.

    Args:
        work: the slice.
        enrollment: whose.
        until: by the monotonic clock; after it none is called, and that is said.
    """
    url, place = _url(work, enrollment), work.run.place
    # A listing that begins anew has dropped what was found in it: its URLs are called once more.
    restarts = 0 if place is None else place.restarts
    if not url or work.memory.called.get(url) in (_OF_A_GROUP, restarts):
        return
    resource = f"individual:{enrollment.key}"
    if work.run.notes.get(CALLED, 0) >= work.audited.limits.webhooks:
        work.memory.called[url] = restarts
        _unasked(work, resource, "more webhooks than this run calls for individual enrollments")
    elif work.ports.clock.monotonic() >= until:
        _unasked(work, resource, "the webhooks called before took too long")
    else:
        work.memory.called[url] = restarts
        work.run.count(CALLED)
        await _ask(work, enrollment)


def _url(work: Work, enrollment: Enrollment) -> str:
    """What is to be called, as the reading shows it; "" if nothing is."""
    if not work.slice.params.get("webhook") or work.ports.webhooks is None:
        return ""
    try:
        asked = enrollment.enabled and webhook_address.is_custom(enrollment)
        return enrollment.webhook.reveal() if asked and enrollment.webhook is not None else ""
    except MalformedDocument:
        return ""


async def _ask(work: Work, enrollment: EnrollmentGroup | IndividualEnrollment) -> None:
    assert work.ports.webhooks is not None, "asked for only where it is there"
    for answer in await work.ports.webhooks(enrollment):
        work.note(checks.webhook(answer, work.around(*_SETTLED)))


def _unasked(work: Work, resource: str, reason: str) -> None:
    work.note(NotEvaluated(check.id, reason, resource) for check in (ANONYMOUS, FAILING))
