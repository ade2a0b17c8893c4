"""Runs and what they found, as rows: written by the engine, read by reports, comparisons and purge.

A run's row is there from its start; its findings are complete once `ended` is set, and only then is it in
`runs`. While it runs, findings are kept as they come, many in a row of a number that the checkpoint counts:
a slice that died and is done again writes rows of its own, and what no checkpoint counts is not read. At
the end they are put in order (report.identity), nothing twice: one check's findings of a run are one range of
rows. Of each check a run keeps a bounded number and counts the others. Nothing in a row is secret; texts may
be hostile.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from clients.ports import Row, Scalar, Table
from lifecycle.audit import fenced, places
from lifecycle.audit.finding import Finding, NotEvaluated, Severity, Source
from lifecycle.audit.report import CertificateEnd, HubLoad, Quota, Run, identity, identity_of
from lifecycle.errors import LeaseLost

ROW = 200
"""Findings of a row, at most."""

ROW_BYTES = 800_000
"""JSON of a row's findings, at most, unless one alone is longer: 14 columns of 64 KiB hold that."""

KEPT = "f"
"""Begins the keys of rows of findings as they came."""

WINDOW = 50
"""Rows of findings as they came that are read by one call."""

AT_ONCE = 10_000
"""Findings that are put in order in memory at once, where a check alone has not more: about 20 MB."""

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
            for each in places.gathered("f", row.values):
                yield finding_of(each)

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

    async def begin(self, stored: Stored) -> None:
        """Write the row of a run that begins, unless it is there.

        Raises:
            TableUnavailable: it may have happened; the same again is safe.
        """
        await self._table.insert(Row(places.runs(self.dps), _run_key(stored.run), _columns(stored)))

    async def end(self, stored: Stored) -> None:
        """Write what a run came to. It ends once: what an earlier try wrote stays.

        Raises:
            LeaseLost: another worker has just ended it.
            TableUnavailable: it may have happened; the same again is safe.
        """
        partition, key = places.runs(self.dps), _run_key(stored.run)
        there = await self._table.get(partition, key)
        if there is None:
            receipt = await self._table.insert(Row(partition, key, _columns(stored)))
        elif places.moment(there, "ended") is None:
            receipt = await self._table.replace(Row(partition, key, _columns(stored), there.etag))
        else:
            return
        if receipt.outcome != "written":
            raise LeaseLost(f"another worker has ended the audit {stored.run.id}")

    async def keep(self, run: str, spans: fenced.Spans, by: str, found: Sequence[Finding]) -> None:
        """Keep findings as they come, in further rows.

        Args:
            run: which.
            spans: the rows so far; these are counted in.
            by: the mark of the lease that writes.
            found: the findings.

        Raises:
            TableUnavailable: some may have been written; none counts before a checkpoint says so.
        """
        for text in _texts(map(_body, found)):
            key = fenced.key(KEPT, by, fenced.total(spans))
            await self._table.put(Row(places.kept(self.dps, run), key, places.spread_text("f", text)))
            fenced.add(spans, by)

    async def settle(
        self, run: str, rows: fenced.Spans, checks: Mapping[str, int], at_once: int = AT_ONCE
    ) -> dict[str, int]:
        """Put what was kept in order, for readers; how many findings of each check that are.

        Args:
            run: which.
            rows: those that were kept.
            checks: those that count, each with how many findings it has at most.
            at_once: findings in memory, where a check alone has not more.

        Raises:
            TableUnavailable: some may have been written; the same again is safe.
        """
        counts: dict[str, int] = {}
        for some in _at_once(checks, at_once):
            found: dict[str, Mapping[str, Any]] = {}
            async for body in self._kept(run, rows):
                if body["check"] in some:
                    found[identity_of(body["check"], body["resource"])] = body
            for check, count in (await self._write(run, found)).items():
                counts[check] = counts.get(check, 0) + count
        return counts

    async def add(self, run: str, found: Iterable[Finding]) -> None:
        """Write all findings of a run at once.

        Raises:
            TableUnavailable: some may have been written; the same again is safe.
        """
        await self._write(run, {identity(each): _body(each) for each in found})

    async def _kept(self, run: str, rows: fenced.Spans) -> AsyncIterator[Mapping[str, Any]]:
        for start, stop in fenced.windows(KEPT, rows, WINDOW):
            async for row in self._table.scan(places.kept(self.dps, run), start=start, stop=stop):
                for body in places.gathered("f", row.values):
                    yield body

    async def _write(self, run: str, found: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
        of_check: dict[str, list[Mapping[str, Any]]] = {}
        for key in sorted(found):
            of_check.setdefault(found[key]["check"], []).append(found[key])
        partition = places.findings(self.dps, run)
        for check, bodies in of_check.items():
            for number, text in enumerate(_texts(bodies)):
                key = f"{check}!{number:06}"
                await self._table.put(Row(partition, key, places.spread_text("f", text)))
        return {check: len(bodies) for check, bodies in of_check.items()}

    async def forget(self, run: Run) -> None:
        """Delete a run's findings, then its row. What is kept of groups stays.

        Raises:
            TableUnavailable: some is left; the same again goes on.
        """
        partition = places.findings(self.dps, run.id)
        keys = [row.key async for row in self._table.scan(partition)]
        for key in keys:
            await self._table.delete(Row(partition, key))
        await self._table.delete(Row(places.runs(self.dps), _run_key(run)))


def _at_once(checks: Mapping[str, int], most: int) -> Iterator[set[str]]:
    """The checks, in parts whose findings fit into memory together."""
    part: set[str] = set()
    size = 0
    for check, count in checks.items():
        if part and size + count > most:
            yield part
            part, size = set(), 0
        part.add(check)
        size += count
    if part:
        yield part


def _texts(bodies: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The JSON of rows, each of as many findings as a row holds."""
    held: list[str] = []
    size = 0
    for body in bodies:
        text = places.as_text(body)
        if held and (len(held) == ROW or size + len(text) > ROW_BYTES):
            yield f"[{','.join(held)}]"
            held, size = [], 0
        held.append(text)
        size += len(text) + 1
    if held:
        yield f"[{','.join(held)}]"


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


def _body(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "resource": finding.resource,
        "severity": str(finding.severity),
        "evidence": finding.evidence,
        "fix": finding.fix,
    }


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
