"""What DPS lists: groups with their keys, individual enrollments, each group's registrations."""

from hashlib import blake2b
from typing import Any, TypeVar

from clients.arm import Unknown
from clients.dps import Page
from lifecycle.audit import checks, key_quality, webhook_address
from lifecycle.audit.evidence import Around, Counts, EnrollmentEvidence, RecordEvidence
from lifecycle.audit.finding import Outcome, Source
from lifecycle.audit.snapshot import INDIVIDUALS, Listed, group_key
from lifecycle.audit.state import GroupKnown, Kept, Place
from lifecycle.audit.webhook_asking import PAGE_SECONDS, ask_group, ask_individual
from lifecycle.audit.work import PASSING, REFUSED, Work
from provisioning.attestation import SYMMETRIC_KEY, X509
from provisioning.documents import MalformedDocument
from provisioning.enrollments import Enrollment, EnrollmentGroup, IndividualEnrollment
from provisioning.keys import SymmetricKeys
from provisioning.registrations import Registration

E = TypeVar("E", bound=Enrollment)

ENROLLMENTS_PAGE = 250
"""Enrollments asked for at once: one may have 96 KB (documented), and an answer is read up to 64 MiB."""

RECORDS_PAGE = 1_000
"""Records asked for at once: they are small. How many DPS gives is not known; each page is one operation."""

NOT_YET = Unknown("hubs are listed after DPS")
_BARE = ("enrollmentGroupId", "createdDateTimeUtc", "lastUpdatedDateTimeUtc", "provisioningStatus")
_SETTLED = (Source.ENROLLMENTS, Source.KEYS)


async def groups(work: Work) -> bool:
    """List the groups, read each one's keys, put both to the checks; whether that is over.

    Webhook URLs and keys stay in memory. A worker that dies in between costs the next one the same calls: a
    few pages and one for each group, until `Limits.stays` beginnings.
    """
    run, memory = work.run, work.memory
    if memory.groups is None:
        run.stays += 1
        run.ends = []
        work.forget_found()
        await work.save()  # so that the beginnings are counted even if each ends in a death
        found = await _all_groups(work)
        if found is None:
            return False
        memory.groups, memory.at, memory.digests = found, 0, {}
    around = work.around(*_SETTLED)
    shown = any(map(webhook_address.shows_key, memory.groups))
    if not work.audited.keys:
        work.lacking(Source.KEYS, "reading groups' keys is switched off")
    elif run.stays > work.audited.limits.stays:
        work.lacking(Source.KEYS, "they could not be read within one worker's time")
    while memory.at < len(memory.groups):
        if work.slice.time_left() <= 0:
            await work.save()  # this worker goes on behind the groups that it has in memory
            return False
        await _group(work, memory.groups[memory.at], around, shown=shown)
        memory.at += 1
    counts = Counts(0, 0, 0, 0, key_digests={name: tuple(slots) for name, slots in memory.digests.items()})
    work.note(about(checks.service(counts, work.around(*_SETTLED)), Source.KEYS))
    run.groups = [_known(each) for each in memory.groups]
    kinds = [each.kind for each in run.groups]
    run.counts["symmetric_groups"] = kinds.count(SYMMETRIC_KEY)
    run.counts["x509_groups"] = kinds.count(X509)
    memory.groups, memory.digests = None, {}
    return True


async def _all_groups(work: Work) -> list[EnrollmentGroup] | None:
    """By key; None: to be tried again later, which is saved. What is not whole is noted."""
    run, limits = work.run, work.audited.limits
    place = run.place = run.place or Place("g")
    found: dict[str, EnrollmentGroup] = {}
    problem: Exception | None = None
    for _ in range(limits.restarts + 1):
        found, problem = {}, None
        token: str | None = None
        try:
            async for page in work.dps.groups.pages(size=ENROLLMENTS_PAGE):
                found |= {each.key: each for each in page.items}
                token = page.continuation
        except REFUSED as error:
            problem = error
        if problem is None or token is None or isinstance(problem, PASSING):
            break
        run.count("restarts")  # a continuation was refused: they are few, and all are read again
    if problem is not None:
        place.failures += 1
        if isinstance(problem, PASSING) and place.failures < limits.failures:
            await work.save()
            work.pause = limits.pause
            return None
        work.lacking(Source.ENROLLMENTS, str(problem))
        work.lacking(Source.REGISTRATIONS, f"not every group is known: {problem}")
    run.place = None
    return [found[key] for key in sorted(found)]


async def _group(work: Work, group: EnrollmentGroup, around: Around, *, shown: bool) -> None:
    keys = await _keys(work, group)
    secret = None
    if work.ports.secrets is not None:
        secret = await work.ports.secrets(group, keys)
        if isinstance(secret, Unknown):
            work.lacking(Source.VAULT, secret.reason)
    work.note(
        checks.enrollment(
            EnrollmentEvidence(group, keys=keys, secret=secret, webhook_keys_shown=shown), around
        )
    )
    work.run.ends += [[f"group:{group.key}", end] for end in _ends(group)]
    await ask_group(work, group)


async def _keys(work: Work, group: EnrollmentGroup) -> SymmetricKeys | None:
    """A group's keys; their digests are noted in memory."""
    if kind_of(group) != SYMMETRIC_KEY or work.lacks(Source.KEYS):
        return None
    attestation = await work.read(work.dps.groups.attestation(group.id))
    if isinstance(attestation, Unknown):
        work.lacking(Source.KEYS, f"group {group.id}: {attestation.reason}")
        return None
    keys = None if attestation is None else attestation.keys
    if keys is not None:
        for slot, key in (("primary", keys.primary), ("secondary", keys.secondary)):
            if key is not None:
                named = work.memory.digests.setdefault(key_quality.digest(key), [])
                named.append(f"{group.id}/{slot}")
    return keys


async def individuals(work: Work) -> bool:
    """List the individual enrollments with their records; whether that is over."""
    around = work.around(*_SETTLED, Source.REGISTRATIONS)
    shown = False
    if work.run.place is None:  # the first of DPS's ids
        work.memory.index, work.memory.aliases = work.empty_indexes()

    async def take(page: Page[IndividualEnrollment]) -> None:
        nonlocal shown
        place = work.run.place
        assert place is not None, "a page is taken within a listing"
        until = work.ports.clock.monotonic() + PAGE_SECONDS
        records = [_inline(each) for each in page.items]
        shown = shown or any(map(webhook_address.shows_key, page.items))
        place.states = place.states or any(records)
        for enrollment, record in zip(page.items, records, strict=True):
            keys = await _sampled(work, enrollment)
            registered = True if record is not None else False if place.states else None
            if record is not None and record.status == "unassigned":
                registered = None  # a record that is there from the start says nothing of a registration
            evidence = EnrollmentEvidence(
                enrollment, keys=keys, registered=registered, webhook_keys_shown=shown
            )
            work.note(checks.enrollment(evidence, around))
            await ask_individual(work, enrollment, until)
            if record is not None:
                _record(work, record, None, around, enrollment)
                place.records += 1
            work.list(_listed_individual(enrollment, record))

    kept = await work.listing(
        "i",
        Source.ENROLLMENTS,
        lambda start: work.dps.individuals.pages(start=start, size=ENROLLMENTS_PAGE),
        take,
        key=INDIVIDUALS,
    )
    if kept is None:
        return False
    if not kept.whole:
        work.lacking(Source.REGISTRATIONS, "not every individual enrollment was listed")
    work.run.counts["individual_enrollments"] = kept.ids
    work.run.counts["registrations"] = kept.records
    work.run.listings.append(kept)
    return True


async def registrations(work: Work) -> bool:
    """List each group's registrations; whether that is over."""
    run = work.run
    around = work.around(*_SETTLED, Source.REGISTRATIONS)
    while run.at < len(run.groups):
        group = run.groups[run.at]
        enrollment = await _asking(work, group, around)

        async def take(
            page: Page[Registration],
            group: GroupKnown = group,
            enrollment: EnrollmentGroup | None = enrollment,
        ) -> None:
            for record in page.items:
                _record(work, record, group.id, around, enrollment)
                work.list(listed(record, custom=group.custom))

        kept = await work.listing(
            f"g{run.at:03}",
            Source.REGISTRATIONS,
            lambda start, group=group: work.dps.registrations.pages(  # type: ignore[misc]  # a default's type
                group.id, start=start, size=RECORDS_PAGE
            ),
            take,
            key=group_key(group.id, group.made),
            group=group.id,
        )
        if kept is None:
            return False
        _never(work, group, kept, around)
        run.counts["registrations"] = run.counts.get("registrations", 0) + kept.ids
        run.listings.append(kept)
        run.at += 1
        if not await work.saved_if_due():
            return False
    return True


def _never(work: Work, group: GroupKnown, kept: Kept, around: Around) -> None:
    """What only the listing of its registrations could tell of a group."""
    if kept.whole:
        bare = EnrollmentGroup.read(group.bare)
        evidence = EnrollmentEvidence(bare, registered=kept.ids > 0)
        work.note(about(checks.enrollment(evidence, around), Source.REGISTRATIONS))


async def _asking(work: Work, group: GroupKnown, around: Around) -> EnrollmentGroup | None:
    """A group whose devices the policy places, read anew: it is in no row, for its webhook has a key.

    One call for each such group, and one more in each slice that goes on with its listing.
    """
    if not group.custom or work.would_go(around) is None:
        return None
    found = await work.read(work.dps.groups.get(group.id))
    return None if isinstance(found, Unknown) else found


def _record(
    work: Work, record: Registration, group: str | None, around: Around, enrollment: Enrollment | None
) -> None:
    would_go = None if enrollment is None else work.would_go(around)
    goes = None if would_go is None or enrollment is None else would_go(record, enrollment)
    work.note(checks.listed_record(RecordEvidence(record, group, NOT_YET, would_go=goes), around))


async def _sampled(work: Work, enrollment: IndividualEnrollment) -> SymmetricKeys | None:
    """The keys of an individual enrollment, if it is in the run's sample."""
    every, most = work.run.sample_every, work.audited.thresholds.sample_keys
    if not every or work.run.notes.get("sampled", 0) >= most or work.lacks(Source.KEYS):
        return None
    drawn = int.from_bytes(blake2b(f"{work.id}|{enrollment.key}".encode(), digest_size=8).digest(), "big")
    if drawn % every or kind_of(enrollment) != SYMMETRIC_KEY:
        return None
    work.run.count("sampled")
    attestation = await work.read(work.dps.individuals.attestation(enrollment.id))
    if isinstance(attestation, Unknown):
        work.lacking(Source.KEYS, f"individual enrollment {enrollment.id}: {attestation.reason}")
        return None
    return None if attestation is None else attestation.keys


def about(outcomes: Any, source: Source) -> list[Outcome]:
    """Of the outcomes those whose check looks at that source."""
    kept = []
    for each in outcomes:
        check = checks.check_of(each.check)
        if check is not None and source in check.needs | check.reads:
            kept.append(each)
    return kept


def listed(record: Registration, *, custom: bool, device: str | None = None) -> Listed:
    """A record as it is kept."""
    registration_id, device = record.id, device or record.device_id or ""
    if device == registration_id or device.lower() == registration_id.lower():
        device = ""
    assigned = record.status == "assigned"
    return Listed(registration_id, record.hub, assigned, seconds(record), record.etag, device, custom)


def seconds(record: Registration) -> int:
    """When a record last changed, in seconds since 1970; 0 where it does not tell."""
    try:
        updated = record.updated
    except MalformedDocument:
        return 0
    return 0 if updated is None else int(updated.timestamp())


def _listed_individual(enrollment: IndividualEnrollment, record: Registration | None) -> Listed:
    custom = is_custom(enrollment)
    device = enrollment.device_id or (None if record is None else record.device_id)
    if record is not None:
        return listed(record, custom=custom, device=device)
    return Listed(
        enrollment.id, device=device if device and device.lower() != enrollment.key else "", custom=custom
    )


def _inline(enrollment: IndividualEnrollment) -> Registration | None:
    try:
        return enrollment.registration_state
    except MalformedDocument:
        return None


def is_custom(enrollment: Enrollment) -> bool:
    """Whether a webhook is asked where its devices go."""
    try:
        return webhook_address.is_custom(enrollment)
    except MalformedDocument:
        return False


def kind_of(enrollment: Enrollment) -> str:
    """Its kind of attestation; "" where the document does not tell."""
    try:
        return enrollment.attestation.kind
    except MalformedDocument:
        return ""


def _ends(group: EnrollmentGroup) -> list[str]:
    try:
        slots = group.attestation.signing_certificates
        held = (slots.primary, slots.secondary)
        return [each.not_after.isoformat() for each in held if each is not None and each.not_after]
    except MalformedDocument:
        return []


def _known(group: EnrollmentGroup) -> GroupKnown:
    document = group.document()
    bare = {name: document[name] for name in _BARE if name in document}
    kind = kind_of(group)
    return GroupKnown(
        id=group.id,
        made=str(document.get("createdDateTimeUtc") or ""),
        kind=kind,
        custom=is_custom(group),
        bare=bare | {"attestation": {"type": kind}},
    )
