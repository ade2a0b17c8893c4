"""Runs and what they found, as rows: written by the engine, read by reports, comparisons and purge.

A run's row is there from its start; its findings are complete once `ended` is set, and only then is it in
`runs`. Findings are keyed by what tells them apart (report.identity): a slice that died and is done again
writes the same rows, and one check's findings of a run are one range in that order. Of each check a run
keeps a bounded number of rows and counts the others. Nothing in a row is secret; texts may be hostile.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from clients.ports import Change, Row, Scalar, Table
from lifecycle.audit import places
from lifecycle.audit.finding import Finding, NotEvaluated, Severity, Source
from lifecycle.audit.report import CertificateEnd, HubLoad, Quota, Run, identity

BATCH = 100
"""Findings written, or deleted, by one call."""

_AFTER_MARK = '"'
"""The character that follows "!": the end of the range of one check's findings."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The plain numbers of a run: what growth is reckoned from, and what it cost.

    Attributes:
        counts: registrations, individual_enrollments, symmetric_groups, x509_groups, ca_certificates,
            linked_hubs, and "hub:NAME" for each hub's devices: only what was counted to its end.
        growth: the same names -> added per day lately; without those that history does not tell.
        calls: "dps", "arm" and "hub:NAME" -> attempts made; those since the last save before a crash are
            not in.
        notes: restarts of listings, ids read one by one, rows of the ledger confirmed and added, and so on.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    growth: Mapping[str, float] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """A run as its row has it.

    Attributes:
        run: without its findings.
        figures: its numbers.
    """

    run: Run
    figures: Figures = field(default_factory=Figures)


class RunStore:
    """The runs of one DPS in a table: an Archive (lifecycle.audit.report)."""

    def __init__(self, table: Table, dps: str) -> None:
        self.dps = dps
        self._table = table

    async def runs(self, most: int = 50) -> Sequence[Run]:
        """Ended runs, newest first.

        Raises:
            TableUnavailable: no usable answer.
        """
        return [each.run for each in await self.stored(most)]

    async def run(self, run: str = "") -> Run | None:
        """One run that ended; "" for the latest. Looked for among the latest thousand.

        Raises:
            TableUnavailable: no usable answer.
        """
        async for each in self.all(1_000):
            if each.run.ended is not None and run in ("", each.run.id):
                return each.run
        return None

    async def findings(self, run: str, check: str) -> AsyncIterator[Finding]:
        """What a check found in a run, in the order of `identity`, nothing twice.

        Raises:
            TableUnavailable: no usable answer.
        """
        bounds = {"start": f"{check}!", "stop": f"{check}{_AFTER_MARK}"} if check else {}
        async for row in self._table.scan(places.findings(self.dps, run), **bounds):
            yield finding_of(places.gathered("f", row.values))

    async def stored(self, most: int = 50) -> list[Stored]:
        """Ended runs with their figures, newest first."""
        found: list[Stored] = []
        async for each in self.all(most * 4):
            if each.run.ended is not None and len(found) < most:
                found.append(each)
        return found

    async def all(self, most: int) -> AsyncIterator[Stored]:
        """Every run, those too that have not ended and may never, newest first."""
        count = 0
        async for row in self._table.scan(places.runs(self.dps)):
            yield _stored(self.dps, row)
            count += 1
            if count == most:
                return

    async def put(self, stored: Stored) -> None:
        """Write a run's row, in place of the one before.

        Raises:
            TableUnavailable: it may have happened; the same again is safe.
        """
        await self._table.put(Row(places.runs(self.dps), _run_key(stored.run), _columns(stored)))

    async def add(self, run: str, found: Iterable[Finding]) -> None:
        """Write findings; those that are there are replaced.

        Raises:
            TableUnavailable: some may have been written; the same again is safe.
        """
        partition = places.findings(self.dps, run)
        rows = {identity(each): Row(partition, identity(each), _finding_columns(each)) for each in found}
        changes = [Change("put", row) for row in rows.values()]
        for start in range(0, len(changes), BATCH):
            await self._table.write(changes[start : start + BATCH])

    async def drop(self, run: str, check: str = "") -> None:
        """Delete a check's findings of a run, or all of them.

        Raises:
            TableUnavailable: some are left; the same again goes on.
        """
        partition = places.findings(self.dps, run)
        bounds = {"start": f"{check}!", "stop": f"{check}{_AFTER_MARK}"} if check else {}
        keys = [row.key async for row in self._table.scan(partition, **bounds)]
        for key in keys:
            await self._table.delete(Row(partition, key))

    async def count(self, run: str) -> dict[str, int]:
        """How many rows of findings each check has."""
        counts: dict[str, int] = {}
        async for row in self._table.scan(places.findings(self.dps, run)):
            check = row.key.partition("!")[0]
            counts[check] = counts.get(check, 0) + 1
        return counts

    async def forget(self, run: Run) -> None:
        """Delete a run's findings, then its row. What is kept of groups stays.

        Raises:
            TableUnavailable: some is left; the same again goes on.
        """
        await self.drop(run.id)
        await self._table.delete(Row(places.runs(self.dps), _run_key(run)))


def _run_key(run: Run) -> str:
    return f"{places.newest_first(run.started)}|{run.id}"


def _columns(stored: Stored) -> dict[str, Scalar]:
    run, figures = stored.run, stored.figures
    columns: dict[str, Scalar] = {"run": run.id, "started": run.started, "by": places.storable(run.by, 500)}
    if run.ended is not None:
        columns["ended"] = run.ended
    rest = {
        "sources": sorted(run.sources),
        "reasons": {str(source): reason for source, reason in run.reasons.items()},
        "found": run.found,
        "not_evaluated": [[each.check, each.reason, each.resource] for each in run.not_evaluated],
        "not_evaluated_count": run.not_evaluated_count,
        "quotas": [[each.name, each.used, each.limit, each.per_day] for each in run.quotas],
        "hubs": [[each.hub, each.devices, each.limit, each.listed] for each in run.hubs],
        "certificates": [[each.resource, each.ends.isoformat()] for each in run.certificates],
        "counts": figures.counts,
        "growth": figures.growth,
        "calls": figures.calls,
        "notes": figures.notes,
        "capped": sorted(run.capped),
    }
    return columns | places.spread("s", rest)


def _stored(dps: str, row: Row) -> Stored:
    rest: Mapping[str, Any] = places.gathered("s", row.values) or {}
    started = places.moment(row, "started")
    assert started is not None, "every row of a run has started"
    calls = rest.get("calls", {})
    run = Run(
        id=str(row.values.get("run", "")),
        dps=dps,
        started=started,
        ended=places.moment(row, "ended"),
        by=str(row.values.get("by", "")),
    )
    if rest:
        run = replace(
            run,
            sources=frozenset(Source(each) for each in rest["sources"]),
            reasons={Source(name): reason for name, reason in rest["reasons"].items()},
            found=rest["found"],
            capped=frozenset(rest["capped"]),
            not_evaluated=tuple(NotEvaluated(*each) for each in rest["not_evaluated"]),
            not_evaluated_count=rest["not_evaluated_count"],
            quotas=tuple(Quota(*each) for each in rest["quotas"]),
            hubs=tuple(HubLoad(*each) for each in rest["hubs"]),
            certificates=tuple(
                CertificateEnd(resource, datetime.fromisoformat(ends))
                for resource, ends in rest["certificates"]
            ),
            calls=sum(calls.values()),
        )
    figures = Figures(rest.get("counts", {}), rest.get("growth", {}), calls, rest.get("notes", {}))
    return Stored(run, figures)


def _finding_columns(finding: Finding) -> dict[str, Scalar]:
    body = {
        "check": finding.check,
        "resource": finding.resource,
        "severity": str(finding.severity),
        "evidence": finding.evidence,
        "fix": finding.fix,
    }
    return {"check": finding.check, "severity": str(finding.severity), **places.spread("f", body)}


def finding_of(value: Mapping[str, Any]) -> Finding:
    """The finding of a row's JSON; lists in its evidence are tuples, as checks write them."""
    return Finding(
        value["check"],
        value["resource"],
        Severity(value["severity"]),
        {name: _frozen(each) for name, each in value["evidence"].items()},
        value["fix"],
    )


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return {name: _frozen(each) for name, each in value.items()}
    return value
