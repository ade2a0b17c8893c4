"""The end of a run: totals, what could not be evaluated, the snapshot, the run's row, and tidying up."""

from dataclasses import replace
from datetime import datetime, timedelta

from clients.hubs import HubStatistics
from lifecycle.audit import checks, fenced, marks, places
from lifecycle.audit.checks import quotas
from lifecycle.audit.evidence import Around, Counts, OperationEvidence
from lifecycle.audit.finding import NotEvaluated, Source
from lifecycle.audit.orphans import READ, gone_ids, shrink
from lifecycle.audit.report import CertificateEnd, HubLoad, Quota, Run
from lifecycle.audit.runs import KEPT, Figures, Stored
from lifecycle.audit.snapshot import INDIVIDUALS, Group
from lifecycle.audit.state import Kept
from lifecycle.audit.work import CANDIDATES, Work
from lifecycle.jobs import history
from provisioning.hubs import HubKey

GROWTH_DAYS = 30
"""Growth is reckoned from the oldest run that is at most so old."""

LEAST_DAYS = 0.9
"""Of a daily run's rhythm: growth over less than that says little."""

ENTRIES = 500
"""Of the jobs' history that are looked at."""

UNENDED_RUNS = 50


async def end(work: Work) -> bool:
    """All of it; steps that were saved are not done again, the others may be."""
    run = work.run
    steps = (_conclude, _drop_unknown, _commit, _write, _tidy)
    while run.at < len(steps):
        await steps[run.at](work)
        run.at += 1
        await work.save()
        if work.slice.time_left() <= 0 and run.at < len(steps):
            return False
    return True


async def _conclude(work: Work) -> None:
    """What only the whole tells."""
    around = await final(work)
    counts = await counted(work, around)
    work.note(each for each in checks.service(counts, around) if not _of_keys(each.check))
    work.note(checks.operation(await _operation(work), around))


def _of_keys(check_id: str) -> bool:
    check = checks.check_of(check_id)
    return check is not None and Source.KEYS in check.needs | check.reads


async def _drop_unknown(work: Work) -> None:
    """Findings of checks that turned out to lack what they need: nothing may be concluded there."""
    known = (await final(work)).known
    for check in checks.CHECKS:
        if not check.needs <= known:
            work.run.tally.found.pop(check.id, None)


async def _commit(work: Work) -> None:
    """Put each whole listing in place of the one before; take off what is left of what is gone.

    What this run missed is put aside before the listing that it was in goes.
    """
    gone = await gone_ids(work)
    there = {each.key: each for each in await work.snapshots.groups()}
    for group in gone:
        await shrink(work, group)
    for kept in work.run.listings:
        if kept.key != INDIVIDUALS:
            await _put(work, kept, there.get(kept.key))
        elif not work.lacks(Source.ENROLLMENTS, Source.REGISTRATIONS):  # else nobody looked what is missing
            await _put(work, kept, await work.snapshots.individuals())


async def _put(work: Work, kept: Kept, before: Group | None) -> None:
    newer = before is not None and before.listed_at > work.started
    if not kept.key or not kept.whole or newer or (before is not None and before.run == work.id):
        return
    etag = None if before is None else before.etag
    await work.snapshots.put(
        Group(kept.key, kept.group, work.id, kept.name, kept.spans, kept.ids, work.started, etag=etag)
    )
    if before is not None:
        await work.snapshots.drop_listing(before.run, before.listing, before.spans)


async def _write(work: Work) -> None:
    """The run's row: from now on it has ended."""
    run = work.run
    around = await final(work)
    counts = await counted(work, around)
    most = work.audited.limits.rows
    kept = {check: min(seen, most) for check, seen in sorted(run.tally.found.items())}
    rows = await work.store.settle(work.id, run.found_rows, kept)
    found = {check: seen if seen > most else rows.get(check, 0) for check, seen in run.tally.found.items()}
    nothing = list(checks.not_evaluated(around))
    single = [
        NotEvaluated(check, reason, resource) for check, (_, reason, resource) in run.tally.unsaid.items()
    ]
    told = Run(
        id=work.id,
        dps=work.audited.dps,
        started=work.started,
        ended=work.ports.clock.now(),
        by=work.slice.job.by,
        sources=around.known,
        reasons={source: around.why_not(source) for source in Source if source not in around.known},
        found={check: count for check, count in sorted(found.items()) if count},
        capped=frozenset(check for check, seen in run.tally.found.items() if seen > most),
        not_evaluated=tuple(nothing + sorted(single, key=lambda each: (each.check, each.resource))),
        not_evaluated_count=len(nothing) + sum(count for count, *_ in run.tally.unsaid.values()),
        quotas=_quotas(counts, around),
        hubs=_loads(work, counts),
        certificates=_ends(work, around),
        calls=sum(run.calls.values()),
    )
    notes = {name: count for name, count in run.notes.items() if ":" not in name}
    figures = Figures(_figures(work, counts, around), counts.growth, run.calls, notes)
    await work.store.end(Stored(told, figures))


async def _tidy(work: Work) -> None:
    """Tell of the run, and delete what earlier runs were made of and nobody needs."""
    told = await work.store.run(work.id)
    if told is not None and work.ports.announce is not None:
        await work.ports.announce(told)
    # In this order: whatever begins from now on, while this worker may be frozen, is not among them.
    runs = [each.run async for each in work.store.all(10 * work.audited.keep + UNENDED_RUNS)]
    needed = await work.snapshots.needed()
    jobs = work.ports.jobs
    # A run that was stopped or blocked may be resumed: its rows are its memory.
    alive = {job.id for job in (await jobs.current()).jobs} if jobs is not None else set()
    ended = 0
    for run in runs:
        over = run.ended is not None or (jobs is not None and run.id not in alive)
        ended += run.ended is not None
        if not over:
            continue
        if run.id == work.id:
            await _sweep_own(work, needed.get(run.id, set()))
        else:
            await work.snapshots.sweep(run.id, frozenset(needed.get(run.id, ())))
        old = ended > work.audited.keep or run.ended is None
        if old and run.id not in needed:
            await work.store.forget(run)


async def _sweep_own(work: Work, needed: set[str]) -> None:
    """Delete what this run was made of, by its names: to read all of it again would take its whole size."""
    run = work.run
    for kept in (*run.listings, *run.hub_listings, *([] if run.lost is None else [run.lost])):
        if kept.name not in needed:
            await work.snapshots.drop_listing(work.id, kept.name, kept.spans)
    candidates = fenced.keys(CANDIDATES, run.strangers)
    marked = fenced.keys(marks.PREFIX, run.marks)
    found = fenced.keys(KEPT, run.found_rows)
    await work.snapshots.drop_rows(work.id, [places.settled(run.settled), *candidates, *marked, *found])


async def final(work: Work) -> Around:
    """What checks are told at the end."""
    sources = list(READ)
    around = work.around()
    if Source.ARM not in around.known:
        work.lacking(Source.HUBS, around.why_not(Source.ARM))
    sources += [Source.KEYS, Source.LEDGER]
    if work.ports.jobs is not None:
        sources.append(Source.JOBS)
    else:
        work.lacking(Source.JOBS, "the jobs' table is not known here")
    if work.ports.rotations is not None:
        sources.append(Source.ROTATIONS)
    else:
        work.lacking(Source.ROTATIONS, "the rotations' table is not known here")
    if work.ports.secrets is None:
        work.lacking(Source.VAULT, "no vault is set")
    if work.slice.params.get("webhook") and work.ports.webhooks is not None:
        sources.append(Source.WEBHOOK)
    else:
        work.lacking(Source.WEBHOOK, "webhooks are called only when the run is told to")
    if await _earlier(work) is not None:
        sources.append(Source.HISTORY)
    else:
        work.lacking(Source.HISTORY, "there is no run of a day ago, or longer, to compare with")
    return work.around(*sources)


async def counted(work: Work, around: Around) -> Counts:
    """Totals, as far as they were counted."""
    run = work.run
    whole = {run.hubs[int(kept.name[1:])]: kept.ids for kept in run.hub_listings if kept.whole}
    counts = Counts(
        registrations=run.counts.get("registrations", 0),
        individual_enrollments=run.counts.get("individual_enrollments", 0),
        symmetric_groups=run.counts.get("symmetric_groups", 0),
        x509_groups=run.counts.get("x509_groups", 0),
        by_hub={HubKey(hub): HubStatistics(*says) for hub, says in run.statistics.items()},
        listed={HubKey(hub): ids for hub, ids in whole.items()},
    )
    earlier = await _earlier(work)
    if earlier is None:
        return counts
    days = (work.started - earlier.run.started) / timedelta(days=1)
    now, then = _figures(work, counts, around), earlier.figures.counts
    growth = {name: round((count - then[name]) / days, 3) for name, count in now.items() if name in then}
    return replace(counts, growth=growth)


async def _earlier(work: Work) -> Stored | None:
    """The oldest run of the last weeks."""
    found = None
    for each in await work.store.stored(work.audited.keep):
        age = (work.started - each.run.started) / timedelta(days=1)
        if LEAST_DAYS <= age <= GROWTH_DAYS:
            found = each
    return found


def _figures(work: Work, counts: Counts, around: Around) -> dict[str, int]:
    """What was counted to its end."""
    figures: dict[str, int] = {}
    if not work.lacks(Source.ENROLLMENTS):
        figures["individual_enrollments"] = counts.individual_enrollments
        figures["symmetric_groups"] = counts.symmetric_groups
        figures["x509_groups"] = counts.x509_groups
        if not work.lacks(Source.REGISTRATIONS):
            figures["registrations"] = counts.registrations
    if isinstance(around.certificates, tuple):
        figures["ca_certificates"] = len(around.certificates)
    if around.linked is not None:
        figures["linked_hubs"] = len(around.linked)
    return figures | {f"hub:{hub}": ids for hub, ids in counts.listed.items()}


def _quotas(counts: Counts, around: Around) -> tuple[Quota, ...]:
    limits = {
        "registrations": (counts.registrations, quotas.REGISTRATIONS),
        "individual_enrollments": (counts.individual_enrollments, quotas.INDIVIDUAL_ENROLLMENTS),
        "symmetric_groups": (counts.symmetric_groups, quotas.SYMMETRIC_GROUPS),
        "x509_groups": (counts.x509_groups, quotas.X509_GROUPS),
    }
    if isinstance(around.certificates, tuple):
        limits["ca_certificates"] = (len(around.certificates), quotas.CA_CERTIFICATES)
    if around.linked is not None:
        limits["linked_hubs"] = (len(around.linked), quotas.LINKED_HUBS)
    return tuple(Quota(name, used, limit, counts.growth.get(name)) for name, (used, limit) in limits.items())


def _loads(work: Work, counts: Counts) -> tuple[HubLoad, ...]:
    loads = []
    for name in work.run.hubs:
        hub = HubKey(name)
        listed = counts.listed.get(hub)
        says = counts.by_hub.get(hub)
        devices = listed if listed is not None else None if says is None else says.total
        loads.append(HubLoad(name, devices, quotas.HUB_DEVICES, listed=listed is not None))
    return tuple(loads)


def _ends(work: Work, around: Around) -> tuple[CertificateEnd, ...]:
    ends = [CertificateEnd(resource, datetime.fromisoformat(at)) for resource, at in work.run.ends]
    if isinstance(around.certificates, tuple):
        ends += [
            CertificateEnd(f"ca:{each.name}", each.expires)
            for each in around.certificates
            if each.expires is not None
        ]
    return tuple(ends)


async def _operation(work: Work) -> OperationEvidence:
    run, ports = work.run, work.ports
    active = None
    if ports.active is not None:
        active = await ports.active()
    evidence = OperationEvidence(
        ledger_gaps=run.gaps,
        unconfirmed=run.unconfirmed,
        policy_active="" if active is None else active.version,
        policy_seen=frozenset(run.policies),
    )
    if ports.rotations is not None:
        rotations = await ports.rotations(work.started)
        evidence = replace(evidence, rotations_waiting=rotations.groups)
        for problem in rotations.unread:
            work.lacking(Source.ROTATIONS, problem)
    if ports.jobs is None:
        return evidence
    current = await ports.jobs.current()
    since = datetime.fromisoformat(run.before) if run.before else work.started - timedelta(days=1)
    entries = [each for each in await history(ports.jobs, most=ENTRIES) if each.at < work.started]
    late = {}
    for kind, period in work.audited.schedules.items():
        last = next((each.at for each in entries if each.kind == kind and each.what == "done"), None)
        if last is not None and (by := work.started - last - period) > timedelta():
            late[kind] = by
    return replace(
        evidence,
        jobs_late=late,
        jobs_blocked={
            job.id: job.problem for job in current.jobs if job.state == "blocked" and job.id != work.id
        },
        poisoned=sum(each.what == "failed" and each.at >= since for each in entries),
    )
