"""Filters over enrollments and registration records, applied as they are read: DPS's own query has none."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeVar

from cyclopts import Parameter

from cli.options import FILTERS
from cli.terminal import Terminal
from cli.values import duration
from lifecycle.enrollments.certificates import expiry
from provisioning.documents import MalformedDocument
from provisioning.enrollments import Enrollment
from provisioning.hubs import hub_key
from provisioning.registrations import Registration

T = TypeVar("T", Enrollment, Registration)

Top = Annotated[int | None, Parameter(help="So many at most; -1 or nothing: all.", allow_leading_hyphen=True)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EnrollmentFilters:
    """Which enrollments to list; several filters must all hold."""

    hub: Annotated[str | None, Parameter(group=FILTERS, help="Those that name this hub.")] = None
    status: Annotated[
        str | None,
        Parameter(choices=("disabled", "enabled"), group=FILTERS, help="Those of this provisioning status."),
    ] = None
    older_than: Annotated[
        str | None, Parameter(group=FILTERS, help="Those not changed for so long: 30 (days), 30d, 12h, 2w.")
    ] = None
    webhook: Annotated[
        str | None,
        Parameter(group=FILTERS, help="Those whose webhook's URL, without its key, has this text."),
    ] = None
    expiring_within: Annotated[
        str | None,
        Parameter(group=FILTERS, help="Those with a certificate that has expired, or will within so long."),
    ] = None

    def test(self, now: datetime) -> Callable[[Enrollment], bool]:
        """Whether an enrollment passes.

        Raises:
            Usage: a time span is none.
        """
        older, expiring = (
            duration(self.older_than, "older_than"),
            duration(self.expiring_within, "expiring_within"),
        )

        def passes(each: Enrollment) -> bool:
            return (
                (self.hub is None or any(_is_hub(name, self.hub) for name in each.iot_hubs))
                and (self.status is None or each.provisioning_status == self.status)
                and (older is None or _older(each.updated or each.created, now - older))
                and (self.webhook is None or _has_webhook(each, self.webhook))
                and (expiring is None or _expires(each, now + expiring))
            )

        return passes


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RegistrationFilters:
    """Which registration records to list; several filters must all hold."""

    hub: Annotated[str | None, Parameter(group=FILTERS, help="Those assigned to this hub.")] = None
    status: Annotated[
        str | None,
        Parameter(
            choices=("unassigned", "assigning", "assigned", "failed", "disabled"),
            group=FILTERS,
            help="Those of this status.",
        ),
    ] = None
    older_than: Annotated[
        str | None,
        Parameter(group=FILTERS, help="Those that have not registered for so long: 30 (days), 30d, 12h, 2w."),
    ] = None

    def test(self, now: datetime) -> Callable[[Registration], bool]:
        """Whether a record passes.

        Raises:
            Usage: a time span is none.
        """
        older = duration(self.older_than, "older_than")

        def passes(each: Registration) -> bool:
            return (
                (self.hub is None or (each.assigned_hub is not None and _is_hub(each.assigned_hub, self.hub)))
                and (self.status is None or each.status == self.status)
                and (older is None or _older(each.updated or each.created, now - older))
            )

        return passes


async def kept(records: AsyncIterator[T], test: Callable[[T], bool], terminal: Terminal) -> AsyncIterator[T]:
    """Those that pass. One that cannot be judged is left out, and counted in a note at the end."""
    unclear = 0
    async for each in records:
        try:
            passes = test(each)
        except MalformedDocument:
            unclear += 1
            continue
        if passes:
            yield each
    if unclear:
        terminal.note(
            f"{unclear} are not as DPS describes them and could not be judged; list without filters"
        )


def _is_hub(name: str, wanted: str) -> bool:
    """By host name, or by its first part alone."""
    key = hub_key(name)
    return key == hub_key(wanted) or key.partition(".")[0] == hub_key(wanted)


def _older(moment: datetime | None, limit: datetime) -> bool:
    return moment is not None and moment < limit


def _has_webhook(enrollment: Enrollment, wanted: str) -> bool:
    webhook = enrollment.webhook
    return webhook is not None and wanted.lower() in webhook.base.lower()


def _expires(enrollment: Enrollment, limit: datetime) -> bool:
    attestation = enrollment.attestation
    slots = (attestation.client_certificates, attestation.signing_certificates)
    held: Sequence[datetime | None] = [
        certificate.not_after or (expiry(certificate.text) if certificate.text else None)
        for slot in slots
        for certificate in (slot.primary, slot.secondary)
        if certificate is not None
    ]
    return any(end is not None and end < limit for end in held)
