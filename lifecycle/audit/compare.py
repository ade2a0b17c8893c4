"""New, recurring, resolved: each check's findings beside those of the last run that could have seen them.

A check is compared with the latest earlier run in which everything it looks at was read to its end, which may
be another run for another check: where a hub could not be listed last night, the night before counts.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from lifecycle.audit.finding import Check, Finding, Source
from lifecycle.audit.report import Archive, Judged, Novelty, Report, Run, catalogue, identity
from lifecycle.audit.suppressions import Suppressing

_BEYOND = "~"
"""Behind every identity."""

EARLIER_RUNS = 50
"""How far back a run to compare with is looked for."""


def conclusive(check: Check, sources: frozenset[Source]) -> bool:
    """Whether what the check did not find with these sources is not there."""
    return check.needs | check.reads <= sources


def bases(run: Run, earlier: Sequence[Run], checks: Mapping[str, Check]) -> Mapping[str, Run]:
    """The run that each check is compared with, of `earlier`: newest first."""
    before = [each for each in earlier if each.id != run.id and each.started < run.started]
    found: dict[str, Run] = {}
    for check in checks.values():
        base = next((each for each in before if conclusive(check, each.sources)), None)
        if base is not None:
            found[check.id] = base
    return found


@dataclass(frozen=True, slots=True)
class _Tellable:
    """What may be said of a check's findings that only one of the two runs has.

    Of a check that found more than is kept, what is missing on one side may be there all the same.
    """

    new: bool
    resolved: bool


class Comparison:
    """A run of the archive, compared."""

    def __init__(
        self,
        archive: Archive,
        run: Run,
        earlier: Sequence[Run],
        checks: Sequence[Check],
        suppressing: Suppressing,
    ) -> None:
        """Read nothing yet.

        Args:
            archive: has the findings.
            run: which.
            earlier: runs to compare with, newest first.
            checks: the catalogue.
            suppressing: at the moment of telling.
        """
        self._archive = archive
        self._suppressing = suppressing
        self._run = run
        whole = catalogue(checks, run)
        self._bases = bases(run, earlier, whole)
        self.report = Report(
            run=run,
            checks=whole,
            compared={check: base.id for check, base in self._bases.items()},
            expired=suppressing.expired,
        )

    async def findings(self) -> AsyncIterator[Judged]:
        """Every finding of the run, and those that are not found any more; the worst checks first."""
        for check in self.report.checks.values():
            base = self._bases.get(check.id)
            now = self._of(self._run, check)
            before = _nothing() if base is None else self._of(base, check)
            async for each in _merged(now, before, _tellable(check, self._run, base)):
                yield self._judged(each)

    def _judged(self, each: Judged) -> Judged:
        suppression = self._suppressing.of(each.finding)
        return each if suppression is None else Judged(each.finding, each.novelty, suppression, each.found)

    def _of(self, run: Run, check: Check) -> AsyncIterator[Finding]:
        return self._archive.findings(run.id, check.id) if run.found.get(check.id) else _nothing()


async def compared(
    archive: Archive, run: Run, checks: Sequence[Check], suppressing: Suppressing
) -> Comparison:
    """A run beside the earlier ones of the archive.

    Raises:
        TableUnavailable.
    """
    return Comparison(archive, run, await archive.runs(EARLIER_RUNS), checks, suppressing)


async def _merged(
    now: AsyncIterator[Finding], before: AsyncIterator[Finding], told: _Tellable
) -> AsyncIterator[Judged]:
    """Two ordered streams side by side."""
    here, there = await _next(now), await _next(before)
    while here or there:
        mine = identity(here) if here else _BEYOND
        theirs = identity(there) if there else _BEYOND
        if here and mine == theirs:
            yield Judged(here, Novelty.RECURRING)
            here, there = await _next(now), await _next(before)
        elif here and mine < theirs:
            yield Judged(here, Novelty.NEW if told.new else Novelty.UNCLEAR)
            here = await _next(now)
        elif there:
            yield Judged(there, Novelty.RESOLVED if told.resolved else Novelty.UNCLEAR, found=False)
            there = await _next(before)


def _tellable(check: Check, run: Run, base: Run | None) -> _Tellable:
    whole = conclusive(check, run.sources)
    return _Tellable(
        new=whole and (base is None or check.id not in base.capped),
        resolved=whole and check.id not in run.capped,
    )


async def _next(findings: AsyncIterator[Finding]) -> Finding | None:
    return await anext(findings, None)


async def _nothing() -> AsyncIterator[Finding]:
    return
    yield
