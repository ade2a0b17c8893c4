"""The audit as a job: phase after phase, a slice at a time, under the job's shares of every rate.

A run of a million records takes hours at its share of the rates. Where it is, is in the checkpoint; what
grows is in rows; what a worker has in memory beside that (digests of DPS's ids, the groups' webhook URLs and
keys) it takes along to its next slice, and any other worker makes it again of the rows.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from clients.arm import CaCertificate, DpsPage, Unknown
from clients.ports import Row
from lifecycle.audit import around as surroundings
from lifecycle.audit import asked, places
from lifecycle.audit.books import ledger
from lifecycle.audit.confirm import confirm
from lifecycle.audit.ending import end
from lifecycle.audit.evidence import Thresholds
from lifecycle.audit.finding import Source
from lifecycle.audit.hub_listings import hubs
from lifecycle.audit.join import UNLISTED
from lifecycle.audit.listings import groups, individuals, registrations
from lifecycle.audit.memory import Memory
from lifecycle.audit.orphans import orphans, vanished
from lifecycle.audit.ports import Audited, Ports
from lifecycle.audit.report import Run as Told
from lifecycle.audit.runs import RunStore, Stored
from lifecycle.audit.state import PHASES, Run
from lifecycle.audit.work import Work
from lifecycle.jobs import Created, Done, JobKind, JobStore, More, Slice, SliceResult

KIND = "audit"

Phase = Callable[[Work], Awaitable[bool]]


async def schedule(
    store: JobStore, at: datetime, *, by: str = "timer", thresholds: Thresholds | None = None
) -> Created:
    """Create the run of a schedule's moment: the same one, however often its timer fires.

    Args:
        store: the jobs.
        at: the moment.
        by: who asks.
        thresholds: of the run; None: those of the worker that has it.

    Raises:
        TableUnavailable: it may have been created; asking again is safe.
    """
    params = None if thresholds is None else asked.params(thresholds)
    return await store.create(f"audit:{at:%Y-%m-%dT%H.%M}", KIND, by=by, subject=store.dps, params=params)


class Audit:
    """The code of the job. One instance per process and DPS: it remembers between slices."""

    def __init__(self, ports: Ports, audited: Audited) -> None:
        self._ports = ports
        self._audited = audited
        self._memory: tuple[str, Memory] | None = None

    @property
    def kind(self) -> JobKind:
        """For the tick."""
        return JobKind(KIND, self.run)

    async def run(self, slice_: Slice) -> SliceResult:
        """One slice of a run, as its params ask for it: see lifecycle.audit.asked."""
        saved = slice_.checkpoint
        memory, self._memory = self._recalled(slice_.job.id, saved), None
        run = Run.of(saved) if isinstance(saved, dict) else Run()
        policy = await self._ports.policy() if self._ports.policy is not None else None
        thresholds = asked.thresholds(slice_.params, self._audited.thresholds)
        work = Work(
            slice_,
            self._ports,
            replace(self._audited, thresholds=thresholds),
            run,
            memory,
            values=await self._values(slice_.job.id, run.settled),
            policy=policy,
        )
        version = None if work.values is None else work.values["policy"]
        if version is not None and (policy is None or policy.version != version):
            work.lacking(Source.POLICY, surroundings.CHANGED)
        while work.slice.time_left() > 0:
            if not await _PHASES[run.phase](work):
                break
            if run.phase == PHASES[-1]:
                return Done({"run": work.id, "found": sum(run.tally.found.values())})
            run.phase = PHASES[PHASES.index(run.phase) + 1]
            run.at, run.cursor = 0, []
            await work.save()
        self._memory = (work.id, memory)
        return More(after=work.pause)

    def _recalled(self, job: str, saved: Any) -> Memory:
        if self._memory is not None:
            of, memory = self._memory
            if of == job and memory.saved == saved:
                return memory
        return Memory()

    async def _values(self, run: str, settled: str) -> dict[str, Any] | None:
        """What `settle` kept; None before it, and once the run's rows are tidied away."""
        if not settled:
            return None
        row = await self._ports.table.get(places.kept(self._audited.dps, run), places.settled(settled))
        return None if row is None else places.gathered("a", row.values)


async def settle(work: Work) -> bool:
    """Read what is the same for every check, and keep it."""
    run, ports, audited = work.run, work.ports, work.audited
    if not run.started:
        run.started = ports.clock.now().isoformat()
        await work.save()  # so that every later slice has the same now
    page: DpsPage | Unknown = _unset
    certificates: tuple[CaCertificate, ...] | Unknown = _unset
    if ports.arm is not None:
        page, certificates = await ports.arm.page(), await ports.arm.certificates()
        run.calls["arm"] = run.calls.get("arm", 0) + 2
    fleet = await ports.fleet() if ports.fleet is not None else None
    policy = None if work.policy is None else work.policy.version
    work.values = surroundings.kept(page, certificates, fleet, policy)
    partition = places.kept(audited.dps, work.id)
    await ports.table.put(Row(partition, places.settled(work.mark), places.spread("a", work.values)))
    run.settled = work.mark
    linked: Iterable[str] = work.around().linked or ()
    run.hubs = list(dict.fromkeys([*linked, *audited.hubs]))[:UNLISTED]
    store = RunStore(ports.table, audited.dps)
    earlier = await store.stored(1)
    if earlier:
        run.before = earlier[0].run.started.isoformat()
    most = audited.thresholds.sample_keys
    if most:
        of = earlier[0].figures.counts.get("individual_enrollments", 0) if earlier else 0
        run.sample_every = max(1, of // most)
    await store.begin(Stored(Told(work.id, audited.dps, work.started, by=work.slice.job.by)))
    ports.telemetry.event("audit_began", dps=audited.dps, run=work.id, hubs=len(run.hubs))
    return True


_unset = Unknown("the management plane is not set: set DPS_RESOURCE_ID")

_PHASES: Mapping[str, Phase] = {
    "settle": settle,
    "groups": groups,
    "individuals": individuals,
    "registrations": registrations,
    "hubs": hubs,
    "confirm": confirm,
    "vanished": vanished,
    "orphans": orphans,
    "ledger": ledger,
    "end": end,
}
